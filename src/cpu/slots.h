/* The slots that the fast table overrides, by name; cpu.c and canonical.c are the tables.
 * In, out: as ops.h says for each slot; self is an fsm_cpu (instance.h).
 */
#ifndef FSM_CPU_SLOTS_H
#define FSM_CPU_SLOTS_H

#include "cpu/route.h"
#include "ops/ops.h"
#include "ops/ref.h"

void fsm_cpu_destroy(fsm_ops *self);
void fsm_cpu_gemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                  const fsm_real *alpha, fsm_matrix a, fsm_matrix b, float beta, fsm_matrix c);
void fsm_cpu_row_by_row(fsm_ops *self, bool on);
bool fsm_cpu_weight_create(const fsm_ops *self, fsm_weight *weight);
size_t fsm_cpu_weight_bytes(const fsm_ops *self, int64_t out, int64_t in);
void fsm_cpu_weight_update(const fsm_ops *self, fsm_weight *weight);
void fsm_cpu_weight_destroy(const fsm_ops *self, fsm_weight *weight);
void fsm_cpu_linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias,
                            fsm_matrix x, fsm_matrix y);
void fsm_cpu_linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, fsm_matrix dy, float beta,
                                   fsm_matrix dx);
void fsm_cpu_linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_joined *joined,
                                    fsm_matrix dy, fsm_matrix dx);
void fsm_cpu_linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy,
                                    fsm_matrix x, fsm_real *dw, fsm_real *dbias);
void fsm_cpu_grouped_forward(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix x,
                             fsm_matrix y);
void fsm_cpu_grouped_backward_input(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear,
                                    const fsm_joined *joined, fsm_matrix dy, fsm_matrix dx);
void fsm_cpu_grouped_backward_weight(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix dy,
                                     fsm_matrix x);

void fsm_cpu_rmsnorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const float *x,
                             const float *gain, float *y, float *rstd);
void fsm_cpu_rmsnorm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                              const float *rstd, const float *dy, float *dx, float *dgain);
void fsm_cpu_layernorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const float *x,
                               const float *gain, const float *bias, float *y, float *mean, float *rstd);
void fsm_cpu_layernorm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                                const float *mean, const float *rstd, const float *dy, float *dx, float *dgain,
                                float *dbias);

void fsm_cpu_rope(const fsm_ops *self, int64_t n, int64_t heads, int64_t head_dim, const int32_t *position,
                  const float *cosine, const float *sine, int direction, float *x, int64_t ld);
bool fsm_cpu_attention_reserve(fsm_ops *self, const fsm_attention_shape *shape);
size_t fsm_cpu_attention_work_bytes(const fsm_ops *self, const fsm_attention_shape *shape);
void fsm_cpu_attention_forward(const fsm_ops *self, const fsm_attention_shape *shape, const float *q, const float *k,
                               const float *v, float *o, float *lse);
void fsm_cpu_attention_backward(const fsm_ops *self, const fsm_attention_shape *shape, const float *q, const float *k,
                                const float *v, const float *o, const float *lse, const float *do_, float *dq,
                                float *dk, float *dv);

void fsm_cpu_gelu_forward(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_cpu_gelu_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx);
void fsm_cpu_gelu_tanh_forward(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_cpu_gelu_tanh_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx);
void fsm_cpu_relu_forward(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_cpu_relu_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx);
void fsm_cpu_relu_squared_forward(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_cpu_relu_squared_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx);
void fsm_cpu_swiglu_forward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y);
void fsm_cpu_swiglu_backward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy,
                             float *dab);
void fsm_cpu_geglu_forward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y);
void fsm_cpu_geglu_backward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy,
                            float *dab);

void fsm_cpu_embedding_forward(const fsm_ops *self, int64_t n, int64_t width, const int32_t *id,
                               const float *token_table, const int32_t *position, const float *position_table,
                               float *y);
void fsm_cpu_embedding_backward(const fsm_ops *self, int64_t n, int64_t width, const int32_t *id, const float *dy,
                                float *dtable);
void fsm_cpu_gather_rows(const fsm_ops *self, int64_t n, int64_t width, const int32_t *row, const float *x, float *y);
void fsm_cpu_combine_rows(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *row,
                          const float *weight, const float *x, float *y);
void fsm_cpu_combine_rows_backward(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *from,
                                   const int32_t *to, const float *weight, const float *x, const float *dy, float *dx,
                                   float *dweight);

void fsm_cpu_softmax(const fsm_ops *self, int64_t n, int64_t width, const float *x, float *y, float *lse);
void fsm_cpu_softmax_backward(const fsm_ops *self, int64_t n, int64_t width, const float *y, const float *dy,
                              float beta, float *dx);
void fsm_cpu_softmax_columns(const fsm_ops *self, int64_t n, int64_t width, const float *x, float *y);
void fsm_cpu_softmax_columns_backward(const fsm_ops *self, int64_t n, int64_t width, const float *y, const float *dy,
                                      float beta, float *dx);
void fsm_cpu_top_k(const fsm_ops *self, int64_t n, int64_t width, int64_t k, const float *x, int32_t *index,
                   float *value);
void fsm_cpu_for_rows(const fsm_ops *self, int64_t n, int64_t width, fsm_rows_body *body, void *context);
void fsm_cpu_cross_entropy(const fsm_ops *self, int64_t n, int64_t vocab, float *logits, const int32_t *target,
                           float scale, bool gradient, double *loss);

void fsm_cpu_add_bias(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *bias, fsm_real *y);
void fsm_cpu_add_bias_backward(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *y, fsm_real *bias);
void fsm_cpu_check_finite(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum);
void fsm_cpu_add(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_cpu_scale(const fsm_ops *self, int64_t n, float a, float *y);
void fsm_cpu_zero(const fsm_ops *self, int64_t n, float *y);
void fsm_cpu_zero_rows(const fsm_ops *self, int64_t n, fsm_row *y);
void fsm_cpu_sum_squares(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum);
void fsm_cpu_adamw(const fsm_ops *self, int64_t n, const fsm_adamw *step, const float *g, float *m, float *v, float *p);

void fsm_cpu_map_source(const fsm_ops *self, const fsm_source_map *map, int64_t n, int64_t k, const fsm_index *choice,
                        const fsm_index *row, int64_t send_total, fsm_index *send_row, fsm_index *token);
void fsm_cpu_map_experts(const fsm_ops *self, const fsm_expert_map *map, fsm_index *wire_of_row,
                         fsm_index *row_of_wire);
void fsm_cpu_set_one_hot(const fsm_ops *self, const fsm_one_hot *one_hot, const fsm_real *weight, float value,
                         fsm_real *matrix);
void fsm_cpu_get_one_hot(const fsm_ops *self, const fsm_one_hot *one_hot, const fsm_real *matrix, fsm_real *weight);

extern const fsm_ops fsm_cpu_canonical_table;

/* What the tables of cpu.c and canonical.c have in common; fsm_ref_… is inherited from the reference. */
#define FSM_CPU_SHARED_SLOTS                                                                                          \
    .on_host = true, .route = FSM_CPU_ROUTE_SLOTS, .destroy = fsm_cpu_destroy, .read = fsm_ref_read,                  \
    .write = fsm_ref_write, .copy = fsm_ref_copy, .gemm = fsm_cpu_gemm, .row_by_row = fsm_cpu_row_by_row,             \
    .rmsnorm_forward = fsm_cpu_rmsnorm_forward, .layernorm_forward = fsm_cpu_layernorm_forward,                       \
    .layernorm_backward = fsm_cpu_layernorm_backward, .rope = fsm_cpu_rope,                                           \
    .attention_reserve = fsm_cpu_attention_reserve, .attention_work_bytes = fsm_cpu_attention_work_bytes,             \
    .attention_forward = fsm_cpu_attention_forward, .attention_backward = fsm_cpu_attention_backward,                 \
    .gelu_forward = fsm_cpu_gelu_forward, .gelu_backward = fsm_cpu_gelu_backward,                                     \
    .gelu_tanh_forward = fsm_cpu_gelu_tanh_forward, .gelu_tanh_backward = fsm_cpu_gelu_tanh_backward,                 \
    .relu_forward = fsm_cpu_relu_forward, .relu_backward = fsm_cpu_relu_backward,                                     \
    .relu_squared_forward = fsm_cpu_relu_squared_forward, .relu_squared_backward = fsm_cpu_relu_squared_backward,     \
    .swiglu_forward = fsm_cpu_swiglu_forward, .swiglu_backward = fsm_cpu_swiglu_backward,                             \
    .geglu_forward = fsm_cpu_geglu_forward, .geglu_backward = fsm_cpu_geglu_backward,                                 \
    .embedding_forward = fsm_cpu_embedding_forward, .cross_entropy = fsm_cpu_cross_entropy, .add = fsm_cpu_add,       \
    .scale = fsm_cpu_scale, .zero = fsm_cpu_zero, .zero_rows = fsm_cpu_zero_rows, .softmax = fsm_cpu_softmax,         \
    .softmax_backward = fsm_cpu_softmax_backward, .softmax_columns = fsm_cpu_softmax_columns,                         \
    .softmax_columns_backward = fsm_cpu_softmax_columns_backward, .top_k = fsm_cpu_top_k,                             \
    .for_rows = fsm_cpu_for_rows, .gather_rows = fsm_cpu_gather_rows, .combine_rows = fsm_cpu_combine_rows,           \
    .combine_rows_backward = fsm_cpu_combine_rows_backward, .sum_squares = fsm_cpu_sum_squares,                       \
    .add_to_sums = fsm_ref_add_to_sums, .add_bias = fsm_cpu_add_bias, .add_bias_backward = fsm_cpu_add_bias_backward, \
    .sigmoid = fsm_cpu_sigmoid_forward, .sigmoid_backward = fsm_cpu_sigmoid_backward,                                 \
    .count_from = fsm_ref_count_from, .copy_rows = fsm_ref_copy_rows, .check_finite = fsm_cpu_check_finite,           \
    .zero_sums = fsm_ref_zero_sums, .add_sums = fsm_ref_add_sums, .ratio = fsm_ref_ratio, .adamw = fsm_cpu_adamw,     \
    .place = {.keep = fsm_ref_keep,                                                                                   \
              .number = fsm_ref_number,                                                                               \
              .map_source = fsm_cpu_map_source,                                                                       \
              .map_experts = fsm_cpu_map_experts,                                                                     \
              .number_slots = fsm_ref_number_slots,                                                                   \
              .set_one_hot = fsm_cpu_set_one_hot,                                                                     \
              .get_one_hot = fsm_cpu_get_one_hot,                                                                     \
              .add_counts = fsm_ref_add_counts}

#endif
