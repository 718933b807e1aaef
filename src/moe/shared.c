#include "moe/shared.h"

#include "moe/gate/noise.h"

#include <string.h>

void fsm_shared_take(fsm_arena *arena, int64_t max_tokens, fsm_shared *s)
{
    int64_t rows = s->count * max_tokens, pre_width = s->width * s->kind->pre_width;
    s->max_tokens = max_tokens;
    s->experts = FSM_ARENA_ARRAY(arena, fsm_expert_weights, s->count);
    s->pre = FSM_ARENA_ARRAY(arena, float, rows *pre_width);
    s->act = FSM_ARENA_ARRAY(arena, float, rows * s->width);
    s->out = FSM_ARENA_ARRAY(arena, float, (s->gated ? rows : max_tokens) * s->hidden);
    s->open = s->gated ? FSM_ARENA_ARRAY(arena, float, rows) : NULL;
    s->dy = FSM_ARENA_ARRAY(arena, float, max_tokens * s->hidden);
    s->dx = FSM_ARENA_ARRAY(arena, float, max_tokens * s->hidden);
    s->dpre = FSM_ARENA_ARRAY(arena, float, max_tokens *pre_width);
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
                             .dpre = s->dpre,
                             .dx = s->dx};
}

static float dot(int64_t n, const float *a, const float *b)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return (float)sum;
}

/* to += a from */
static void add_scaled(int64_t n, float a, const float *from, float *to)
{
    for (int64_t i = 0; i < n; i++) to[i] += a * from[i];
}

void fsm_shared_forward(fsm_shared *s, int64_t n, const float *x, float *y)
{
    for (int i = 0; i < s->count; i++) {
        fsm_expert_rows rows = rows_of(s, i, n, x);
        s->kind->forward(s->ops, &s->experts[i], &rows);
        if (!s->gated) s->ops->add(n * s->hidden, rows.y, y);
        for (int64_t t = 0; s->gated && t < n; t++) {
            float *open = &s->open[i * s->max_tokens + t];
            *open = fsm_sigmoid(dot(s->hidden, x + t * s->hidden, s->gate.value + i * s->hidden));
            add_scaled(s->hidden, *open, rows.y + t * s->hidden, y + t * s->hidden);
        }
    }
}

/* dy of the block, and what its gate gets. */
static void gate_backward(const fsm_shared *s, int i, const fsm_expert_rows *rows, const float *x, const float *dy,
                          float *dx)
{
    int64_t hidden = s->hidden;
    for (int64_t t = 0; t < rows->n; t++) {
        float open = s->open[i * s->max_tokens + t];
        float d = dot(hidden, dy + t * hidden, rows->y + t * hidden) * open * (1 - open);
        add_scaled(hidden, d, s->gate.value + i * hidden, dx + t * hidden);
        add_scaled(hidden, d, x + t * hidden, s->gate.grad + i * hidden);
        for (int64_t m = t * hidden; m < (t + 1) * hidden; m++) rows->dy[m] = open * dy[m];
    }
}

void fsm_shared_backward(fsm_shared *s, int64_t n, const float *x, const float *dy, float *dx)
{
    for (int i = 0; i < s->count; i++) {
        fsm_expert_rows rows = rows_of(s, i, n, x);
        if (s->gated) gate_backward(s, i, &rows, x, dy, dx);
        else memcpy(rows.dy, dy, sizeof *dy * (size_t)(n * s->hidden));
        s->kind->backward_input(s->ops, &s->experts[i], &rows);
        s->kind->backward_weight(s->ops, &s->experts[i], &rows);
        s->ops->add(n * s->hidden, rows.dx, dx);
    }
}
