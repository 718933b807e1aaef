/* JSON lines: an object a line, whose "text" is a document.
 * In:  the bytes of a file, its name, a tokenizer. Out: ids.
 * A byte order mark before the first line is passed over, and so are blank lines. Of an object only "text" is looked
 * at.
 */
#ifndef FSM_TOKENS_JSON_LINES_H
#define FSM_TOKENS_JSON_LINES_H

#include "base/file.h"
#include "tokens/tokenizer.h"

/* Whether the name promises JSON lines: .jsonl, .ndjson or .json, in any case. */
bool fsm_json_lines_promised(const char *path);

/* Adds the ids of every document, each followed by the end of text if the tokenizer has one. ERROR_FORMAT: a line
 * that is no object with a "text" that is a string, naming file and line; ERROR_MEMORY, or what the list's drain
 * returns. */
fsmoe_status fsm_json_lines_read(const fsm_file_map *map, fsmoe_tokenizer *tokenizer, const char *path, fsm_ids *ids);

#endif
