#include "model/json_file.h"

#include "base/file.h"

#include <stdlib.h>

fsmoe_status fsm_json_read(const char *path, json_t **object)
{
    char *text;
    size_t size;
    json_error_t why;
    *object = NULL;
    FSM_TRY(fsm_file_read(path, &text, &size));
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!json) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is not sound JSON: line %d: %s", path, why.line, why.text);
    if (!json_is_object(json)) {
        json_decref(json);
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is not a JSON object", path);
    }
    *object = json;
    return FSMOE_OK;
}
