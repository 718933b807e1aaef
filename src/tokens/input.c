#include "tokens/input.h"

#include "tokens/json_lines.h"
#include "tokens/json_look.h"
#include "tokens/signature.h"
#include "tokens/token_file.h"
#include "tokens/utf8.h"

#include <string.h>

/* A name that promises token ids is held to it; what a format is called matters more than that it is not ours. */
static fsmoe_status recognise_by_name(const fsm_file_map *map, const char *path, fsm_input_kind *kind)
{
    size_t size = strlen(path), n = strlen(".tokens");
    if (size >= n && strcmp(path + size - n, ".tokens") == 0) {
        *kind = FSM_INPUT_TOKENS;
        const fsm_signature *row = fsm_signature_find(map->bytes, map->size);
        return row && row < &fsm_signatures[fsm_signature_count - 1] ? fsm_signature_refuse(map, path) : FSMOE_OK;
    }
    FSM_TRY(fsm_signature_refuse(map, path));
    if (fsm_json_lines_promised(path) || fsm_json_look_lines(map->bytes, map->size)) *kind = FSM_INPUT_JSON_LINES;
    return FSMOE_OK;
}

fsmoe_status fsm_input_recognise(const fsm_file_map *map, const char *path, fsm_input_kind *kind)
{
    *kind = FSM_INPUT_TEXT;
    if (map->size == 0) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is empty", path);
    if (!fsm_token_file_is(map)) return recognise_by_name(map, path, kind);
    *kind = FSM_INPUT_TOKENS;
    return FSMOE_OK;
}

static size_t line_at(const char *bytes, size_t offset)
{
    size_t line = 1;
    for (const char *at = bytes, *end = bytes + offset; (at = memchr(at, '\n', (size_t)(end - at))); at++) line++;
    return line;
}

static fsmoe_status fail_at_byte(const fsm_file_map *map, const char *path, size_t offset)
{
    const char *at = map->bytes + offset;
    size_t line = line_at(map->bytes, offset), left = map->size - offset;
    if (*at == 0)
        return fsm_fail(FSMOE_ERROR_FORMAT,
                        "'%s', line %zu: a zero byte at offset %zu, which no text has; tr -d '\\000' leaves such out",
                        path, line, offset);
    if (fsm_utf8_character_size(at) > left && fsm_utf8_text_size(at, left) == 0 && left < 4)
        return fsm_fail(FSMOE_ERROR_FORMAT,
                        "'%s' ends within a character, which begins at offset %zu: head -c %zu leaves it out", path,
                        offset, offset);
    return fsm_fail(FSMOE_ERROR_FORMAT,
                    "'%s', line %zu: byte 0x%02X at offset %zu is not UTF-8; iconv -f ENCODING -t UTF-8 converts from "
                    "another encoding, iconv -c -f UTF-8 -t UTF-8 leaves such bytes out",
                    path, line, (unsigned char)*at, offset);
}

static fsmoe_status read_text(const fsm_file_map *map, fsmoe_tokenizer *tokenizer, const char *path, fsm_ids *ids)
{
    size_t text = fsm_utf8_text_size(map->bytes, map->size);
    if (text < map->size) return fail_at_byte(map, path, text);
    return fsm_tokenizer_encode(tokenizer, map->bytes, map->size, ids);
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

fsmoe_status fsm_input_add(const fsm_file_map *map, fsm_input_kind kind, fsmoe_tokenizer *tokenizer, const char *path,
                           fsm_ids *ids)
{
    size_t before = ids->total;
    if (kind == FSM_INPUT_TOKENS) FSM_TRY(read_tokens(map, tokenizer, path, ids));
    else if (kind == FSM_INPUT_JSON_LINES) FSM_TRY(fsm_json_lines_read(map, tokenizer, path, ids));
    else FSM_TRY(read_text(map, tokenizer, path, ids));
    if (ids->total == before) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' holds no token", path);
    return FSMOE_OK;
}

fsmoe_status fsm_input_read(const char *path, fsmoe_tokenizer *tokenizer, fsm_ids *ids)
{
    fsm_file_map map;
    fsm_input_kind kind;
    FSM_TRY(fsm_file_map_open(path, &map));
    fsmoe_status status = fsm_input_recognise(&map, path, &kind);
    if (status == FSMOE_OK) status = fsm_input_add(&map, kind, tokenizer, path, ids);
    fsm_file_map_close(&map);
    return status;
}
