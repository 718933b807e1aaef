#include "cpu/row_by_row.h"

#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

/* Rows of w that are taken together: they share the loads of x and are sums that do not wait for each other. */
enum { TOGETHER = 8 };

FSM_CPU_BODY void one_dot(int64_t in, float alpha, const float *x, const float *w, float *y)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < in; j++) sum += x[j] * w[j];
    *y = alpha * sum;
}

FSM_CPU_BODY void eight_dots(int64_t in, float alpha, const float *x, const float *w, int64_t ld, float *y)
{
    const float *const w0 = w, *const w1 = w0 + ld, *const w2 = w1 + ld, *const w3 = w2 + ld;
    const float *const w4 = w3 + ld, *const w5 = w4 + ld, *const w6 = w5 + ld, *const w7 = w6 + ld;
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3, s4, s5, s6, s7)
    for (int64_t j = 0; j < in; j++) {
        const float v = x[j];
        s0 += v * w0[j];
        s1 += v * w1[j];
        s2 += v * w2[j];
        s3 += v * w3[j];
        s4 += v * w4[j];
        s5 += v * w5[j];
        s6 += v * w6[j];
        s7 += v * w7[j];
    }
    const float sums[TOGETHER] = {s0, s1, s2, s3, s4, s5, s6, s7};
    for (int i = 0; i < TOGETHER; i++) y[i] = alpha * sums[i];
}

/* The first row of x brings rows of w from memory, the others find them in the cache. Each is multiplied by the same
 * function, so its sums are the same in any company. */
FSM_CPU_BODY void multiply_body(int64_t n, int64_t out, int64_t in, float alpha, const float *x, int64_t ld_x,
                                const float *w, int64_t ld_w, float *y, int64_t ld_y)
{
    int64_t o = 0;
    for (; o + TOGETHER <= out; o += TOGETHER)
        for (int64_t i = 0; i < n; i++) eight_dots(in, alpha, x + i * ld_x, w + o * ld_w, ld_w, y + i * ld_y + o);
    for (; o < out; o++)
        for (int64_t i = 0; i < n; i++) one_dot(in, alpha, x + i * ld_x, w + o * ld_w, y + i * ld_y + o);
}
FSM_CPU_KERNEL(multiply,
               (int64_t n, int64_t out, int64_t in, float alpha, const float *x, int64_t ld_x, const float *w,
                int64_t ld_w, float *y, int64_t ld_y),
               (n, out, in, alpha, x, ld_x, w, ld_w, y, ld_y))

/* Threads share rows of w in whole groups: which are taken together does not depend on their number. */
void fsm_cpu_multiply_rows(const fsm_ops *self, int64_t n, int64_t out, int64_t in, float alpha, const float *x,
                           int64_t ld_x, const float *w, int64_t ld_w, float *y, int64_t ld_y)
{
    if (n == 0) return;
#pragma omp parallel num_threads(fsm_cpu_threads(self, (out + n) * in))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(out, TOGETHER);
        multiply(n, mine.count, in, alpha, x, ld_x, w + mine.begin * ld_w, ld_w, y + mine.begin, ld_y);
    }
}

void fsm_cpu_row_by_row(fsm_ops *self, bool on)
{
    ((fsm_cpu *)self)->row_by_row = on;
}
