/* Small YAML files of flat keys, "key: value" a line: a layer to plan.
 * In:  a path, a table of the keys.
 * Out: a struct filled from it; errors that name file, line and key, and the nearest key to a mistyped one.
 */
#ifndef FSM_CONFIG_FLAT_H
#define FSM_CONFIG_FLAT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum fsm_flat_type { FSM_FLAT_INT, FSM_FLAT_FLOAT, FSM_FLAT_CHOICE } fsm_flat_type;

typedef struct fsm_flat_key {
    const char *name;
    fsm_flat_type type;  /* of the field: int64_t, double, int (index of the choice) */
    size_t offset;       /* in the struct */
    double min, max;     /* of numbers, inclusive */
    const char *choices; /* between ", " */
    bool required;       /* else the struct's present value is the default */
} fsm_flat_key;

/* ERROR_IO; ERROR_CONFIG: not YAML, not flat, an unknown, duplicate, missing or ill-typed key, a value out of range. */
fsmoe_status fsm_flat_read(const char *path, const fsm_flat_key *keys, size_t count, void *object);

#endif
