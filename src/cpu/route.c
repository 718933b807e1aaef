/* Routing on threads that share tokens, columns or elements. What is computed, and in which order, is the
 * reference's. */
#include "cpu/route.h"

#include "base/rng.h"
#include "cpu/simd.h"
#include "cpu/threads.h"

/* ---- sums over tokens ---- */

FSM_CPU_BODY void add_columns_body(int64_t n, int64_t width, int64_t columns, const float *x, double *sum)
{
    for (int64_t i = 0; i < n; i++, x += width) {
#pragma omp simd
        for (int64_t e = 0; e < columns; e++) sum[e] += (double)x[e];
    }
}
FSM_CPU_KERNEL(add_columns, (int64_t n, int64_t width, int64_t columns, const float *x, double *sum),
               (n, width, columns, x, sum))

void fsm_cpu_add_columns(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *x, fsm_sum *sum)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *num_experts))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(num_experts, 16);
        add_columns(n, num_experts, mine.count, x + mine.begin, sum + mine.begin);
    }
}

/* ---- choices ---- */

void fsm_cpu_fill(const fsm_ops *self, int64_t n, float value, fsm_real *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 16);
        fsm_ref_fill(self, mine.count, value, y + mine.begin);
    }
}

void fsm_cpu_pick(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *x,
                  const fsm_index *choice, fsm_real *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *k))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * k;
        fsm_ref_pick(self, mine.count, num_experts, k, x + mine.begin * num_experts, choice + first, y + first);
    }
}

/* Unsigned numbers in the order of floats that are numbers; 0 and -0 are one. */
static uint32_t key_of(float x)
{
    uint32_t bits = fsm_cpu_bits_of_float(x + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The key of the `wanted`-th largest of n values `step` apart; *equal: how many with that key are among the largest.
 * Radix select, a byte at a time: what is larger than the byte is counted off. */
static uint32_t least_key(int64_t n, int64_t step, const float *x, int64_t wanted, int64_t *equal)
{
    uint32_t key = 0, known = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        int64_t count[256] = {0};
        uint32_t byte = 255;
        for (int64_t at = 0; at < n * step; at += step)
            if ((key_of(x[at]) & known) == key) count[key_of(x[at]) >> shift & 255]++;
        for (; count[byte] < wanted; byte--) wanted -= count[byte];
        key |= byte << shift;
        known |= 255u << shift;
    }
    *equal = wanted;
    return key;
}

/* choice = e at the `wanted` tokens with the largest x of column e, ties to the earlier, else -1. */
static void mark_column(int64_t tokens, int64_t num_experts, int64_t e, int64_t wanted, const float *x, int32_t *choice)
{
    int64_t equal = 0;
    uint32_t least = wanted > 0 ? least_key(tokens, num_experts, x + e, wanted, &equal) : UINT32_MAX;
    for (int64_t at = e; at < tokens * num_experts; at += num_experts) {
        uint32_t key = key_of(x[at]);
        bool taken = key > least || (key == least && equal-- > 0);
        choice[at] = taken ? (int32_t)e : -1;
    }
}

void fsm_cpu_choose_by_columns(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t group, int64_t capacity,
                               const fsm_real *x, fsm_index *choice, fsm_real *weight)
{
    int64_t groups = n > 0 ? (n + group - 1) / group : 0;
#pragma omp parallel num_threads(fsm_cpu_threads(self, 8 * n * num_experts))
    {
#pragma omp for schedule(static)
        for (int64_t column = 0; column < groups * num_experts; column++) {
            int64_t first = column / num_experts * group, left = n - first, tokens = left < group ? left : group;
            mark_column(tokens, num_experts, column % num_experts, capacity < tokens ? capacity : tokens,
                        x + first * num_experts, choice + first * num_experts);
        } /* all columns are marked before a token's are looked at */
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t at = mine.begin * num_experts;
        fsm_ref_sort_marked(mine.count, num_experts, x + at, choice + at, weight + at);
    }
}

void fsm_cpu_choose_modulo(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                           uint64_t first, uint64_t step, fsm_index *choice)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, 8 * n * k))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        fsm_ref_choose_modulo(self, mine.count, num_experts, k, id ? id + mine.begin : NULL,
                              first + (uint64_t)mine.begin, step, choice + mine.begin * k);
    }
}

/* The draw from number `first` of it on. */
static fsm_draw draw_from(const fsm_draw *draw, int64_t first)
{
    return (fsm_draw){draw->seed, draw->stream, draw->first + (uint64_t)first};
}

void fsm_cpu_choose_hashed(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_index *id,
                           const fsm_draw *draw, fsm_index *choice)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, 16 * n * k))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        fsm_draw my_draw = draw_from(draw, mine.begin);
        fsm_ref_choose_hashed(self, mine.count, num_experts, k, id ? id + mine.begin : NULL, &my_draw,
                              choice + mine.begin * k);
    }
}

/* ---- weights' backward, and losses ---- */

void fsm_cpu_softmax_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                      const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                      fsm_real *dlogits)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *num_experts))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t at = mine.begin * k;
        fsm_ref_softmax_weights_backward(self, mine.count, num_experts, k, choice + at, weight + at, dweight + at,
                                         dlogits + mine.begin * num_experts);
    }
}

void fsm_cpu_prob_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                                   const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                   fsm_real *dlogits)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *num_experts))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t at = mine.begin;
        fsm_ref_prob_weights_backward(self, mine.count, num_experts, prob + at * num_experts, choice + at, weight + at,
                                      dweight + at, dlogits + at * num_experts);
    }
}

void fsm_cpu_sigmoid_weights_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k,
                                      const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                      fsm_real *dlogits)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *k))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t at = mine.begin * k;
        fsm_ref_sigmoid_weights_backward(self, mine.count, num_experts, k, choice + at, weight + at, dweight + at,
                                         dlogits + mine.begin * num_experts);
    }
}

void fsm_cpu_chosen_prob_backward(const fsm_ops *self, int64_t n, int64_t num_experts, int64_t k, const fsm_real *prob,
                                  const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                  fsm_real *dlogits)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *num_experts))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t at = mine.begin * k, row = mine.begin * num_experts;
        fsm_ref_chosen_prob_backward(self, mine.count, num_experts, k, prob + row, choice + at, weight + at,
                                     dweight + at, dlogits + row);
    }
}

void fsm_cpu_losses_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *prob,
                             const fsm_real *lse, const fsm_sum *share, const fsm_sum *z, fsm_real *dlogits)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *num_experts))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t row = mine.begin * num_experts;
        fsm_ref_losses_backward(self, mine.count, num_experts, prob + row, lse + mine.begin, share, z, dlogits + row);
    }
}

void fsm_cpu_z_backward(const fsm_ops *self, int64_t n, int64_t num_experts, const fsm_real *logits,
                        const fsm_real *lse, const fsm_sum *z, fsm_real *dlogits)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *num_experts))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t row = mine.begin * num_experts;
        fsm_ref_z_backward(self, mine.count, num_experts, logits + row, lse + mine.begin, z, dlogits + row);
    }
}

void fsm_cpu_add_share(const fsm_ops *self, int64_t n, int64_t k, const fsm_index *choice, const fsm_sum *share,
                       fsm_real *dweight)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *k))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t at = mine.begin * k;
        fsm_ref_add_share(self, mine.count, k, choice + at, share, dweight + at);
    }
}

/* ---- noise: a number that is drawn takes as long as some copies, many at once as long as two ---- */

enum { NORMAL_ELEMS = 4, UNIFORM_ELEMS = 2 };

void fsm_cpu_normal(const fsm_ops *self, int64_t n, const fsm_draw *draw, fsm_real *x)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, NORMAL_ELEMS *n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 64);
        fsm_rng_normals(draw->seed, draw->stream, draw->first + (uint64_t)mine.begin, mine.count, x + mine.begin);
    }
}

void fsm_cpu_noise_forward(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                           fsm_real *logits)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 16);
        fsm_ref_noise_forward(self, mine.count, drawn + mine.begin, spread + mine.begin, logits + mine.begin);
    }
}

void fsm_cpu_noise_backward(const fsm_ops *self, int64_t n, const fsm_real *drawn, const fsm_real *spread,
                            const fsm_real *dlogits, fsm_real *dspread)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 16);
        int64_t at = mine.begin;
        fsm_ref_noise_backward(self, mine.count, drawn + at, spread + at, dlogits + at, dspread + at);
    }
}

enum {
    FOUR = 4,
    DRAWN = 512
}; /* elements that share a counter; counters drawn at once, which stay in the nearest cache */

/* A stretch of a token's elements, and what they are multiplied by: y = x factor, or y += x factor. */
static void multiply_by(int64_t n, float most, const float *u, bool add, const float *x, float *y)
{
    if (add)
        for (int64_t m = 0; m < n; m++) y[m] += x[m] * (1 + most * (2 * u[m] - 1));
    else
        for (int64_t m = 0; m < n; m++) y[m] = x[m] * (1 + most * (2 * u[m] - 1));
}

/* Counters go on from token to token, so that a draw may be of the end of one and the beginning of the next. */
static void jitter(fsm_cpu_share tokens, int64_t width, float most, const fsm_draw *draw, bool add, const float *x,
                   float *y)
{
    const int64_t blocks = (width + FOUR - 1) / FOUR, end = (tokens.begin + tokens.count) * blocks;
    float u[FOUR * DRAWN];
    for (int64_t at = tokens.begin * blocks; at < end;) {
        int64_t last = at + DRAWN < end ? at + DRAWN : end;
        const float *next = u;
        fsm_rng_uniform_fours(draw->seed, draw->stream, draw->first * (uint64_t)blocks + (uint64_t)at, last - at, u);
        while (at < last) {
            int64_t i = at / blocks, block = at % blocks;
            int64_t taken = last - at < blocks - block ? last - at : blocks - block;
            int64_t first = FOUR * block, left = width - first, begin = i * width + first;
            multiply_by(left < FOUR * taken ? left : FOUR * taken, most, next, add, x + begin, y + begin);
            next += FOUR * taken;
            at += taken;
        }
    }
}

void fsm_cpu_jitter_forward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                            const fsm_row *x, fsm_row *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, UNIFORM_ELEMS *n *width))
    jitter(fsm_cpu_my_share(n, 1), width, most, draw, false, x, y);
}

void fsm_cpu_jitter_backward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                             const fsm_row *dy, fsm_real *dx)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, UNIFORM_ELEMS *n *width))
    jitter(fsm_cpu_my_share(n, 1), width, most, draw, true, dy, dx);
}

/* ---- directions, sigmoids ---- */

/* Where a thread's vectors begin, in elements. */
static int64_t first_elem(const fsm_vectors *vectors, int64_t ld, int64_t first)
{
    return vectors->columns ? first : first * ld;
}

void fsm_cpu_unit_forward(const fsm_ops *self, const fsm_vectors *vectors, fsm_matrix v, fsm_real *u, fsm_real *length)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, vectors->n * vectors->size))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(vectors->n, 1);
        fsm_vectors my_vectors = {mine.count, vectors->size, vectors->columns};
        int64_t at = first_elem(vectors, v.ld, mine.begin);
        fsm_matrix my_v = {(float *)v.at + at, v.ld, v.elem};
        fsm_ref_unit_forward(self, &my_vectors, my_v, u + at, length + mine.begin);
    }
}

void fsm_cpu_unit_backward(const fsm_ops *self, const fsm_vectors *vectors, int64_t ld, const fsm_real *u,
                           const fsm_real *length, const fsm_real *du, float beta, fsm_real *dv)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, vectors->n * vectors->size))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(vectors->n, 1);
        fsm_vectors my_vectors = {mine.count, vectors->size, vectors->columns};
        int64_t at = first_elem(vectors, ld, mine.begin);
        fsm_ref_unit_backward(self, &my_vectors, ld, u + at, length + mine.begin, du + at, beta, dv + at);
    }
}

void fsm_cpu_sigmoid_forward(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_real *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 16);
        fsm_ref_sigmoid(self, mine.count, x + mine.begin, y + mine.begin);
    }
}

void fsm_cpu_sigmoid_backward(const fsm_ops *self, int64_t n, const fsm_real *y, const fsm_real *dy, fsm_real *dx)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 16);
        fsm_ref_sigmoid_backward(self, mine.count, y + mine.begin, dy + mine.begin, dx + mine.begin);
    }
}

/* ---- groups of experts ---- */

/* As many tokens of the shape as the share has. */
static fsm_group_shape my_groups(const fsm_group_shape *shape, fsm_cpu_share mine)
{
    fsm_group_shape my_shape = *shape;
    my_shape.n = mine.count;
    return my_shape;
}

void fsm_cpu_group_scores(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *logits,
                          const fsm_real *bias, fsm_real *score, fsm_real *biased, fsm_real *prob, fsm_real *best)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, shape->n * shape->experts))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(shape->n, 1);
        fsm_group_shape my_shape = my_groups(shape, mine);
        int64_t at = mine.begin * shape->experts;
        fsm_ref_group_scores(self, &my_shape, logits + at, bias, score + at, biased + at, prob + at,
                             best + mine.begin * shape->groups);
    }
}

void fsm_cpu_close_groups(const fsm_ops *self, const fsm_group_shape *shape, int64_t top, const fsm_index *open,
                          fsm_real *biased)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, shape->n * shape->experts))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(shape->n, 1);
        fsm_group_shape my_shape = my_groups(shape, mine);
        fsm_ref_close_groups(self, &my_shape, top, open + mine.begin * top, biased + mine.begin * shape->experts);
    }
}

void fsm_cpu_group_weights(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                           const fsm_index *choice, fsm_real *weight)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, shape->n * shape->choices))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(shape->n, 1);
        fsm_group_shape my_shape = my_groups(shape, mine);
        int64_t at = mine.begin * shape->choices;
        fsm_ref_group_weights(self, &my_shape, score + mine.begin * shape->experts, choice + at, weight + at);
    }
}

void fsm_cpu_group_backward(const fsm_ops *self, const fsm_group_shape *shape, const fsm_real *score,
                            const fsm_real *prob, const fsm_index *choice, const fsm_real *dweight,
                            const fsm_sum *share, fsm_real *dlogits)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, shape->n * shape->experts))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(shape->n, 1);
        fsm_group_shape my_shape = my_groups(shape, mine);
        int64_t row = mine.begin * shape->experts, at = mine.begin * shape->choices;
        fsm_ref_group_backward(self, &my_shape, score + row, prob + row, choice + at, dweight + at, share,
                               dlogits + row);
    }
}
