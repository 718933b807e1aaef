#include "moe/layer_parts.h"

#include <string.h>

static fsm_order_problem order_problem(const fsmoe_moe_config *config, int64_t n, bool drops)
{
    return (fsm_order_problem){
        .n = n,
        .num_experts = config->num_experts,
        .top_k = config->top_k,
        .choices = fsm_gate_choices(config),
        .group = config->capacity_group > 0 ? config->capacity_group : n,
        .capacity_factor = drops ? config->capacity_factor : 0,
        .by_weight = strcmp(config->drop_policy, "probs") == 0,
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
    fsm_order_problem problem = order_problem(config, n, true);
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
static void shape_of_choices(const fsmoe_moe_config *config, const fsm_order_problem *training, fsm_wire_shape *shape)
{
    fsm_order_problem all = order_problem(config, training->n, false);
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
    fsm_order_problem training = order_problem(config, max_tokens, true);
    *shape = (fsm_wire_shape){.ep = ep,
                              .esp = esp,
                              .ep_index = ep_index,
                              .esp_index = esp_index,
                              .num_experts = config->num_experts,
                              .max_tokens = max_tokens};
    if (fsm_gate_find(config->gate)->mixes) shape_of_slots(config, &training, shape);
    else shape_of_choices(config, &training, shape);
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

void fsm_moe_take(fsm_arena *arena, const fsm_wire_shape *shape, fsm_moe *moe)
{
    int64_t rows = shape->max_expert_rows;
    fsm_gate_take(arena, shape->max_tokens, &moe->gate);
    fsm_route_take(arena, shape->max_tokens, shape->num_experts, moe->gate.choices, &moe->route);
    fsm_order_problem problem = order_problem(moe->config, shape->max_tokens, true);
    if (slots_of(moe->config, &problem) > 0)
        fsm_mixing_take(arena, &moe->gate, shape->max_tokens, problem.group, slots_of(moe->config, &problem),
                        &moe->mixing);
    moe->counts = FSM_ARENA_ARRAY(arena, int64_t, shape->ep * shape->esp * shape->num_experts);
    for (int phase = 0; phase < 2; phase++) fsm_wire_take(arena, shape, &moe->wire[phase]);
    moe->send_elems = FSM_ARENA_ARRAY(arena, int64_t, shape->ep);
    moe->recv_elems = FSM_ARENA_ARRAY(arena, int64_t, shape->ep);
    moe->gather_elems = FSM_ARENA_ARRAY(arena, int64_t, shape->esp);
    moe->x = FSM_ARENA_ARRAY(arena, float, rows * moe->hidden);
    moe->pre = FSM_ARENA_ARRAY(arena, float, rows * moe->width * moe->expert->pre_width);
    moe->act = FSM_ARENA_ARRAY(arena, float, rows * moe->width);
    moe->returned = FSM_ARENA_ARRAY(arena, float, shape->max_rows * moe->hidden);
    fsm_shared_take(arena, shape->max_tokens, &moe->shared);
    moe->dweight = FSM_ARENA_ARRAY(arena, float, shape->max_tokens * moe->gate.choices);
    const int64_t whole[2] = {0, shape->nominal_rows};
    for (int phase = 0; phase < 2; phase++) fsm_wire_cut(1, whole, &moe->wire[phase]);
}

/* Groups of one rank need no second buffer: the collective is the identity. */
void fsm_moe_staging_take(fsm_arena *arena, const fsmoe_moe_config *config, const fsm_wire_shape *shape, int64_t hidden,
                          int64_t width, fsm_moe_staging *staging)
{
    int64_t rows = shape->max_expert_rows;
    staging->send = FSM_ARENA_ARRAY(arena, float, shape->max_rows *hidden);
    staging->recv = shape->ep == 1 ? staging->send : FSM_ARENA_ARRAY(arena, float, rows / shape->esp * hidden);
    staging->gather = shape->esp == 1 ? staging->recv : FSM_ARENA_ARRAY(arena, float, rows *hidden);
    staging->y = FSM_ARENA_ARRAY(arena, float, rows *hidden);
    staging->dy = FSM_ARENA_ARRAY(arena, float, rows *hidden);
    staging->dact = FSM_ARENA_ARRAY(arena, float, rows *width);
    fsm_order_problem problem = order_problem(config, shape->max_tokens, true);
    int64_t columns = slots_of(config, &problem) * config->num_experts;
    if (columns > 0)
        fsm_mixing_scratch_take(arena, fsm_gate_find(config->gate)->mixes, hidden, shape->max_tokens, problem.group,
                                columns, &staging->mixing);
}

void fsm_moe_alltoall_take(fsm_arena *arena, const fsm_wire_shape *shape, int64_t hidden, fsm_alltoall *alltoall)
{
    int64_t pair_rows = shape->max_expert_rows / (shape->ep * shape->esp);
    fsm_alltoall_take(arena, shape->max_rows * hidden, pair_rows * hidden, alltoall);
}

/* ---- gate ---- */

/* Every slot is filled and nothing is dropped. */
static void mix(fsm_moe *moe, fsm_gate_sums *sums)
{
    moe->by_products = true;
    fsm_mixing_begin(&moe->mixing, &moe->gate, &moe->input, moe->route.rows);
    for (int64_t e = 0; e < moe->gate.num_experts; e++) sums->kept[e] += (double)moe->route.rows[e];
    *sums->tokens += (double)moe->input.n;
}

/* Where nothing may be dropped there is nothing to pad for either: sizes need not be known beforehand. */
static void choose(fsm_moe *moe, bool drops, fsm_gate_sums *sums)
{
    const fsm_order_kind *order = drops ? moe->order : &fsm_order_sorted;
    fsm_order_problem problem = order_problem(moe->config, moe->input.n, drops);
    fsm_gate_forward(&moe->gate, &moe->input, sums);
    order->assign(&problem, moe->gate.choice, moe->gate.weight, &moe->route);
    for (int64_t e = 0; e < problem.num_experts; e++) sums->kept[e] += (double)moe->route.kept[e];
    *sums->dropped += (double)moe->route.dropped;
    moe->by_products = order->dense;
    if (order->dense) fsm_mixing_begin(&moe->mixing, &moe->gate, &moe->input, moe->route.rows);
}

void fsm_moe_gate_forward(fsm_moe *moe, const fsm_gate_input *input, bool drops, fsm_gate_sums *sums)
{
    fsm_order_problem problem = order_problem(moe->config, input->n, true);
    moe->input = *input;
    moe->mixing.scratch = &moe->staging->mixing;
    moe->input.group = problem.group;
    moe->input.capacity = fsm_order_capacity(&problem);
    fsm_moe_tell(moe, FSM_HOOK_BEFORE_MOE_START, FSM_FORWARD, 0, input->n, (float *)input->x, moe->hidden);
    if (moe->gate.kind->mixes) mix(moe, sums);
    else choose(moe, drops, sums);
}

/* The route of a gate that has one. */
static const fsm_route *route_of(const fsm_moe *moe)
{
    return moe->gate.kind->mixes ? NULL : &moe->route;
}

void fsm_moe_order_forward(fsm_moe *moe)
{
    const fsm_wire *wire = &moe->wire[FSM_FORWARD];
    const fsm_mixing *m = &moe->mixing;
    for (int phase = 0; phase < 2; phase++) {
        if (moe->by_products)
            fsm_wire_build(m->count, 1, m->choice, m->row, moe->route.rows, moe->counts, &moe->wire[phase]);
        else
            fsm_wire_build(moe->input.n, moe->gate.choices, moe->gate.choice, moe->route.row, moe->route.rows,
                           moe->counts, &moe->wire[phase]);
    }
    if (moe->by_products) fsm_mixing_dispatch(&moe->mixing, &moe->gate, &moe->input, route_of(moe));
    moe->ops->gather_rows(moe->ops, wire->send_total, moe->hidden, wire->token,
                          moe->by_products ? m->scratch->slots : moe->input.x, fsm_moe_send_buffer(moe, FSM_FORWARD));
}

/* ---- experts, and back ---- */

/* The rows of local expert e in the chunk, with every buffer at its first row. */
static fsm_expert_rows expert_rows(const fsm_moe *moe, fsm_phase phase, int chunk, int64_t e)
{
    const fsm_wire *wire = &moe->wire[phase];
    const fsm_moe_staging *s = moe->staging;
    int64_t at = wire->expert_first[chunk * moe->local_experts + e];
    int64_t pre_width = moe->width * moe->expert->pre_width;
    float *y = wire->identity && phase == FSM_FORWARD ? moe->returned : s->y;
    return (fsm_expert_rows){
        .n = wire->expert_first[(chunk + 1) * moe->local_experts + e] - at,
        .hidden = moe->hidden,
        .width = moe->width,
        .x = moe->x + at * moe->hidden,
        .pre = moe->pre + at * pre_width,
        .act = moe->act + at * moe->width,
        .y = y + at * moe->hidden,
        .dy = s->dy + at * moe->hidden,
        .dact = s->dact + at * moe->width,
        .dx = s->y + at * moe->hidden,
    };
}

/* Rows of one expert and chunk from where they were gathered into expert order. */
static void unpack(const fsm_moe *moe, fsm_phase phase, int chunk, int64_t e, int64_t n, float *rows)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (wire->identity) return;
    int64_t at = wire->expert_first[chunk * moe->local_experts + e];
    moe->ops->gather_rows(moe->ops, n, moe->hidden, wire->wire_of_row + at, moe->staging->gather, rows);
}

/* The chunk's results back into the order they travel in. */
static void pack(const fsm_moe *moe, fsm_phase phase, int chunk)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (wire->identity) return;
    int64_t first = wire->gather_first[chunk];
    moe->ops->gather_rows(moe->ops, wire->gather_first[chunk + 1] - first, moe->hidden, wire->row_of_wire + first,
                          moe->staging->y, moe->staging->gather + first * moe->hidden);
}

void fsm_moe_expert_forward(fsm_moe *moe, int64_t first)
{
    int chunk = fsm_wire_chunk(&moe->wire[FSM_FORWARD], first);
    if (moe->esp->size == 1) fsm_moe_after_dispatch(moe, FSM_FORWARD, chunk);
    for (int64_t e = 0; e < moe->local_experts; e++) {
        fsm_expert_rows rows = expert_rows(moe, FSM_FORWARD, chunk, e);
        unpack(moe, FSM_FORWARD, chunk, e, rows.n, rows.x);
        moe->expert->forward(moe->ops, &moe->experts[e], &rows);
    }
    pack(moe, FSM_FORWARD, chunk);
}

void fsm_moe_expert_backward(fsm_moe *moe, int64_t first)
{
    int chunk = fsm_wire_chunk(&moe->wire[FSM_BACKWARD], first);
    if (moe->esp->size == 1) fsm_moe_after_dispatch(moe, FSM_BACKWARD, chunk);
    for (int64_t e = 0; e < moe->local_experts; e++) {
        fsm_expert_rows rows = expert_rows(moe, FSM_BACKWARD, chunk, e);
        unpack(moe, FSM_BACKWARD, chunk, e, rows.n, rows.dy);
        moe->expert->backward_input(moe->ops, &moe->experts[e], &rows);
    }
    pack(moe, FSM_BACKWARD, chunk);
}

void fsm_moe_weight_grad(fsm_moe *moe, int64_t first)
{
    int chunk = fsm_wire_chunk(&moe->wire[FSM_BACKWARD], first);
    for (int64_t e = 0; e < moe->local_experts; e++) {
        fsm_expert_rows rows = expert_rows(moe, FSM_BACKWARD, chunk, e);
        moe->expert->backward_weight(moe->ops, &moe->experts[e], &rows);
    }
}

void fsm_moe_iorder_forward(fsm_moe *moe, float *y)
{
    fsm_shared_forward(&moe->shared, moe->input.n, moe->input.x, y);
    const int32_t *rows = moe->wire[FSM_FORWARD].send_row;
    fsm_mixing *m = &moe->mixing;
    fsm_moe_after_combine(moe, FSM_FORWARD);
    if (moe->by_products) {
        moe->ops->gather_rows(moe->ops, m->count, moe->hidden, rows, moe->returned, m->out);
        fsm_mixing_combine(m, &moe->gate, &moe->input, route_of(moe), y);
    } else {
        moe->ops->combine_rows(moe->ops, moe->input.n, moe->gate.choices, moe->hidden, rows, moe->gate.weight,
                               moe->returned, y);
    }
    fsm_moe_tell(moe, FSM_HOOK_BEFORE_MOE_END, FSM_FORWARD, 0, moe->input.n, y, moe->hidden);
}

static void choices_backward(fsm_moe *moe, const float *dy, float *sent)
{
    const fsm_wire *to = &moe->wire[FSM_BACKWARD];
    int64_t filled = 0;
    for (int64_t e = 0; e < moe->gate.num_experts; e++) filled += moe->route.kept[e];
    if (filled < to->send_total)
        moe->ops->zero(moe->ops, to->send_total * moe->hidden, sent); /* padding has no gradient */
    moe->ops->combine_rows_backward(moe->ops, moe->input.n, moe->gate.choices, moe->hidden,
                                    moe->wire[FSM_FORWARD].send_row, to->send_row, moe->gate.weight, moe->returned, dy,
                                    sent, moe->dweight);
}

void fsm_moe_iorder_backward(fsm_moe *moe, const float *dy)
{
    const fsm_wire *to = &moe->wire[FSM_BACKWARD];
    fsm_mixing *m = &moe->mixing;
    float *sent = fsm_moe_send_buffer(moe, FSM_BACKWARD);
    moe->dy = dy;
    fsm_moe_tell(moe, FSM_HOOK_BEFORE_MOE_END, FSM_BACKWARD, 0, moe->input.n, (float *)dy, moe->hidden);
    if (moe->by_products) {
        fsm_mixing_combine_backward(m, &moe->gate, &moe->input, route_of(moe), dy, moe->dweight);
        moe->ops->gather_rows(moe->ops, to->send_total, moe->hidden, to->token, m->scratch->slots, sent);
    } else {
        choices_backward(moe, dy, sent);
    }
}

void fsm_moe_order_backward(fsm_moe *moe, float *dx)
{
    const fsm_wire *wire = &moe->wire[FSM_BACKWARD];
    const float *rows = wire->identity ? moe->staging->y : moe->staging->send;
    fsm_mixing *m = &moe->mixing;
    fsm_moe_after_combine(moe, FSM_BACKWARD);
    fsm_shared_backward(&moe->shared, moe->input.n, moe->input.x, moe->dy, dx);
    if (moe->by_products) {
        moe->ops->gather_rows(moe->ops, m->count, moe->hidden, wire->send_row, rows, m->scratch->slots);
        fsm_mixing_dispatch_backward(m, &moe->gate, &moe->input, route_of(moe), dx);
    } else {
        moe->ops->combine_rows(moe->ops, moe->input.n, moe->gate.choices, moe->hidden, wire->send_row, NULL, rows, dx);
    }
}

void fsm_moe_gate_backward(fsm_moe *moe, const fsm_gate_loss_grad *loss, float *dx)
{
    if (moe->gate.kind->mixes) fsm_mixing_gate_backward(&moe->mixing, &moe->gate, &moe->input, dx);
    else fsm_gate_backward(&moe->gate, &moe->input, moe->dweight, loss, dx);
    fsm_moe_tell(moe, FSM_HOOK_BEFORE_MOE_START, FSM_BACKWARD, 0, moe->input.n, dx, moe->hidden);
}
