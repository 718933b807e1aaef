#include "tokens/input.h"

#include "base/file.h"
#include "base/json.h"
#include "tokens/token_file.h"

#include <ctype.h>
#include <string.h>

static bool ends_in(const char *path, const char *ending)
{
    size_t size = strlen(path), n = strlen(ending);
    return size >= n && strcmp(path + size - n, ending) == 0;
}

bool fsm_input_is_tokens(const char *path)
{
    return ends_in(path, ".tokens");
}

static bool is_blank(const char *line, size_t size)
{
    while (size > 0 && isspace((unsigned char)line[size - 1])) size--;
    return size == 0;
}

static fsmoe_status read_document(const char *line, size_t size, fsmoe_tokenizer *tokenizer, fsm_ids *ids)
{
    json_error_t error;
    json_t *document = fsm_json_decode(line, size, JSON_ALLOW_NUL, &error);
    if (!document && json_error_code(&error) == json_error_out_of_memory)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read it");
    if (!document) return fsm_fail(FSMOE_ERROR_FORMAT, "not JSON: %s", error.text);
    const json_t *text = json_object_get(document, "text");
    fsmoe_status status;
    if (json_is_string(text))
        status = fsm_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), ids);
    else status = fsm_fail(FSMOE_ERROR_FORMAT, "no \"text\" that is a string");
    json_decref(document);
    if (status == FSMOE_OK && tokenizer->end_of_text >= 0) status = fsm_ids_add(ids, tokenizer->end_of_text);
    return status;
}

static fsmoe_status read_jsonl(const fsm_file_map *map, fsmoe_tokenizer *tokenizer, const char *path, fsm_ids *ids)
{
    const char *end = map->bytes + map->size;
    size_t number = 1;
    for (const char *line = map->bytes; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        size_t size = (size_t)(stop - line);
        if (!is_blank(line, size)) {
            fsmoe_status status = read_document(line, size, tokenizer, ids);
            if (status != FSMOE_OK) return fsm_fail_within(status, "'%s', line %zu", path, number);
        }
        line = stop + (stop < end);
    }
    return FSMOE_OK;
}

static fsmoe_status read_tokens(const fsm_file_map *map, fsmoe_tokenizer *tokenizer, const char *path, fsm_ids *ids)
{
    enum { PIECE = 1 << 16 };
    fsm_token_header header;
    FSM_TRY(fsm_token_file_check(map, tokenizer, path, &header));
    const char *payload = map->bytes + FSM_TOKEN_FILE_HEADER_BYTES;
    for (uint64_t first = 0; first < header.count; first += PIECE) {
        size_t n = header.count - first < PIECE ? (size_t)(header.count - first) : PIECE;
        int32_t *at;
        FSM_TRY(fsm_ids_reserve(ids, n, &at));
        fsm_token_ids_unpack(payload + first * header.id_bytes, header.id_bytes, n, at);
        fsm_ids_commit(ids, n);
    }
    return FSMOE_OK;
}

static fsmoe_status read_map(const fsm_file_map *map, fsmoe_tokenizer *tokenizer, const char *path, fsm_ids *ids)
{
    if (map->size == 0) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is empty", path);
    if (fsm_input_is_tokens(path)) return read_tokens(map, tokenizer, path, ids);
    if (ends_in(path, ".jsonl")) return read_jsonl(map, tokenizer, path, ids);
    return fsm_tokenizer_encode(tokenizer, map->bytes, map->size, ids);
}

fsmoe_status fsm_input_read(const char *path, fsmoe_tokenizer *tokenizer, fsm_ids *ids)
{
    fsm_file_map map;
    FSM_TRY(fsm_file_map_open(path, &map));
    size_t before = ids->total;
    fsmoe_status status = read_map(&map, tokenizer, path, ids);
    fsm_file_map_close(&map);
    if (status == FSMOE_OK && ids->total == before) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' holds no token", path);
    return status;
}
