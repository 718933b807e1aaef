/* Small helpers for messages: the nearest valid word to a mistyped one.
 * In: words. Out: a word of the list, or NULL.
 */
#ifndef FSM_BASE_TEXT_H
#define FSM_BASE_TEXT_H

#include <stddef.h>

/* The word of words[count] with the least edit distance to `word`; NULL for an empty list.
 * Used for "did you mean": a far-off word is still named, since the list may be long. */
const char *fsm_text_nearest(const char *word, const char *const *words, size_t count);

#endif
