/* One input file: what it holds, told by its bytes, and its ids.
 * In:  a file with text, JSON lines or token ids. Out: its kind; its ids, added to a list.
 * Only where bytes leave it open the name decides: .jsonl, .ndjson and .json promise JSON lines, .tokens promises ids.
 */
#ifndef FSM_TOKENS_INPUT_H
#define FSM_TOKENS_INPUT_H

#include "base/file.h"
#include "tokens/tokenizer.h"

typedef enum fsm_input_kind { FSM_INPUT_TEXT, FSM_INPUT_JSON_LINES, FSM_INPUT_TOKENS } fsm_input_kind;

/* ERROR_FORMAT: empty; ERROR_UNSUPPORTED: of a format that is not read, naming it and what to do. */
fsmoe_status fsm_input_recognise(const fsm_file_map *map, const char *path, fsm_input_kind *kind);

/* Adds the ids of a file of that kind. ERROR_FORMAT: malformed, naming the file and line or byte, or without a single
 * token. */
fsmoe_status fsm_input_add(const fsm_file_map *map, fsm_input_kind kind, fsmoe_tokenizer *tokenizer, const char *path,
                           fsm_ids *ids);

/* All of this with the file at `path`. ERROR_IO. */
fsmoe_status fsm_input_read(const char *path, fsmoe_tokenizer *tokenizer, fsm_ids *ids);

#endif
