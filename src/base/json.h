/* JSON files: read one that is an object, and build one so that no failed allocation goes unseen.
 * In:  a path; or values that are put together.
 * Out: the object, or an error that names file, line and cause; text that is what was put together.
 * Jansson's setters steal their value and say by -1 that they could not keep it: here that is remembered, so that a
 * tree is built without a check a line and judged once, where it becomes text.
 */
#ifndef FSM_BASE_JSON_H
#define FSM_BASE_JSON_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>

/* The caller decrefs *object; NULL on failure. ERROR_IO: cannot read; ERROR_FORMAT: not a JSON object, a key twice. */
fsmoe_status fsm_json_read(const char *path, json_t **object);

/* The same of bytes that stand in memory; `source` is their name in messages. */
fsmoe_status fsm_json_parse(const char *bytes, size_t size, const char *source, json_t **object);

/* json_loadb() that loses nothing without memory (Jansson's loses bytes of a word whose buffer cannot grow). NULL: *why
 * has the code json_error_out_of_memory, or line and text. */
json_t *fsm_json_decode(const char *bytes, size_t size, size_t flags, json_error_t *why);

/* value is taken over; NULL (for which there was no memory), or a container that is NULL, sets *failed. */
void fsm_json_set(json_t *object, const char *key, json_t *value, bool *failed);
void fsm_json_append(json_t *array, json_t *value, bool *failed);

/* The text of `json`, which is taken over; `flags` are Jansson's. `failed` or json NULL: ERROR_MEMORY, naming `what`.
 * The text is read back and compared, so what comes out is what was meant. The caller frees *text. */
fsmoe_status fsm_json_text(json_t *json, bool failed, size_t flags, const char *what, char **text);

/* The same into a file, replaced whole (fsm_file_replace), with a newline at its end. */
fsmoe_status fsm_json_write(json_t *json, bool failed, size_t flags, const char *path);

#endif
