/* Routing: sums over tokens, choices, combine weights and losses. */
#include "base/rng.h"
#include "ops/ref.h"

#include <math.h>

/* ---- sums over tokens ---- */

void fsm_ref_add_columns(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *x, fsm_sum *sum)
{
    (void)self;
    for (int64_t i = 0; i < n; i++)
        for (int64_t e = 0; e < num_experts; e++) sum[e] += x[i * num_experts + e];
}

void fsm_ref_add_choices(const fsm_ops *self, int64_t n, int64_t k, int64_t first, const fsm_index *choice,
                         const fsm_real *weight, double amount, fsm_sum *sum)
{
    (void)self;
    for (int64_t i = 0; i < n; i++)
        for (int64_t at = i * k; at < i * k + first; at++)
            if (choice[at] >= 0) sum[choice[at]] += weight ? weight[at] : amount;
}

void fsm_ref_add_squares(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) *sum += (double)x[i] * x[i];
}

/* ---- choices and weights ---- */

void fsm_ref_fill(const fsm_ops *self, int64_t n, float value, fsm_real *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] = value;
}

void fsm_ref_pick(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *x,
                  const fsm_index *choice, fsm_real *y)
{
    (void)self;
    for (int64_t at = 0; at < n * k; at++) y[at] = choice[at] < 0 ? 0 : x[at / k * num_experts + choice[at]];
}

/* The token with the largest of a column that has not chosen e yet. */
static int64_t best_left(int64_t tokens, int64_t num_experts, int64_t e, const fsm_real *x, const fsm_index *choice)
{
    int64_t best = -1;
    for (int64_t at = e; at < tokens * num_experts; at += num_experts)
        if (choice[at] < 0 && (best < 0 || x[at] > x[best])) best = at;
    return best;
}

void fsm_ref_sort_marked(int64_t n, int64_t num_experts, const fsm_real *x, fsm_index *choice, fsm_real *weight)
{
    for (int64_t i = 0; i < n; i++, x += num_experts, choice += num_experts, weight += num_experts) {
        int64_t count = 0;
        for (int64_t e = 0; e < num_experts; e++) {
            if (choice[e] < 0) continue;
            int64_t at = count++; /* <= e: what is overwritten has been read */
            for (; at > 0 && weight[at - 1] < x[e]; at--) {
                weight[at] = weight[at - 1];
                choice[at] = choice[at - 1];
            }
            weight[at] = x[e];
            choice[at] = (fsm_index)e;
        }
        for (int64_t at = count; at < num_experts; at++) {
            weight[at] = 0;
            choice[at] = -1;
        }
    }
}

/* First choice[i,e] is e where e takes token i. */
void fsm_ref_choose_by_columns(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t group, int64_t capacity,
                               const fsm_real *x, fsm_index *choice, fsm_real *weight)
{
    (void)self;
    for (int64_t at = 0; at < n * num_experts; at++) choice[at] = -1;
    for (int64_t first = 0; first < n; first += group) {
        int64_t tokens = first + group < n ? group : n - first, begin = first * num_experts;
        for (int64_t e = 0; e < num_experts; e++)
            for (int64_t t = 0; t < capacity && t < tokens; t++)
                choice[begin + best_left(tokens, num_experts, e, x + begin, choice + begin)] = (fsm_index)e;
    }
    fsm_ref_sort_marked(n, num_experts, x, choice, weight);
}

/* Experts m, m + 1, … */
static void choose_from(uint64_t m, int64_t num_experts, int64_t k, fsm_index *choice)
{
    for (int64_t j = 0; j < k; j++) choice[j] = (fsm_index)((m + (uint64_t)j) % (uint64_t)num_experts);
}

void fsm_ref_choose_modulo(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                           uint64_t first, uint64_t step, fsm_index *choice)
{
    (void)self;
    for (int64_t i = 0; i < n; i++)
        choose_from(step * (id ? (uint64_t)id[i] : first + (uint64_t)i), num_experts, k, choice + i * k);
}

void fsm_ref_choose_hashed(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                           const fsm_draw *draw, fsm_index *choice)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) {
        uint64_t m = id ? (uint64_t)id[i] : draw->first + (uint64_t)i;
        choose_from(fsm_rng_bits(draw->seed, draw->stream, m) >> 1, num_experts, k, choice + i * k);
    }
}

void fsm_ref_softmax_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                      const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                      fsm_real *dlogits)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, choice += k, weight += k, dweight += k, dlogits += num_experts) {
        float mean = 0;
        for (int64_t j = 0; j < k; j++) mean += weight[j] * dweight[j];
        for (int64_t j = 0; j < k; j++) dlogits[choice[j]] += weight[j] * (dweight[j] - mean);
    }
}

void fsm_ref_prob_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                                   const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                   fsm_real *dlogits)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, prob += num_experts, dlogits += num_experts) {
        float g = dweight[i] * weight[i];
        for (int64_t e = 0; e < num_experts; e++) dlogits[e] -= g * prob[e];
        dlogits[choice[i]] += g;
    }
}

void fsm_ref_sigmoid_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                      const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                      fsm_real *dlogits)
{
    (void)self;
    for (int64_t at = 0; at < n * k; at++) {
        float w = weight[at];
        dlogits[at / k * num_experts + choice[at]] += dweight[at] * w * (1 - w);
    }
}

void fsm_ref_chosen_prob_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *prob,
                                  const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                  fsm_real *dlogits)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, choice += k, weight += k, dweight += k) {
        float mean = 0;
        for (int64_t j = 0; j < k && choice[j] >= 0; j++) mean += weight[j] * dweight[j];
        for (int64_t j = 0; j < k && choice[j] >= 0; j++)
            dlogits[i * num_experts + choice[j]] += weight[j] * dweight[j];
        for (int64_t e = i * num_experts; e < (i + 1) * num_experts; e++) dlogits[e] -= prob[e] * mean;
    }
}

/* ---- losses ---- */

void fsm_ref_losses_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                             const fsm_real *lse, const fsm_sum *share, const fsm_sum *z, fsm_real *dlogits)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, prob += num_experts, dlogits += num_experts) {
        double mean = 0, of_lse = z ? *z * lse[i] : 0;
        for (int64_t e = 0; share && e < num_experts; e++) mean += prob[e] * share[e];
        for (int64_t e = 0; e < num_experts; e++)
            dlogits[e] = (float)(prob[e] * ((share ? share[e] : 0) - mean + of_lse));
    }
}

void fsm_ref_z_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *logits,
                        const fsm_real *lse, const fsm_sum *z, fsm_real *dlogits)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) {
        const float of_lse = z ? (float)(*z * lse[i]) : 0;
        for (int64_t e = i * num_experts; e < (i + 1) * num_experts; e++)
            dlogits[e] = of_lse == 0 ? 0 : of_lse * expf(logits[e] - lse[i]);
    }
}

void fsm_ref_add_share(const fsm_ops *self, int64_t n, int64_t k, const fsm_index *choice, const fsm_sum *share,
                       fsm_real *dweight)
{
    (void)self;
    for (int64_t at = 0; at < n * k; at++)
        if (choice[at] >= 0) dweight[at] += (float)share[choice[at]];
}

static double tokens_of(const fsm_sum *tokens)
{
    return *tokens > 0 ? *tokens : 1;
}

void fsm_ref_product_loss(const fsm_ops *self, const fsm_balance_sums *s)
{
    double product = 0, tokens = tokens_of(s->tokens), experts = (double)s->experts;
    (void)self;
    for (int64_t e = 0; e < s->experts; e++) product += s->load[e] * s->share[e];
    *s->loss += s->loss_scale * (experts * product / (tokens * tokens));
    for (int64_t e = 0; e < s->experts; e++) {
        s->dshare[e] = s->grad_scale * experts * s->load[e] / (tokens * tokens);
        s->dload[e] = 0;
    }
}

/* Variance over squared mean of n values, and scale times its derivatives. */
static double squared_variation(int64_t n, const fsm_sum *x, double scale, fsm_sum *dx)
{
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++)
        dx[i] =
            mean > 0 ? scale * 2 / (double)n * ((x[i] - mean) / (mean * mean) - variance / (mean * mean * mean)) : 0;
    return mean > 0 ? variance / (mean * mean) : 0;
}

void fsm_ref_variation_loss(const fsm_ops *self, const fsm_balance_sums *s)
{
    (void)self;
    double of_share = squared_variation(s->experts, s->share, s->grad_scale, s->dshare);
    *s->loss += s->loss_scale * (of_share + squared_variation(s->experts, s->load, s->grad_scale, s->dload));
}
