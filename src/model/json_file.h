/* Reads a file that is one JSON object.
 * In:  a path.
 * Out: the object, or an error that names file, line and cause. A key that occurs twice is an error.
 */
#ifndef FSM_MODEL_JSON_FILE_H
#define FSM_MODEL_JSON_FILE_H

#include "base/status.h"

#include <jansson.h>

/* The caller decrefs *object; NULL on failure. ERROR_IO: cannot read; ERROR_FORMAT: not a JSON object. */
fsmoe_status fsm_json_read(const char *path, json_t **object);

#endif
