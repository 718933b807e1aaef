#include "tokens/load.h"

#include "base/json.h"
#include "tokens/signature.h"

#include <stdlib.h>
#include <string.h>

fsmoe_status fsm_load_map(const char *path, fsm_file_map *map)
{
    FSM_TRY(fsm_file_map_open(path, map));
    const fsm_signature *row = NULL;
    /* an object is for the parser to judge: vocabularies may have a token "text" */
    if (map->size > 0 && map->bytes[0] != '{') row = fsm_signature_find(map->bytes, map->size);
    if (!row) return FSMOE_OK;
    fsm_file_map_close(map);
    return fsm_fail(FSMOE_ERROR_UNSUPPORTED,
                    "'%s' is %s; of tokenizers, a tokenizer.json and GPT-2's two files are read", path, row->name);
}

fsmoe_status fsm_load_json_file(const char *path, json_t **root)
{
    fsm_file_map map;
    FSM_TRY(fsm_load_map(path, &map));
    json_error_t error;
    *root = fsm_json_decode(map.bytes ? map.bytes : "", map.size, 0, &error);
    fsm_file_map_close(&map);
    if (*root) return FSMOE_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", path);
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s', line %d: not JSON: %s", path, error.line, error.text);
}

fsmoe_status fsm_load_check_id(int64_t id, size_t n_tokens, const char *spelling, const char *path)
{
    enum { TIMES = 16, MORE = 1 << 16 };
    if (id < 0 || (uint64_t)id <= TIMES * (uint64_t)n_tokens + MORE) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': token '%s' has id %lld, but there are only %zu tokens", path, spelling,
                    (long long)id, n_tokens);
}

static fsmoe_status put_entry(fsm_vocab *vocab, const char *spelling, const json_t *id, size_t n_tokens,
                              const char *path)
{
    if (!json_is_integer(id))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the id of token '%s' is no number", path, spelling);
    json_int_t number = json_integer_value(id);
    FSM_TRY(fsm_load_check_id(number, n_tokens, spelling, path));
    if (number >= 0 && number <= FSM_VOCAB_LARGEST_ID && fsm_vocab_get(vocab, (int32_t)number))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': token '%s' has id %lld, which another token has", path, spelling,
                        (long long)number);
    fsmoe_status status = fsm_vocab_put_spelled(vocab, number, spelling, strlen(spelling));
    return status == FSMOE_OK ? status : fsm_fail_within(status, "'%s'", path);
}

fsmoe_status fsm_load_vocab(fsmoe_tokenizer *tokenizer, const json_t *vocab, const char *path)
{
    if (!json_is_object(vocab)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the vocabulary is no JSON object", path);
    const char *spelling;
    json_t *id;
    size_t count = json_object_size(vocab);
    json_object_foreach((json_t *)vocab, spelling, id) FSM_TRY(put_entry(&tokenizer->vocab, spelling, id, count, path));
    for (int byte = 0; byte < 256; byte++) {
        char key[3];
        fsm_vocab_spell_byte((unsigned char)byte, key);
        id = json_object_get(vocab, key);
        if (!id) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': no token for byte 0x%02X, spelled '%s'", path, byte, key);
        tokenizer->byte_ids[byte] = (int32_t)json_integer_value(id);
    }
    return FSMOE_OK;
}

bool fsm_load_cut_merge(const char *line, size_t size, fsm_spelled *left, fsm_spelled *right)
{
    const char *space = memchr(line, ' ', size);
    if (!space || memchr(line, 0, size)) return false; /* the vocabulary would be asked for what stands before the 0 */
    *left = (fsm_spelled){line, (size_t)(space - line)};
    *right = (fsm_spelled){space + 1, size - left->size - 1};
    return left->size > 0 && right->size > 0 && !memchr(right->text, ' ', right->size);
}

/* The id of a spelling, -1 if the vocabulary lacks it. */
static int32_t id_of(const json_t *vocab, const char *spelling)
{
    const json_t *id = json_object_get(vocab, spelling);
    return id ? (int32_t)json_integer_value(id) : -1;
}

fsmoe_status fsm_load_merge(fsmoe_tokenizer *tokenizer, const json_t *vocab, fsm_spelled left, fsm_spelled right,
                            const char *path, size_t number)
{
    /* "left 0 right 0 both 0": the vocabulary is asked by 0-terminated keys. */
    char *keys = malloc(2 * (left.size + right.size) + 3);
    if (!keys) return fsm_fail(FSMOE_ERROR_MEMORY, "'%s': no memory for merge %zu", path, number);
    char *right_key = keys + left.size + 1, *both_key = right_key + right.size + 1;
    memcpy(keys, left.text, left.size), keys[left.size] = 0;
    memcpy(right_key, right.text, right.size), right_key[right.size] = 0;
    memcpy(both_key, left.text, left.size), memcpy(both_key + left.size, right_key, right.size + 1);

    int32_t left_id = id_of(vocab, keys), right_id = id_of(vocab, right_key), both_id = id_of(vocab, both_key);
    const char *missing = left_id < 0 ? keys : right_id < 0 ? right_key : both_id < 0 ? both_key : NULL;
    fsmoe_status status = FSMOE_OK;
    if (!missing) fsm_merges_add(&tokenizer->merges, left_id, right_id, both_id);
    else
        status = fsm_fail(FSMOE_ERROR_FORMAT, "'%s': merge %zu, '%s %s': the vocabulary lacks '%s'", path, number, keys,
                          right_key, missing);
    free(keys);
    return status;
}
