/* The slots of fsm_ops_reference by name, so that a backend's table can inherit the ones it does not override.
 * In:  as ops.h says for each slot; nothing is checked.
 * Out: as ops.h says. One thread, scalar loops, sums in double: slow, and obviously right.
 * Files: ref_linear.c, ref_grouped.c, ref_norm.c, ref_attention.c, ref_activation.c, ref_rows.c, ref_softmax.c,
 * ref_vector.c, ref_place.c, ref_route*.c; reference.c is the table.
 */
#ifndef FSM_OPS_REF_H
#define FSM_OPS_REF_H

#include "ops/ops.h"
#include "ops/ref_route.h"

void fsm_ref_destroy(fsm_ops *self);
void fsm_ref_gemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                  const fsm_real *alpha, fsm_matrix a, fsm_matrix b, float beta, fsm_matrix c);
void fsm_ref_row_by_row(fsm_ops *self, bool on);
void fsm_ref_read(const fsm_ops *self, size_t bytes, const void *tensor, void *host);
void fsm_ref_write(const fsm_ops *self, size_t bytes, const void *host, void *tensor);
void fsm_ref_copy(const fsm_ops *self, size_t bytes, const void *from, void *to);
bool fsm_ref_weight_create(const fsm_ops *self, fsm_weight *weight);
size_t fsm_ref_weight_bytes(const fsm_ops *self, int64_t out, int64_t in); /* none */
void fsm_ref_weight_update(const fsm_ops *self, fsm_weight *weight);
void fsm_ref_weight_destroy(const fsm_ops *self, fsm_weight *weight);
void fsm_ref_linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias,
                            fsm_matrix x, fsm_matrix y);
void fsm_ref_linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, fsm_matrix dy, float beta,
                                   fsm_matrix dx);
void fsm_ref_linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_joined *joined,
                                    fsm_matrix dy, fsm_matrix dx);
void fsm_ref_linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy,
                                    fsm_matrix x, fsm_real *dw, fsm_real *dbias);
void fsm_ref_grouped_forward(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix x,
                             fsm_matrix y);
void fsm_ref_grouped_backward_input(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear,
                                    const fsm_joined *joined, fsm_matrix dy, fsm_matrix dx);
void fsm_ref_grouped_backward_weight(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix dy,
                                     fsm_matrix x);

#define FSM_REF_GROUPED_SLOTS                                                                 \
    {                                                                                         \
        .forward = fsm_ref_grouped_forward, .backward_input = fsm_ref_grouped_backward_input, \
        .backward_weight = fsm_ref_grouped_backward_weight                                    \
    }

void fsm_ref_rmsnorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const float *x,
                             const float *gain, float *y, float *rstd);
void fsm_ref_rmsnorm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                              const float *rstd, const float *dy, float *dx, float *dgain);
void fsm_ref_layernorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const float *x,
                               const float *gain, const float *bias, float *y, float *mean, float *rstd);
void fsm_ref_layernorm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                                const float *mean, const float *rstd, const float *dy, float *dx, float *dgain,
                                float *dbias);

void fsm_ref_rope(const fsm_ops *self, int64_t n, int64_t heads, int64_t head_dim, const int32_t *position,
                  const float *cosine, const float *sine, int direction, float *x, int64_t ld);
bool fsm_ref_attention_reserve(fsm_ops *self, const fsm_attention_shape *shape);
size_t fsm_ref_attention_work_bytes(const fsm_ops *self, const fsm_attention_shape *shape);
void fsm_ref_attention_forward(const fsm_ops *self, const fsm_attention_shape *shape, const float *q, const float *k,
                               const float *v, float *o, float *lse);
void fsm_ref_attention_backward(const fsm_ops *self, const fsm_attention_shape *shape, const float *q, const float *k,
                                const float *v, const float *o, const float *lse, const float *do_, float *dq,
                                float *dk, float *dv);

void fsm_ref_gelu_forward(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_ref_gelu_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx);
void fsm_ref_gelu_tanh_forward(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_ref_gelu_tanh_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx);
void fsm_ref_relu_forward(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_ref_relu_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx);
void fsm_ref_relu_squared_forward(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_ref_relu_squared_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx);
void fsm_ref_swiglu_forward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y);
void fsm_ref_swiglu_backward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy,
                             float *dab);
void fsm_ref_geglu_forward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y);
void fsm_ref_geglu_backward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy,
                            float *dab);

void fsm_ref_embedding_forward(const fsm_ops *self, int64_t n, int64_t width, const int32_t *id,
                               const float *token_table, const int32_t *position, const float *position_table,
                               float *y);
void fsm_ref_embedding_backward(const fsm_ops *self, int64_t n, int64_t width, const int32_t *id, const float *dy,
                                float *dtable);
void fsm_ref_gather_rows(const fsm_ops *self, int64_t n, int64_t width, const int32_t *row, const float *x, float *y);
void fsm_ref_combine_rows(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *row,
                          const float *weight, const float *x, float *y);
void fsm_ref_combine_rows_backward(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *from,
                                   const int32_t *to, const float *weight, const float *x, const float *dy, float *dx,
                                   float *dweight);

void fsm_ref_softmax(const fsm_ops *self, int64_t n, int64_t width, const float *x, float *y, float *lse);
void fsm_ref_softmax_backward(const fsm_ops *self, int64_t n, int64_t width, const float *y, const float *dy,
                              float beta, float *dx);
void fsm_ref_softmax_columns(const fsm_ops *self, int64_t n, int64_t width, const float *x, float *y);
void fsm_ref_softmax_columns_backward(const fsm_ops *self, int64_t n, int64_t width, const float *y, const float *dy,
                                      float beta, float *dx);
void fsm_ref_for_rows(const fsm_ops *self, int64_t n, int64_t width, fsm_rows_body *body, void *context);
void fsm_ref_top_k(const fsm_ops *self, int64_t n, int64_t width, int64_t k, const float *x, int32_t *index,
                   float *value);
void fsm_ref_cross_entropy(const fsm_ops *self, int64_t n, int64_t vocab, float *logits, const int32_t *target,
                           float scale, bool gradient, double *loss);

void fsm_ref_add(const fsm_ops *self, int64_t n, const float *x, float *y);
void fsm_ref_scale(const fsm_ops *self, int64_t n, float a, float *y);
void fsm_ref_zero(const fsm_ops *self, int64_t n, float *y);
void fsm_ref_add_bias(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *bias, fsm_real *y);
void fsm_ref_add_bias_backward(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *y, fsm_real *bias);
void fsm_ref_sigmoid(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_real *y);
void fsm_ref_sigmoid_backward(const fsm_ops *self, int64_t n, const fsm_real *y, const fsm_real *dy, fsm_real *dx);
void fsm_ref_count_from(const fsm_ops *self, int64_t n, int64_t first, int64_t period, fsm_index *y);
void fsm_ref_copy_rows(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *x, int64_t ld_x, fsm_row *y,
                       int64_t ld_y);
void fsm_ref_check_finite(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum);
void fsm_ref_zero_sums(const fsm_ops *self, int64_t n, fsm_sum *y);
void fsm_ref_add_sums(const fsm_ops *self, int64_t n, const fsm_sum *x, fsm_sum *y);
void fsm_ref_ratio(const fsm_ops *self, double a, const fsm_sum *x, const fsm_sum *d, double beta, fsm_sum *y);
void fsm_ref_add_to_sums(const fsm_ops *self, int64_t n, double value, fsm_sum *y);
void fsm_ref_zero_rows(const fsm_ops *self, int64_t n, fsm_row *y);
void fsm_ref_sum_squares(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum);
/* What gradients are multiplied by; false: nothing may change. */
bool fsm_adamw_scale(const fsm_adamw *step, float *scale);
void fsm_ref_adamw(const fsm_ops *self, int64_t n, const fsm_adamw *step, const float *g, float *m, float *v, float *p);

void fsm_ref_keep(const fsm_ops *self, const fsm_places *places, const fsm_index *choice, fsm_index *row,
                  fsm_index *filling, fsm_index *dropped);
void fsm_ref_number(const fsm_ops *self, const fsm_places *places, const fsm_index *choice, fsm_index *row,
                    fsm_index *filling, fsm_index *kept);
void fsm_ref_map_source(const fsm_ops *self, const fsm_source_map *map, int64_t n, int64_t k, const fsm_index *choice,
                        const fsm_index *row, int64_t send_total, fsm_index *send_row, fsm_index *token);
void fsm_ref_map_experts(const fsm_ops *self, const fsm_expert_map *map, fsm_index *wire_of_row,
                         fsm_index *row_of_wire);
/* of one expert */
void fsm_ref_map_expert(const fsm_expert_map *map, int64_t expert, fsm_index *wire_of_row, fsm_index *row_of_wire);
void fsm_ref_number_slots(const fsm_ops *self, int64_t count, int64_t num_experts, int64_t slots, fsm_index *choice,
                          fsm_index *row);
void fsm_ref_set_one_hot(const fsm_ops *self, const fsm_one_hot *one_hot, const fsm_real *weight, float value,
                         fsm_real *matrix);
void fsm_ref_get_one_hot(const fsm_ops *self, const fsm_one_hot *one_hot, const fsm_real *matrix, fsm_real *weight);
void fsm_ref_add_counts(const fsm_ops *self, int64_t n, const fsm_index *count, fsm_sum *sum);

#endif
