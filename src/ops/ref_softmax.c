#include "ops/ref.h"

#include <math.h>

/* The largest of a row and the sum of exp(x - largest): kept apart, for beside a huge first the logarithm of the second
 * would be lost in their sum. */
typedef struct row_sum {
    double largest, total;
} row_sum;

/* Of n values, `step` apart. */
static row_sum sum_exp(int64_t n, int64_t step, const float *x)
{
    row_sum row = {.largest = -INFINITY, .total = 0};
    for (int64_t j = 0; j < n; j++) row.largest = fmax(row.largest, x[j * step]);
    for (int64_t j = 0; j < n; j++) row.total += exp(x[j * step] - row.largest);
    return row;
}

static row_sum sum_row(int64_t width, const float *x)
{
    return sum_exp(width, 1, x);
}

void fsm_ref_softmax(const fsm_ops *self, int64_t n, int64_t width, const float *x, float *y, float *lse)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, x += width, y += width) {
        row_sum row = sum_row(width, x);
        for (int64_t j = 0; j < width; j++) y[j] = (float)(exp(x[j] - row.largest) / row.total);
        if (lse) lse[i] = (float)(row.largest + log(row.total));
    }
}

void fsm_ref_softmax_columns(const fsm_ops *self, int64_t n, int64_t width, const float *x, float *y)
{
    (void)self;
    for (int64_t j = 0; j < width; j++) {
        row_sum column = sum_exp(n, width, x + j);
        for (int64_t at = j; at < n * width; at += width) y[at] = (float)(exp(x[at] - column.largest) / column.total);
    }
}

/* n values, `step` apart. */
static void backward(int64_t n, int64_t step, const float *y, const float *dy, float beta, float *dx)
{
    double along = 0;
    for (int64_t at = 0; at < n * step; at += step) along += (double)y[at] * dy[at];
    for (int64_t at = 0; at < n * step; at += step)
        dx[at] = (float)(y[at] * (dy[at] - along) + (beta == 0 ? 0 : (double)beta * dx[at]));
}

void fsm_ref_softmax_backward(const fsm_ops *self, int64_t n, int64_t width, const float *y, const float *dy,
                              float beta, float *dx)
{
    (void)self;
    for (int64_t at = 0; at < n * width; at += width) backward(width, 1, y + at, dy + at, beta, dx + at);
}

void fsm_ref_softmax_columns_backward(const fsm_ops *self, int64_t n, int64_t width, const float *y, const float *dy,
                                      float beta, float *dx)
{
    (void)self;
    for (int64_t j = 0; j < width; j++) backward(n, width, y + j, dy + j, beta, dx + j);
}

void fsm_ref_cross_entropy(const fsm_ops *self, int64_t n, int64_t vocab, float *logits, const int32_t *target,
                           float scale, bool gradient, double *loss)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, logits += vocab) {
        row_sum row = sum_row(vocab, logits);
        *loss += log(row.total) + (row.largest - logits[target[i]]);
        if (!gradient) continue;
        for (int64_t j = 0; j < vocab; j++)
            logits[j] = (float)(scale * (exp(logits[j] - row.largest) / row.total - (j == target[i] ? 1 : 0)));
    }
}

/* Keeps the list of the largest so far sorted; only a strictly larger value passes another, so ties stay in order. */
void fsm_ref_top_k(const fsm_ops *self, int64_t n, int64_t width, int64_t k, const float *x, int32_t *index,
                   float *value)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, x += width, index += k, value += k) {
        for (int64_t j = 0, kept = 0; j < width; j++) {
            if (kept == k && !(x[j] > value[k - 1])) continue;
            if (kept < k) kept++;
            int64_t at = kept - 1;
            for (; at > 0 && x[j] > value[at - 1]; at--) {
                value[at] = value[at - 1];
                index[at] = index[at - 1];
            }
            value[at] = x[j];
            index[at] = (int32_t)j;
        }
    }
}
