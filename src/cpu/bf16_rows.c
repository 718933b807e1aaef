/* What moves rows of bf16 and mixes them. Mixing reads rows wherever they lie, so it widens as it goes. */
#include "cpu/bf16.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

static void zero_rows(const fsm_ops *self, int64_t n, fsm_row *y)
{
    char *bytes = (void *)y;
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 32);
        if (mine.count > 0)
            memset(bytes + mine.begin * FSM_CPU_BF16_BYTES, 0, (size_t)(mine.count * FSM_CPU_BF16_BYTES));
    }
}

static void copy_rows(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *x, int64_t ld_x, fsm_row *y,
                      int64_t ld_y)
{
    (void)self;
    const uint16_t *from = (const void *)x;
    uint16_t *to = (void *)y;
    for (int64_t i = 0; i < n; i++) memcpy(to + i * ld_y, from + i * ld_x, sizeof *to * (size_t)width);
}

static void gather_rows(const fsm_ops *self, int64_t n, int64_t width, const fsm_index *row, const fsm_row *x,
                        fsm_row *y)
{
    const uint16_t *from = (const void *)x;
    uint16_t *to = (void *)y;
    size_t bytes = sizeof *to * (size_t)width;
#pragma omp parallel for schedule(static) num_threads(fsm_cpu_threads(self, n *width))
    for (int64_t i = 0; i < n; i++) {
        if (row[i] < 0) memset(to + i * width, 0, bytes);
        else memcpy(to + i * width, from + row[i] * width, bytes);
    }
}

FSM_CPU_BODY void combine_body(int64_t n, int64_t k, int64_t width, const int32_t *row, const float *weight,
                               const uint16_t *x, float *y)
{
    for (int64_t i = 0; i < n; i++, y += width) {
        for (int64_t c = i * k; c < (i + 1) * k; c++) {
            if (row[c] < 0) continue;
            const float w = weight ? weight[c] : 1;
            const uint16_t *from = x + row[c] * width;
#pragma omp simd
            for (int64_t j = 0; j < width; j++) y[j] += w * fsm_cpu_of_bf16(from[j]);
        }
    }
}
FSM_CPU_KERNEL(combine,
               (int64_t n, int64_t k, int64_t width, const int32_t *row, const float *weight, const uint16_t *x,
                float *y),
               (n, k, width, row, weight, x, y))

static void combine_rows(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const fsm_index *row,
                         const fsm_real *weight, const fsm_row *x, fsm_real *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *k *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * k;
        combine(mine.count, k, width, row + first, weight ? weight + first : NULL, (const void *)x,
                y + mine.begin * width);
    }
}

FSM_CPU_BODY void combine_backward_body(int64_t n, int64_t k, int64_t width, const int32_t *from, const int32_t *to,
                                        const float *weight, const uint16_t *x, const float *dy, uint16_t *dx,
                                        float *dweight)
{
    for (int64_t i = 0; i < n; i++, dy += width) {
        for (int64_t c = i * k; c < (i + 1) * k; c++) {
            if (to[c] >= 0) {
                const float w = weight ? weight[c] : 1;
                uint16_t *out = dx + to[c] * width;
#pragma omp simd
                for (int64_t j = 0; j < width; j++) out[j] = fsm_cpu_to_bf16(w * dy[j]);
            }
            float sum = 0;
            if (from[c] >= 0) {
                const uint16_t *in = x + from[c] * width;
#pragma omp simd reduction(+ : sum)
                for (int64_t j = 0; j < width; j++) sum += dy[j] * fsm_cpu_of_bf16(in[j]);
            }
            dweight[c] = sum;
        }
    }
}
FSM_CPU_KERNEL(combine_backward,
               (int64_t n, int64_t k, int64_t width, const int32_t *from, const int32_t *to, const float *weight,
                const uint16_t *x, const float *dy, uint16_t *dx, float *dweight),
               (n, k, width, from, to, weight, x, dy, dx, dweight))

static void combine_rows_backward(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const fsm_index *from,
                                  const fsm_index *to, const fsm_real *weight, const fsm_row *x, const fsm_real *dy,
                                  fsm_row *dx, fsm_real *dweight)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, 2 * n * k * width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * k;
        combine_backward(mine.count, k, width, from + first, to + first, weight ? weight + first : NULL,
                         (const void *)x, dy + mine.begin * width, (void *)dx, dweight + first);
    }
}

void fsm_cpu_bf16_rows(fsm_ops *ops)
{
    ops->zero_rows = zero_rows;
    ops->copy_rows = copy_rows;
    ops->gather_rows = gather_rows;
    ops->combine_rows = combine_rows;
    ops->combine_rows_backward = combine_rows_backward;
}
