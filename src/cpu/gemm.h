/* Matrix products of the fast table: gemm_onednn.c or gemm_cblas.c, whichever library the build chose.
 * In:  as the slots of ops.h; a weight's packed copies, where the library has a better layout for few rows.
 * Out: fsm_cpu_sgemm, what the slots are made of; for linear.c, products of the leading rows by the packed copies.
 * Inside an OpenMP parallel region fsm_cpu_sgemm runs on the calling thread alone.
 */
#ifndef FSM_CPU_GEMM_H
#define FSM_CPU_GEMM_H

#include "cpu/instance.h"

/* Memory for copies of a product's operands where that is faster on this processor; without it nothing is copied, and
 * results are the same. Who destroys the instance frees `spread`. */
void fsm_cpu_gemm_reserve(fsm_cpu *cpu);

/* C[m,n] = alpha op(A) op(B) + beta C, as the slot `gemm` says. */
void fsm_cpu_sgemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* y += bias in every row; sum [columns] += the rows of x. On the calling thread. */
void fsm_cpu_add_bias_rows(int64_t n, int64_t out, const float *bias, float *y, int64_t ld_y);
void fsm_cpu_add_column_sums(int64_t n, int64_t columns, const float *x, int64_t ld_x, float *sum);

/* y = x w^T of the first rows; returns how many rows it did (0 without packed copies). x [n, in] and y [n, out] must be
 * dense. One call at a time a weight. */
int64_t fsm_cpu_packed_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *x, float *y);

/* dx = dy w likewise; dy [n, out], dx [n, in]. */
int64_t fsm_cpu_packed_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *dy,
                                      float *dx);

/* source times the weight, transposed unless backward, for the first rows that this way has kernels for; returns how
 * many those are (0: the way is not there). Dense rows. */
int64_t fsm_cpu_multiply(const fsm_ops *self, fsm_product_way way, bool backward, int64_t n, const fsm_weight *weight,
                         const float *source, float *result);

/* weight_create of all that some ways need (bits 1 << way). */
bool fsm_cpu_weight_create_ways(const fsm_ops *self, fsm_weight *weight, unsigned ways);

/* weight_create that packs even where the library's best layout is the plain one, for tests on machines where it is. */
bool fsm_cpu_weight_create_forced(const fsm_ops *self, fsm_weight *weight);

#endif
