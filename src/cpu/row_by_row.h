/* Products of few rows with a weight, as decoding makes them: what takes time is to read the weight, and a row of the
 * result depends on its own row alone.
 * In:  an instance, rows x and w as linear_forward has them.
 * Out: y. The bits of a row are the same whatever rows are beside it, and whatever the number of threads.
 */
#ifndef FSM_CPU_ROW_BY_ROW_H
#define FSM_CPU_ROW_BY_ROW_H

#include "ops/ops.h"

/* y[n,out] = alpha x[n,in] w[out,in]^T; rows ld_… elements apart. */
void fsm_cpu_multiply_rows(const fsm_ops *self, int64_t n, int64_t out, int64_t in, float alpha, const float *x,
                           int64_t ld_x, const float *w, int64_t ld_w, float *y, int64_t ld_y);

#endif
