/* Products of rows of bf16 that the processor multiplies itself, and the library by it: bf16_matmul_onednn.c.
 * In:  dense rows, [n, in] and [n, out]; weights of floats, of which bf16 copies are kept that are renewed once a step.
 * Out: sums in fp32, rounded once where the result is rows.
 * Copies stand in weight->pack, and what runs them in the instance, once for all weights of a shape.
 */
#ifndef FSM_CPU_BF16_MATMUL_H
#define FSM_CPU_BF16_MATMUL_H

#include "cpu/instance.h"

typedef struct fsm_bf16_matmul fsm_bf16_matmul;

/* Whether this processor has arithmetic of bf16 (AVX512_BF16, AMX). Emulated it would be slower than fp32. */
bool fsm_cpu_multiplies_bf16(void);

/* rows_are_float: rows are floats as they are, which every processor multiplies: for tests. NULL: out of memory, or
 * there is no such library. */
fsm_bf16_matmul *fsm_bf16_matmul_create(bool rows_are_float);
void fsm_bf16_matmul_destroy(fsm_bf16_matmul *matmul);

/* As the slots of weights in ops.h; `self` gives the threads. */
bool fsm_bf16_weight_create(const fsm_ops *self, fsm_bf16_matmul *matmul, fsm_weight *weight);
size_t fsm_bf16_weight_bytes(const fsm_bf16_matmul *matmul, int64_t out, int64_t in);
void fsm_bf16_weight_update(const fsm_ops *self, fsm_weight *weight);
void fsm_bf16_weight_destroy(fsm_weight *weight);

/* y [n, out] = x w^T;  dx [n, in] = dy w; of the results' elements. False: not computed. */
bool fsm_bf16_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const void *x, fsm_elem elem, void *y);
bool fsm_bf16_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, const void *dy, fsm_elem elem,
                             void *dx);

/* Whether a weight of that shape has copies, or had. */
bool fsm_bf16_has_shape(const fsm_bf16_matmul *matmul, int64_t out, int64_t in);

/* dw [out, in] += dy^T x, of such a shape. */
void fsm_bf16_backward_weight(const fsm_ops *self, fsm_bf16_matmul *matmul, int64_t n, int64_t out, int64_t in,
                              const void *dy, const void *x, float *dw);

#endif
