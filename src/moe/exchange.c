/* What of a layer travels: dispatch, all-gather, reduce-scatter, combine, and the hooks on the way. */
#include "comm/rows.h"
#include "moe/layer_parts.h"

/* With one source and one chunk the wire order is the expert order, so rows are written where experts read them. */
fsm_row *fsm_moe_send_buffer(const fsm_moe_pass *pass, fsm_phase phase)
{
    if (!pass->wire[phase].identity) return pass->staging->send;
    return phase == FSM_FORWARD ? pass->x : pass->expert_dy;
}

/* ---- hooks ---- */

/* Of the rows at the source, or where they are received. */
static int64_t rows_between(const int64_t *first, int chunk)
{
    return first[chunk + 1] - first[chunk];
}

static fsm_row *sent_rows(const fsm_moe_pass *pass, fsm_phase phase, int chunk)
{
    return fsm_moe_at(pass, fsm_moe_send_buffer(pass, phase), pass->wire[phase].send_first[chunk] * pass->moe->hidden);
}

static fsm_row *received_rows(const fsm_moe_pass *pass, fsm_phase phase, int chunk)
{
    const fsm_wire *wire = &pass->wire[phase];
    if (wire->identity) return fsm_moe_send_buffer(pass, phase);
    return fsm_moe_at(pass, pass->staging->recv, wire->recv_first[chunk] * pass->moe->hidden);
}

/* Experts' results of the chunk before and after they have gone back. */
static fsm_row *leaving_rows(const fsm_moe_pass *pass, fsm_phase phase, int chunk)
{
    const fsm_wire *wire = &pass->wire[phase];
    if (wire->identity) return phase == FSM_FORWARD ? pass->returned : pass->staging->y;
    return fsm_moe_at(pass, pass->staging->recv, wire->recv_first[chunk] * pass->moe->hidden);
}

static fsm_row *returned_rows(const fsm_moe_pass *pass, fsm_phase phase, int chunk)
{
    const fsm_wire *wire = &pass->wire[phase];
    if (wire->identity) return leaving_rows(pass, phase, chunk);
    return fsm_moe_at(pass, phase == FSM_FORWARD ? pass->returned : pass->staging->send,
                      wire->send_first[chunk] * pass->moe->hidden);
}

static void before_dispatch(const fsm_ops *ops, fsm_moe_pass *pass, fsm_phase phase, int chunk)
{
    pass->wire_width[phase][0][chunk] =
        fsm_moe_tell(ops, pass, FSM_HOOK_BEFORE_DISPATCH, phase, chunk,
                     rows_between(pass->wire[phase].send_first, chunk),
                     fsm_rows(sent_rows(pass, phase, chunk), pass->moe->hidden), pass->moe->hidden);
}

/* Where the rows of a chunk are first looked at; without an exchange they have only now set out. */
void fsm_moe_after_dispatch(const fsm_ops *ops, fsm_moe_pass *pass, fsm_phase phase, int chunk)
{
    if (pass->moe->ep->size == 1) before_dispatch(ops, pass, phase, chunk);
    fsm_moe_tell(ops, pass, FSM_HOOK_AFTER_DISPATCH, phase, chunk, rows_between(pass->wire[phase].recv_first, chunk),
                 fsm_rows(received_rows(pass, phase, chunk), pass->moe->hidden), pass->wire_width[phase][0][chunk]);
}

static void before_combine(fsm_moe_pass *pass, fsm_phase phase, int chunk)
{
    pass->wire_width[phase][1][chunk] =
        fsm_moe_tell(pass->moe->link_ops, pass, FSM_HOOK_BEFORE_COMBINE, phase, chunk,
                     rows_between(pass->wire[phase].recv_first, chunk),
                     fsm_rows(leaving_rows(pass, phase, chunk), pass->moe->hidden), pass->moe->hidden);
}

void fsm_moe_after_combine(fsm_moe_pass *pass, fsm_phase phase)
{
    for (int c = 0; c < pass->wire[phase].chunks; c++)
        fsm_moe_tell(pass->moe->ops, pass, FSM_HOOK_AFTER_COMBINE, phase, c,
                     rows_between(pass->wire[phase].send_first, c),
                     fsm_rows(returned_rows(pass, phase, c), pass->moe->hidden), pass->wire_width[phase][1][c]);
}

/* ---- exchanges ---- */

static fsm_comm_type row_type(const fsm_moe_pass *pass)
{
    return fsm_row_type(pass->moe->ops->row_bytes);
}

static void rows_to_elems(const int64_t *rows, int n, int64_t width, int64_t *elems)
{
    for (int i = 0; i < n; i++) elems[i] = rows[i] * width;
}

/* One chunk's rows, for the all-to-all to ask about. */
typedef struct chunk_rows {
    const fsm_moe_pass *pass;
    const fsm_wire *wire;
    int chunk;
    int64_t row_elems;
} chunk_rows;

static int64_t dispatched_between(const void *user, int from, int to)
{
    const chunk_rows *c = user;
    return fsm_wire_rows_between(c->wire, c->pass->counts, c->chunk, from, to) * c->row_elems;
}

/* What comes back went the other way. */
static int64_t combined_between(const void *user, int from, int to)
{
    return dispatched_between(user, to, from);
}

fsmoe_status fsm_moe_start_dispatch(fsm_moe_pass *pass, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &pass->wire[phase];
    if (pass->moe->ep->size == 1) return FSMOE_OK;
    int c = fsm_wire_chunk(wire, first), ep = pass->moe->ep->size;
    before_dispatch(pass->moe->link_ops, pass, phase, c);
    int64_t width = pass->wire_width[phase][0][c];
    rows_to_elems(wire->send_counts + c * ep, ep, width, pass->send_elems);
    rows_to_elems(wire->recv_counts + c * ep, ep, width, pass->recv_elems);
    const chunk_rows rows = {pass, wire, c, width};
    const fsm_alltoall_counts counts = {pass->send_elems, pass->recv_elems, dispatched_between, &rows};
    return fsm_alltoall_start(pass->moe->alltoall, op, row_type(pass),
                              fsm_moe_at(pass, pass->staging->send, wire->send_first[c] * pass->moe->hidden),
                              fsm_moe_at(pass, pass->staging->recv, wire->recv_first[c] * pass->moe->hidden), &counts);
}

fsmoe_status fsm_moe_start_allgather(fsm_moe_pass *pass, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &pass->wire[phase];
    if (pass->moe->esp->size == 1) return FSMOE_OK;
    int c = fsm_wire_chunk(wire, first), esp = pass->moe->esp->size;
    fsm_moe_after_dispatch(pass->moe->link_ops, pass, phase, c);
    rows_to_elems(wire->gather_counts + c * esp, esp, pass->moe->hidden, pass->gather_elems);
    return fsm_comm_start_all_gather(op, pass->moe->esp, row_type(pass),
                                     fsm_moe_at(pass, pass->staging->recv, wire->recv_first[c] * pass->moe->hidden),
                                     fsm_moe_at(pass, pass->staging->gather, wire->gather_first[c] * pass->moe->hidden),
                                     pass->gather_elems);
}

fsmoe_status fsm_moe_start_reducescatter(fsm_moe_pass *pass, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &pass->wire[phase];
    if (pass->moe->esp->size == 1) return FSMOE_OK;
    int c = fsm_wire_chunk(wire, first), esp = pass->moe->esp->size;
    rows_to_elems(wire->gather_counts + c * esp, esp, pass->moe->hidden, pass->gather_elems);
    return fsm_comm_start_reduce_scatter(op, pass->moe->esp, row_type(pass),
                                         fsm_moe_at(pass, pass->staging->gather,
                                                    wire->gather_first[c] * pass->moe->hidden),
                                         fsm_moe_at(pass, pass->staging->recv, wire->recv_first[c] * pass->moe->hidden),
                                         pass->gather_elems);
}

/* Forward: into `returned`, which backward reads. Backward: over the rows that were sent, which nobody needs any
 * more. */
fsmoe_status fsm_moe_start_combine(fsm_moe_pass *pass, fsm_phase phase, int64_t first, fsm_comm_op *op)
{
    const fsm_wire *wire = &pass->wire[phase];
    int c = fsm_wire_chunk(wire, first), ep = pass->moe->ep->size;
    before_combine(pass, phase, c);
    if (wire->identity) return FSMOE_OK;
    int64_t width = pass->wire_width[phase][1][c];
    fsm_row *back = phase == FSM_FORWARD ? pass->returned : pass->staging->send;
    rows_to_elems(wire->recv_counts + c * ep, ep, width, pass->send_elems);
    rows_to_elems(wire->send_counts + c * ep, ep, width, pass->recv_elems);
    const chunk_rows rows = {pass, wire, c, width};
    const fsm_alltoall_counts counts = {pass->send_elems, pass->recv_elems, combined_between, &rows};
    return fsm_alltoall_start(pass->moe->alltoall, op, row_type(pass),
                              fsm_moe_at(pass, pass->staging->recv, wire->recv_first[c] * pass->moe->hidden),
                              fsm_moe_at(pass, back, wire->send_first[c] * pass->moe->hidden), &counts);
}
