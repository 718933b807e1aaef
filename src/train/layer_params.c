#include "train/layer_params.h"

#include "model/finite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names of experts' tensors, which models call as their families do. */
static const char *expert_name(const char *name)
{
    static const char *const names[][2] = {{"c_fc.weight", "w1"}, {"c_fc.bias", "b1"}, {"c_proj.weight", "w2"},
                                           {"c_proj.bias", "b2"}, {"w1.weight", "w1"}, {"w3.weight", "w3"},
                                           {"w2.weight", "w2"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], name) == 0) return names[i][1];
    return name;
}

static fsm_layer_param *add(fsm_layer_params *params, const fsm_param_spec *spec)
{
    fsm_layer_param *p = &params->items[params->count++];
    *p = (fsm_layer_param){.spec = *spec, .rank = spec->rank, .rows = spec->rows, .cols = spec->cols};
    p->shape[0] = spec->rank == 1 ? spec->cols : spec->rows;
    p->shape[1] = spec->cols;
    p->elems = p->rows * p->cols;
    return p;
}

static fsmoe_status split(fsm_layer_param *p, const fsm_topo *topo)
{
    bool by_rows = p->spec.shard == FSM_SHARD_ROWS;
    int64_t *part = by_rows ? &p->rows : &p->cols, *first = by_rows ? &p->row0 : &p->col0;
    if (p->spec.shard == FSM_SHARD_NONE) return FSMOE_OK;
    if (*part % topo->esp != 0)
        return fsm_fail(FSMOE_ERROR_LAYOUT, "%s: %lld does not divide over %d ranks", p->name, (long long)*part,
                        topo->esp);
    *part /= topo->esp;
    *first = *part * topo->esp_index;
    return FSMOE_OK;
}

static fsmoe_status add_expert(fsm_layer_params *params, const fsm_param_spec *spec, int64_t num_experts,
                               const fsm_topo *topo)
{
    fsm_layer_param *p = add(params, spec);
    snprintf(p->name, sizeof p->name, "expert.%s", expert_name(spec->name));
    p->is_expert = true;
    for (int i = p->rank++; i > 0; i--) p->shape[i] = p->shape[i - 1];
    p->shape[0] = num_experts;
    FSM_TRY(split(p, topo));
    p->elems = params->local_experts * p->rows * p->cols;
    return FSMOE_OK;
}

/* One tensor of all shared experts, which every rank holds whole. */
static void add_stack(fsm_layer_params *params, const fsm_param_spec *spec, int64_t count, const char *name)
{
    fsm_layer_param *p = add(params, spec);
    snprintf(p->name, sizeof p->name, "shared.%s", name);
    for (int i = p->rank++; i > 0; i--) p->shape[i] = p->shape[i - 1];
    p->shape[0] = count;
    p->stack = count;
    p->elems *= count;
}

static void add_shared(fsm_layer_params *params, const fsmoe_config *config, const fsm_param_spec *specs, int n)
{
    int64_t count = config->moe.shared_experts;
    const fsm_param_spec gate = {"gate", 1, config->model.hidden, 1, FSM_SHARD_NONE, FSM_INIT_NORMAL, true};
    params->first_shared = params->count;
    for (int i = 0; count > 0 && i < n; i++) add_stack(params, &specs[i], count, expert_name(specs[i].name));
    if (config->moe.shared_gate) add_stack(params, &gate, count, "gate");
}

fsmoe_status fsm_layer_params_list(const fsmoe_config *config, const fsm_topo *topo, fsm_layer_params *params)
{
    fsm_param_spec specs[FSM_MAX_PARAMS_A_MODULE];
    const fsm_gate_kind *gate = fsm_gate_find(config->moe.gate);
    *params = (fsm_layer_params){.local_experts = config->moe.num_experts / topo->ep, .esp_index = topo->esp_index};
    params->first_expert = params->local_experts * topo->ep_index;
    int n = gate->list_params ? gate->list_params(&config->moe, config->model.hidden, specs) : 0;
    for (int i = 0; i < n; i++) {
        fsm_layer_param *p = add(params, &specs[i]);
        snprintf(p->name, sizeof p->name, "gate.%s", specs[i].name);
    }
    params->gate_count = n;
    n = fsm_expert_find(config->moe.expert)
            ->list_params(&config->moe, config->model.hidden, config->model.ffn_hidden, specs);
    add_shared(params, config, specs, n);
    params->first_routed = params->count;
    for (int i = 0; i < n; i++) FSM_TRY(add_expert(params, &specs[i], config->moe.num_experts, topo));
    return FSMOE_OK;
}

/* Blocks of the experts e that a param has here, and of which part of them it is one. */
static int64_t blocks_of(const fsm_layer_params *params, const fsm_layer_param *p)
{
    return p->is_expert ? params->local_experts : p->stack > 0 ? p->stack : 1;
}

/* An expert's tensors lie side by side, expert after expert, as in a model: elements from one expert to the next. The
 * gate of shared experts stands apart. */
static int64_t stride_of(const fsm_layer_params *params, const fsm_layer_param *p)
{
    int first = p->is_expert ? params->first_routed : params->first_shared;
    int last = p->is_expert ? params->count : params->first_routed;
    int64_t stride = 0;
    if (!p->is_expert && p->stack == 0) return 0;
    if (strcmp(p->name, "shared.gate") == 0) return p->cols;
    for (int i = first; i < last; i++)
        if (strcmp(params->items[i].name, "shared.gate") != 0) stride += params->items[i].rows * params->items[i].cols;
    return stride;
}

/* Values and gradients of the params [first, last), side by side. */
static void take_block(fsm_memory *memory, fsm_layer_params *params, int first, int last)
{
    int64_t elems = 0, at = 0;
    for (int i = first; i < last; i++) elems += params->items[i].elems;
    fsm_real *values = fsm_take_reals(memory, elems), *grads = fsm_take_reals(memory, elems);
    for (int i = first; values && i < last; i++) {
        params->items[i].value = fsm_real_at(values, at);
        params->items[i].grad = fsm_real_at(grads, at);
        at += params->items[i].rows * params->items[i].cols;
    }
}

void fsm_layer_params_take(fsm_memory *memory, fsm_layer_params *params)
{
    int gate = params->first_routed;
    if (gate > params->first_shared && strcmp(params->items[gate - 1].name, "shared.gate") == 0) gate--;
    for (int i = 0; i < params->gate_count; i++) take_block(memory, params, i, i + 1);
    take_block(memory, params, params->first_shared, gate);
    if (gate < params->first_routed) take_block(memory, params, gate, gate + 1);
    take_block(memory, params, params->first_routed, params->count);
}

static void bind_expert(const fsm_layer_params *params, const fsmoe_config *config, int first, int last, int64_t e,
                        int shard, fsm_experts *experts)
{
    fsm_param_view views[FSM_MAX_PARAMS_A_MODULE] = {0};
    for (int i = first; i < last; i++) {
        const fsm_layer_param *p = &params->items[i];
        int64_t at = e * stride_of(params, p);
        views[i - first] = (fsm_param_view){fsm_real_at(p->value, at), fsm_real_at(p->grad, at), p->rows, p->cols};
    }
    fsm_expert_find(config->moe.expert)->bind(&config->moe, views, shard, &experts->in[e], &experts->out[e]);
}

void fsm_layer_params_bind(const fsm_layer_params *params, const fsmoe_config *config, fsm_moe *moe)
{
    int specs = params->count - params->first_routed, shared = params->first_shared;
    for (int i = 0; i < params->gate_count; i++) {
        const fsm_layer_param *p = &params->items[i];
        moe->gate.params[i] = (fsm_param_view){p->value, p->grad, p->rows, p->cols};
        moe->gate.weights[i] = (fsm_weight){p->value, p->rows, p->cols, NULL};
    }
    for (int64_t e = 0; e < params->local_experts; e++)
        bind_expert(params, config, params->first_routed, params->count, e, params->esp_index, &moe->experts);
    for (int64_t e = 0; e < config->moe.shared_experts; e++)
        bind_expert(params, config, shared, shared + specs, e, 0, &moe->shared.experts);
    if (!config->moe.shared_gate) return;
    const fsm_layer_param *gate = &params->items[params->first_routed - 1];
    moe->shared.gate = (fsm_param_view){gate->value, gate->grad, config->moe.shared_experts, gate->cols};
}

/* Where block e begins among the rows of the whole tensor. */
static int64_t first_row(const fsm_layer_params *params, const fsm_layer_param *p, int64_t e)
{
    return ((p->is_expert ? params->first_expert : 0) + e) * p->spec.rows + p->row0;
}

static fsmoe_status read_block(const fsm_safetensors *file, const fsm_layer_param *p, int64_t row0, float *to)
{
    FSM_TRY(fsm_safetensors_read_block(file, p->name, p->rank, p->shape, row0, p->rows, p->col0, p->cols, to, p->cols));
    int64_t at = fsm_first_not_finite(to, p->rows * p->cols);
    if (at == p->rows * p->cols) return FSMOE_OK;
    return fsm_fail_not_finite(p->name, to[at], p->rank > 1 ? row0 + at / p->cols : -1, p->col0 + at % p->cols);
}

fsmoe_status fsm_layer_params_read(const fsm_safetensors *file, const fsm_ops *ops, fsm_layer_params *params)
{
    fsmoe_status status = FSMOE_OK;
    for (int i = 0; i < params->count && status == FSMOE_OK; i++) {
        const fsm_layer_param *p = &params->items[i];
        size_t bytes = sizeof(float) * (size_t)(p->rows * p->cols);
        float *block = malloc(bytes + 1);
        if (!block) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", p->name);
        for (int64_t e = 0; e < blocks_of(params, p) && status == FSMOE_OK; e++) {
            status = read_block(file, p, first_row(params, p, e), block);
            if (status == FSMOE_OK) ops->write(ops, bytes, block, fsm_real_at(p->value, e * stride_of(params, p)));
        }
        free(block);
    }
    return status;
}

int64_t fsm_layer_param_elems(const fsm_layer_param *p)
{
    int64_t elems = 1;
    for (int i = 0; i < p->rank; i++) elems *= p->shape[i];
    return elems;
}

/* What an expert's shards do not split, each of them works out whole. */
void fsm_layer_param_place(const fsm_layer_params *params, const fsm_layer_param *p, const fsm_ops *ops, float *whole)
{
    memset(whole, 0, sizeof *whole * (size_t)fsm_layer_param_elems(p));
    if (p->is_expert && p->spec.shard == FSM_SHARD_NONE && params->esp_index != 0) return;
    for (int64_t e = 0; e < blocks_of(params, p); e++)
        for (int64_t r = 0; r < p->rows; r++)
            ops->read(ops, sizeof *whole * (size_t)p->cols,
                      fsm_real_at(p->grad, e * stride_of(params, p) + r * p->cols),
                      whole + (first_row(params, p, e) + r) * p->spec.cols + p->col0);
}
