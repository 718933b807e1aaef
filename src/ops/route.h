/* Routing as operations: what lies between a gate's products and the rows that travel. Part of a table (ops.h,
 * `route`).
 * In:  the instance (`self`); scores, choices and weights of n tokens; counters of random numbers; sums.
 * Out: as each slot says. The rules of ops.h hold: nothing is allocated, "+=" accumulates, others overwrite, no
 *      aliasing unless said, any n may be 0, ids of choices below 0 are none.
 * Sums over tokens are made in the order of tokens, so that every table and number of threads gives the same bits; what
 * a slot computes in float or double is part of what it promises, too.
 * Letters: n tokens, E experts, k choices a token, M width, G groups of experts.
 */
#ifndef FSM_OPS_ROUTE_H
#define FSM_OPS_ROUTE_H

#include "ops/tensor.h"

#include <stdbool.h>

typedef struct fsm_ops fsm_ops;

/* A run of random numbers (base/rng.h): number i of a call is number first + i of the stream. */
typedef struct fsm_draw {
    uint64_t seed;
    uint32_t stream;
    uint64_t first;
} fsm_draw;

/* Vectors in a matrix: n of `size` elements, which are its rows, or its columns. */
typedef struct fsm_vectors {
    int64_t n, size;
    bool columns;
} fsm_vectors;

/* DeepSeek-V3's scores (DeepSeek-AI 2024), experts in `groups` of equally many that stand together. */
typedef struct fsm_group_shape {
    int64_t n, experts, groups, choices;
    double scale; /* routed_scaling_factor; weights are made with it as a float */
} fsm_group_shape;

/* Sums of a balance loss and where it goes: *loss += loss_scale loss; dshare, dload [E] = grad_scale times its
 * derivatives. */
typedef struct fsm_balance_sums {
    int64_t experts;
    const fsm_sum *load, *share; /* [E] */
    const fsm_sum *tokens;       /* [1]; 0 counts as 1 */
    double loss_scale, grad_scale;
    fsm_sum *loss, *dshare, *dload;
} fsm_balance_sums;

typedef struct fsm_route_ops {
    /* ---- sums over tokens ---- */

    /* sum[e] += sum over i of x[i,e];  x [n, E] */
    void (*add_columns)(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *x, fsm_sum *sum);
    /* sum[choice[i,j]] += weight ? weight[i,j] : amount, of the first `first` <= k choices of each token */
    void (*add_choices)(const fsm_ops *self, int64_t n, int64_t k, int64_t first, const fsm_index *choice,
                        const fsm_real *weight, double amount, fsm_sum *sum);
    /* *sum += sum of x[i]^2 */
    void (*add_squares)(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum);

    /* ---- choices and weights ---- */

    /* y[i] = value */
    void (*fill)(const fsm_ops *self, int64_t n, float value, fsm_real *y);
    /* y[i,j] = x[i, choice[i,j]], 0 where there is no choice;  x [n, E], y [n, k] */
    void (*pick)(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *x,
                 const fsm_index *choice, fsm_real *y);
    /* Expert choice (Zhou et al. 2022): of every `group` tokens each expert takes the `capacity` with its largest x [n,
     * E], ties to the earlier token (all, where they are no more). choice, weight [n, E]: a token's experts by falling
     * x, ties to the lower expert; then -1 and 0. */
    void (*choose_by_columns)(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t group, int64_t capacity,
                              const fsm_real *x, fsm_index *choice, fsm_real *weight);
    /* choice[i,j] = (step m_i + j) mod E, m_i = id ? id[i] : first + i (Roller et al. 2021, hash layers; round
     * robin) */
    void (*choose_modulo)(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                          uint64_t first, uint64_t step, fsm_index *choice);
    /* The same by a random table: m_i becomes the upper 63 bits of that number of draw's stream; step is 1. */
    void (*choose_hashed)(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                          const fsm_draw *draw, fsm_index *choice);

    /* dlogits [n, E] += what the combine weights' gradients send back. Every token has all of its k choices. */
    /* weight = softmax over the k chosen logits: dlogits[choice_j] += w_j (dw_j - sum of w dw), the sum in float */
    void (*softmax_weights_backward)(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                     const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                     fsm_real *dlogits);
    /* k = 1, weight = softmax over all experts, prob [n, E], of the one chosen: dlogits_e += dw w ([e chosen] -
     * prob_e) */
    void (*prob_weights_backward)(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                                  const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                  fsm_real *dlogits);
    /* weight = sigmoid of the chosen logits: dlogits[choice_j] += dw_j w_j (1 - w_j) */
    void (*sigmoid_weights_backward)(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                     const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                     fsm_real *dlogits);
    /* weight = prob of each chosen, k <= E choices that end at the first -1: dlogits_e += [e chosen] w dw - prob_e sum
     * of w dw */
    void (*chosen_prob_backward)(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *prob,
                                 const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                 fsm_real *dlogits);

    /* ---- losses ---- */

    /* dlogits = p_e (share_e - sum of p share + z lse_i): softmax backward of `share` [E], the same for every token,
     * and the z-loss (Zoph et al. 2022). share, z [1] may be NULL: 0. */
    void (*losses_backward)(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                            const fsm_real *lse, const fsm_sum *share, const fsm_sum *z, fsm_real *dlogits);
    /* dlogits = z lse_i exp(logit_e - lse_i): the z-loss alone, where prob is no softmax of the logits */
    void (*z_backward)(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *logits, const fsm_real *lse,
                       const fsm_sum *z, fsm_real *dlogits);
    /* dweight[i,j] += share[choice[i,j]], rounded to float first */
    void (*add_share)(const fsm_ops *self, int64_t n, int64_t k, const fsm_index *choice, const fsm_sum *share,
                      fsm_real *dweight);
    /* GShard's loss E sum of load share / tokens^2 (Lepikhin et al. 2020); load is a count, dload = 0 */
    void (*product_loss)(const fsm_ops *self, const fsm_balance_sums *sums);
    /* CV^2(share) + CV^2(load), variance over squared mean, 0 where the mean is 0 (Shazeer et al. 2017) */
    void (*variation_loss)(const fsm_ops *self, const fsm_balance_sums *sums);

    /* ---- noise ---- */

    /* x[i] = N(0, 1) number first + i */
    void (*normal)(const fsm_ops *self, int64_t n, const fsm_draw *draw, fsm_real *x);
    /* logits += drawn softplus(spread), of n elements (Shazeer et al. 2017) */
    void (*noise_forward)(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                          fsm_real *logits);
    /* dspread += dlogits drawn sigmoid(spread) */
    void (*noise_backward)(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                           const fsm_real *dlogits, fsm_real *dspread);
    /* y[i,m] = x[i,m] (1 + most (2 u - 1)), u uniform (Fedus et al. 2021): four neighbours of a token share a counter,
     * so token i's are ceil(M/4) ones from ceil(M/4) (first + i) on */
    void (*jitter_forward)(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                           const fsm_row *x, fsm_row *y);
    /* dx[i,m] += dy[i,m] (1 + most (2 u - 1)) */
    void (*jitter_backward)(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                            const fsm_row *dy, fsm_real *dx);

    /* ---- directions (Chi et al. 2022, X-MoE; Puigcerver et al. 2023, SoftMoE) ---- */

    /* u = v / |v|, length [n] = max(|v|, 1e-12) that is divided by. u lies as v does (v.ld), and may be v. */
    void (*unit_forward)(const fsm_ops *self, const fsm_vectors *vectors, fsm_matrix v, fsm_real *u, fsm_real *length);
    /* dv = beta dv + (du - u (u . du)) / |v|, beta 0 or 1; a guarded length is a constant. All are `ld` apart; dv may
     * be du where beta is 0. */
    void (*unit_backward)(const fsm_ops *self, const fsm_vectors *vectors, int64_t ld, const fsm_real *u,
                          const fsm_real *length, const fsm_real *du, float beta, fsm_real *dv);
    /* y[i] = 1 / max(x[i], least) */
    void (*inverse)(const fsm_ops *self, int64_t n, float least, const fsm_real *x, fsm_real *y);
    /* Of logits = cos / max(tau, least), n elements: *dtau -= sum of dlogits logits / tau, and nothing where tau <=
     * least */
    void (*temperature_backward)(const fsm_ops *self, int64_t n, float least, const fsm_real *tau,
                                 const fsm_real *logits, const fsm_real *dlogits, fsm_real *dtau);

    /* ---- groups of experts (DeepSeek-AI 2024) ---- */

    /* score = sigmoid(logits), biased = score + bias [E], prob = score / (1e-20 + sum of score), all [n, E];
     * best [n, G] = the sum of the group's two largest biased, or the only one */
    void (*group_scores)(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *logits,
                         const fsm_real *bias, fsm_real *score, fsm_real *biased, fsm_real *prob, fsm_real *best);
    /* biased = -infinity in all groups but the token's `top` open ones;  open [n, top] */
    void (*close_groups)(const fsm_ops *self, const fsm_group_shape *shape, int64_t top, const fsm_index *open,
                         fsm_real *biased);
    /* weight_j = scale score_j / (1e-20 + sum over the chosen) */
    void (*group_weights)(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                          const fsm_index *choice, fsm_real *weight);
    /* dlogits += (through prob, where share [E] is not NULL, and through the weights) times score (1 - score) */
    void (*group_backward)(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                           const fsm_real *prob, const fsm_index *choice, const fsm_real *dweight, const fsm_sum *share,
                           fsm_real *dlogits);
    /* bias_e += rate sign(mean of chosen - chosen_e) */
    void (*move_bias)(const fsm_ops *self, int64_t num_experts, double rate, const fsm_sum *chosen, fsm_real *bias);
} fsm_route_ops;

#endif
