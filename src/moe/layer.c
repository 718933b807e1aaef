/* What of a layer computes: its tasks but the collective ones. */
#include "moe/layer_parts.h"

/* ---- gate ---- */

/* Every slot is filled and nothing is dropped. */
static void mix(fsm_moe_pass *pass, fsm_gate_sums *sums)
{
    pass->by_products = true;
    fsm_mixing_begin(&pass->mixing, &pass->gate, pass->route.rows);
    const fsm_ops *ops = pass->moe->ops;
    ops->add_to_sums(ops, pass->moe->gate.num_experts, (double)pass->route.rows[0], sums->kept);
    ops->add_to_sums(ops, 1, (double)pass->gate.input.n, sums->tokens);
}

/* Where nothing may be dropped there is nothing to pad for either: sizes need not be known beforehand. */
static void choose(fsm_moe_pass *pass, bool drops, fsm_gate_sums *sums)
{
    const fsm_ops *ops = pass->moe->ops;
    const fsm_order_kind *order = drops ? pass->moe->order : &fsm_order_sorted;
    fsm_order_problem problem = fsm_moe_order_problem(pass->moe->config, pass->gate.input.n, drops);
    fsm_gate_forward(&pass->gate, sums);
    order->assign(ops, &problem, pass->gate.choice, pass->gate.weight, &pass->route);
    ops->place.add_counts(ops, problem.num_experts, pass->route.counts, sums->kept);
    ops->place.add_counts(ops, 1, fsm_index_at(pass->route.counts, problem.num_experts), sums->dropped);
    pass->by_products = order->dense;
    if (order->dense) fsm_mixing_begin(&pass->mixing, &pass->gate, pass->route.rows);
}

void fsm_moe_gate_forward(fsm_moe_pass *pass, const fsm_gate_input *input, bool drops, fsm_gate_sums *sums)
{
    const fsm_moe *moe = pass->moe;
    fsm_order_problem problem = fsm_moe_order_problem(moe->config, input->n, true);
    pass->drops = drops;
    pass->gate.input = *input;
    pass->gate.input.group = problem.group;
    pass->gate.input.capacity = fsm_order_capacity(&problem);
    fsm_moe_tell(pass->moe->ops, pass, FSM_HOOK_BEFORE_MOE_START, FSM_FORWARD, 0, input->n,
                 fsm_rows(input->x, moe->hidden), moe->hidden);
    if (moe->gate.kind->mixes) mix(pass, sums);
    else choose(pass, drops, sums);
}

/* The route of a gate that has one. */
static const fsm_route *route_of(const fsm_moe_pass *pass)
{
    return pass->moe->gate.kind->mixes ? NULL : &pass->route;
}

static void build_wires(fsm_moe_pass *pass)
{
    const fsm_mixing *m = &pass->mixing;
    const fsm_gate_pass *gate = &pass->gate;
    for (int phase = 0; phase < 2; phase++) {
        fsm_wire *wire = &pass->wire[phase];
        if (pass->by_products)
            fsm_wire_build(pass->moe->ops, m->count, 1, m->choice, m->row, pass->route.rows, pass->counts,
                           &pass->scratch->wire, wire);
        else
            fsm_wire_build(pass->moe->ops, gate->input.n, gate->gate->choices, gate->choice, pass->route.row,
                           pass->route.rows, pass->counts, &pass->scratch->wire, wire);
    }
}

void fsm_moe_order_forward(fsm_moe_pass *pass)
{
    const fsm_moe *moe = pass->moe;
    const fsm_wire *wire = &pass->wire[FSM_FORWARD];
    build_wires(pass);
    if (pass->by_products) fsm_mixing_dispatch(&pass->mixing, &pass->gate, route_of(pass));
    moe->ops->gather_rows(moe->ops, wire->send_total, moe->hidden, wire->token,
                          pass->by_products ? pass->scratch->mixing.slots : pass->gate.input.x,
                          fsm_moe_send_buffer(pass, FSM_FORWARD));
}

/* ---- experts, and back ---- */

/* The rows of local expert e in the chunk, with every buffer at its first row. */
static fsm_expert_rows expert_rows(const fsm_moe_pass *pass, fsm_phase phase, int chunk, int64_t e)
{
    const fsm_moe *moe = pass->moe;
    const fsm_wire *wire = &pass->wire[phase];
    const fsm_moe_staging *s = pass->staging;
    int64_t at = wire->expert_first[chunk * moe->local_experts + e];
    fsm_row *y = wire->identity && phase == FSM_FORWARD ? pass->returned : s->y;
    return (fsm_expert_rows){
        .n = wire->expert_first[(chunk + 1) * moe->local_experts + e] - at,
        .hidden = moe->hidden,
        .width = moe->width,
        .x = fsm_rows(fsm_moe_at(pass, pass->x, at * moe->hidden), moe->hidden),
        .pre = fsm_moe_at(pass, pass->pre, at * moe->width * moe->expert->pre_width),
        .act = fsm_moe_at(pass, pass->act, at * moe->width),
        .y = fsm_rows(fsm_moe_at(pass, y, at * moe->hidden), moe->hidden),
        .dy = fsm_rows(fsm_moe_at(pass, pass->expert_dy, at * moe->hidden), moe->hidden),
        .dact = fsm_moe_at(pass, pass->scratch->dact, at * moe->width),
        .dx = fsm_rows(fsm_moe_at(pass, s->y, at * moe->hidden), moe->hidden),
    };
}

/* Rows of one expert and chunk from where they were gathered into expert order. */
static void unpack(const fsm_moe_pass *pass, fsm_phase phase, int chunk, int64_t e, int64_t n, fsm_row *rows)
{
    const fsm_moe *moe = pass->moe;
    const fsm_wire *wire = &pass->wire[phase];
    if (wire->identity) return;
    int64_t at = wire->expert_first[chunk * moe->local_experts + e];
    moe->ops->gather_rows(moe->ops, n, moe->hidden, fsm_index_at(wire->wire_of_row, at), pass->staging->gather, rows);
}

/* The chunk's results back into the order they travel in. */
static void pack(const fsm_moe_pass *pass, fsm_phase phase, int chunk)
{
    const fsm_moe *moe = pass->moe;
    const fsm_wire *wire = &pass->wire[phase];
    if (wire->identity) return;
    int64_t first = wire->gather_first[chunk];
    moe->ops->gather_rows(moe->ops, wire->gather_first[chunk + 1] - first, moe->hidden,
                          fsm_index_at(wire->row_of_wire, first), pass->staging->y,
                          fsm_moe_at(pass, pass->staging->gather, first * moe->hidden));
}

void fsm_moe_expert_forward(fsm_moe_pass *pass, int64_t first)
{
    const fsm_moe *moe = pass->moe;
    int chunk = fsm_wire_chunk(&pass->wire[FSM_FORWARD], first);
    if (moe->esp->size == 1) fsm_moe_after_dispatch(moe->ops, pass, FSM_FORWARD, chunk);
    for (int64_t e = 0; e < moe->local_experts; e++) {
        fsm_expert_rows rows = expert_rows(pass, FSM_FORWARD, chunk, e);
        unpack(pass, FSM_FORWARD, chunk, e, rows.n, rows.x.at);
        moe->expert->forward(moe->ops, &moe->experts[e], &rows);
    }
    pack(pass, FSM_FORWARD, chunk);
}

void fsm_moe_expert_backward(fsm_moe_pass *pass, int64_t first)
{
    const fsm_moe *moe = pass->moe;
    int chunk = fsm_wire_chunk(&pass->wire[FSM_BACKWARD], first);
    if (moe->esp->size == 1) fsm_moe_after_dispatch(moe->ops, pass, FSM_BACKWARD, chunk);
    for (int64_t e = 0; e < moe->local_experts; e++) {
        fsm_expert_rows rows = expert_rows(pass, FSM_BACKWARD, chunk, e);
        unpack(pass, FSM_BACKWARD, chunk, e, rows.n, rows.dy.at);
        moe->expert->backward_input(moe->ops, &moe->experts[e], &rows);
    }
    pack(pass, FSM_BACKWARD, chunk);
}

void fsm_moe_weight_grad(fsm_moe_pass *pass, int64_t first)
{
    const fsm_moe *moe = pass->moe;
    int chunk = fsm_wire_chunk(&pass->wire[FSM_BACKWARD], first);
    for (int64_t e = 0; e < moe->local_experts; e++) {
        fsm_expert_rows rows = expert_rows(pass, FSM_BACKWARD, chunk, e);
        moe->expert->backward_weight(moe->ops, &moe->experts[e], &rows);
    }
}

void fsm_moe_iorder_forward(fsm_moe_pass *pass, fsm_real *y)
{
    const fsm_moe *moe = pass->moe;
    const fsm_index *rows = pass->wire[FSM_FORWARD].send_row;
    const fsm_mixing *m = &pass->mixing;
    int64_t n = pass->gate.input.n;
    fsm_shared_forward(&pass->shared, n, pass->gate.input.x, y);
    fsm_moe_after_combine(pass, FSM_FORWARD);
    if (pass->by_products) {
        moe->ops->gather_rows(moe->ops, m->count, moe->hidden, rows, pass->returned, m->out);
        fsm_mixing_combine(m, &pass->gate, route_of(pass), y);
    } else {
        moe->ops->combine_rows(moe->ops, n, moe->gate.choices, moe->hidden, rows, pass->gate.weight, pass->returned, y);
    }
    fsm_moe_tell(pass->moe->ops, pass, FSM_HOOK_BEFORE_MOE_END, FSM_FORWARD, 0, n, fsm_reals(y, moe->hidden),
                 moe->hidden);
}

/* Rows sent that hold no token, as far as the host knows. */
static bool has_padding(const fsm_moe_pass *pass)
{
    int64_t filled = 0;
    if (!pass->route.is_read) return true;
    for (int64_t e = 0; e < pass->moe->gate.num_experts; e++) filled += pass->route.kept[e];
    return filled < pass->wire[FSM_BACKWARD].send_total;
}

static void choices_backward(fsm_moe_pass *pass, const fsm_real *dy, fsm_row *sent)
{
    const fsm_moe *moe = pass->moe;
    const fsm_wire *to = &pass->wire[FSM_BACKWARD];
    if (has_padding(pass)) moe->ops->zero_rows(moe->ops, to->send_total * moe->hidden, sent); /* it has no gradient */
    moe->ops->combine_rows_backward(moe->ops, pass->gate.input.n, moe->gate.choices, moe->hidden,
                                    pass->wire[FSM_FORWARD].send_row, to->send_row, pass->gate.weight, pass->returned,
                                    dy, sent, pass->dweight);
}

void fsm_moe_iorder_backward(fsm_moe_pass *pass, const fsm_real *dy)
{
    const fsm_moe *moe = pass->moe;
    const fsm_wire *to = &pass->wire[FSM_BACKWARD];
    fsm_row *sent = fsm_moe_send_buffer(pass, FSM_BACKWARD);
    pass->dy = dy;
    fsm_moe_tell(pass->moe->ops, pass, FSM_HOOK_BEFORE_MOE_END, FSM_BACKWARD, 0, pass->gate.input.n,
                 fsm_reals(dy, moe->hidden), moe->hidden);
    if (pass->by_products) {
        fsm_mixing_combine_backward(&pass->mixing, &pass->gate, route_of(pass), dy, pass->dweight);
        moe->ops->gather_rows(moe->ops, to->send_total, moe->hidden, to->token, pass->scratch->mixing.slots, sent);
    } else {
        choices_backward(pass, dy, sent);
    }
}

void fsm_moe_order_backward(fsm_moe_pass *pass, fsm_real *dx)
{
    const fsm_moe *moe = pass->moe;
    const fsm_wire *wire = &pass->wire[FSM_BACKWARD];
    const fsm_row *rows = wire->identity ? pass->staging->y : pass->staging->send;
    int64_t n = pass->gate.input.n;
    fsm_moe_after_combine(pass, FSM_BACKWARD);
    fsm_shared_backward(&pass->shared, n, pass->gate.input.x, pass->dy, dx);
    if (pass->by_products) {
        moe->ops->gather_rows(moe->ops, pass->mixing.count, moe->hidden, wire->send_row, rows,
                              pass->scratch->mixing.slots);
        fsm_mixing_dispatch_backward(&pass->mixing, &pass->gate, route_of(pass), dx);
    } else {
        moe->ops->combine_rows(moe->ops, n, moe->gate.choices, moe->hidden, wire->send_row, NULL, rows, dx);
    }
}

void fsm_moe_gate_backward(fsm_moe_pass *pass, const fsm_gate_loss_grad *loss, fsm_real *dx)
{
    if (pass->moe->gate.kind->mixes) fsm_mixing_gate_backward(&pass->mixing, &pass->gate, dx);
    else fsm_gate_backward(&pass->gate, pass->dweight, loss, dx);
    fsm_moe_tell(pass->moe->ops, pass, FSM_HOOK_BEFORE_MOE_START, FSM_BACKWARD, 0, pass->gate.input.n,
                 fsm_reals(dx, pass->moe->hidden), pass->moe->hidden);
}
