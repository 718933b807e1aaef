/* The .tokens file: a header of 128 bytes, then the ids, 2 or 4 bytes each, all little-endian.
 * In:  ids to write, or a file's bytes. Out: a file, or a checked header.
 *   0 magic   8 version u32  12 bytes per id u32   16 vocab size u64   24 number of ids u64   32 XXH3 of the ids u64
 *  40 tokenizer's fingerprint u64   48 its name, 0-padded, cut if longer   120 XXH3 of bytes 0-119 u64   128 ids
 */
#ifndef FSM_TOKENS_TOKEN_FILE_H
#define FSM_TOKENS_TOKEN_FILE_H

#include "base/file.h"
#include "tokens/tokenizer.h"

enum { FSM_TOKEN_FILE_HEADER_BYTES = 128, FSM_TOKEN_FILE_NAME_BYTES = 72, FSM_TOKEN_FILE_VERSION = 1 };

typedef struct fsm_token_header {
    uint32_t id_bytes; /* 2 or 4 */
    uint64_t vocab_size, count, payload_hash, fingerprint;
    char tokenizer[FSM_TOKEN_FILE_NAME_BYTES + 1];
} fsm_token_header;

/* What a file made with this tokenizer says; count and payload_hash are left 0. */
fsm_token_header fsm_token_header_of(const fsmoe_tokenizer *tokenizer);
void fsm_token_header_pack(const fsm_token_header *header, char bytes[FSM_TOKEN_FILE_HEADER_BYTES]);

/* Whether a file begins with the magic, whatever its name and the rest. */
bool fsm_token_file_is(const fsm_file_map *map);

/* Reads and checks a whole file: header, size, checksums, tokenizer and the range of every id.
 * ERROR_FORMAT naming `path`. */
fsmoe_status fsm_token_file_check(const fsm_file_map *map, const fsmoe_tokenizer *tokenizer, const char *path,
                                  fsm_token_header *header);

/* Little-endian ids of 2 or 4 bytes to int32 and back; n ids, no overlap. */
void fsm_token_ids_unpack(const char *packed, uint32_t id_bytes, size_t n, int32_t *ids);
void fsm_token_ids_pack(const int32_t *ids, uint32_t id_bytes, size_t n, char *packed);

#endif
