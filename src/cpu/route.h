/* The fast table's slots of routing, by name.
 * In, out: as ops/route.h says for each; self is an fsm_cpu (instance.h). Sums in the order of tokens stay the
 * reference's, or their columns are shared; the rest runs the reference on a thread's tokens: its bits, whatever the
 * threads.
 */
#ifndef FSM_CPU_ROUTE_H
#define FSM_CPU_ROUTE_H

#include "ops/ref.h"

void fsm_cpu_add_columns(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *x, fsm_sum *sum);
void fsm_cpu_fill(const fsm_ops *self, int64_t n, float value, fsm_real *y);
void fsm_cpu_pick(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *x,
                  const fsm_index *choice, fsm_real *y);
void fsm_cpu_choose_by_columns(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t group, int64_t capacity,
                               const fsm_real *x, fsm_index *choice, fsm_real *weight);
void fsm_cpu_choose_modulo(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                           uint64_t first, uint64_t step, fsm_index *choice);
void fsm_cpu_choose_hashed(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                           const fsm_draw *draw, fsm_index *choice);
void fsm_cpu_softmax_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                      const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                      fsm_real *dlogits);
void fsm_cpu_prob_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                                   const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                   fsm_real *dlogits);
void fsm_cpu_sigmoid_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                      const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                      fsm_real *dlogits);
void fsm_cpu_chosen_prob_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *prob,
                                  const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                  fsm_real *dlogits);
void fsm_cpu_losses_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                             const fsm_real *lse, const fsm_sum *share, const fsm_sum *z, fsm_real *dlogits);
void fsm_cpu_z_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *logits,
                        const fsm_real *lse, const fsm_sum *z, fsm_real *dlogits);
void fsm_cpu_add_share(const fsm_ops *self, int64_t n, int64_t k, const fsm_index *choice, const fsm_sum *share,
                       fsm_real *dweight);
void fsm_cpu_normal(const fsm_ops *self, int64_t n, const fsm_draw *draw, fsm_real *x);
void fsm_cpu_noise_forward(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                           fsm_real *logits);
void fsm_cpu_noise_backward(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                            const fsm_real *dlogits, fsm_real *dspread);
void fsm_cpu_jitter_forward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                            const fsm_row *x, fsm_row *y);
void fsm_cpu_jitter_backward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                             const fsm_row *dy, fsm_real *dx);
void fsm_cpu_unit_forward(const fsm_ops *self, const fsm_vectors *vectors, fsm_matrix v, fsm_real *u, fsm_real *length);
void fsm_cpu_unit_backward(const fsm_ops *self, const fsm_vectors *vectors, int64_t ld, const fsm_real *u,
                           const fsm_real *length, const fsm_real *du, float beta, fsm_real *dv);
void fsm_cpu_sigmoid_forward(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_real *y);
void fsm_cpu_sigmoid_backward(const fsm_ops *self, int64_t n, const fsm_real *y, const fsm_real *dy, fsm_real *dx);
void fsm_cpu_group_scores(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *logits,
                          const fsm_real *bias, fsm_real *score, fsm_real *biased, fsm_real *prob, fsm_real *best);
void fsm_cpu_close_groups(const fsm_ops *self, const fsm_group_shape *shape, int64_t top, const fsm_index *open,
                          fsm_real *biased);
void fsm_cpu_group_weights(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                           const fsm_index *choice, fsm_real *weight);
void fsm_cpu_group_backward(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                            const fsm_real *prob, const fsm_index *choice, const fsm_real *dweight,
                            const fsm_sum *share, fsm_real *dlogits);

/* {the slots} */
#define FSM_CPU_ROUTE_SLOTS                                                                                         \
    {                                                                                                               \
        .add_columns = fsm_cpu_add_columns, .add_choices = fsm_ref_add_choices, .add_squares = fsm_ref_add_squares, \
        .fill = fsm_cpu_fill, .pick = fsm_cpu_pick, .choose_by_columns = fsm_cpu_choose_by_columns,                 \
        .choose_modulo = fsm_cpu_choose_modulo, .choose_hashed = fsm_cpu_choose_hashed,                             \
        .softmax_weights_backward = fsm_cpu_softmax_weights_backward,                                               \
        .prob_weights_backward = fsm_cpu_prob_weights_backward,                                                     \
        .sigmoid_weights_backward = fsm_cpu_sigmoid_weights_backward,                                               \
        .chosen_prob_backward = fsm_cpu_chosen_prob_backward, .losses_backward = fsm_cpu_losses_backward,           \
        .z_backward = fsm_cpu_z_backward, .add_share = fsm_cpu_add_share, .product_loss = fsm_ref_product_loss,     \
        .variation_loss = fsm_ref_variation_loss, .normal = fsm_cpu_normal, .noise_forward = fsm_cpu_noise_forward, \
        .noise_backward = fsm_cpu_noise_backward, .jitter_forward = fsm_cpu_jitter_forward,                         \
        .jitter_backward = fsm_cpu_jitter_backward, .unit_forward = fsm_cpu_unit_forward,                           \
        .unit_backward = fsm_cpu_unit_backward, .inverse = fsm_ref_inverse,                                         \
        .temperature_backward = fsm_ref_temperature_backward, .group_scores = fsm_cpu_group_scores,                 \
        .close_groups = fsm_cpu_close_groups, .group_weights = fsm_cpu_group_weights,                               \
        .group_backward = fsm_cpu_group_backward, .move_bias = fsm_ref_move_bias                                    \
    }

#endif
