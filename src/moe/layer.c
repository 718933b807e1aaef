#include "moe/layer.h"

#include <string.h>

/* Nothing is dropped in evaluation: what a model says of a token must not depend on the tokens beside it. */
static fsm_order_problem order_problem(const fsmoe_moe_config *config, int64_t n, bool training)
{
    return (fsm_order_problem){
        .n = n,
        .num_experts = config->num_experts,
        .top_k = config->top_k,
        .group = config->capacity_group > 0 ? config->capacity_group : n,
        .capacity_factor = training ? config->capacity_factor : 0,
    };
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

void fsm_moe_shape(const fsmoe_moe_config *config, int ep, int ep_index, int esp, int esp_index, int64_t max_tokens,
                   fsm_wire_shape *shape)
{
    fsm_order_problem training = order_problem(config, max_tokens, true),
                      problem = order_problem(config, max_tokens, false);
    const fsm_order_kind *order = fsm_order_find(config->order);
    int64_t nominal = order->max_rows(&training), local = config->num_experts / ep;
    *shape = (fsm_wire_shape){
        .ep = ep,
        .esp = esp,
        .ep_index = ep_index,
        .esp_index = esp_index,
        .num_experts = config->num_experts,
        .top_k = config->top_k,
        .max_tokens = max_tokens,
        .max_rows = larger(order->max_rows_together(&training, config->num_experts),
                           fsm_order_sorted.max_rows_together(&problem, config->num_experts)),
        .max_expert_rows =
            ep * esp *
            larger(order->max_rows_together(&training, local), fsm_order_sorted.max_rows_together(&problem, local)),
        .nominal_rows = nominal > 0 ? nominal : 1,
    };
}

fsmoe_status fsm_moe_select(const fsmoe_moe_config *config, fsm_moe *moe)
{
    moe->config = config;
    moe->gate.kind = fsm_gate_find(config->gate);
    moe->order = fsm_order_find(config->order);
    moe->alltoall = fsm_alltoall_find(config->alltoall);
    moe->expert = fsm_expert_find(config->expert);
    if (!moe->gate.kind) return fsm_fail(FSMOE_ERROR_CONFIG, "moe.gate: no gate is named '%s'", config->gate);
    if (!moe->order) return fsm_fail(FSMOE_ERROR_CONFIG, "moe.order: no order is named '%s'", config->order);
    if (!moe->alltoall)
        return fsm_fail(FSMOE_ERROR_CONFIG, "moe.alltoall: no all-to-all is named '%s'", config->alltoall);
    if (!moe->expert) return fsm_fail(FSMOE_ERROR_CONFIG, "moe.expert: no expert is named '%s'", config->expert);
    moe->gate.num_experts = config->num_experts;
    moe->gate.top_k = config->top_k;
    moe->gate.noisy = config->noisy;
    moe->gate.normalize_top_k = config->normalize_top_k;
    return FSMOE_OK;
}

void fsm_moe_take(fsm_arena *arena, const fsm_wire_shape *shape, fsm_moe *moe)
{
    int64_t rows = shape->max_expert_rows;
    fsm_gate_take(arena, shape->max_tokens, &moe->gate);
    fsm_route_take(arena, shape->max_tokens, shape->num_experts, shape->top_k, &moe->route);
    moe->counts = FSM_ARENA_ARRAY(arena, int64_t, shape->ep * shape->esp * shape->num_experts);
    for (int phase = 0; phase < 2; phase++) fsm_wire_take(arena, shape, &moe->wire[phase]);
    moe->send_elems = FSM_ARENA_ARRAY(arena, int64_t, shape->ep);
    moe->recv_elems = FSM_ARENA_ARRAY(arena, int64_t, shape->ep);
    moe->gather_elems = FSM_ARENA_ARRAY(arena, int64_t, shape->esp);
    moe->x = FSM_ARENA_ARRAY(arena, float, rows * moe->hidden);
    moe->pre = FSM_ARENA_ARRAY(arena, float, rows * moe->width * moe->expert->pre_width);
    moe->act = FSM_ARENA_ARRAY(arena, float, rows * moe->width);
    moe->returned = FSM_ARENA_ARRAY(arena, float, shape->max_rows * moe->hidden);
    moe->dweight = FSM_ARENA_ARRAY(arena, float, shape->max_tokens * shape->top_k);
    const int64_t whole[2] = {0, shape->nominal_rows};
    for (int phase = 0; phase < 2; phase++) fsm_wire_cut(1, whole, &moe->wire[phase]);
}

/* Groups of one rank need no second buffer: the collective is the identity. */
void fsm_moe_staging_take(fsm_arena *arena, const fsm_wire_shape *shape, int64_t hidden, int64_t width, int pre_width,
                          fsm_moe_staging *staging)
{
    int64_t rows = shape->max_expert_rows;
    staging->send = FSM_ARENA_ARRAY(arena, float, shape->max_rows *hidden);
    staging->recv = shape->ep == 1 ? staging->send : FSM_ARENA_ARRAY(arena, float, rows / shape->esp * hidden);
    staging->gather = shape->esp == 1 ? staging->recv : FSM_ARENA_ARRAY(arena, float, rows *hidden);
    staging->y = FSM_ARENA_ARRAY(arena, float, rows *hidden);
    staging->dy = FSM_ARENA_ARRAY(arena, float, rows *hidden);
    staging->dact = FSM_ARENA_ARRAY(arena, float, rows *width);
    staging->dpre = FSM_ARENA_ARRAY(arena, float, rows *width *pre_width);
}

void fsm_moe_gate_forward(fsm_moe *moe, const fsm_gate_input *input, fsm_gate_sums *sums)
{
    moe->input = *input;
    moe->gate.kind->forward(&moe->gate, input, sums);
    fsm_order_problem problem = order_problem(moe->config, input->n, input->training);
    /* in evaluation there is nothing to pad for: sizes need not be known beforehand */
    const fsm_order_kind *order = input->training ? moe->order : &fsm_order_sorted;
    order->assign(&problem, moe->gate.choice, &moe->route);
    for (int64_t e = 0; e < problem.num_experts; e++) sums->kept[e] += (double)moe->route.kept[e];
    *sums->dropped += (double)moe->route.dropped;
}

fsmoe_status fsm_moe_start_counts(fsm_moe *moe, fsm_comm_op *op)
{
    return fsm_comm_start_all_gather_int64(op, moe->expert_group, moe->route.rows, moe->gate.num_experts, moe->counts);
}

/* With one source and one chunk the wire order is the expert order, so rows are written where experts read them. */
static float *send_buffer(const fsm_moe *moe, fsm_phase phase)
{
    if (!moe->wire[phase].identity) return moe->staging->send;
    return phase == FSM_FORWARD ? moe->x : moe->staging->dy;
}

void fsm_moe_order_forward(fsm_moe *moe)
{
    const fsm_wire *wire = &moe->wire[FSM_FORWARD];
    for (int phase = 0; phase < 2; phase++)
        fsm_wire_build(moe->input.n, moe->gate.choice, moe->route.row, moe->route.rows, moe->counts, &moe->wire[phase]);
    moe->ops->gather_rows(wire->send_total, moe->hidden, wire->token, moe->input.x, send_buffer(moe, FSM_FORWARD));
}

static void rows_to_elems(const int64_t *rows, int n, int64_t width, int64_t *elems)
{
    for (int i = 0; i < n; i++) elems[i] = rows[i] * width;
}

fsmoe_status fsm_moe_start_dispatch(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (moe->ep->size == 1) return FSMOE_OK;
    int c = fsm_wire_chunk(wire, first), ep = moe->ep->size;
    rows_to_elems(wire->send_counts + c * ep, ep, moe->hidden, moe->send_elems);
    rows_to_elems(wire->recv_counts + c * ep, ep, moe->hidden, moe->recv_elems);
    return moe->alltoall->start(op, moe->ep, moe->staging->send + wire->send_first[c] * moe->hidden, moe->send_elems,
                                moe->staging->recv + wire->recv_first[c] * moe->hidden, moe->recv_elems);
}

fsmoe_status fsm_moe_start_allgather(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (moe->esp->size == 1) return FSMOE_OK;
    int c = fsm_wire_chunk(wire, first), esp = moe->esp->size;
    rows_to_elems(wire->gather_counts + c * esp, esp, moe->hidden, moe->gather_elems);
    return fsm_comm_start_all_gather(op, moe->esp, moe->staging->recv + wire->recv_first[c] * moe->hidden,
                                     moe->staging->gather + wire->gather_first[c] * moe->hidden, moe->gather_elems);
}

fsmoe_status fsm_moe_start_reducescatter(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (moe->esp->size == 1) return FSMOE_OK;
    int c = fsm_wire_chunk(wire, first), esp = moe->esp->size;
    rows_to_elems(wire->gather_counts + c * esp, esp, moe->hidden, moe->gather_elems);
    return fsm_comm_start_reduce_scatter(op, moe->esp, moe->staging->gather + wire->gather_first[c] * moe->hidden,
                                         moe->staging->recv + wire->recv_first[c] * moe->hidden, moe->gather_elems);
}

/* Forward: into `returned`, which backward reads. Backward: over the rows that were sent, which nobody needs any more. */
fsmoe_status fsm_moe_start_combine(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (wire->identity) return FSMOE_OK;
    int c = fsm_wire_chunk(wire, first), ep = moe->ep->size;
    float *back = phase == FSM_FORWARD ? moe->returned : moe->staging->send;
    rows_to_elems(wire->recv_counts + c * ep, ep, moe->hidden, moe->send_elems);
    rows_to_elems(wire->send_counts + c * ep, ep, moe->hidden, moe->recv_elems);
    return moe->alltoall->start(op, moe->ep, moe->staging->recv + wire->recv_first[c] * moe->hidden, moe->send_elems,
                                back + wire->send_first[c] * moe->hidden, moe->recv_elems);
}

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
        .dpre = s->dpre + at * pre_width,
        .dx = s->y + at * moe->hidden,
    };
}

/* Rows of one expert and chunk from where they were gathered into expert order. */
static void unpack(const fsm_moe *moe, fsm_phase phase, int chunk, int64_t e, int64_t n, float *rows)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (wire->identity) return;
    int64_t at = wire->expert_first[chunk * moe->local_experts + e];
    moe->ops->gather_rows(n, moe->hidden, wire->wire_of_row + at, moe->staging->gather, rows);
}

/* The chunk's results back into the order they travel in. */
static void pack(const fsm_moe *moe, fsm_phase phase, int chunk)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (wire->identity) return;
    int64_t first = wire->gather_first[chunk];
    moe->ops->gather_rows(wire->gather_first[chunk + 1] - first, moe->hidden, wire->row_of_wire + first,
                          moe->staging->y, moe->staging->gather + first * moe->hidden);
}

void fsm_moe_expert_forward(fsm_moe *moe, int64_t first)
{
    int chunk = fsm_wire_chunk(&moe->wire[FSM_FORWARD], first);
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
    moe->ops->combine_rows(moe->input.n, moe->gate.top_k, moe->hidden, moe->wire[FSM_FORWARD].send_row,
                           moe->gate.weight, moe->returned, y);
}

void fsm_moe_iorder_backward(fsm_moe *moe, const float *dy)
{
    const fsm_wire *to = &moe->wire[FSM_BACKWARD];
    float *sent = send_buffer(moe, FSM_BACKWARD);
    int64_t filled = moe->input.n * moe->gate.top_k - moe->route.dropped;
    if (filled < to->send_total) moe->ops->zero(to->send_total * moe->hidden, sent); /* padding has no gradient */
    moe->ops->combine_rows_backward(moe->input.n, moe->gate.top_k, moe->hidden, moe->wire[FSM_FORWARD].send_row,
                                    to->send_row, moe->gate.weight, moe->returned, dy, sent, moe->dweight);
}

void fsm_moe_order_backward(fsm_moe *moe, float *dx)
{
    const fsm_wire *wire = &moe->wire[FSM_BACKWARD];
    const float *rows = wire->identity ? moe->staging->y : moe->staging->send;
    moe->ops->combine_rows(moe->input.n, moe->gate.top_k, moe->hidden, wire->send_row, NULL, rows, dx);
}

void fsm_moe_gate_backward(fsm_moe *moe, const fsm_gate_loss_grad *loss, float *dx)
{
    moe->gate.kind->backward(&moe->gate, &moe->input, moe->dweight, loss, dx);
}
