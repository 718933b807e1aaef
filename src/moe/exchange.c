/* What of a layer travels: counts, dispatch, all-gather, reduce-scatter, combine, and the hooks on the way. */
#include "moe/layer_parts.h"

#include <assert.h>

/* With one source and one chunk the wire order is the expert order, so rows are written where experts read them. */
float *fsm_moe_send_buffer(const fsm_moe *moe, fsm_phase phase)
{
    if (!moe->wire[phase].identity) return moe->staging->send;
    return phase == FSM_FORWARD ? moe->x : moe->staging->dy;
}

/* ---- hooks ---- */

/* Tells the hooks of rows [n, M] at a point; returns what a row takes now. */
int64_t fsm_moe_tell(const fsm_moe *moe, fsm_hook_point point, fsm_phase phase, int chunk, int64_t rows, float *data,
                     int64_t width)
{
    if (moe->hooks->count == 0) return width;
    fsm_hook_call call = {.point = point,
                          .phase = phase,
                          .training = moe->input.training,
                          .layer = (int)moe->input.layer,
                          .chunk = chunk,
                          .rows = rows,
                          .hidden = moe->hidden,
                          .data = data,
                          .width = width,
                          .num_experts = moe->gate.num_experts,
                          .kept = moe->gate.kind->mixes ? moe->route.rows : moe->route.kept};
    fsm_hooks_call(moe->hooks, &call);
    assert(call.width > 0 && call.width <= moe->hidden);
    return call.width;
}

/* Of the rows at the source, or where they are received. */
static int64_t rows_between(const int64_t *first, int chunk)
{
    return first[chunk + 1] - first[chunk];
}

static float *sent_rows(const fsm_moe *moe, fsm_phase phase, int chunk)
{
    return fsm_moe_send_buffer(moe, phase) + moe->wire[phase].send_first[chunk] * moe->hidden;
}

static float *received_rows(const fsm_moe *moe, fsm_phase phase, int chunk)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (wire->identity) return fsm_moe_send_buffer(moe, phase);
    return moe->staging->recv + wire->recv_first[chunk] * moe->hidden;
}

/* Experts' results of the chunk before and after they have gone back. */
static float *leaving_rows(const fsm_moe *moe, fsm_phase phase, int chunk)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (wire->identity) return phase == FSM_FORWARD ? moe->returned : moe->staging->y;
    return moe->staging->recv + wire->recv_first[chunk] * moe->hidden;
}

static float *returned_rows(const fsm_moe *moe, fsm_phase phase, int chunk)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (wire->identity) return leaving_rows(moe, phase, chunk);
    return (phase == FSM_FORWARD ? moe->returned : moe->staging->send) + wire->send_first[chunk] * moe->hidden;
}

static void before_dispatch(fsm_moe *moe, fsm_phase phase, int chunk)
{
    moe->wire_width[phase][0][chunk] =
        fsm_moe_tell(moe, FSM_HOOK_BEFORE_DISPATCH, phase, chunk, rows_between(moe->wire[phase].send_first, chunk),
                     sent_rows(moe, phase, chunk), moe->hidden);
}

/* Where the rows of a chunk are first looked at; without an exchange they have only now set out. */
void fsm_moe_after_dispatch(fsm_moe *moe, fsm_phase phase, int chunk)
{
    if (moe->ep->size == 1) before_dispatch(moe, phase, chunk);
    fsm_moe_tell(moe, FSM_HOOK_AFTER_DISPATCH, phase, chunk, rows_between(moe->wire[phase].recv_first, chunk),
                 received_rows(moe, phase, chunk), moe->wire_width[phase][0][chunk]);
}

static void before_combine(fsm_moe *moe, fsm_phase phase, int chunk)
{
    moe->wire_width[phase][1][chunk] =
        fsm_moe_tell(moe, FSM_HOOK_BEFORE_COMBINE, phase, chunk, rows_between(moe->wire[phase].recv_first, chunk),
                     leaving_rows(moe, phase, chunk), moe->hidden);
}

void fsm_moe_after_combine(fsm_moe *moe, fsm_phase phase)
{
    for (int c = 0; c < moe->wire[phase].chunks; c++)
        fsm_moe_tell(moe, FSM_HOOK_AFTER_COMBINE, phase, c, rows_between(moe->wire[phase].send_first, c),
                     returned_rows(moe, phase, c), moe->wire_width[phase][1][c]);
}

fsmoe_status fsm_moe_start_counts(fsm_moe *moe, fsm_comm_op *op)
{
    return fsm_comm_start_all_gather_int64(op, moe->expert_group, moe->route.rows, moe->gate.num_experts, moe->counts);
}

/* ---- exchanges ---- */

static void rows_to_elems(const int64_t *rows, int n, int64_t width, int64_t *elems)
{
    for (int i = 0; i < n; i++) elems[i] = rows[i] * width;
}

/* One chunk's rows, for the all-to-all to ask about. */
typedef struct chunk_rows {
    const fsm_moe *moe;
    const fsm_wire *wire;
    int chunk;
    int64_t row_elems;
} chunk_rows;

static int64_t dispatched_between(const void *user, int from, int to)
{
    const chunk_rows *c = user;
    return fsm_wire_rows_between(c->wire, c->moe->counts, c->chunk, from, to) * c->row_elems;
}

/* What comes back went the other way. */
static int64_t combined_between(const void *user, int from, int to)
{
    return dispatched_between(user, to, from);
}

fsmoe_status fsm_moe_start_dispatch(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (moe->ep->size == 1) return FSMOE_OK;
    int c = fsm_wire_chunk(wire, first), ep = moe->ep->size;
    before_dispatch(moe, phase, c);
    int64_t width = moe->wire_width[phase][0][c];
    rows_to_elems(wire->send_counts + c * ep, ep, width, moe->send_elems);
    rows_to_elems(wire->recv_counts + c * ep, ep, width, moe->recv_elems);
    const chunk_rows rows = {moe, wire, c, width};
    const fsm_alltoall_counts counts = {moe->send_elems, moe->recv_elems, dispatched_between, &rows};
    return fsm_alltoall_start(moe->alltoall, op, moe->staging->send + wire->send_first[c] * moe->hidden,
                              moe->staging->recv + wire->recv_first[c] * moe->hidden, &counts);
}

fsmoe_status fsm_moe_start_allgather(fsm_moe *moe, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &moe->wire[phase];
    if (moe->esp->size == 1) return FSMOE_OK;
    int c = fsm_wire_chunk(wire, first), esp = moe->esp->size;
    fsm_moe_after_dispatch(moe, phase, c);
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
    int c = fsm_wire_chunk(wire, first), ep = moe->ep->size;
    before_combine(moe, phase, c);
    if (wire->identity) return FSMOE_OK;
    int64_t width = moe->wire_width[phase][1][c];
    float *back = phase == FSM_FORWARD ? moe->returned : moe->staging->send;
    rows_to_elems(wire->recv_counts + c * ep, ep, width, moe->send_elems);
    rows_to_elems(wire->send_counts + c * ep, ep, width, moe->recv_elems);
    const chunk_rows rows = {moe, wire, c, width};
    const fsm_alltoall_counts counts = {moe->send_elems, moe->recv_elems, combined_between, &rows};
    return fsm_alltoall_start(moe->alltoall, op, moe->staging->recv + wire->recv_first[c] * moe->hidden,
                              back + wire->send_first[c] * moe->hidden, &counts);
}
