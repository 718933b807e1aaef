#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

/* A gradient of gain or bias sums over rows, so threads share its columns while they share the rows of dx. One thread
 * alternates between the two every ROWS rows, which are then still in its cache; several do all rows of the one first.
 * Either way partial sums are of ROWS rows: the result does not depend on the number of threads. */
enum { ROWS = 32, COLUMNS = 32 };

FSM_CPU_BODY void rms_forward_body(int64_t n, int64_t width, float eps, const float *x, const float *gain, float *y,
                                   float *rstd)
{
    for (int64_t i = 0; i < n; i++, x += width, y += width) {
        float squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t j = 0; j < width; j++) squares += x[j] * x[j];
        const float r = 1 / sqrtf(squares / (float)width + eps);
#pragma omp simd
        for (int64_t j = 0; j < width; j++) y[j] = x[j] * r * gain[j];
        rstd[i] = r;
    }
}
FSM_CPU_KERNEL(rms_forward,
               (int64_t n, int64_t width, float eps, const float *x, const float *gain, float *y, float *rstd),
               (n, width, eps, x, gain, y, rstd))

void fsm_cpu_rmsnorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const float *x,
                             const float *gain, float *y, float *rstd)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * width;
        rms_forward(mine.count, width, eps, x + first, gain, y + first, rstd + mine.begin);
    }
}

FSM_CPU_BODY void layer_forward_body(int64_t n, int64_t width, float eps, const float *x, const float *gain,
                                     const float *bias, float *y, float *mean, float *rstd)
{
    for (int64_t i = 0; i < n; i++, x += width, y += width) {
        float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < width; j++) sum += x[j];
        const float m = sum / (float)width;
#pragma omp simd reduction(+ : squares)
        for (int64_t j = 0; j < width; j++) squares += (x[j] - m) * (x[j] - m);
        const float r = 1 / sqrtf(squares / (float)width + eps);
#pragma omp simd
        for (int64_t j = 0; j < width; j++) y[j] = (x[j] - m) * r * gain[j] + bias[j];
        mean[i] = m;
        rstd[i] = r;
    }
}
FSM_CPU_KERNEL(layer_forward,
               (int64_t n, int64_t width, float eps, const float *x, const float *gain, const float *bias, float *y,
                float *mean, float *rstd),
               (n, width, eps, x, gain, bias, y, mean, rstd))

void fsm_cpu_layernorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const float *x,
                               const float *gain, const float *bias, float *y, float *mean, float *rstd)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * width;
        layer_forward(mine.count, width, eps, x + first, gain, bias, y + first, mean + mine.begin, rstd + mine.begin);
    }
}

/* With h = (x - mean) r and g = gain dy:  dx += r (g - mean(g) - h mean(g h)); RMSNorm has mean 0 and no mean(g). */
FSM_CPU_BODY void input_gradient_body(int64_t n, int64_t width, const float *x, const float *gain, const float *mean,
                                      const float *rstd, const float *dy, float *dx)
{
    for (int64_t i = 0; i < n; i++, x += width, dy += width, dx += width) {
        const float m = mean ? mean[i] : 0, r = rstd[i];
        float sum_g = 0, sum_gh = 0;
#pragma omp simd reduction(+ : sum_g, sum_gh)
        for (int64_t j = 0; j < width; j++) {
            float g = gain[j] * dy[j];
            sum_g += g;
            sum_gh += g * ((x[j] - m) * r);
        }
        const float mean_g = mean ? sum_g / (float)width : 0, mean_gh = sum_gh / (float)width;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) dx[j] += r * (gain[j] * dy[j] - mean_g - (x[j] - m) * r * mean_gh);
    }
}
FSM_CPU_KERNEL(input_gradient,
               (int64_t n, int64_t width, const float *x, const float *gain, const float *mean, const float *rstd,
                const float *dy, float *dx),
               (n, width, x, gain, mean, rstd, dy, dx))

/* dgain += dy h,  dbias += dy (unless NULL), of at most COLUMNS columns. */
FSM_CPU_BODY void gain_gradient_columns(int64_t n, int64_t columns, int64_t width, const float *x, const float *mean,
                                        const float *rstd, const float *dy, float *dgain, float *dbias)
{
    float gain_sum[COLUMNS] = {0}, bias_sum[COLUMNS] = {0};
    for (int64_t i = 0; i < n; i++, x += width, dy += width) {
        const float m = mean ? mean[i] : 0, r = rstd[i];
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) gain_sum[j] += dy[j] * ((x[j] - m) * r);
        if (!dbias) continue;
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) bias_sum[j] += dy[j];
    }
    for (int64_t j = 0; j < columns; j++) dgain[j] += gain_sum[j];
    for (int64_t j = 0; dbias && j < columns; j++) dbias[j] += bias_sum[j];
}

/* A full tile is compiled apart: with a constant number of columns its sums stay in registers. */
FSM_CPU_BODY void gain_gradient_tile_body(int64_t n, int64_t columns, int64_t width, const float *x, const float *mean,
                                          const float *rstd, const float *dy, float *dgain, float *dbias)
{
    if (columns == COLUMNS) gain_gradient_columns(n, COLUMNS, width, x, mean, rstd, dy, dgain, dbias);
    else gain_gradient_columns(n, columns, width, x, mean, rstd, dy, dgain, dbias);
}
FSM_CPU_KERNEL(gain_gradient_tile,
               (int64_t n, int64_t columns, int64_t width, const float *x, const float *mean, const float *rstd,
                const float *dy, float *dgain, float *dbias),
               (n, columns, width, x, mean, rstd, dy, dgain, dbias))

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* All n rows of `columns` columns, in tiles. */
static void gain_gradient(int64_t n, int64_t columns, int64_t width, const float *x, const float *mean,
                          const float *rstd, const float *dy, float *dgain, float *dbias)
{
    for (int64_t i = 0; i < n; i += ROWS) {
        for (int64_t j = 0; j < columns; j += COLUMNS) {
            int64_t at = i * width + j;
            gain_gradient_tile(least(ROWS, n - i), least(COLUMNS, columns - j), width, x + at, mean ? mean + i : NULL,
                               rstd + i, dy + at, dgain + j, dbias ? dbias + j : NULL);
        }
    }
}

static void norm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                          const float *mean, const float *rstd, const float *dy, float *dx, float *dgain, float *dbias)
{
    int threads = fsm_cpu_threads(self, n * width);
    int64_t step = threads == 1 ? ROWS : n;
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i), at = i * width;
        const float *mean_i = mean ? mean + i : NULL;
#pragma omp parallel num_threads(threads)
        {
            fsm_cpu_share mine = fsm_cpu_my_share(rows, 1);
            int64_t first = at + mine.begin * width;
            input_gradient(mine.count, width, x + first, gain, mean_i ? mean_i + mine.begin : NULL,
                           rstd + i + mine.begin, dy + first, dx + first);
            mine = fsm_cpu_my_share(width, 16);
            first = at + mine.begin;
            gain_gradient(rows, mine.count, width, x + first, mean_i, rstd + i, dy + first, dgain + mine.begin,
                          dbias ? dbias + mine.begin : NULL);
        }
    }
}

void fsm_cpu_rmsnorm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                              const float *rstd, const float *dy, float *dx, float *dgain)
{
    norm_backward(self, n, width, x, gain, NULL, rstd, dy, dx, dgain, NULL);
}

void fsm_cpu_layernorm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                                const float *mean, const float *rstd, const float *dy, float *dx, float *dgain,
                                float *dbias)
{
    norm_backward(self, n, width, x, gain, mean, rstd, dy, dx, dgain, dbias);
}
