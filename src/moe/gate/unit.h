/* Vectors of length 1: u = v / max(|v|, 1e-12). n of them, of `size` elements `step` apart, `next` from one to the next. */
#ifndef FSM_MOE_UNIT_H
#define FSM_MOE_UNIT_H

#include "ops/ops.h"

/* length [n] = the guarded |v|; units may be v. */
void fsm_unit_forward(const fsm_ops *ops, int64_t n, int64_t size, int64_t step, int64_t next, const float *v,
                      float *units, float *length);

/* dv = beta dv + (du - u (u . du)) / |v|; a guarded length is a constant. dv may be du, with beta 0. */
void fsm_unit_backward(const fsm_ops *ops, int64_t n, int64_t size, int64_t step, int64_t next, const float *units,
                       const float *length, const float *du, float beta, float *dv);

#endif
