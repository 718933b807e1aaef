#include "base/json.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

fsmoe_status fsm_json_parse(const char *bytes, size_t size, const char *source, json_t **object)
{
    json_error_t why;
    *object = NULL;
    json_t *json = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &why);
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

/* Whether a real survives `flags` is theirs to say (JSON_REAL_PRECISION), so the texts are compared and not the values. */
static bool reads_back(const char *text, size_t flags)
{
    json_t *back = json_loads(text, JSON_DECODE_ANY, NULL);
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
