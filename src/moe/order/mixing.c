#include "moe/order/mixing.h"

static int64_t groups_in(int64_t tokens, int64_t group)
{
    return group > 0 ? (tokens + group - 1) / group : 0;
}

static int64_t row_bytes_of(const fsm_gate *gate)
{
    return gate->ops->row_bytes;
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

void fsm_mixing_scratch_take(fsm_memory *memory, const fsm_gate *gate, const fsm_mixing_sizes *sizes,
                             fsm_mixing_scratch *scratch)
{
    int64_t cells = sizes->group * columns_of(gate, sizes);
    bool mixes = gate->kind->mixes;
    scratch->matrix = mixes ? NULL : fsm_take_reals(memory, cells);
    scratch->d_matrix = mixes ? NULL : fsm_take_reals(memory, cells);
    scratch->slots = fsm_take_rows(memory, all_slots(gate, sizes) * gate->hidden);
}

void fsm_mixing_grads_take(fsm_memory *memory, const fsm_gate *gate, const fsm_mixing_sizes *sizes,
                           fsm_mixing_grads *grads)
{
    int64_t cells = sizes->max_tokens * columns_of(gate, sizes);
    if (!gate->kind->mixes) return;
    grads->d_dispatch = fsm_take_reals(memory, cells);
    grads->d_combine = fsm_take_reals(memory, cells);
}

void fsm_mixing_take(fsm_memory *memory, const fsm_gate *gate, const fsm_mixing_sizes *sizes,
                     const fsm_mixing_scratch *scratch, const fsm_mixing_grads *grads, fsm_mixing *mixing)
{
    int64_t cells = sizes->max_tokens * columns_of(gate, sizes), count = all_slots(gate, sizes);
    bool mixes = gate->kind->mixes;
    *mixing = (fsm_mixing){.scratch = scratch,
                           .grads = grads,
                           .slots = sizes->slots,
                           .group = sizes->group,
                           .columns = columns_of(gate, sizes)};
    mixing->dispatch = mixes ? fsm_take_reals(memory, cells) : NULL;
    mixing->combine = mixes ? fsm_take_reals(memory, cells) : NULL;
    mixing->out = fsm_take_rows(memory, count * gate->hidden);
    mixing->choice = fsm_take_indices(memory, count);
    mixing->row = fsm_take_indices(memory, count);
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

/* The matrices of a gate that mixes, of one group. */
static void make_matrices(const fsm_mixing *m, fsm_gate_pass *gate, const part *p)
{
    const fsm_row *x = fsm_row_at(gate->input.x, row_bytes_of(gate->gate), p->first * gate->gate->hidden);
    gate->gate->kind->mix(gate, p->tokens, x, fsm_real_at(m->dispatch, p->cell), fsm_real_at(m->combine, p->cell));
}

int64_t fsm_mixing_rows(const fsm_mixing *mixing, int64_t n)
{
    return groups_in(n, mixing->group) * mixing->slots;
}

void fsm_mixing_begin(fsm_mixing *m, fsm_gate_pass *gate, int64_t *rows)
{
    const fsm_ops *ops = gate->gate->ops;
    int64_t num_experts = gate->gate->num_experts, groups = groups_of(m, gate);
    m->count = groups * m->columns;
    ops->place.number_slots(ops, m->count, num_experts, m->slots, m->choice, m->row);
    for (int64_t e = 0; e < num_experts; e++) rows[e] = fsm_mixing_rows(m, gate->input.n);
    for (int64_t g = 0; gate->gate->kind->mixes && g < groups; g++) {
        part p = part_of(m, gate, g);
        make_matrices(m, gate, &p);
    }
}

/* ---- a route as matrices ---- */

static fsm_one_hot one_hot_of(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, const part *p)
{
    int64_t first = p->first * gate->gate->choices;
    return (fsm_one_hot){.tokens = p->tokens,
                         .choices = gate->gate->choices,
                         .slots = m->slots,
                         .columns = m->columns,
                         .choice = fsm_index_at(gate->choice, first),
                         .row = fsm_index_at(route->row, first)};
}

typedef enum entries { ZEROS, ONES, WEIGHTS } entries;

/* One-hot rows of a group's tokens; zeros again when they have been used, for the next group. */
static void set_matrix(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, const part *p,
                       entries kind)
{
    const fsm_ops *ops = gate->gate->ops;
    if (!route) return; /* a gate's own matrix stays */
    fsm_one_hot one_hot = one_hot_of(m, gate, route, p);
    const fsm_real *weight = fsm_real_at(gate->weight, p->first * gate->gate->choices);
    ops->place.set_one_hot(ops, &one_hot, kind == WEIGHTS ? weight : NULL, kind == ONES, m->scratch->matrix);
}

static void read_weights(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, const part *p,
                         fsm_real *dweight)
{
    const fsm_ops *ops = gate->gate->ops;
    fsm_one_hot one_hot = one_hot_of(m, gate, route, p);
    ops->place.get_one_hot(ops, &one_hot, m->scratch->d_matrix, fsm_real_at(dweight, p->first * gate->gate->choices));
}

/* ---- products ---- */

/* A group's part of tokens [n, M] of either kind, of slots, of matrices. */
static fsm_matrix tokens_of(const fsm_gate *gate, const part *p, fsm_matrix tokens)
{
    int64_t bytes = tokens.elem == FSM_ELEM_ROW ? row_bytes_of(gate) : FSM_REAL_BYTES;
    tokens.at = (char *)tokens.at + p->first * gate->hidden * bytes;
    return tokens;
}

static fsm_matrix slots_at(const fsm_gate *gate, const part *p, const fsm_row *slots)
{
    return fsm_rows(fsm_row_at(slots, row_bytes_of(gate), p->slot), gate->hidden);
}

static fsm_matrix matrix_at(const fsm_mixing *m, const part *p, const fsm_real *matrix)
{
    return fsm_reals(fsm_real_at(matrix, p->cell), m->columns);
}

/* slots = matrix^T tokens */
static void into_slots(const fsm_mixing *m, const fsm_gate *gate, const part *p, const fsm_real *matrix,
                       fsm_matrix tokens)
{
    gate->ops->gemm(gate->ops, true, false, m->columns, gate->hidden, p->tokens, NULL, matrix_at(m, p, matrix),
                    tokens_of(gate, p, tokens), 0, slots_at(gate, p, m->scratch->slots));
}

/* tokens += matrix slots */
static void from_slots(const fsm_mixing *m, const fsm_gate *gate, const part *p, const fsm_real *matrix,
                       const fsm_row *slots, fsm_real *tokens)
{
    gate->ops->gemm(gate->ops, false, false, p->tokens, gate->hidden, m->columns, NULL, matrix_at(m, p, matrix),
                    slots_at(gate, p, slots), 1, tokens_of(gate, p, fsm_reals(tokens, gate->hidden)));
}

/* d matrix = tokens slots^T */
static void matrix_backward(const fsm_mixing *m, const fsm_gate *gate, const part *p, fsm_matrix tokens,
                            const fsm_row *slots, fsm_real *dmatrix)
{
    gate->ops->gemm(gate->ops, false, true, p->tokens, m->columns, gate->hidden, NULL, tokens_of(gate, p, tokens),
                    slots_at(gate, p, slots), 0, matrix_at(m, p, dmatrix));
}

void fsm_mixing_dispatch(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        set_matrix(m, gate, route, &p, ONES);
        into_slots(m, gate->gate, &p, route ? m->scratch->matrix : m->dispatch,
                   fsm_rows(gate->input.x, gate->gate->hidden));
        set_matrix(m, gate, route, &p, ZEROS);
    }
}

void fsm_mixing_combine(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, fsm_real *y)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        set_matrix(m, gate, route, &p, WEIGHTS);
        from_slots(m, gate->gate, &p, route ? m->scratch->matrix : m->combine, m->out, y);
        set_matrix(m, gate, route, &p, ZEROS);
    }
}

void fsm_mixing_combine_backward(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route,
                                 const fsm_real *dy, fsm_real *dweight)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        set_matrix(m, gate, route, &p, WEIGHTS);
        into_slots(m, gate->gate, &p, route ? m->scratch->matrix : m->combine, fsm_reals(dy, gate->gate->hidden));
        set_matrix(m, gate, route, &p, ZEROS);
        matrix_backward(m, gate->gate, &p, fsm_reals(dy, gate->gate->hidden), m->out,
                        route ? m->scratch->d_matrix : m->grads->d_combine);
        if (route) read_weights(m, gate, route, &p, dweight);
    }
}

void fsm_mixing_dispatch_backward(const fsm_mixing *m, const fsm_gate_pass *gate, const fsm_route *route, fsm_real *dx)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        set_matrix(m, gate, route, &p, ONES);
        from_slots(m, gate->gate, &p, route ? m->scratch->matrix : m->dispatch, m->scratch->slots, dx);
        set_matrix(m, gate, route, &p, ZEROS);
        if (!route)
            matrix_backward(m, gate->gate, &p, fsm_rows(gate->input.x, gate->gate->hidden), m->scratch->slots,
                            m->grads->d_dispatch);
    }
}

void fsm_mixing_gate_backward(const fsm_mixing *m, fsm_gate_pass *gate, fsm_real *dx)
{
    for (int64_t g = 0; g < groups_of(m, gate); g++) {
        part p = part_of(m, gate, g);
        int64_t at = p.first * gate->gate->hidden;
        gate->gate->kind->mix_backward(gate, p.tokens, fsm_row_at(gate->input.x, row_bytes_of(gate->gate), at),
                                       fsm_real_at(m->dispatch, p.cell), fsm_real_at(m->combine, p.cell),
                                       fsm_real_at(m->grads->d_dispatch, p.cell),
                                       fsm_real_at(m->grads->d_combine, p.cell), fsm_real_at(dx, at));
    }
}
