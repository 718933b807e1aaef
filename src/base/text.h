/* Small helpers for messages: the nearest valid word to a mistyped one, and text that grows in a buffer.
 * In: words, formats. Out: a word of the list, or NULL; a longer text.
 */
#ifndef FSM_BASE_TEXT_H
#define FSM_BASE_TEXT_H

#include <stddef.h>

/* The word of words[count] with the least edit distance to `word`; NULL for an empty list.
 * Used for "did you mean": a far-off word is still named, since the list may be long. */
const char *fsm_text_nearest(const char *word, const char *const *words, size_t count);

/* Appends to the text in a buffer of `size` bytes; what does not fit is cut. */
void fsm_text_append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
