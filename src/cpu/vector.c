#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

/* Shares begin at whole cache lines. */
enum { LINE_ELEMS = 16 };

FSM_CPU_BODY void add_body(int64_t n, const float *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}
FSM_CPU_KERNEL(add, (int64_t n, const float *x, float *y), (n, x, y))

FSM_CPU_BODY void scale_body(int64_t n, float a, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] *= a;
}
FSM_CPU_KERNEL(scale, (int64_t n, float a, float *y), (n, a, y))

void fsm_cpu_add(const fsm_ops *self, int64_t n, const float *x, float *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, LINE_ELEMS);
        add(mine.count, x + mine.begin, y + mine.begin);
    }
}

void fsm_cpu_scale(const fsm_ops *self, int64_t n, float a, float *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, LINE_ELEMS);
        scale(mine.count, a, y + mine.begin);
    }
}

void fsm_cpu_zero(const fsm_ops *self, int64_t n, float *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, LINE_ELEMS);
        if (mine.count > 0) memset(y + mine.begin, 0, sizeof *y * (size_t)mine.count);
    }
}

void fsm_cpu_zero_rows(const fsm_ops *self, int64_t n, fsm_row *y)
{
    fsm_cpu_zero(self, n, y);
}

/* On bits, which no option of a compiler makes finite, and without a branch an element. */
FSM_CPU_BODY void any_not_finite_body(int64_t n, const float *x, uint32_t *any)
{
    const uint32_t exponent = 0x7f800000u;
    uint32_t found = 0;
#pragma omp simd reduction(| : found)
    for (int64_t i = 0; i < n; i++) found |= (fsm_cpu_bits_of_float(x[i]) & exponent) == exponent;
    *any = found;
}
FSM_CPU_KERNEL(any_not_finite, (int64_t n, const float *x, uint32_t *any), (n, x, any))

void fsm_cpu_check_finite(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum)
{
    uint32_t any = 0;
#pragma omp parallel reduction(| : any) num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, LINE_ELEMS);
        uint32_t own;
        any_not_finite(mine.count, x + mine.begin, &own);
        any |= own;
    }
    if (any) *sum = NAN;
}

/* Many sums side by side: one alone would wait for the latency of every addition. */
FSM_CPU_BODY void sum_squares_body(int64_t n, const float *x, double *sum)
{
    double lane[32] = {0}, total = 0;
    int64_t whole = n / 32 * 32;
    for (int64_t i = 0; i < whole; i += 32) {
#pragma omp simd
        for (int64_t j = 0; j < 32; j++) lane[j] += (double)x[i + j] * x[i + j];
    }
    for (int64_t i = whole; i < n; i++) total += (double)x[i] * x[i];
    for (int64_t j = 0; j < 32; j++) total += lane[j];
    *sum = total;
}
FSM_CPU_KERNEL(sum_squares, (int64_t n, const float *x, double *sum), (n, x, sum))

/* Always the same 64 pieces, added in order: the sum does not depend on the number of threads. */
void fsm_cpu_sum_squares(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum)
{
    enum { PIECES = 64 };
    double piece[PIECES], total = 0;
#pragma omp parallel for schedule(static) num_threads(fsm_cpu_threads(self, n))
    for (int p = 0; p < PIECES; p++) {
        int64_t begin = n * p / PIECES, end = n * (p + 1) / PIECES;
        sum_squares(end - begin, x + begin, &piece[p]);
    }
    for (int p = 0; p < PIECES; p++) total += piece[p];
    *sum += total;
}

FSM_CPU_BODY void adamw_body(int64_t n, const fsm_adamw *step, float grad_scale, const float *g, float *m, float *v,
                             float *p)
{
    const float b1 = step->beta1, b2 = step->beta2, eps = step->eps;
    const float one_b1 = (float)(1 - (double)b1), one_b2 = (float)(1 - (double)b2);
    const float lr = step->rates[FSM_ADAMW_LR], rate = (float)((double)lr / step->rates[FSM_ADAMW_C1]);
    const float scale2 = (float)(1 / (double)step->rates[FSM_ADAMW_C2]), shrink = lr * step->decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float gradient = grad_scale * g[i];
        float first = b1 * m[i] + one_b1 * gradient, second = b2 * v[i] + one_b2 * (gradient * gradient);
        m[i] = first;
        v[i] = second;
        p[i] -= rate * first / (sqrtf(second * scale2) + eps) + shrink * p[i];
    }
}
FSM_CPU_KERNEL(adamw,
               (int64_t n, const fsm_adamw *step, float grad_scale, const float *g, float *m, float *v, float *p),
               (n, step, grad_scale, g, m, v, p))

void fsm_cpu_adamw(const fsm_ops *self, int64_t n, const fsm_adamw *step, const float *g, float *m, float *v, float *p)
{
    float scale;
    if (!fsm_adamw_scale(step, &scale)) return;
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, LINE_ELEMS);
        adamw(mine.count, step, scale, g + mine.begin, m + mine.begin, v + mine.begin, p + mine.begin);
    }
}
