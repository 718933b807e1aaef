#include "plan/step.h"

#include "config/config.h"
#include "moe/expert/expert.h"
#include "moe/gate/gate.h"
#include "moe/hook/hook.h"
#include "ops/tensor.h"
#include "plan/gradients.h"
#include "plan/step_memory.h"

#include <stdlib.h>
#include <string.h>

/* A pass over so many samples of a group, on the rank that gets most of them: capacity groups may not divide by MP. */
static fsm_pass_size pass_over(const fsmoe_config *config, const fsm_topo *topo, int64_t samples)
{
    double factor = config->moe.capacity_factor > 0 ? config->moe.capacity_factor : 1.0;
    fsm_wire_shape wire;
    int64_t columns;
    fsm_pass_size size = {.n_group = samples * config->data.seq_len};
    size.n_local = fsm_lanes_most_tokens(config, topo, samples);
    fsm_lanes_wire(config, topo, samples, &wire);
    size.nominal_rows = wire.nominal_rows;
    bool mixes = fsm_gate_find(config->moe.gate)->mixes;
    size.rows = mixes ? (double)(wire.nominal_rows * config->moe.num_experts)
                      : factor * (double)(config->moe.top_k * size.n_local);
    fsm_moe_products(&config->moe, size.n_local, &size.order_gemms, &columns);
    return size;
}

static void describe_passes(const fsmoe_config *config, const fsm_topo *topo, int64_t max_samples, fsm_step_shape *s)
{
    fsm_pass_size whole = pass_over(config, topo, max_samples);
    s->n_group = whole.n_group, s->n_local = whole.n_local, s->rows = whole.rows;
    s->nominal_rows = whole.nominal_rows, s->order_gemms = whole.order_gemms;
    s->most_parts = fsm_lanes_most_parts(config, max_samples, &s->why_parted);
    for (int parts = 2; parts <= s->most_parts; parts++)
        for (int part = 0; part < parts; part++) {
            int64_t first, last;
            fsm_lanes_part(max_samples, parts, part, &first, &last);
            s->part[parts - 2][part] = pass_over(config, topo, last - first);
        }
}

fsm_pass_size fsm_step_part(const fsm_step_shape *s, int parts, int part)
{
    if (parts > 1) return s->part[parts - 2][part];
    return (fsm_pass_size){s->n_group, s->n_local, s->rows, s->nominal_rows, s->order_gemms};
}

fsmoe_status fsm_step_describe(const fsmoe_config *config, const fsm_topo *topo, const fsm_params *params,
                               int64_t max_samples, bool training, fsm_step_shape *shape)
{
    const fsmoe_model_config *m = &config->model;
    *shape = (fsm_step_shape){
        .num_layers = (int)m->num_layers,
        .moe_every = (int)m->moe_every,
        .micro_batches = (int)(config->train.global_batch / config->train.micro_batch),
        .training = training,
        .early_update = config->train.clip_grad == 0,
        .lanes = (int)config->parallel.lanes,
        .hidden = m->hidden,
        .ffn_hidden = m->ffn_hidden,
        .vocab_size = m->vocab_size,
        .seq_len = config->data.seq_len,
        .attention_width = m->num_heads * m->head_dim / topo->mp,
        .qkv_width = (m->num_heads + 2 * m->num_kv_heads) * m->head_dim / topo->mp,
        .num_experts = config->moe.num_experts,
        .top_k = config->moe.top_k,
        .narrow_rows = fsm_config_row_bytes(config) < FSM_REAL_BYTES,
        .micro_in_turn = config->parallel.canonical_sums,
        .max_degree = config->parallel.canonical_sums ? 1 : FSM_MAX_CHUNKS,
        .expert_gemms = fsm_expert_find(config->moe.expert)->pre_width + 1,
        .region_count = params->region_count,
    };
    int gemms;
    describe_passes(config, topo, max_samples, shape);
    shape->mixes = fsm_gate_find(config->moe.gate)->mixes;
    shape->shared_gemms = (int)config->moe.shared_experts * (shape->expert_gemms + config->moe.shared_gate);
    shape->shared_width = config->moe.shared_experts * (shape->expert_gemms * m->ffn_hidden + config->moe.shared_gate);
    shape->wire_divisor = fsm_hooks_wire_divisor(&config->moe);
    fsm_moe_products(&config->moe, shape->n_local, &gemms, &shape->order_width);
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        shape->group_size[g] = fsm_topo_group_size(topo, (fsm_group)g);
        shape->link[g] = fsm_topo_link(topo, (fsm_group)g);
    }
    for (int i = 0; i < params->region_count; i++) shape->regions[i] = params->regions[i];
    if (!training) return FSMOE_OK;
    FSM_TRY(fsm_step_describe_memory(config, topo, max_samples, shape));
    return fsm_step_list_gradients(params, shape);
}

void fsm_step_shape_destroy(fsm_step_shape *shape)
{
    free(shape->gradients);
    *shape = (fsm_step_shape){0};
}

void fsm_step_keep_experts(fsm_step_shape *shape)
{
    shape->experts_only = true;
    shape->region_count = shape->gradient_count = 0;
}

fsm_resource fsm_step_stream(const fsm_step_shape *shape)
{
    for (int g = 0; g < FSM_GROUP_COUNT; g++)
        if (shape->group_size[g] > 1 && shape->link[g] == FSM_INTER) return FSM_INTER;
    return FSM_INTRA;
}

int fsm_step_max_degree(const fsm_step_shape *shape)
{
    int most = shape->max_degree > 0 && shape->max_degree < FSM_MAX_CHUNKS ? shape->max_degree : FSM_MAX_CHUNKS;
    return shape->nominal_rows < most ? (int)shape->nominal_rows : most;
}

void fsm_step_even_cuts(int64_t rows, int degree, int64_t *cuts)
{
    for (int c = 0; c <= degree; c++) cuts[c] = rows * c / degree;
}

double fsm_step_summed_elems(const fsm_step_shape *shape)
{
    double elems = 0;
    for (int i = 0; i < shape->region_count; i++) {
        const fsm_region *region = &shape->regions[i];
        if (shape->group_size[region->group] > 1) elems += (double)(region->last - region->first);
    }
    return elems;
}
