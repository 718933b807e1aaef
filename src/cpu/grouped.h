/* Products of a layer's experts, each over its own run of rows, as one call: what a slot "grouped linear" will be on the CPU.
 * In:  for each expert its rows [begin, end) of the arrays and its weight; as many rows as there are, without padding.
 * Out: as fsm_cpu_linear_… of each expert; rows that no expert has are untouched.
 * Two ways. In turn: expert after expert, each product on all threads, the bits of the single calls. Side by side: one
 * parallel region in which every thread has an equal share of the work, whole experts and parts of at most two; each
 * product is one thread's. Either is deterministic for a number of threads; they may differ in the last bits.
 */
#ifndef FSM_CPU_GROUPED_H
#define FSM_CPU_GROUPED_H

#include "ops/ops.h"

typedef struct fsm_row_range {
    int64_t begin, end;
} fsm_row_range;

typedef enum fsm_grouped_way {
    FSM_GROUPED_IN_TURN,
    FSM_GROUPED_SIDE_BY_SIDE, /* packed copies are not used, and operands are not copied for speed */
} fsm_grouped_way;

/* y[rows of e] = x[rows of e] weight[e]^T for e < count; rows of x `ld_x`, of y `ld_y` apart. All weights have one shape. */
void fsm_cpu_linear_grouped_forward(const fsm_ops *self, fsm_grouped_way way, int count, const fsm_row_range *rows,
                                    const fsm_weight *const *weight, const float *x, int64_t ld_x, float *y,
                                    int64_t ld_y);

/* dx[rows of e] = dy[rows of e] weight[e] */
void fsm_cpu_linear_grouped_backward_input(const fsm_ops *self, fsm_grouped_way way, int count,
                                           const fsm_row_range *rows, const fsm_weight *const *weight, const float *dy,
                                           int64_t ld_dy, float *dx, int64_t ld_dx);

/* dw[e] [out, in] += dy[rows of e]^T x[rows of e] */
void fsm_cpu_linear_grouped_backward_weight(const fsm_ops *self, fsm_grouped_way way, int count,
                                            const fsm_row_range *rows, int64_t out, int64_t in, const float *dy,
                                            int64_t ld_dy, const float *x, int64_t ld_x, float *const *dw);

#endif
