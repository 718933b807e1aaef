/* What an MoE layer is made of and how large it is: kinds by name, shapes, memory. */
#include "comm/rows.h"
#include "moe/layer_parts.h"

#include <string.h>

/* Without a capacity nobody drops, whatever the policy. */
static bool drops_by_weight(const fsmoe_moe_config *config)
{
    return config->capacity_factor > 0 && strcmp(config->drop_policy, "probs") == 0;
}

fsm_order_problem fsm_moe_order_problem(const fsmoe_moe_config *config, int64_t n, bool drops)
{
    return (fsm_order_problem){
        .n = n,
        .num_experts = config->num_experts,
        .top_k = config->top_k,
        .choices = fsm_gate_choices(config),
        .group = config->capacity_group > 0 ? config->capacity_group : n,
        .capacity_factor = drops ? config->capacity_factor : 0,
        .by_weight = drops && drops_by_weight(config),
    };
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Slots that an expert has of one group of tokens, where products with matrices make rows; 0: they never do. */
static int64_t slots_of(const fsmoe_moe_config *config, const fsm_order_problem *problem)
{
    if (fsm_gate_find(config->gate)->mixes) return config->slots_per_expert;
    return fsm_order_find(config->order)->dense ? fsm_order_capacity(problem) : 0;
}

static int64_t groups_of(const fsm_order_problem *problem)
{
    return problem->group > 0 ? (problem->n + problem->group - 1) / problem->group : 0;
}

void fsm_moe_products(const fsmoe_moe_config *config, int64_t n, int *gemms, int64_t *columns)
{
    fsm_order_problem problem = fsm_moe_order_problem(config, n, true);
    *columns = slots_of(config, &problem) * config->num_experts;
    *gemms = *columns > 0 ? (int)groups_of(&problem) : 0;
}

/* Rows of an expert that mixes: as many whatever the tokens say. */
static void shape_of_slots(const fsmoe_moe_config *config, const fsm_order_problem *problem, fsm_wire_shape *shape)
{
    int64_t rows = groups_of(problem) * slots_of(config, problem);
    shape->max_rows = shape->max_choices = rows * config->num_experts;
    shape->max_expert_rows = rows * config->num_experts * shape->esp;
    shape->nominal_rows = rows > 0 ? rows : 1;
}

/* In evaluation nothing is dropped, and nothing is padded: rows are sorted then. */
static void shape_of_choices(const fsmoe_moe_config *config, const fsm_order_problem *training, int64_t eval_tokens,
                             fsm_wire_shape *shape)
{
    fsm_order_problem all = fsm_moe_order_problem(config, eval_tokens, false);
    const fsm_order_kind *order = fsm_order_find(config->order), *sorted = &fsm_order_sorted;
    int64_t nominal = order->max_rows(training), experts = config->num_experts, local = experts / shape->ep;
    shape->max_choices = training->n * training->choices;
    if (order->dense) shape->max_choices = larger(shape->max_choices, nominal * experts);
    shape->max_rows = larger(order->max_rows_together(training, experts), sorted->max_rows_together(&all, experts));
    shape->max_expert_rows = shape->ep * shape->esp *
                             larger(order->max_rows_together(training, local), sorted->max_rows_together(&all, local));
    shape->nominal_rows = nominal > 0 ? nominal : 1;
}

void fsm_moe_shape(const fsmoe_moe_config *config, int ep, int ep_index, int esp, int esp_index, int64_t max_tokens,
                   fsm_wire_shape *shape)
{
    fsm_moe_shape_within(config, ep, ep_index, esp, esp_index, max_tokens, max_tokens, shape);
}

void fsm_moe_shape_within(const fsmoe_moe_config *config, int ep, int ep_index, int esp, int esp_index,
                          int64_t max_tokens, int64_t eval_tokens, fsm_wire_shape *shape)
{
    fsm_order_problem training = fsm_moe_order_problem(config, max_tokens, true);
    *shape = (fsm_wire_shape){.ep = ep,
                              .esp = esp,
                              .ep_index = ep_index,
                              .esp_index = esp_index,
                              .num_experts = config->num_experts,
                              .max_tokens = max_tokens};
    if (fsm_gate_find(config->gate)->mixes) shape_of_slots(config, &training, shape);
    else shape_of_choices(config, &training, eval_tokens, shape);
}

/* Rows of the ranks' choices, were they even over experts. */
static int64_t mean_rows(const fsmoe_moe_config *config, int64_t tokens, const fsm_wire_shape *shape)
{
    fsm_order_problem all = fsm_moe_order_problem(config, tokens, false);
    return shape->esp * fsm_order_sorted.max_rows_together(&all, config->num_experts);
}

static int64_t uneven(int64_t mean, const fsm_wire_shape *shape)
{
    int64_t rows = shape->ep > 1 ? (int64_t)(FSM_MOE_UNEVEN * (double)mean) : mean;
    return rows < shape->max_expert_rows ? rows : shape->max_expert_rows;
}

int64_t fsm_moe_expected_rows(const fsmoe_moe_config *config, int64_t eval_tokens, const fsm_wire_shape *shape)
{
    fsm_order_problem training = fsm_moe_order_problem(config, shape->max_tokens, true);
    const fsm_order_kind *order = fsm_order_find(config->order);
    if (fsm_gate_find(config->gate)->mixes || fsm_gate_find(config->gate)->experts_choose)
        return shape->max_expert_rows;
    int64_t evaluated = uneven(mean_rows(config, eval_tokens, shape), shape);
    bool padded = order->fixed_rows && order->fixed_rows(&training) >= 0;
    int64_t sent = shape->ep * shape->esp * order->max_rows_together(&training, config->num_experts / shape->ep);
    int64_t trained = padded ? sent : uneven(mean_rows(config, shape->max_tokens, shape), shape);
    if (!padded && trained > sent) trained = sent;
    return larger(trained, evaluated);
}

fsmoe_status fsm_moe_select(const fsmoe_moe_config *config, fsm_moe *moe)
{
    moe->config = config;
    moe->order = fsm_order_find(config->order);
    if (!moe->order) return fsm_fail(FSMOE_ERROR_CONFIG, "moe.order: no order is named '%s'", config->order);
    FSM_TRY(fsm_expert_select(config, &moe->expert));
    moe->shared.kind = moe->expert;
    moe->shared.count = (int)config->shared_experts;
    moe->shared.gated = config->shared_gate;
    return fsm_gate_select(config, &moe->gate);
}

void fsm_moe_place(const fsm_ops *ops, const fsm_ops *link_ops, const fsm_topo *topo,
                   fsm_comm *const groups[FSM_GROUP_COUNT], fsm_alltoall *alltoall, const fsm_hooks *hooks,
                   int64_t hidden, int64_t width, fsm_moe *moe)
{
    moe->ops = moe->gate.ops = moe->shared.ops = ops;
    moe->link_ops = link_ops;
    moe->ep = groups[FSM_GROUP_EP];
    moe->esp = groups[FSM_GROUP_ESP];
    moe->expert_group = groups[FSM_GROUP_EXPERT];
    moe->alltoall = alltoall;
    moe->hooks = hooks;
    moe->hidden = moe->gate.hidden = moe->shared.hidden = hidden;
    moe->width = width / topo->esp;
    moe->shared.width = width;
    moe->local_experts = moe->config->num_experts / topo->ep;
}

/* ---- memory ---- */

static fsm_mixing_sizes mixing_sizes(const fsm_moe *moe, const fsm_wire_shape *shape)
{
    fsm_order_problem problem = fsm_moe_order_problem(moe->config, shape->max_tokens, true);
    return (fsm_mixing_sizes){shape->max_tokens, problem.group, slots_of(moe->config, &problem)};
}

void fsm_moe_weights_take(fsm_memory *memory, fsm_moe *moe)
{
    moe->experts = FSM_TAKE_HOST(memory, fsm_expert_weights, moe->local_experts);
    moe->shared.experts = FSM_TAKE_HOST(memory, fsm_expert_weights, moe->shared.count);
}

void fsm_moe_scratch_take(fsm_memory *memory, const fsm_moe *moe, const fsm_wire_shape *shape, fsm_moe_scratch *scratch)
{
    fsm_mixing_sizes mixing = mixing_sizes(moe, shape);
    int64_t logits = moe->gate.kind->has_logits ? shape->max_tokens * shape->num_experts : 0;
    *scratch = (fsm_moe_scratch){0};
    scratch->dlogits = fsm_take_reals(memory, logits);
    scratch->dact = fsm_take_rows(memory, shape->max_expert_rows * moe->width);
    fsm_wire_tables_take(memory, shape, &scratch->wire);
    fsm_shared_scratch_take(memory, &moe->shared, shape->max_tokens, &scratch->shared);
    if (mixing.slots > 0) fsm_mixing_scratch_take(memory, &moe->gate, &mixing, &scratch->mixing);
}

/* The most rows that hooks are told of at once. */
static void take_hook_rows(fsm_memory *memory, const fsm_moe *moe, const fsm_wire_shape *shape,
                           fsm_moe_staging *staging)
{
    int64_t rows = larger(shape->max_tokens, larger(shape->max_rows, shape->max_expert_rows));
    if (!moe->ops || moe->ops->on_host || moe->hooks->count == 0) return;
    for (int p = 0; p < FSM_HOOK_POINT_COUNT; p++)
        staging->hook_rows[p] = FSM_TAKE_HOST(memory, float, rows * moe->hidden);
}

/* Groups of one rank need no second buffer: the collective is the identity. */
void fsm_moe_staging_take(fsm_memory *memory, const fsm_moe *moe, const fsm_wire_shape *shape, fsm_moe_staging *staging)
{
    fsm_mixing_sizes mixing = mixing_sizes(moe, shape);
    int64_t rows = shape->max_expert_rows, hidden = moe->hidden;
    *staging = (fsm_moe_staging){0};
    take_hook_rows(memory, moe, shape, staging);
    staging->send = fsm_take_rows(memory, shape->max_rows * hidden);
    staging->recv = shape->ep == 1 ? staging->send : fsm_take_rows(memory, rows / shape->esp * hidden);
    staging->gather = shape->esp == 1 ? staging->recv : fsm_take_rows(memory, rows * hidden);
    staging->y = fsm_take_rows(memory, rows * hidden);
    if (mixing.slots > 0) fsm_mixing_grads_take(memory, &moe->gate, &mixing, &staging->mixing);
}

fsm_row *fsm_moe_take_dy(fsm_memory *memory, const fsm_moe *moe, const fsm_wire_shape *shape)
{
    return fsm_take_rows(memory, shape->max_expert_rows * moe->hidden);
}

static void take_wires(fsm_memory *memory, const fsm_wire_shape *shape, fsm_moe_pass *pass)
{
    for (int phase = 0; phase < 2; phase++) {
        fsm_wire_take(memory, shape, &pass->wire[phase]);
        fsm_wire_join(&pass->wire[phase]);
    }
    pass->counts = FSM_TAKE_HOST(memory, int64_t, shape->ep * shape->esp * shape->num_experts);
    pass->send_elems = FSM_TAKE_HOST(memory, int64_t, shape->ep);
    pass->recv_elems = FSM_TAKE_HOST(memory, int64_t, shape->ep);
    pass->gather_elems = FSM_TAKE_HOST(memory, int64_t, shape->esp);
}

void fsm_moe_take(fsm_memory *memory, const fsm_moe *moe, const fsm_wire_shape *shape, const fsm_moe_scratch *scratch,
                  const fsm_moe_staging *staging, fsm_moe_pass *pass)
{
    fsm_mixing_sizes mixing = mixing_sizes(moe, shape);
    int64_t rows = shape->max_expert_rows;
    *pass = (fsm_moe_pass){.moe = moe, .scratch = scratch, .staging = staging};
    fsm_gate_take(memory, &moe->gate, shape->max_tokens, scratch->dlogits, &pass->gate);
    fsm_route_take(memory, shape->max_tokens, shape->num_experts, moe->gate.choices, drops_by_weight(moe->config),
                   &pass->route);
    if (mixing.slots > 0)
        fsm_mixing_take(memory, &moe->gate, &mixing, &scratch->mixing, &staging->mixing, &pass->mixing);
    take_wires(memory, shape, pass);
    pass->x = fsm_take_rows(memory, rows * moe->hidden);
    pass->pre = fsm_take_rows(memory, rows * moe->width * moe->expert->pre_width);
    pass->act = fsm_take_rows(memory, rows * moe->width);
    pass->returned = fsm_take_rows(memory, shape->max_rows * moe->hidden);
    fsm_shared_take(memory, &moe->shared, shape->max_tokens, &scratch->shared, &pass->shared);
    pass->dweight = fsm_take_reals(memory, shape->max_tokens * moe->gate.choices);
}

void fsm_moe_alltoall_take(fsm_memory *memory, const fsm_wire_shape *shape, int64_t hidden, fsm_alltoall *alltoall)
{
    int64_t pair_rows = shape->max_expert_rows / (shape->ep * shape->esp);
    fsm_alltoall_take(memory, fsm_row_type(memory->row_bytes), shape->max_rows * hidden, pair_rows * hidden, alltoall);
}
