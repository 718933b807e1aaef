#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

/* Columns summed in float before the sum goes on in double: a vocabulary of 50 000 keeps seven digits. */
enum { BLOCK = 1024 };

/* y = exp(x - largest), the sum of y returned; y may alias x. */
FSM_CPU_BODY double row_exp(int64_t width, const float *x, float largest, float *y)
{
    double total = 0;
    for (int64_t block = 0; block < width; block += BLOCK) {
        int64_t end = block + BLOCK < width ? block + BLOCK : width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = block; j < end; j++) {
            float e = fsm_cpu_exp(x[j] - largest);
            y[j] = e;
            sum += e;
        }
        total += (double)sum;
    }
    return total;
}

FSM_CPU_BODY double row_exp_sum(int64_t width, const float *x, float largest)
{
    double total = 0;
    for (int64_t block = 0; block < width; block += BLOCK) {
        int64_t end = block + BLOCK < width ? block + BLOCK : width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = block; j < end; j++) sum += fsm_cpu_exp(x[j] - largest);
        total += (double)sum;
    }
    return total;
}

FSM_CPU_BODY void row_scale(int64_t width, float a, float *y)
{
#pragma omp simd
    for (int64_t j = 0; j < width; j++) y[j] *= a;
}

FSM_CPU_BODY void softmax_body(int64_t n, int64_t width, const float *x, float *y, float *lse)
{
    for (int64_t i = 0; i < n; i++, x += width, y += width) {
        float largest = fsm_cpu_max(width, x);
        double total = row_exp(width, x, largest, y);
        row_scale(width, (float)(1 / total), y);
        if (lse) lse[i] = (float)(largest + log(total));
    }
}
FSM_CPU_KERNEL(softmax, (int64_t n, int64_t width, const float *x, float *y, float *lse), (n, width, x, y, lse))

void fsm_cpu_softmax(const fsm_ops *self, int64_t n, int64_t width, const float *x, float *y, float *lse)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * width;
        softmax(mine.count, width, x + first, y + first, lse ? lse + mine.begin : NULL);
    }
}

FSM_CPU_BODY void softmax_backward_body(int64_t n, int64_t width, const float *y, const float *dy, float beta,
                                        float *dx)
{
    for (int64_t i = 0; i < n; i++, y += width, dy += width, dx += width) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < width; j++) sum += (double)y[j] * dy[j];
        const float along = (float)sum;
        if (beta == 0) {
#pragma omp simd
            for (int64_t j = 0; j < width; j++) dx[j] = y[j] * (dy[j] - along);
        } else {
#pragma omp simd
            for (int64_t j = 0; j < width; j++) dx[j] = beta * dx[j] + y[j] * (dy[j] - along);
        }
    }
}
FSM_CPU_KERNEL(softmax_backward, (int64_t n, int64_t width, const float *y, const float *dy, float beta, float *dx),
               (n, width, y, dy, beta, dx))

void fsm_cpu_softmax_backward(const fsm_ops *self, int64_t n, int64_t width, const float *y, const float *dy,
                              float beta, float *dx)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * width;
        softmax_backward(mine.count, width, y + first, dy + first, beta, dx + first);
    }
}

/* ---- of columns: threads share columns, each goes down a few hundred at a time ---- */

enum { COLUMNS = 256, RUN = 64 }; /* RUN rows are summed in float before the sums go on in double */

/* Of `columns` <= COLUMNS columns. */
FSM_CPU_BODY void softmax_columns_body(int64_t n, int64_t width, int64_t columns, const float *x, float *y)
{
    float largest[COLUMNS], sum[COLUMNS];
    double total[COLUMNS] = {0};
    for (int64_t j = 0; j < columns; j++) largest[j] = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++)
            largest[j] = x[i * width + j] > largest[j] ? x[i * width + j] : largest[j];
    }
    for (int64_t run = 0; run < n; run += RUN) {
        for (int64_t j = 0; j < columns; j++) sum[j] = 0;
        for (int64_t i = run; i < n && i < run + RUN; i++) {
#pragma omp simd
            for (int64_t j = 0; j < columns; j++) {
                float e = fsm_cpu_exp(x[i * width + j] - largest[j]);
                y[i * width + j] = e;
                sum[j] += e;
            }
        }
        for (int64_t j = 0; j < columns; j++) total[j] += (double)sum[j];
    }
    for (int64_t j = 0; j < columns; j++) sum[j] = (float)(1 / total[j]);
    for (int64_t i = 0; i < n; i++) {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) y[i * width + j] *= sum[j];
    }
}
FSM_CPU_KERNEL(softmax_columns, (int64_t n, int64_t width, int64_t columns, const float *x, float *y),
               (n, width, columns, x, y))

FSM_CPU_BODY void softmax_columns_backward_body(int64_t n, int64_t width, int64_t columns, const float *y,
                                                const float *dy, float beta, float *dx)
{
    double total[COLUMNS] = {0};
    float along[COLUMNS];
    for (int64_t i = 0; i < n; i++) {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) total[j] += (double)y[i * width + j] * dy[i * width + j];
    }
    for (int64_t j = 0; j < columns; j++) along[j] = (float)total[j];
    for (int64_t i = 0; i < n; i++) {
        const float *row = y + i * width, *drow = dy + i * width;
        float *out = dx + i * width;
        if (beta == 0) {
#pragma omp simd
            for (int64_t j = 0; j < columns; j++) out[j] = row[j] * (drow[j] - along[j]);
        } else {
#pragma omp simd
            for (int64_t j = 0; j < columns; j++) out[j] = beta * out[j] + row[j] * (drow[j] - along[j]);
        }
    }
}
FSM_CPU_KERNEL(softmax_columns_backward,
               (int64_t n, int64_t width, int64_t columns, const float *y, const float *dy, float beta, float *dx),
               (n, width, columns, y, dy, beta, dx))

void fsm_cpu_softmax_columns(const fsm_ops *self, int64_t n, int64_t width, const float *x, float *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(width, 16);
        for (int64_t j = mine.begin; j < mine.begin + mine.count; j += COLUMNS) {
            int64_t left = mine.begin + mine.count - j;
            softmax_columns(n, width, left < COLUMNS ? left : COLUMNS, x + j, y + j);
        }
    }
}

void fsm_cpu_softmax_columns_backward(const fsm_ops *self, int64_t n, int64_t width, const float *y, const float *dy,
                                      float beta, float *dx)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(width, 16);
        for (int64_t j = mine.begin; j < mine.begin + mine.count; j += COLUMNS) {
            int64_t left = mine.begin + mine.count - j;
            softmax_columns_backward(n, width, left < COLUMNS ? left : COLUMNS, y + j, dy + j, beta, dx + j);
        }
    }
}

FSM_CPU_BODY void cross_entropy_body(int64_t n, int64_t vocab, float *logits, const int32_t *target, float scale,
                                     bool gradient, double *loss)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++, logits += vocab) {
        float largest = fsm_cpu_max(vocab, logits), wanted = logits[target[i]];
        double total = gradient ? row_exp(vocab, logits, largest, logits) : row_exp_sum(vocab, logits, largest);
        sum += log(total) + ((double)largest - wanted);
        if (!gradient) continue;
        row_scale(vocab, (float)(scale / total), logits);
        logits[target[i]] -= scale;
    }
    *loss = sum;
}
FSM_CPU_KERNEL(cross_entropy,
               (int64_t n, int64_t vocab, float *logits, const int32_t *target, float scale, bool gradient,
                double *loss),
               (n, vocab, logits, target, scale, gradient, loss))

/* Always the same pieces of rows, their losses added in order: the sum does not depend on the number of threads. */
void fsm_cpu_cross_entropy(const fsm_ops *self, int64_t n, int64_t vocab, float *logits, const int32_t *target,
                           float scale, bool gradient, double *loss)
{
    enum { PIECES = 64 };
    double piece[PIECES];
#pragma omp parallel for schedule(static) num_threads(fsm_cpu_threads(self, n *vocab))
    for (int p = 0; p < PIECES; p++) {
        int64_t begin = n * p / PIECES, end = n * (p + 1) / PIECES;
        cross_entropy(end - begin, vocab, logits + begin * vocab, target + begin, scale, gradient, &piece[p]);
    }
    for (int p = 0; p < PIECES; p++) *loss += piece[p];
}
