#include "moe/shared.h"

void fsm_shared_scratch_take(fsm_memory *memory, const fsm_shared *s, int64_t max_tokens, fsm_shared_scratch *scratch)
{
    int64_t elems = max_tokens * s->hidden;
    *scratch = (fsm_shared_scratch){0};
    if (s->count == 0) return;
    scratch->dx = fsm_take_reals(memory, elems);
    scratch->dact = fsm_take_rows(memory, max_tokens * s->width);
    if (s->gated) {
        scratch->dopen = fsm_take_reals(memory, max_tokens);
        scratch->row = fsm_take_indices(memory, max_tokens);
        scratch->dy = fsm_take_rows(memory, elems);
    } else {
        scratch->out = fsm_take_reals(memory, elems);
    }
}

void fsm_shared_take(fsm_memory *memory, const fsm_shared *s, int64_t max_tokens, const fsm_shared_scratch *scratch,
                     fsm_shared_pass *pass)
{
    int64_t rows = s->count * max_tokens;
    *pass = (fsm_shared_pass){.shared = s, .scratch = scratch, .max_tokens = max_tokens};
    pass->pre = fsm_take_rows(memory, rows * s->width * s->kind->pre_width);
    pass->act = fsm_take_rows(memory, rows * s->width);
    pass->out = s->gated ? fsm_take_rows(memory, rows * s->hidden) : NULL;
    pass->open = s->gated ? fsm_take_reals(memory, rows) : NULL;
}

/* Tensors of block i, of n tokens. */
static fsm_row *rows_at(const fsm_shared_pass *pass, const fsm_row *of_all, int i, int64_t width)
{
    return fsm_row_at(of_all, pass->shared->ops->row_bytes, i * pass->max_tokens * width);
}

static fsm_expert_rows rows_of(const fsm_shared_pass *pass, int i, const int64_t *n, const fsm_row *x)
{
    const fsm_shared *s = pass->shared;
    const fsm_shared_scratch *scratch = pass->scratch;
    int64_t hidden = s->hidden;
    static const int64_t first = 0;
    return (fsm_expert_rows){.runs = {1, &first, n},
                             .hidden = hidden,
                             .width = s->width,
                             .x = fsm_rows(x, hidden),
                             .pre = rows_at(pass, pass->pre, i, s->width * s->kind->pre_width),
                             .act = rows_at(pass, pass->act, i, s->width),
                             .y = s->gated ? fsm_rows(rows_at(pass, pass->out, i, hidden), hidden)
                                           : fsm_reals(scratch->out, hidden),
                             .dact = scratch->dact,
                             .dx = fsm_reals(scratch->dx, hidden)};
}

static fsm_experts expert_of(const fsm_shared *s, int i)
{
    return (fsm_experts){s->experts.activation, s->experts.in + i, s->experts.out + i};
}

static fsm_real *open_of(const fsm_shared_pass *pass, int i)
{
    return fsm_real_at(pass->open, i * pass->max_tokens);
}

static fsm_matrix gate_of(const fsm_shared *s, int i)
{
    return fsm_reals(fsm_real_at(s->gate.value, i * s->hidden), s->hidden);
}

/* y += sigmoid(x . g) out */
static void add_gated(const fsm_shared_pass *pass, int i, const fsm_expert_rows *rows, fsm_real *y)
{
    const fsm_shared *s = pass->shared;
    const fsm_ops *ops = s->ops;
    int64_t n = *rows->runs.end, hidden = s->hidden;
    fsm_real *open = open_of(pass, i);
    ops->gemm(ops, false, true, n, 1, hidden, NULL, rows->x, gate_of(s, i), 0, fsm_reals(open, 1));
    ops->sigmoid(ops, n, open, open);
    ops->count_from(ops, n, 0, n, pass->scratch->row);
    ops->combine_rows(ops, n, 1, hidden, pass->scratch->row, open, rows->y.at, y);
}

void fsm_shared_forward(const fsm_shared_pass *pass, int64_t n, const fsm_row *x, fsm_real *y)
{
    const fsm_shared *s = pass->shared;
    for (int i = 0; i < s->count; i++) {
        fsm_expert_rows rows = rows_of(pass, i, &n, x);
        fsm_experts expert = expert_of(s, i);
        s->kind->forward(s->ops, &expert, &rows);
        if (s->gated) add_gated(pass, i, &rows, y);
        else s->ops->add(s->ops, n * s->hidden, rows.y.at, y);
    }
}

/* dy of the block, and what its gate gets. */
static void gate_backward(const fsm_shared_pass *pass, int i, const fsm_expert_rows *rows, const fsm_real *dy,
                          fsm_real *dx)
{
    const fsm_shared *s = pass->shared;
    const fsm_ops *ops = s->ops;
    int64_t n = *rows->runs.end, hidden = s->hidden;
    const fsm_real *open = open_of(pass, i);
    fsm_real *dopen = pass->scratch->dopen;
    const fsm_index *row = pass->scratch->row;
    ops->count_from(ops, n, 0, n, pass->scratch->row);
    ops->combine_rows_backward(ops, n, 1, hidden, row, row, open, rows->y.at, dy, pass->scratch->dy, dopen);
    ops->sigmoid_backward(ops, n, open, dopen, dopen);
    ops->gemm(ops, false, false, n, hidden, 1, NULL, fsm_reals(dopen, 1), gate_of(s, i), 1, fsm_reals(dx, hidden));
    ops->gemm(ops, true, false, 1, hidden, n, NULL, fsm_reals(dopen, 1), rows->x, 1,
              fsm_reals(fsm_real_at(s->gate.grad, i * hidden), hidden));
}

void fsm_shared_backward(const fsm_shared_pass *pass, int64_t n, const fsm_row *x, const fsm_real *dy, fsm_real *dx)
{
    const fsm_shared *s = pass->shared;
    for (int i = 0; i < s->count; i++) {
        fsm_expert_rows rows = rows_of(pass, i, &n, x);
        if (s->gated) gate_backward(pass, i, &rows, dy, dx);
        rows.dy = s->gated ? fsm_rows(pass->scratch->dy, s->hidden) : fsm_reals(dy, s->hidden);
        fsm_experts expert = expert_of(s, i);
        s->kind->backward_input(s->ops, &expert, &rows);
        s->kind->backward_weight(s->ops, &expert, &rows);
        s->ops->add(s->ops, n * s->hidden, rows.dx.at, dx);
    }
}
