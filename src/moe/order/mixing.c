#include "moe/order/mixing.h"

static int64_t groups_in(int64_t tokens, int64_t group)
{
    return group > 0 ? (tokens + group - 1) / group : 0;
}

void fsm_mixing_take(fsm_arena *arena, const fsm_gate *gate, int64_t max_tokens, int64_t group, int64_t slots,
                     fsm_mixing *mixing)
{
    int64_t columns = gate->num_experts * slots, count = groups_in(max_tokens, group) * columns;
    bool mixes = gate->kind->mixes;
    *mixing = (fsm_mixing){.slots = slots, .group = group, .columns = columns};
    mixing->dispatch = mixes ? FSM_ARENA_ARRAY(arena, float, max_tokens *columns) : NULL;
    mixing->combine = mixes ? FSM_ARENA_ARRAY(arena, float, max_tokens *columns) : NULL;
    mixing->out = FSM_ARENA_ARRAY(arena, float, count * gate->hidden);
    mixing->choice = FSM_ARENA_ARRAY(arena, int32_t, count);
    mixing->row = FSM_ARENA_ARRAY(arena, int32_t, count);
}

void fsm_mixing_scratch_take(fsm_arena *arena, bool mixes, int64_t hidden, int64_t max_tokens, int64_t group,
                             int64_t columns, fsm_mixing_scratch *scratch)
{
    int64_t cells = (mixes ? max_tokens : group) * columns;
    scratch->matrix = mixes ? NULL : FSM_ARENA_ARRAY(arena, float, cells);
    scratch->d_combine = FSM_ARENA_ARRAY(arena, float, cells);
    scratch->d_dispatch = mixes ? FSM_ARENA_ARRAY(arena, float, cells) : NULL;
    scratch->slots = FSM_ARENA_ARRAY(arena, float, groups_in(max_tokens, group) * columns * hidden);
}

/* ---- groups ---- */

/* Group g: its tokens, and where its slots and, of a gate that mixes, its rows of the matrices begin. */
typedef struct part {
    int64_t first, tokens, slot, cell;
} part;

static part part_of(const fsm_mixing *m, const fsm_gate *gate, int64_t n, int64_t g)
{
    int64_t first = g * m->group;
    return (part){.first = first,
                  .tokens = first + m->group < n ? m->group : n - first,
                  .slot = g * m->columns * gate->hidden,
                  .cell = gate->kind->mixes ? first * m->columns : 0};
}

static int64_t groups_of(const fsm_mixing *m, int64_t n)
{
    return groups_in(n, m->group);
}

void fsm_mixing_begin(fsm_mixing *m, fsm_gate *gate, const fsm_gate_input *in, int64_t *rows)
{
    m->count = groups_of(m, in->n) * m->columns;
    for (int64_t p = 0; p < m->count; p++) {
        m->choice[p] = (int32_t)(p / m->slots % gate->num_experts);
        m->row[p] = (int32_t)(p / m->columns * m->slots + p % m->slots);
    }
    for (int64_t e = 0; e < gate->num_experts; e++) rows[e] = groups_of(m, in->n) * m->slots;
    for (int64_t g = 0; gate->kind->mixes && g < groups_of(m, in->n); g++) {
        part p = part_of(m, gate, in->n, g);
        gate->kind->mix(gate, p.tokens, in->x + p.first * gate->hidden, m->dispatch + p.cell, m->combine + p.cell);
    }
}

/* ---- a route as matrices ---- */

/* The column of a (token, choice) pair in its group's matrices; -1: dropped. */
static int64_t column_of(const fsm_mixing *m, const fsm_gate *gate, const fsm_route *route, int64_t pair)
{
    if (route->row[pair] < 0) return -1;
    return gate->choice[pair] * m->slots + route->row[pair] % m->slots;
}

typedef enum entries { ZEROS, ONES, WEIGHTS } entries;

/* A pass over a group's tokens: entries are written, or gradients read. */
typedef struct pass {
    const fsm_mixing *mixing;
    const fsm_gate *gate;
    const fsm_route *route;
    const part *part;
    entries kind;
    float *dweight;
} pass;

/* Elements that a random access to a large matrix takes as long as. */
enum { ACCESS_ELEMS = 64 };

static void set_rows(void *context, int64_t first, int64_t count)
{
    const pass *a = context;
    int64_t k = a->gate->choices;
    for (int64_t at = first * k; at < (first + count) * k; at++) {
        int64_t pair = a->part->first * k + at, column = column_of(a->mixing, a->gate, a->route, pair);
        float entry = a->kind == WEIGHTS ? a->gate->weight[pair] : a->kind == ONES ? 1 : 0;
        if (column >= 0) a->mixing->scratch->matrix[at / k * a->mixing->columns + column] = entry;
    }
}

/* One-hot rows of a group's tokens; zeros again when they have been used, for the next group. */
static void set_matrix(const fsm_mixing *m, const fsm_gate *gate, const fsm_route *route, const part *p, entries kind)
{
    pass a = {.mixing = m, .gate = gate, .route = route, .part = p, .kind = kind};
    if (!route) return; /* a gate's own matrix stays */
    gate->ops->for_rows(gate->ops, p->tokens, gate->choices * ACCESS_ELEMS, set_rows, &a);
}

static void read_rows(void *context, int64_t first, int64_t count)
{
    const pass *a = context;
    int64_t k = a->gate->choices;
    for (int64_t at = first * k; at < (first + count) * k; at++) {
        int64_t pair = a->part->first * k + at, column = column_of(a->mixing, a->gate, a->route, pair);
        a->dweight[pair] = column < 0 ? 0 : a->mixing->scratch->d_combine[at / k * a->mixing->columns + column];
    }
}

static void read_weights(const fsm_mixing *m, const fsm_gate *gate, const fsm_route *route, const part *p,
                         float *dweight)
{
    pass a = {.mixing = m, .gate = gate, .route = route, .part = p, .dweight = dweight};
    gate->ops->for_rows(gate->ops, p->tokens, gate->choices * ACCESS_ELEMS, read_rows, &a);
}

/* ---- products ---- */

/* slots = matrix^T rows */
static void into_slots(const fsm_mixing *m, const fsm_gate *gate, const part *p, const float *matrix, const float *rows)
{
    gate->ops->gemm(gate->ops, true, false, m->columns, gate->hidden, p->tokens, 1, matrix + p->cell, m->columns,
                    rows + p->first * gate->hidden, gate->hidden, 0, m->scratch->slots + p->slot, gate->hidden);
}

/* rows += matrix slots */
static void from_slots(const fsm_mixing *m, const fsm_gate *gate, const part *p, const float *matrix,
                       const float *slots, float *rows)
{
    gate->ops->gemm(gate->ops, false, false, p->tokens, gate->hidden, m->columns, 1, matrix + p->cell, m->columns,
                    slots + p->slot, gate->hidden, 1, rows + p->first * gate->hidden, gate->hidden);
}

/* d matrix = rows slots^T */
static void matrix_backward(const fsm_mixing *m, const fsm_gate *gate, const part *p, const float *rows,
                            const float *slots, float *dmatrix)
{
    gate->ops->gemm(gate->ops, false, true, p->tokens, m->columns, gate->hidden, 1, rows + p->first * gate->hidden,
                    gate->hidden, slots + p->slot, gate->hidden, 0, dmatrix + p->cell, m->columns);
}

void fsm_mixing_dispatch(fsm_mixing *m, const fsm_gate *gate, const fsm_gate_input *in, const fsm_route *route)
{
    for (int64_t g = 0; g < groups_of(m, in->n); g++) {
        part p = part_of(m, gate, in->n, g);
        set_matrix(m, gate, route, &p, ONES);
        into_slots(m, gate, &p, route ? m->scratch->matrix : m->dispatch, in->x);
        set_matrix(m, gate, route, &p, ZEROS);
    }
}

void fsm_mixing_combine(fsm_mixing *m, const fsm_gate *gate, const fsm_gate_input *in, const fsm_route *route, float *y)
{
    for (int64_t g = 0; g < groups_of(m, in->n); g++) {
        part p = part_of(m, gate, in->n, g);
        set_matrix(m, gate, route, &p, WEIGHTS);
        from_slots(m, gate, &p, route ? m->scratch->matrix : m->combine, m->out, y);
        set_matrix(m, gate, route, &p, ZEROS);
    }
}

void fsm_mixing_combine_backward(fsm_mixing *m, const fsm_gate *gate, const fsm_gate_input *in, const fsm_route *route,
                                 const float *dy, float *dweight)
{
    for (int64_t g = 0; g < groups_of(m, in->n); g++) {
        part p = part_of(m, gate, in->n, g);
        set_matrix(m, gate, route, &p, WEIGHTS);
        into_slots(m, gate, &p, route ? m->scratch->matrix : m->combine, dy);
        set_matrix(m, gate, route, &p, ZEROS);
        matrix_backward(m, gate, &p, dy, m->out, m->scratch->d_combine);
        if (route) read_weights(m, gate, route, &p, dweight);
    }
}

void fsm_mixing_dispatch_backward(fsm_mixing *m, const fsm_gate *gate, const fsm_gate_input *in, const fsm_route *route,
                                  float *dx)
{
    for (int64_t g = 0; g < groups_of(m, in->n); g++) {
        part p = part_of(m, gate, in->n, g);
        set_matrix(m, gate, route, &p, ONES);
        from_slots(m, gate, &p, route ? m->scratch->matrix : m->dispatch, m->scratch->slots, dx);
        set_matrix(m, gate, route, &p, ZEROS);
        if (!route) matrix_backward(m, gate, &p, in->x, m->scratch->slots, m->scratch->d_dispatch);
    }
}

void fsm_mixing_gate_backward(fsm_mixing *m, fsm_gate *gate, const fsm_gate_input *in, float *dx)
{
    for (int64_t g = 0; g < groups_of(m, in->n); g++) {
        part p = part_of(m, gate, in->n, g);
        int64_t at = p.first * gate->hidden;
        gate->kind->mix_backward(gate, p.tokens, in->x + at, m->dispatch + p.cell, m->combine + p.cell,
                                 m->scratch->d_dispatch + p.cell, m->scratch->d_combine + p.cell, dx + at);
    }
}
