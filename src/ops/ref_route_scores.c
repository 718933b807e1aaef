/* Routing: noise, directions and groups of experts: what gates' scores are made of. */
#include "base/rng.h"
#include "base/sigmoid.h"
#include "ops/ref.h"

#include <math.h>

/* ---- noise ---- */

void fsm_ref_normal(const fsm_ops *self, int64_t n, const fsm_draw *draw, fsm_real *x)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) x[i] = (float)fsm_rng_normal(draw->seed, draw->stream, draw->first + (uint64_t)i);
}

void fsm_ref_noise_forward(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                           fsm_real *logits)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) logits[i] += drawn[i] * fsm_softplus(spread[i]);
}

void fsm_ref_noise_backward(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                            const fsm_real *dlogits, fsm_real *dspread)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) dspread[i] += dlogits[i] * drawn[i] * fsm_sigmoid(spread[i]);
}

enum { SHARE = 4 }; /* neighbours that have their number from one counter */

/* What elements [SHARE block, SHARE block + SHARE) of the i-th token are multiplied by. */
static void draw_jitter(int64_t i, int64_t width, int64_t block, float most, const fsm_draw *draw, float factor[SHARE])
{
    uint64_t blocks = (uint64_t)(width + SHARE - 1) / SHARE;
    fsm_rng_uniform_four(draw->seed, draw->stream, (draw->first + (uint64_t)i) * blocks + (uint64_t)block, factor);
    for (int m = 0; m < SHARE; m++) factor[m] = 1 + most * (2 * factor[m] - 1);
}

void fsm_ref_jitter_forward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                            const fsm_row *x, fsm_row *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, x += width, y += width) {
        float factor[SHARE];
        for (int64_t m = 0; m < width; m++) {
            if (m % SHARE == 0) draw_jitter(i, width, m / SHARE, most, draw, factor);
            y[m] = x[m] * factor[m % SHARE];
        }
    }
}

void fsm_ref_jitter_backward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                             const fsm_row *dy, fsm_real *dx)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, dy += width, dx += width) {
        float factor[SHARE];
        for (int64_t m = 0; m < width; m++) {
            if (m % SHARE == 0) draw_jitter(i, width, m / SHARE, most, draw, factor);
            dx[m] += dy[m] * factor[m % SHARE];
        }
    }
}

/* ---- directions ---- */

static const float LEAST_LENGTH = 1e-12f;

/* Elements from one vector to the next, and from one element of a vector to the next. */
static int64_t next_of(const fsm_vectors *vectors, int64_t ld)
{
    return vectors->columns ? 1 : ld;
}

static int64_t step_of(const fsm_vectors *vectors, int64_t ld)
{
    return vectors->columns ? ld : 1;
}

void fsm_ref_unit_forward(const fsm_ops *self, const fsm_vectors *vectors, fsm_matrix matrix, fsm_real *u,
                          fsm_real *length)
{
    int64_t next = next_of(vectors, matrix.ld), step = step_of(vectors, matrix.ld);
    const float *v = matrix.at;
    (void)self;
    for (int64_t i = 0; i < vectors->n; i++) {
        double sum = 0;
        int64_t begin = i * next, end = begin + vectors->size * step;
        for (int64_t p = begin; p < end; p += step) sum += (double)v[p] * v[p];
        length[i] = fmaxf((float)sqrt(sum), LEAST_LENGTH);
        for (int64_t p = begin; p < end; p += step) u[p] = v[p] / length[i];
    }
}

void fsm_ref_unit_backward(const fsm_ops *self, const fsm_vectors *vectors, int64_t ld, const fsm_real *u,
                           const fsm_real *length, const fsm_real *du, float beta, fsm_real *dv)
{
    int64_t next = next_of(vectors, ld), step = step_of(vectors, ld);
    (void)self;
    for (int64_t i = 0; i < vectors->n; i++) {
        double along = 0;
        int64_t begin = i * next, end = begin + vectors->size * step;
        for (int64_t p = begin; p < end && length[i] > LEAST_LENGTH; p += step) along += (double)u[p] * du[p];
        for (int64_t p = begin; p < end; p += step) {
            float d = (du[p] - u[p] * (float)along) / length[i];
            dv[p] = beta == 0 ? d : beta * dv[p] + d;
        }
    }
}

void fsm_ref_inverse(const fsm_ops *self, int64_t n, float least, const fsm_real *x, fsm_real *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] = 1 / fmaxf(x[i], least);
}

void fsm_ref_temperature_backward(const fsm_ops *self, int64_t n, float least, const fsm_real *tau,
                                  const fsm_real *logits, const fsm_real *dlogits, fsm_real *dtau)
{
    double sum = 0;
    (void)self;
    if (*tau <= least) return;
    for (int64_t i = 0; i < n; i++) sum += (double)dlogits[i] * logits[i];
    *dtau -= (float)(sum / *tau);
}

/* ---- groups of experts ---- */

static const float LEAST_SUM = 1e-20f; /* of scores that are divided by: all of them may be 0 */

/* The sum of the two largest of n values, or the only one. */
static float two_best(const fsm_real *values, int64_t n)
{
    float first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (values[i] > first) {
            second = first;
            first = values[i];
        } else if (values[i] > second) {
            second = values[i];
        }
    }
    return n > 1 ? first + second : first;
}

void fsm_ref_group_scores(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *logits,
                          const fsm_real *bias, fsm_real *score, fsm_real *biased, fsm_real *prob, fsm_real *best)
{
    int64_t experts = shape->experts, size = experts / shape->groups;
    (void)self;
    for (int64_t i = 0; i < shape->n; i++) {
        int64_t at = i * experts;
        float sum = LEAST_SUM;
        for (int64_t e = 0; e < experts; e++) {
            score[at + e] = fsm_sigmoid(logits[at + e]);
            biased[at + e] = score[at + e] + bias[e];
            sum += score[at + e];
        }
        for (int64_t e = 0; e < experts; e++) prob[at + e] = score[at + e] / sum;
        for (int64_t g = 0; g < shape->groups; g++)
            best[i * shape->groups + g] = two_best(biased + at + g * size, size);
    }
}

void fsm_ref_close_groups(const fsm_ops *self, const fsm_group_shape *shape, int64_t top, const fsm_index *open,
                          fsm_real *biased)
{
    int64_t experts = shape->experts, size = experts / shape->groups;
    (void)self;
    for (int64_t at = 0; at < shape->n * experts; at++) {
        int64_t i = at / experts, group = at % experts / size;
        bool is_open = false;
        for (int64_t j = i * top; j < (i + 1) * top; j++) is_open |= open[j] == group;
        if (!is_open) biased[at] = -INFINITY;
    }
}

void fsm_ref_group_weights(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                           const fsm_index *choice, fsm_real *weight)
{
    int64_t k = shape->choices;
    (void)self;
    for (int64_t i = 0; i < shape->n; i++, score += shape->experts, choice += k, weight += k) {
        float sum = LEAST_SUM;
        for (int64_t j = 0; j < k; j++) sum += score[choice[j]];
        for (int64_t j = 0; j < k; j++) weight[j] = (float)shape->scale * score[choice[j]] / sum;
    }
}

/* One token's. */
static void share_backward(int64_t experts, const fsm_real *score, const fsm_real *prob, const fsm_sum *share,
                           fsm_real *dlogits)
{
    double all = LEAST_SUM, mean = 0;
    for (int64_t e = 0; e < experts; e++) all += score[e];
    for (int64_t e = 0; e < experts; e++) mean += share[e] * prob[e];
    for (int64_t e = 0; e < experts; e++) dlogits[e] += (float)((share[e] - mean) / all) * score[e] * (1 - score[e]);
}

static void weights_backward(const fsm_group_shape *shape, const fsm_real *score, const fsm_index *choice,
                             const fsm_real *dweight, fsm_real *dlogits)
{
    double chosen = LEAST_SUM, mean = 0;
    for (int64_t j = 0; j < shape->choices; j++) chosen += score[choice[j]];
    for (int64_t j = 0; j < shape->choices; j++) mean += dweight[j] * score[choice[j]] / chosen;
    for (int64_t j = 0; j < shape->choices; j++) {
        double d = shape->scale * (dweight[j] - mean) / chosen;
        dlogits[choice[j]] += (float)d * score[choice[j]] * (1 - score[choice[j]]);
    }
}

void fsm_ref_group_backward(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                            const fsm_real *prob, const fsm_index *choice, const fsm_real *dweight,
                            const fsm_sum *share, fsm_real *dlogits)
{
    int64_t experts = shape->experts, k = shape->choices;
    (void)self;
    for (int64_t i = 0; i < shape->n; i++) {
        int64_t at = i * experts;
        if (share) share_backward(experts, score + at, prob + at, share, dlogits + at);
        weights_backward(shape, score + at, choice + i * k, dweight + i * k, dlogits + at);
    }
}

void fsm_ref_move_bias(const fsm_ops *self, int64_t num_experts, double rate, const fsm_sum *chosen, fsm_real *bias)
{
    double mean = 0;
    (void)self;
    for (int64_t e = 0; e < num_experts; e++) mean += chosen[e] / (double)num_experts;
    for (int64_t e = 0; e < num_experts; e++) {
        int sign = (mean > chosen[e]) - (mean < chosen[e]);
        bias[e] += (float)(rate * sign);
    }
}
