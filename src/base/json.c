#include "base/json.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* No word of the text has more bytes: words end at quotes, and outside of quotes at what separates values. */
static size_t longest_word(const char *bytes, size_t size)
{
    size_t longest = 0, begin = 0;
    bool quoted = false;
    for (size_t i = 0; i <= size; i++) {
        bool quote = i < size && bytes[i] == '"';
        if (i < size && !quote && (quoted || !strchr(" \t\r\n,:[]{}", bytes[i]))) {
            if (bytes[i] == '\\') i++; /* what follows is no quote */
            continue;
        }
        size_t end = i < size ? i : size;
        if (end - begin > longest) longest = end - begin;
        begin = end + 1;
        if (quote) quoted = !quoted;
    }
    return longest;
}

static json_t *out_of_memory(json_error_t *why)
{
    *why = (json_error_t){.line = -1, .column = -1};
    strcpy(why->text, "out of memory");
    why->text[sizeof why->text - 1] = json_error_out_of_memory;
    return NULL;
}

/* ["xx…x",TEXT]: the first word makes the buffer grow to what all others need, and is shorter where that failed. */
static json_t *decode_after_pad(const char *bytes, size_t size, size_t pad, size_t flags, json_error_t *why)
{
    size_t head = pad + 4;
    char *text = malloc(head + size + 2);
    if (!text) return out_of_memory(why);
    memset(text, 'x', head);
    memcpy(text, "[\"", 2);
    memcpy(text + head - 2, "\",", 2);
    if (size > 0) memcpy(text + head, bytes, size);
    text[head + size] = ']';
    json_t *list = json_loadb(text, head + size + 1, flags, why);
    free(text);
    return list;
}

json_t *fsm_json_decode(const char *bytes, size_t size, size_t flags, json_error_t *why)
{
    size_t pad = longest_word(bytes, size);
    json_t *list = decode_after_pad(bytes, size, pad, flags, why), *value = NULL;
    if (!list && json_error_code(why) == json_error_out_of_memory) return NULL;
    bool lost = list && json_string_length(json_array_get(list, 0)) != pad;
    if (json_array_size(list) == 2) value = json_incref(json_array_get(list, 1));
    json_decref(list);
    bool wanted = json_is_object(value) || json_is_array(value) || (value && (flags & JSON_DECODE_ANY));
    if (wanted && !lost) return value;
    json_decref(value);
    if (lost) return out_of_memory(why);
    value = json_loadb(bytes, size, flags, why); /* for its words */
    json_decref(value);
    return value ? out_of_memory(why) : NULL;
}

fsmoe_status fsm_json_parse(const char *bytes, size_t size, const char *source, json_t **object)
{
    json_error_t why;
    *object = NULL;
    json_t *json = fsm_json_decode(bytes, size, JSON_REJECT_DUPLICATES, &why);
    if (!json && json_error_code(&why) == json_error_out_of_memory)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", source);
    if (!json) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is not sound JSON: line %d: %s", source, why.line, why.text);
    if (!json_is_object(json)) {
        json_decref(json);
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is not a JSON object", source);
    }
    *object = json;
    return FSMOE_OK;
}

fsmoe_status fsm_json_read(const char *path, json_t **object)
{
    char *text;
    size_t size;
    *object = NULL;
    FSM_TRY(fsm_file_read(path, &text, &size));
    fsmoe_status status = fsm_json_parse(text, size, path, object);
    free(text);
    return status;
}

void fsm_json_set(json_t *object, const char *key, json_t *value, bool *failed)
{
    if (json_object_set_new(object, key, value) != 0) *failed = true;
}

void fsm_json_append(json_t *array, json_t *value, bool *failed)
{
    if (json_array_append_new(array, value) != 0) *failed = true;
}

/* Whether a real survives `flags` is theirs to say (JSON_REAL_PRECISION), so the texts are compared and not the
 * values. */
static bool reads_back(const char *text, size_t flags)
{
    json_error_t why;
    json_t *back = fsm_json_decode(text, strlen(text), JSON_DECODE_ANY, &why);
    char *again = back ? json_dumps(back, flags) : NULL;
    bool same = again && strcmp(text, again) == 0;
    free(again);
    json_decref(back);
    return same;
}

fsmoe_status fsm_json_text(json_t *json, bool failed, size_t flags, const char *what, char **text)
{
    *text = json && !failed ? json_dumps(json, flags) : NULL;
    json_decref(json);
    if (*text && reads_back(*text, flags)) return FSMOE_OK;
    free(*text);
    *text = NULL;
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", what);
}

fsmoe_status fsm_json_write(json_t *json, bool failed, size_t flags, const char *path)
{
    char *text;
    FSM_TRY(fsm_json_text(json, failed, flags, path, &text));
    size_t length = strlen(text);
    text[length] = '\n'; /* in the place of the 0 */
    fsmoe_status status = fsm_file_replace(path, text, length + 1);
    free(text);
    return status;
}
