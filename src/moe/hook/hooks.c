/* The hooks there are, and those of a model. */
#include "moe/hook/hook.h"

#include "moe/extend.h"
#include "moe/registry.h"

#include <string.h>

static const fsm_hook_kind *const kinds[] = {
    &fsm_hook_wire_bf16,
    &fsm_hook_token_histogram,
};

static fsm_registry registry = FSM_REGISTRY("moe.hooks", kinds);

const fsm_hook_kind *fsm_hook_find(const char *name)
{
    return fsm_registry_find(&registry, name);
}

fsmoe_status fsm_add_hook_v(const fsm_hook_kind *kind, int version)
{
    return fsm_registry_add(&registry, kind, version);
}

int fsm_hooks_wire_divisor(const fsmoe_moe_config *config)
{
    int divisor = 1;
    for (size_t i = 0; i < config->hooks.count; i++) {
        const fsm_hook_kind *kind = fsm_hook_find(config->hooks.items[i]);
        if (kind && kind->wire_divisor > 0) divisor *= kind->wire_divisor;
    }
    return divisor > 1 ? divisor : 0;
}

fsmoe_status fsm_hooks_create(const fsmoe_config *config, int rank, fsm_hooks *hooks)
{
    const fsmoe_strings *names = &config->moe.hooks;
    *hooks = (fsm_hooks){0};
    if (names->count > FSM_MOST_HOOKS)
        return fsm_fail(FSMOE_ERROR_CONFIG, "moe.hooks: %zu are more than %d", names->count, FSM_MOST_HOOKS);
    for (size_t i = 0; i < names->count; i++) {
        const fsm_hook_kind *kind = fsm_hook_find(names->items[i]);
        if (!kind) return fsm_fail(FSMOE_ERROR_CONFIG, "moe.hooks: no hook is named '%s'", names->items[i]);
        hooks->kind[i] = kind;
        hooks->state[i] = kind->user;
        if (kind->create) FSM_TRY(kind->create(kind->user, config, rank, &hooks->state[i]));
        hooks->count++;
    }
    return FSMOE_OK;
}

void fsm_hooks_destroy(fsm_hooks *hooks)
{
    for (int i = 0; i < hooks->count; i++)
        if (hooks->kind[i]->destroy) hooks->kind[i]->destroy(hooks->state[i]);
    *hooks = (fsm_hooks){0};
}

void fsm_hooks_call(const fsm_hooks *hooks, fsm_hook_call *call)
{
    bool back = call->point == FSM_HOOK_AFTER_DISPATCH || call->point == FSM_HOOK_AFTER_COMBINE;
    for (int i = 0; i < hooks->count; i++) {
        int at = back ? hooks->count - 1 - i : i;
        hooks->kind[at]->call(hooks->state[at], call);
    }
}
