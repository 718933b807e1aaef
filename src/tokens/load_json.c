#include "tokens/load.h"

#include <stdint.h>
#include <string.h>

/* A key asks for nothing if its value is null, false, zero or empty. */
static bool asks_nothing(const json_t *value)
{
    return json_is_null(value) || json_is_false(value) || (json_is_number(value) && json_number_value(value) == 0) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

/* Every key of the object but those `known` (a list that NULL ends) must ask for nothing: new settings are refused
 * rather than ignored. */
static fsmoe_status check_keys(const json_t *object, const char *where, const char *const *known, const char *path)
{
    if (!json_is_object(object)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s is no JSON object", path, where);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        const char *const *name = known;
        while (*name && strcmp(*name, key) != 0) name++;
        if (*name || asks_nothing(value)) continue;
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        fsmoe_status status = fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': %s.%s is %.60s, which is not supported", path,
                                       where, key, text ? text : "set");
        free(text);
        return status;
    }
    return FSMOE_OK;
}

static fsmoe_status check_type(const json_t *object, const char *where, const char *wanted, const char *path)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    if (type && strcmp(type, wanted) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': %s.type is '%s', only %s is supported", path, where,
                    type ? type : "(none)", wanted);
}

static fsmoe_status check_byte_level(const json_t *root, const json_t *pre_tokenizer, const char *path)
{
    static const char *const known[] = {"type", "trim_offsets", "use_regex", NULL};
    static const char *const anything[] = {"type", "trim_offsets", "use_regex", "add_prefix_space", NULL};
    FSM_TRY(check_type(pre_tokenizer, "pre_tokenizer", "ByteLevel", path));
    FSM_TRY(check_keys(pre_tokenizer, "pre_tokenizer", known, path));
    const json_t *use_regex = json_object_get(pre_tokenizer, "use_regex");
    if (use_regex && !json_is_true(use_regex))
        return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': pre_tokenizer.use_regex is not true, which is not supported",
                        path);
    /* As decoder and post-processor, ByteLevel has no settings that change ids or bytes. */
    FSM_TRY(check_type(json_object_get(root, "decoder"), "decoder", "ByteLevel", path));
    FSM_TRY(check_keys(json_object_get(root, "decoder"), "decoder", anything, path));
    const json_t *post = json_object_get(root, "post_processor");
    if (!post || json_is_null(post)) return FSMOE_OK;
    FSM_TRY(check_type(post, "post_processor", "ByteLevel", path));
    return check_keys(post, "post_processor", anything, path);
}

/* A merge is ["left", "right"], or "left right" in older files. */
static bool read_merge(const json_t *merge, fsm_spelled *left, fsm_spelled *right)
{
    if (json_is_string(merge))
        return fsm_load_cut_merge(json_string_value(merge), json_string_length(merge), left, right);
    const json_t *first = json_array_get(merge, 0), *second = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(first) || !json_is_string(second)) return false;
    *left = (fsm_spelled){json_string_value(first), json_string_length(first)};
    *right = (fsm_spelled){json_string_value(second), json_string_length(second)};
    return true;
}

static fsmoe_status load_model(fsmoe_tokenizer *tokenizer, const json_t *model, const char *path)
{
    /* fuse_unk says what to do with unknown tokens; a vocabulary with all bytes meets none. */
    static const char *const known[] = {"type", "vocab", "merges", "fuse_unk", NULL};
    FSM_TRY(check_keys(model, "model", known, path));
    if (json_object_get(model, "type"))
        FSM_TRY(check_type(model, "model", "BPE", path)); /* GPT-2's own file has none */
    const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    FSM_TRY(fsm_load_vocab(tokenizer, vocab, path));
    if (!json_is_array(merges)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': model.merges is no list", path);
    FSM_TRY(fsm_merges_create(json_array_size(merges), &tokenizer->merges));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        fsm_spelled left, right;
        if (!read_merge(json_array_get(merges, i), &left, &right))
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': model.merges[%zu] is not two tokens", path, i);
        FSM_TRY(fsm_load_merge(tokenizer, vocab, left, right, path, i));
    }
    return FSMOE_OK;
}

/* An added token may stand in the vocabulary too, but an id that other bytes have would decode to the wrong ones. */
static fsmoe_status check_added_id(const fsm_vocab *vocab, json_int_t id, const char *text, size_t size,
                                   const char *path)
{
    FSM_TRY(fsm_load_check_id(id, (size_t)vocab->size, text, path));
    const fsm_vocab_entry *other = id <= INT32_MAX ? fsm_vocab_get(vocab, (int32_t)id) : NULL;
    if (!other || (other->size == size && memcmp(vocab->text + other->begin, text, size) == 0)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the added token '%s' has id %lld, which another token has", path, text,
                    (long long)id);
}

static fsmoe_status load_added(fsmoe_tokenizer *tokenizer, const json_t *added, size_t number, const char *path)
{
    static const char *const known[] = {"id", "content", "normalized", "special", NULL};
    char where[64];
    snprintf(where, sizeof where, "added_tokens[%zu]", number);
    FSM_TRY(check_keys(added, where, known, path));
    const json_t *id = json_object_get(added, "id"), *content = json_object_get(added, "content");
    if (!json_is_integer(id) || !json_is_string(content) || json_string_length(content) == 0)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s has no id or no content", path, where);
    const char *text = json_string_value(content);
    size_t size = json_string_length(content);
    FSM_TRY(check_added_id(&tokenizer->vocab, json_integer_value(id), text, size, path));
    fsmoe_status status = fsm_vocab_put(&tokenizer->vocab, json_integer_value(id), text, size);
    if (status != FSMOE_OK) return fsm_fail_within(status, "'%s': %s", path, where);
    int pass = json_is_true(json_object_get(added, "normalized")) ? 1 : 0;
    return fsm_added_put(&tokenizer->added, text, size, (int32_t)json_integer_value(id), pass);
}

static fsmoe_status load_root(fsmoe_tokenizer *tokenizer, const json_t *root, const char *path)
{
    static const char *const known[] = {
        "version", "added_tokens", "pre_tokenizer", "post_processor", "decoder", "model", NULL};
    FSM_TRY(check_keys(root, "tokenizer", known, path));
    FSM_TRY(check_byte_level(root, json_object_get(root, "pre_tokenizer"), path));
    FSM_TRY(load_model(tokenizer, json_object_get(root, "model"), path));
    const json_t *added = json_object_get(root, "added_tokens");
    for (size_t i = 0; i < json_array_size(added); i++)
        FSM_TRY(load_added(tokenizer, json_array_get(added, i), i, path));
    return FSMOE_OK;
}

fsmoe_status fsm_tokenizer_load_json(fsmoe_tokenizer *tokenizer, const char *path)
{
    json_t *root;
    FSM_TRY(fsm_load_json_file(path, &root));
    fsmoe_status status = load_root(tokenizer, root, path);
    json_decref(root);
    return status;
}
