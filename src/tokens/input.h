/* The ids of one input file, whatever its kind.
 * In:  text, .jsonl with a "text" in every line, or .tokens. Out: its ids, added to a list.
 */
#ifndef FSM_TOKENS_INPUT_H
#define FSM_TOKENS_INPUT_H

#include "tokens/tokenizer.h"

bool fsm_input_is_tokens(const char *path);

/* Adds the ids of the file. ERROR_IO; ERROR_FORMAT: malformed, naming file and line, or without a single token. */
fsmoe_status fsm_input_read(const char *path, fsmoe_tokenizer *tokenizer, fsm_ids *ids);

#endif
