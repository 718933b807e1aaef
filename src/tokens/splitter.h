/* Cuts text into words as GPT-2 does: contractions; letters, numbers or other signs, with a space before them; spaces.
 * In:  any bytes. Out: one word after another, none empty, that together are the text.
 * Merges never cross a cut. A maximal run of bytes that are not UTF-8 is one word, and the text before it ends there.
 */
#ifndef FSM_TOKENS_SPLITTER_H
#define FSM_TOKENS_SPLITTER_H

#include "base/status.h"

#include <stddef.h>

typedef struct fsm_splitter fsm_splitter;

/* ERROR_MEMORY; ERROR_INTERNAL: PCRE2 lacks Unicode. */
fsmoe_status fsm_splitter_create(fsm_splitter **splitter);
void fsm_splitter_destroy(fsm_splitter *splitter);

/* Starts on bytes[size], which must stay until the last word was taken. */
void fsm_splitter_begin(fsm_splitter *splitter, const char *bytes, size_t size);

/* The next word; *size is 0 after the last one. ERROR_INTERNAL or ERROR_MEMORY when PCRE2 fails. */
fsmoe_status fsm_splitter_next(fsm_splitter *splitter, const char **word, size_t *size);

#endif
