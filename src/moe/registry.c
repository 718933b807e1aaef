#include "moe/registry.h"

#include "config/config.h"
#include "moe/extend.h"

#include <stddef.h>
#include <string.h>

static const char *name_of(const void *kind)
{
    return *(const char *const *)kind;
}

const void *fsm_registry_at(const fsm_registry *registry, int index)
{
    if (index < 0 || index >= registry->count + registry->added_count) return NULL;
    return index < registry->count ? registry->kinds[index] : registry->added[index - registry->count];
}

const void *fsm_registry_find(const fsm_registry *registry, const char *name)
{
    const void *kind;
    for (int i = 0; (kind = fsm_registry_at(registry, i)); i++)
        if (strcmp(name_of(kind), name) == 0) return kind;
    return NULL;
}

fsmoe_status fsm_registry_check(const fsm_registry *registry, const void *kind, int version)
{
    if (version != FSM_EXTEND_VERSION)
        return fsm_fail(FSMOE_ERROR_CONFIG,
                        "%s: '%s' was compiled against version %d of the contracts, this library has %d", registry->key,
                        name_of(kind), version, FSM_EXTEND_VERSION);
    return FSMOE_OK;
}

fsmoe_status fsm_registry_add(fsm_registry *registry, const void *kind, int version)
{
    FSM_TRY(fsm_registry_check(registry, kind, version));
    if (fsm_registry_find(registry, name_of(kind)))
        return fsm_fail(FSMOE_ERROR_CONFIG, "%s: there is a '%s' already", registry->key, name_of(kind));
    if (registry->added_count == FSM_MOST_ADDED)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%s: more than %d kinds are added", registry->key, FSM_MOST_ADDED);
    FSM_TRY(fsm_config_add_choice(registry->key, name_of(kind)));
    registry->added[registry->added_count++] = kind;
    return FSMOE_OK;
}
