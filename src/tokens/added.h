/* Tokens that are matched in the text before it is cut into words, like "<|endoftext|>".
 * In:  contents and ids. Out: where the next one stands in a text.
 * Of several at one place the longest wins. There are few, so a scan for first bytes finds them.
 */
#ifndef FSM_TOKENS_ADDED_H
#define FSM_TOKENS_ADDED_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Hugging Face looks for tokens that are not `normalized` in the whole text, then for the others in what is left. */
enum { FSM_ADDED_PASSES = 2 };

typedef struct fsm_added_token {
    char *content;
    size_t size;
    int32_t id;
    int pass;
} fsm_added_token;

typedef struct fsm_added {
    fsm_added_token *tokens;
    size_t count;
    bool starts[FSM_ADDED_PASSES][256]; /* some token of the pass begins with this byte */
} fsm_added;

/* ERROR_MEMORY. `size` is at least 1. */
fsmoe_status fsm_added_put(fsm_added *added, const char *content, size_t size, int32_t id, int pass);

/* The first token of the pass in bytes[size] and its position; NULL, and *at = size, if there is none. */
const fsm_added_token *fsm_added_find(const fsm_added *added, int pass, const char *bytes, size_t size, size_t *at);

void fsm_added_destroy(fsm_added *added);

#endif
