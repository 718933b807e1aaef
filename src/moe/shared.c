#include "moe/shared.h"

#include "base/sigmoid.h"

void fsm_shared_take(fsm_arena *arena, int64_t max_tokens, fsm_shared *s)
{
    int64_t rows = s->count * max_tokens, pre_width = s->width * s->kind->pre_width;
    s->max_tokens = max_tokens;
    s->experts = FSM_ARENA_ARRAY(arena, fsm_expert_weights, s->count);
    s->pre = FSM_ARENA_ARRAY(arena, float, rows *pre_width);
    s->act = FSM_ARENA_ARRAY(arena, float, rows * s->width);
    s->out = FSM_ARENA_ARRAY(arena, float, (s->gated ? rows : max_tokens) * s->hidden);
    s->open = s->gated ? FSM_ARENA_ARRAY(arena, float, rows) : NULL;
    s->dopen = s->gated ? FSM_ARENA_ARRAY(arena, float, max_tokens) : NULL;
    s->row = s->gated ? FSM_ARENA_ARRAY(arena, int32_t, max_tokens) : NULL;
    s->dy = s->gated ? FSM_ARENA_ARRAY(arena, float, max_tokens * s->hidden) : NULL;
    s->dx = FSM_ARENA_ARRAY(arena, float, max_tokens * s->hidden);
    s->dact = FSM_ARENA_ARRAY(arena, float, max_tokens * s->width);
}

/* x is only read: the block keeps it for its weights' gradient. */
static fsm_expert_rows rows_of(const fsm_shared *s, int i, int64_t n, const float *x)
{
    int64_t at = i * s->max_tokens;
    return (fsm_expert_rows){.n = n,
                             .hidden = s->hidden,
                             .width = s->width,
                             .x = (float *)x,
                             .pre = s->pre + at * s->width * s->kind->pre_width,
                             .act = s->act + at * s->width,
                             .y = s->out + (s->gated ? at * s->hidden : 0),
                             .dy = s->dy,
                             .dact = s->dact,
                             .dx = s->dx};
}

/* y += sigmoid(x . g) out */
static void add_gated(const fsm_shared *s, int i, const fsm_expert_rows *rows, float *y)
{
    int64_t n = rows->n, hidden = s->hidden;
    float *open = s->open + i * s->max_tokens;
    s->ops->gemm(s->ops, false, true, n, 1, hidden, 1, rows->x, hidden, s->gate.value + i * hidden, hidden, 0, open, 1);
    for (int64_t t = 0; t < n; t++) {
        open[t] = fsm_sigmoid(open[t]);
        s->row[t] = (int32_t)t;
    }
    s->ops->combine_rows(s->ops, n, 1, hidden, s->row, open, rows->y, y);
}

void fsm_shared_forward(fsm_shared *s, int64_t n, const float *x, float *y)
{
    for (int i = 0; i < s->count; i++) {
        fsm_expert_rows rows = rows_of(s, i, n, x);
        s->kind->forward(s->ops, &s->experts[i], &rows);
        if (s->gated) add_gated(s, i, &rows, y);
        else s->ops->add(s->ops, n * s->hidden, rows.y, y);
    }
}

/* dy of the block, and what its gate gets. */
static void gate_backward(const fsm_shared *s, int i, const fsm_expert_rows *rows, const float *x, const float *dy,
                          float *dx)
{
    int64_t n = rows->n, hidden = s->hidden;
    const float *open = s->open + i * s->max_tokens;
    s->ops->combine_rows_backward(s->ops, n, 1, hidden, s->row, s->row, open, rows->y, dy, rows->dy, s->dopen);
    for (int64_t t = 0; t < n; t++) s->dopen[t] *= open[t] * (1 - open[t]);
    s->ops->gemm(s->ops, false, false, n, hidden, 1, 1, s->dopen, 1, s->gate.value + i * hidden, hidden, 1, dx, hidden);
    s->ops->gemm(s->ops, true, false, 1, hidden, n, 1, s->dopen, 1, x, hidden, 1, s->gate.grad + i * hidden, hidden);
}

void fsm_shared_backward(fsm_shared *s, int64_t n, const float *x, const float *dy, float *dx)
{
    for (int i = 0; i < s->count; i++) {
        fsm_expert_rows rows = rows_of(s, i, n, x);
        if (s->gated) gate_backward(s, i, &rows, x, dy, dx);
        else rows.dy = (float *)dy; /* which is only read, too */
        s->kind->backward_input(s->ops, &s->experts[i], &rows);
        s->kind->backward_weight(s->ops, &s->experts[i], &rows);
        s->ops->add(s->ops, n * s->hidden, rows.dx, dx);
    }
}
