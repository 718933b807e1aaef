/* Steps that the loaders of BPE vocabularies share.
 * In:  a JSON object from spelling to id, merges by their two spellings. Out: the tokenizer's vocab, byte_ids, merges.
 */
#ifndef FSM_TOKENS_LOAD_H
#define FSM_TOKENS_LOAD_H

#include "base/file.h"
#include "tokens/tokenizer.h"

#include <jansson.h>

/* Maps a file that must be text. ERROR_IO; ERROR_UNSUPPORTED: it is of a format that the table of signatures knows. */
fsmoe_status fsm_load_map(const char *path, fsm_file_map *map);

/* Parses a whole file; the caller has json_decref. ERROR_IO; ERROR_FORMAT with the line. */
fsmoe_status fsm_load_json_file(const char *path, json_t **root);

/* Holes between ids are fine, but room is made for each id up to the largest, so that one may not be far beyond what
 * n_tokens tokens need. ERROR_FORMAT. */
fsmoe_status fsm_load_check_id(int64_t id, size_t n_tokens, const char *spelling, const char *path);

/* Fills vocab and byte_ids. ERROR_FORMAT: not an object of ids, an id given twice, a byte without a token. */
fsmoe_status fsm_load_vocab(fsmoe_tokenizer *tokenizer, const json_t *vocab, const char *path);

typedef struct fsm_spelled {
    const char *text; /* not 0-terminated */
    size_t size;
} fsm_spelled;

/* Cuts "left right" at its only space. False if it has none or several, or a side is empty, or there is a 0 byte. */
bool fsm_load_cut_merge(const char *line, size_t size, fsm_spelled *left, fsm_spelled *right);

/* Adds a merge. ERROR_FORMAT: left, right or both together have no id; `number` is the merge's, for the message. */
fsmoe_status fsm_load_merge(fsmoe_tokenizer *tokenizer, const json_t *vocab, fsm_spelled left, fsm_spelled right,
                            const char *path, size_t number);

#endif
