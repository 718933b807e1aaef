/* A table of kinds that a program outside may add to.
 * In:  the kinds of the library, each a struct that begins with its name; those that are added.
 * Out: a kind by name or number. Adding is for the beginning of a program: it is not thread safe.
 */
#ifndef FSM_MOE_REGISTRY_H
#define FSM_MOE_REGISTRY_H

#include "base/status.h"

enum { FSM_MOST_ADDED = 16 };

typedef struct fsm_registry {
    const char *key; /* of the configuration, "moe.gate" */
    const void *const *kinds;
    int count;
    const void *added[FSM_MOST_ADDED];
    int added_count;
} fsm_registry;

/* {key, kinds} of a static array. */
#define FSM_REGISTRY(config_key, array)                                                                    \
    {                                                                                                      \
        .key = config_key, .kinds = (const void *const *)(array), .count = sizeof(array) / sizeof *(array) \
    }

const void *fsm_registry_at(const fsm_registry *registry, int index); /* NULL after the last */
const void *fsm_registry_find(const fsm_registry *registry, const char *name);

/* ERROR_CONFIG: the kind is of another version of the contracts than FSM_EXTEND_VERSION (moe/extend.h). Nothing but its
 * name is looked at. */
fsmoe_status fsm_registry_check(const fsm_registry *registry, const void *kind, int version);

/* The kind, which must stay, can be named in configurations from now on. ERROR_CONFIG: the same; there is one of that
 * name; or too many. */
fsmoe_status fsm_registry_add(fsm_registry *registry, const void *kind, int version);

#endif
