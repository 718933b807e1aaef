#include "moe/shared.h"

#include "base/sigmoid.h"

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

/* x is only read: the block keeps it for its weights' gradient. */
static fsm_expert_rows rows_of(const fsm_shared_pass *pass, int i, int64_t n, const float *x)
{
    const fsm_shared *s = pass->shared;
    const fsm_shared_scratch *scratch = pass->scratch;
    int64_t at = i * pass->max_tokens;
    return (fsm_expert_rows){.n = n,
                             .hidden = s->hidden,
                             .width = s->width,
                             .x = (float *)x,
                             .pre = pass->pre + at * s->width * s->kind->pre_width,
                             .act = pass->act + at * s->width,
                             .y = s->gated ? pass->out + at * s->hidden : scratch->out,
                             .dy = scratch->dy,
                             .dact = scratch->dact,
                             .dx = scratch->dx};
}

static void number_rows(const fsm_shared_pass *pass, int64_t n)
{
    for (int64_t t = 0; t < n; t++) pass->scratch->row[t] = (int32_t)t;
}

/* y += sigmoid(x . g) out */
static void add_gated(const fsm_shared_pass *pass, int i, const fsm_expert_rows *rows, float *y)
{
    const fsm_shared *s = pass->shared;
    int64_t n = rows->n, hidden = s->hidden;
    float *open = pass->open + i * pass->max_tokens;
    s->ops->gemm(s->ops, false, true, n, 1, hidden, NULL, fsm_reals(rows->x, hidden),
                 fsm_reals(s->gate.value + i * hidden, hidden), 0, fsm_reals(open, 1));
    for (int64_t t = 0; t < n; t++) open[t] = fsm_sigmoid(open[t]);
    number_rows(pass, n);
    s->ops->combine_rows(s->ops, n, 1, hidden, pass->scratch->row, open, rows->y, y);
}

void fsm_shared_forward(const fsm_shared_pass *pass, int64_t n, const float *x, float *y)
{
    const fsm_shared *s = pass->shared;
    for (int i = 0; i < s->count; i++) {
        fsm_expert_rows rows = rows_of(pass, i, n, x);
        s->kind->forward(s->ops, &s->experts[i], &rows);
        if (s->gated) add_gated(pass, i, &rows, y);
        else s->ops->add(s->ops, n * s->hidden, rows.y, y);
    }
}

/* dy of the block, and what its gate gets. */
static void gate_backward(const fsm_shared_pass *pass, int i, const fsm_expert_rows *rows, const float *x,
                          const float *dy, float *dx)
{
    const fsm_shared *s = pass->shared;
    int64_t n = rows->n, hidden = s->hidden;
    const float *open = pass->open + i * pass->max_tokens;
    float *dopen = pass->scratch->dopen;
    const int32_t *row = pass->scratch->row;
    number_rows(pass, n);
    s->ops->combine_rows_backward(s->ops, n, 1, hidden, row, row, open, rows->y, dy, rows->dy, dopen);
    for (int64_t t = 0; t < n; t++) dopen[t] *= open[t] * (1 - open[t]);
    s->ops->gemm(s->ops, false, false, n, hidden, 1, NULL, fsm_reals(dopen, 1),
                 fsm_reals(s->gate.value + i * hidden, hidden), 1, fsm_reals(dx, hidden));
    s->ops->gemm(s->ops, true, false, 1, hidden, n, NULL, fsm_reals(dopen, 1), fsm_reals(x, hidden), 1,
                 fsm_reals(s->gate.grad + i * hidden, hidden));
}

void fsm_shared_backward(const fsm_shared_pass *pass, int64_t n, const float *x, const float *dy, float *dx)
{
    const fsm_shared *s = pass->shared;
    for (int i = 0; i < s->count; i++) {
        fsm_expert_rows rows = rows_of(pass, i, n, x);
        if (s->gated) gate_backward(pass, i, &rows, x, dy, dx);
        else rows.dy = (float *)dy; /* which is only read, too */
        s->kind->backward_input(s->ops, &s->experts[i], &rows);
        s->kind->backward_weight(s->ops, &s->experts[i], &rows);
        s->ops->add(s->ops, n * s->hidden, rows.dx, dx);
    }
}
