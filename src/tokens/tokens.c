#include <fsmoe/tokens.h>

#include "tokens/input.h"
#include "tokens/token_file.h"

#include <stdlib.h>
#include <string.h>

/* The ids of one file: of text in `ids`, of a .tokens file in the map. */
typedef struct token_segment {
    int64_t count;
    fsm_ids ids;
    fsm_file_map map;
    uint32_t id_bytes; /* in the map */
} token_segment;

struct fsmoe_tokens {
    const fsmoe_tokenizer *tokenizer;
    token_segment *segments;
    size_t n_segments;
    int64_t count;
};

static fsmoe_status check_map(token_segment *segment, const fsmoe_tokenizer *tokenizer, const char *path)
{
    fsm_token_header header;
    FSM_TRY(fsm_token_file_check(&segment->map, tokenizer, path, &header));
    segment->count = (int64_t)header.count;
    segment->id_bytes = header.id_bytes;
    return FSMOE_OK;
}

/* Of text only the ids are kept, of a token file only the map. */
static fsmoe_status open_segment(token_segment *segment, fsmoe_tokenizer *tokenizer, const char *path)
{
    fsm_input_kind kind;
    FSM_TRY(fsm_file_map_open(path, &segment->map));
    FSM_TRY(fsm_input_recognise(&segment->map, path, &kind));
    if (kind == FSM_INPUT_TOKENS) return check_map(segment, tokenizer, path);
    FSM_TRY(fsm_input_add(&segment->map, kind, tokenizer, path, &segment->ids));
    segment->count = (int64_t)segment->ids.count;
    fsm_file_map_close(&segment->map);
    return FSMOE_OK;
}

fsmoe_status fsmoe_tokens_open(const char *const *paths, size_t n_paths, fsmoe_tokenizer *tokenizer,
                               fsmoe_tokens **tokens)
{
    *tokens = NULL;
    if (n_paths == 0) return fsm_fail(FSMOE_ERROR_CONFIG, "no file to take tokens from");
    fsmoe_tokens *opened = calloc(1, sizeof *opened);
    if (opened) opened->segments = calloc(n_paths, sizeof *opened->segments);
    if (!opened || !opened->segments) {
        free(opened);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a stream of %zu files", n_paths);
    }
    opened->tokenizer = tokenizer;
    for (; opened->n_segments < n_paths; opened->n_segments++) {
        token_segment *segment = &opened->segments[opened->n_segments];
        fsmoe_status status = open_segment(segment, tokenizer, paths[opened->n_segments]);
        if (status != FSMOE_OK) {
            opened->n_segments++; /* the failed one may hold a map or ids */
            fsmoe_tokens_close(opened);
            return status;
        }
        opened->count += segment->count;
    }
    *tokens = opened;
    return FSMOE_OK;
}

void fsmoe_tokens_close(fsmoe_tokens *tokens)
{
    if (!tokens) return;
    for (size_t i = 0; i < tokens->n_segments; i++) {
        fsm_ids_destroy(&tokens->segments[i].ids);
        fsm_file_map_close(&tokens->segments[i].map);
    }
    free(tokens->segments);
    free(tokens);
}

int64_t fsmoe_tokens_count(const fsmoe_tokens *tokens)
{
    return tokens->count;
}

static void copy_segment(const token_segment *segment, int64_t first, int64_t n, int32_t *out)
{
    if (segment->map.bytes) {
        const char *packed = segment->map.bytes + FSM_TOKEN_FILE_HEADER_BYTES + first * segment->id_bytes;
        fsm_token_ids_unpack(packed, segment->id_bytes, (size_t)n, out);
    } else {
        memcpy(out, segment->ids.items + first, (size_t)n * sizeof *out);
    }
}

fsmoe_status fsmoe_tokens_copy(const fsmoe_tokens *tokens, int64_t first, int64_t n, int32_t *out)
{
    if (first < 0 || n < 0 || first > tokens->count - n)
        return fsm_fail(FSMOE_ERROR_INTERNAL, "%lld ids from position %lld of a stream of %lld", (long long)n,
                        (long long)first, (long long)tokens->count);
    for (const token_segment *segment = tokens->segments; n > 0; segment++) {
        if (first >= segment->count) {
            first -= segment->count;
            continue;
        }
        int64_t here = segment->count - first < n ? segment->count - first : n;
        copy_segment(segment, first, here, out);
        out += here;
        n -= here;
        first = 0;
    }
    return FSMOE_OK;
}

fsmoe_status fsmoe_tokens_bytes(const fsmoe_tokens *tokens, int64_t first, int64_t n, int64_t *n_bytes)
{
    enum { PIECE = 4096 };
    int32_t ids[PIECE];
    *n_bytes = 0;
    do {
        int64_t here = n < PIECE ? n : PIECE;
        FSM_TRY(fsmoe_tokens_copy(tokens, first, here, ids));
        for (int64_t i = 0; i < here; i++) *n_bytes += (int64_t)fsm_tokenizer_text_bytes(tokens->tokenizer, ids[i]);
        first += here;
        n -= here;
    } while (n > 0);
    return FSMOE_OK;
}
