/* What the value of one key is, whatever its type: compared, copied, printed, and carried to and from JSON.
 * In:  a row of the table in sections.c; configurations, or flat copies of them where that is said.
 * Out: the same for every key, so that nobody else asks for a type.
 */
#ifndef FSM_CONFIG_FIELD_H
#define FSM_CONFIG_FIELD_H

#include "config/config.h"

#include <jansson.h>
#include <stdio.h>

/* Bit by bit for numbers but 0 and -0, which are equal. Either may be a flat copy. */
bool fsm_field_equal(const fsmoe_config *a, const fsmoe_config *b, const fsm_config_field *field);

/* Replaces the value in `to`, which owns its own; `from` may be a flat copy. ERROR_MEMORY: the old one stays. */
fsmoe_status fsm_field_copy(fsmoe_config *to, const fsmoe_config *from, const fsm_config_field *field);

/* Each has the other's value then, and what it points to; either may be a flat copy. */
void fsm_field_swap(fsmoe_config *a, fsmoe_config *b, const fsm_config_field *field);

/* Frees what the value owns. */
void fsm_field_free(fsmoe_config *config, const fsm_config_field *field);

/* Writes the value as it stands in a file, to the end of the line: floats in the fewest digits that read back to the
 * same bits, strings in quotes. ERROR_CONFIG: a string that is not UTF-8; ERROR_MEMORY. */
fsmoe_status fsm_field_write(FILE *out, const fsmoe_config *config, const fsm_config_field *field);

/* The same for a message: on one line and not long. */
fsm_config_excerpt fsm_field_excerpt(const fsmoe_config *config, const fsm_config_field *field);

/* A new reference; NULL: no memory, or text that is not UTF-8. Not for STRINGS. */
json_t *fsm_field_to_json(const fsmoe_config *config, const fsm_config_field *field);

/* Replaces the value, unchecked against the field's range. ERROR_FORMAT: of another type, the old one stays;
 * ERROR_MEMORY. Not for STRINGS. */
fsmoe_status fsm_field_from_json(fsmoe_config *config, const fsm_config_field *field, const json_t *value);

#endif
