#include "moe/order/mixing.h"

static int64_t groups_in(int64_t tokens, int64_t group)
{
    return group > 0 ? (tokens + group - 1) / group : 0;
}

/* ---- memory ---- */

static int64_t columns_of(const fsm_gate *gate, const fsm_mixing_sizes *sizes)
{
    return gate->num_experts * sizes->slots;
}

/* Slots of all groups. */
static int64_t all_slots(const fsm_gate *gate, const fsm_mixing_sizes *sizes)
{
    return groups_in(sizes->max_tokens, sizes->group) * columns_of(gate, sizes);
}

void fsm_mixing_scratch_take(fsm_arena *arena, const fsm_gate *gate, const fsm_mixing_sizes *sizes,
                             fsm_mixing_scratch *scratch)
{
    int64_t cells = sizes->group * columns_of(gate, sizes);
    bool mixes = gate->kind->mixes;
    scratch->matrix = mixes ? NULL : FSM_ARENA_ARRAY(arena, float, cells);
    scratch->d_matrix = mixes ? NULL : FSM_ARENA_ARRAY(arena, float, cells);
    scratch->slots = FSM_ARENA_ARRAY(arena, float, all_slots(gate, sizes) * gate->hidden);
}

void fsm_mixing_grads_take(fsm_arena *arena, const fsm_gate *gate, const fsm_mixing_sizes *sizes,
                           fsm_mixing_grads *grads)
{
    int64_t cells = sizes->max_tokens * columns_of(gate, sizes);
    if (!gate->kind->mixes) return;
    grads->d_dispatch = FSM_ARENA_ARRAY(arena, float, cells);
    grads->d_combine = FSM_ARENA_ARRAY(arena, float, cells);
}

void fsm_mixing_take(fsm_arena *arena, const fsm_gate *gate, const fsm_mixing_sizes *sizes,
                     const fsm_mixing_scratch *scratch, const fsm_mixing_grads *grads, fsm_mixing *mixing)
{
    int64_t cells = sizes->max_tokens * columns_of(gate, sizes), count = all_slots(gate, sizes);
    bool mixes = gate->kind->mixes;
    *mixing = (fsm_mixing){.scratch = scratch,
                           .grads = grads,
                           .slots = sizes->slots,
                           .group = sizes->group,
                           .columns = columns_of(gate, sizes)};
    mixing->dispatch = mixes ? FSM_ARENA_ARRAY(arena, float, cells) : NULL;
    mixing->combine = mixes ? FSM_ARENA_ARRAY(arena, float, cells) : NULL;
    mixing->out = FSM_ARENA_ARRAY(arena, float, count * gate->hidden);
    mixing->choice = FSM_ARENA_ARRAY(arena, int32_t, count);
    mixing->row = FSM_ARENA_ARRAY(arena, int32_t, count);
}

/* ---- groups ---- */

/* Group g: its tokens, and where its slots and, of a gate that mixes, its rows of the matrices begin. */
typedef struct part {
    int64_t first, tokens, slot, cell;
} part;

static part part_of(const fsm_mixing *m, const fsm_gate_pass *gate, int64_t g)
{
    int64_t first = g * m->group, n = gate->input.n;
    return (part){.first = first,
                  .tokens = first + m->group < n ? m->group : n - first,
                  .slot = g * m->columns * gate->gate->hidden,
                  .cell = gate->gate->kind->mixes ? first * m->columns : 0};
}

static int64_t groups_of(const fsm_mixing *m, const fsm_gate_pass *gate)
{
    return groups_in(gate->input.n, m->group);
}

int64_t fsm_mixing_rows(const fsm_mixing *mixing, int64_t n)
{
    return groups_in(n, mixing->group) * mixing->slots;
}

void fsm_mixing_begin(fsm_mixing *m, fsm_gate_pass *gate, int64_t *rows)
{
    int64_t num_experts = gate->gate->num_experts, groups = groups_of(m, gate);
    m->count = groups * m->columns;
    for (int64_t p = 0; p < m->count; p++) {
        m->choice[p] = (int32_t)(p / m->slots % num_experts);
        m->row[p] = (int32_t)(p / m->columns * m->slots + p % m->slots);
    }
    for (int64_t e = 0; e < num_experts; e++) rows[e] = fsm_mixing_rows(m, gate->input.n);
    for (int64_t g = 0; gate->gate->kind->mixes && g < groups; g++) {
        part p = part_of(m, gate, g);
        gate->gate->kind->mix(gate, p.tokens, gate->input.x + p.first * gate->gate->hidden, m->dispatch + p.cell,
                              m->combine + p.cell);
    }
}

/* ---- a route as matrices ---- */

/* The column of a (token, choice) pair in its group's matrices; -1: dropped. */
static int64_t column_of(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, int64_t pair)
{
    if (route->row[pair] < 0) return -1;
    return gate->choice[pair] * m->slots + route->row[pair] % m->slots;
}

typedef enum entries { ZEROS, ONES, WEIGHTS } entries;

/* A loop over a group's tokens: entries are written, or gradients read. */
typedef struct token_loop {
    const fsm_mixing *mixing;
    const fsm_gate_pass *gate;
    const fsm_route *route;
    const part *part;
    entries kind;
    float *dweight;
} token_loop;

/* Elements that a random access to a large matrix takes as long as. */
enum { ACCESS_ELEMS = 64 };

static void over_tokens(token_loop *loop, fsm_rows_body *body)
{
    const fsm_gate *gate = loop->gate->gate;
    gate->ops->for_rows(gate->ops, loop->part->tokens, gate->choices * ACCESS_ELEMS, body, loop);
}

static void set_rows(void *context, int64_t first, int64_t count)
{
    const token_loop *a = context;
    int64_t k = a->gate->gate->choices;
    for (int64_t at = first * k; at < (first + count) * k; at++) {
        int64_t pair = a->part->first * k + at, column = column_of(a->mixing, a->gate, a->route, pair);
        float entry = a->kind == WEIGHTS ? a->gate->weight[pair] : a->kind == ONES ? 1 : 0;
        if (column >= 0) a->mixing->scratch->matrix[at / k * a->mixing->columns + column] = entry;
    }
}

/* One-hot rows of a group's tokens; zeros again when they have been used, for the next group. */
static void set_matrix(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, const part *p,
                       entries kind)
{
    token_loop loop = {.mixing = m, .gate = gate, .route = route, .part = p, .kind = kind};
    if (route) over_tokens(&loop, set_rows); /* a gate's own matrix stays */
}

static void read_rows(void *context, int64_t first, int64_t count)
{
    const token_loop *a = context;
    int64_t k = a->gate->gate->choices;
    for (int64_t at = first * k; at < (first + count) * k; at++) {
        int64_t pair = a->part->first * k + at, column = column_of(a->mixing, a->gate, a->route, pair);
        a->dweight[pair] = column < 0 ? 0 : a->mixing->scratch->d_matrix[at / k * a->mixing->columns + column];
    }
}

static void read_weights(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, const part *p,
                         float *dweight)
{
    token_loop loop = {.mixing = m, .gate = gate, .route = route, .part = p, .dweight = dweight};
    over_tokens(&loop, read_rows);
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

void fsm_mixing_dispatch(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        set_matrix(m, gate, route, &p, ONES);
        into_slots(m, gate->gate, &p, route ? m->scratch->matrix : m->dispatch, gate->input.x);
        set_matrix(m, gate, route, &p, ZEROS);
    }
}

void fsm_mixing_combine(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, float *y)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        set_matrix(m, gate, route, &p, WEIGHTS);
        from_slots(m, gate->gate, &p, route ? m->scratch->matrix : m->combine, m->out, y);
        set_matrix(m, gate, route, &p, ZEROS);
    }
}

void fsm_mixing_combine_backward(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route,
                                 const float *dy, float *dweight)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        set_matrix(m, gate, route, &p, WEIGHTS);
        into_slots(m, gate->gate, &p, route ? m->scratch->matrix : m->combine, dy);
        set_matrix(m, gate, route, &p, ZEROS);
        matrix_backward(m, gate->gate, &p, dy, m->out, route ? m->scratch->d_matrix : m->grads->d_combine);
        if (route) read_weights(m, gate, route, &p, dweight);
    }
}

void fsm_mixing_dispatch_backward(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, float *dx)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        set_matrix(m, gate, route, &p, ONES);
        from_slots(m, gate->gate, &p, route ? m->scratch->matrix : m->dispatch, m->scratch->slots, dx);
        set_matrix(m, gate, route, &p, ZEROS);
        if (!route) matrix_backward(m, gate->gate, &p, gate->input.x, m->scratch->slots, m->grads->d_dispatch);
    }
}

void fsm_mixing_gate_backward(const fsm_mixing *m, fsm_gate_pass *gate, float *dx)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        int64_t at = p.first * gate->gate->hidden;
        gate->gate->kind->mix_backward(gate, p.tokens, gate->input.x + at, m->dispatch + p.cell, m->combine + p.cell,
                                       m->grads->d_dispatch + p.cell, m->grads->d_combine + p.cell, dx + at);
    }
}
