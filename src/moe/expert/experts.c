/* The experts there are, and which of the configuration's choices each has. */
#include "moe/expert/expert.h"

#include "base/status.h"
#include "config/config.h"

#include "moe/extend.h"
#include "moe/registry.h"

#include <string.h>

static const fsm_expert_kind *const experts[] = {
    &fsm_expert_gpt,
    &fsm_expert_mixtral,
};

static fsm_registry registry = FSM_REGISTRY("moe.expert", experts);

const fsm_expert_kind *fsm_expert_find(const char *name)
{
    return fsm_registry_find(&registry, name);
}

const fsm_expert_kind *fsm_expert_at(int index)
{
    return fsm_registry_at(&registry, index);
}

fsmoe_status fsm_add_expert_v(const fsm_expert_kind *kind, int version)
{
    FSM_TRY(fsm_registry_add(&registry, kind, version));
    return fsm_config_add_expert(kind->name, kind->activation, kind->has_bias, kind->runs_on_host);
}

bool fsm_expert_has_bias(const fsm_expert_kind *kind, const fsmoe_moe_config *config)
{
    return kind->has_bias && strcmp(config->bias, "false") != 0;
}

const fsm_activation *fsm_expert_activation(const fsm_expert_kind *kind, const fsmoe_moe_config *config)
{
    return fsm_activation_find(strcmp(config->activation, "auto") == 0 ? kind->activation : config->activation);
}

fsmoe_status fsm_expert_check_host(const fsm_expert_kind *kind, const fsm_ops *ops)
{
    bool host = !ops || (ops->on_host && ops->row_bytes == FSM_REAL_BYTES);
    if (host || !kind->runs_on_host) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "moe.expert: '%s' looks at rows of fp32 on the host, which these are not",
                    kind->name);
}

fsm_experts fsm_experts_take(fsm_memory *memory, const fsm_activation *activation, int64_t count)
{
    return (fsm_experts){activation, FSM_TAKE_HOST(memory, fsm_linear, count),
                         FSM_TAKE_HOST(memory, fsm_linear, count)};
}

/* Where row `first` of the tensors between the two maps begins. */
typedef struct between {
    fsm_row *pre, *act, *dact;
} between;

static between between_at(const fsm_ops *ops, const fsm_activation *activation, const fsm_expert_rows *r, int64_t first)
{
    int64_t at = first * r->width;
    return (between){fsm_row_at(r->pre, ops->row_bytes, activation->gated ? 2 * at : at),
                     fsm_row_at(r->act, ops->row_bytes, at), fsm_row_at(r->dact, ops->row_bytes, at)};
}

void fsm_experts_activate(const fsm_ops *ops, const fsm_activation *activation, const fsm_expert_rows *rows)
{
    int64_t first, n;
    for (int64_t i = 0; i < rows->runs.count;) {
        i = fsm_runs_join(&rows->runs, i, &first, &n);
        between at = between_at(ops, activation, rows, first);
        activation->forward(ops, n, rows->width, at.pre, at.act);
    }
}

void fsm_experts_activate_backward(const fsm_ops *ops, const fsm_activation *activation, const fsm_expert_rows *rows)
{
    int64_t first, n;
    for (int64_t i = 0; i < rows->runs.count;) {
        i = fsm_runs_join(&rows->runs, i, &first, &n);
        between at = between_at(ops, activation, rows, first);
        activation->backward(ops, n, rows->width, at.pre, at.dact, at.pre);
    }
}

static bool is_gated(const fsm_expert_kind *kind)
{
    return kind->pre_width == 2;
}

static bool is_one_of(const char *text, const char *const *choices, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, choices[i]) == 0) return true;
    return false;
}

static fsmoe_status check_bias(const fsmoe_moe_config *config, const fsm_expert_kind *kind)
{
    static const char *const choices[] = {"auto", "false", "true"};
    if (is_one_of(config->bias, choices, kind->has_bias ? 3 : 2)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "moe.bias: '%s', but expert %s %s", config->bias, kind->name,
                    kind->has_bias ? "takes auto, true, false" : "never has biases");
}

fsmoe_status fsm_expert_select(const fsmoe_moe_config *config, const fsm_expert_kind **kind)
{
    const fsm_expert_kind *found = fsm_expert_find(config->expert);
    if (!found) return fsm_fail(FSMOE_ERROR_CONFIG, "moe.expert: no expert is named '%s'", config->expert);
    const fsm_activation *activation = fsm_expert_activation(found, config);
    if (!activation || activation->gated != is_gated(found))
        return fsm_fail(FSMOE_ERROR_CONFIG, "moe.activation: expert %s has no activation '%s'", found->name,
                        config->activation);
    FSM_TRY(check_bias(config, found));
    *kind = found;
    return FSMOE_OK;
}
