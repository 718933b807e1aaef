/* The slots of fsm_ops_reference.route by name, so that a backend's table can inherit the ones it does not override,
 * and run the others on a thread's share of tokens.
 * In, out: as route.h says for each slot. One thread, scalar loops. Files: ref_route.c (sums, choices, weights,
 * losses), ref_route_scores.c (noise, directions, groups).
 */
#ifndef FSM_OPS_REF_ROUTE_H
#define FSM_OPS_REF_ROUTE_H

#include "ops/ops.h"

void fsm_ref_add_columns(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *x, fsm_sum *sum);
void fsm_ref_add_choices(const fsm_ops *self, int64_t n, int64_t k, int64_t first, const fsm_index *choice,
                         const fsm_real *weight, double amount, fsm_sum *sum);
void fsm_ref_add_squares(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum);
void fsm_ref_fill(const fsm_ops *self, int64_t n, float value, fsm_real *y);
void fsm_ref_pick(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *x,
                  const fsm_index *choice, fsm_real *y);
void fsm_ref_choose_by_columns(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t group, int64_t capacity,
                               const fsm_real *x, fsm_index *choice, fsm_real *weight);
void fsm_ref_choose_modulo(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                           uint64_t first, uint64_t step, fsm_index *choice);
void fsm_ref_choose_hashed(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                           const fsm_draw *draw, fsm_index *choice);
void fsm_ref_softmax_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                      const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                      fsm_real *dlogits);
void fsm_ref_prob_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                                   const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                   fsm_real *dlogits);
void fsm_ref_sigmoid_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                      const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                      fsm_real *dlogits);
void fsm_ref_chosen_prob_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *prob,
                                  const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                  fsm_real *dlogits);
void fsm_ref_losses_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                             const fsm_real *lse, const fsm_sum *share, const fsm_sum *z, fsm_real *dlogits);
void fsm_ref_z_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *logits,
                        const fsm_real *lse, const fsm_sum *z, fsm_real *dlogits);
void fsm_ref_add_share(const fsm_ops *self, int64_t n, int64_t k, const fsm_index *choice, const fsm_sum *share,
                       fsm_real *dweight);
void fsm_ref_product_loss(const fsm_ops *self, const fsm_balance_sums *sums);
void fsm_ref_variation_loss(const fsm_ops *self, const fsm_balance_sums *sums);
void fsm_ref_normal(const fsm_ops *self, int64_t n, const fsm_draw *draw, fsm_real *x);
void fsm_ref_noise_forward(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                           fsm_real *logits);
void fsm_ref_noise_backward(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                            const fsm_real *dlogits, fsm_real *dspread);
void fsm_ref_jitter_forward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                            const fsm_row *x, fsm_row *y);
void fsm_ref_jitter_backward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                             const fsm_row *dy, fsm_real *dx);
void fsm_ref_unit_forward(const fsm_ops *self, const fsm_vectors *vectors, fsm_matrix v, fsm_real *u, fsm_real *length);
void fsm_ref_unit_backward(const fsm_ops *self, const fsm_vectors *vectors, int64_t ld, const fsm_real *u,
                           const fsm_real *length, const fsm_real *du, float beta, fsm_real *dv);
void fsm_ref_inverse(const fsm_ops *self, int64_t n, float least, const fsm_real *x, fsm_real *y);
void fsm_ref_temperature_backward(const fsm_ops *self, int64_t n, float least, const fsm_real *tau,
                                  const fsm_real *logits, const fsm_real *dlogits, fsm_real *dtau);
void fsm_ref_group_scores(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *logits,
                          const fsm_real *bias, fsm_real *score, fsm_real *biased, fsm_real *prob, fsm_real *best);
void fsm_ref_close_groups(const fsm_ops *self, const fsm_group_shape *shape, int64_t top, const fsm_index *open,
                          fsm_real *biased);
void fsm_ref_group_weights(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                           const fsm_index *choice, fsm_real *weight);
void fsm_ref_group_backward(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                            const fsm_real *prob, const fsm_index *choice, const fsm_real *dweight,
                            const fsm_sum *share, fsm_real *dlogits);
void fsm_ref_move_bias(const fsm_ops *self, int64_t num_experts, double rate, const fsm_sum *chosen, fsm_real *bias);

/* The end of choose_by_columns: choice[i,e] is e where e takes token i, else -1; choice and weight become the
 * slot's. */
void fsm_ref_sort_marked(int64_t n, int64_t num_experts, const fsm_real *x, fsm_index *choice, fsm_real *weight);

/* {the slots} */
#define FSM_REF_ROUTE_SLOTS                                                                                         \
    {                                                                                                               \
        .add_columns = fsm_ref_add_columns, .add_choices = fsm_ref_add_choices, .add_squares = fsm_ref_add_squares, \
        .fill = fsm_ref_fill, .pick = fsm_ref_pick, .choose_by_columns = fsm_ref_choose_by_columns,                 \
        .choose_modulo = fsm_ref_choose_modulo, .choose_hashed = fsm_ref_choose_hashed,                             \
        .softmax_weights_backward = fsm_ref_softmax_weights_backward,                                               \
        .prob_weights_backward = fsm_ref_prob_weights_backward,                                                     \
        .sigmoid_weights_backward = fsm_ref_sigmoid_weights_backward,                                               \
        .chosen_prob_backward = fsm_ref_chosen_prob_backward, .losses_backward = fsm_ref_losses_backward,           \
        .z_backward = fsm_ref_z_backward, .add_share = fsm_ref_add_share, .product_loss = fsm_ref_product_loss,     \
        .variation_loss = fsm_ref_variation_loss, .normal = fsm_ref_normal, .noise_forward = fsm_ref_noise_forward, \
        .noise_backward = fsm_ref_noise_backward, .jitter_forward = fsm_ref_jitter_forward,                         \
        .jitter_backward = fsm_ref_jitter_backward, .unit_forward = fsm_ref_unit_forward,                           \
        .unit_backward = fsm_ref_unit_backward, .inverse = fsm_ref_inverse,                                         \
        .temperature_backward = fsm_ref_temperature_backward, .group_scores = fsm_ref_group_scores,                 \
        .close_groups = fsm_ref_close_groups, .group_weights = fsm_ref_group_weights,                               \
        .group_backward = fsm_ref_group_backward, .move_bias = fsm_ref_move_bias                                    \
    }

#endif
