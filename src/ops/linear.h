/* Linear maps: a weight as products take it, and products of several weights as one call.
 * In:  weights [out, in] with their biases and gradients; runs of rows, one a weight, as many as there are, without
 *      padding.
 * Out: as the slots say. Rows that no run has are untouched. What a backend makes of a whole call is its own affair:
 *      one product after the other, all side by side, one kernel.
 */
#ifndef FSM_OPS_LINEAR_H
#define FSM_OPS_LINEAR_H

#include "ops/tensor.h"

typedef struct fsm_ops fsm_ops;

/* w [out, in], rows `in` apart. `pack` belongs to the backend. */
typedef struct fsm_weight {
    const fsm_real *w;
    int64_t out, in;
    void *pack; /* NULL, or the backend's packed copies, made by weight_create */
} fsm_weight;

typedef struct fsm_linear {
    fsm_weight weight;
    const fsm_real *bias; /* [out] or NULL */
    fsm_real *dw, *dbias; /* [out, in]; [out] or NULL. Added to. */
} fsm_linear;

/* Run i is rows [first[i], end[i]) of the tensors; runs rise. The host's. */
typedef struct fsm_runs {
    int64_t count;
    const int64_t *first, *end;
} fsm_runs;

/* A weight's rows as matrices side by side (Q K V; W1 W3), each of which a layout may split in whole runs of
 * leaf_rows[p]; matrix p has part_rows[p] rows and every one the same number of leaves. Only a table whose sums must
 * not depend on the layout cares. */
enum { FSM_MOST_JOINED = 3 };
typedef struct fsm_joined {
    int parts; /* at most FSM_MOST_JOINED */
    const int64_t *part_rows, *leaf_rows;
} fsm_joined;

/* Weights of one shape, weight i for run i. */
typedef struct fsm_grouped_ops {
    /* y = x w_i^T + bias_i */
    void (*forward)(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix x, fsm_matrix y);
    /* dx = dy w_i; joined NULL: one matrix */
    void (*backward_input)(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear,
                           const fsm_joined *joined, fsm_matrix dy, fsm_matrix dx);
    /* dw_i += dy^T x;  dbias_i += column sums of dy */
    void (*backward_weight)(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix dy,
                            fsm_matrix x);
} fsm_grouped_ops;

static inline int64_t fsm_runs_rows(const fsm_runs *runs)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < runs->count; i++) rows += runs->end[i] - runs->first[i];
    return rows;
}

/* Rows from run i on that follow each other, for what does not care whose they are; returns the run after them. */
static inline int64_t fsm_runs_join(const fsm_runs *runs, int64_t i, int64_t *first, int64_t *rows)
{
    int64_t end = runs->end[i];
    *first = runs->first[i];
    for (i++; i < runs->count && runs->first[i] == end; i++) end = runs->end[i];
    *rows = end - *first;
    return i;
}

#endif
