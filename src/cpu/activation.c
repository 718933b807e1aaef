#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

enum { LINE_ELEMS = 16 };

/* y = x Phi(x) of the normal distribution. With its tail T(x) = Phi(-|x|) that is max(x, 0) - |x| T(x). */
FSM_CPU_BODY void gelu_forward_body(int64_t n, const float *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float tail = fsm_cpu_normal_tail(x[i], fsm_cpu_exp(-0.5f * x[i] * x[i]));
        y[i] = (x[i] > 0 ? x[i] : 0) - fabsf(x[i]) * tail;
    }
}
FSM_CPU_KERNEL(gelu_forward, (int64_t n, const float *x, float *y), (n, x, y))

/* dy/dx = Phi(x) + x phi(x) */
FSM_CPU_BODY void gelu_backward_body(int64_t n, const float *x, const float *dy, float *dx)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float e = fsm_cpu_exp(-0.5f * x[i] * x[i]), tail = fsm_cpu_normal_tail(x[i], e);
        float density = 0.398942280401432678f * e;
        dx[i] = dy[i] * (fsm_cpu_distribution(x[i], tail) + x[i] * density);
    }
}
FSM_CPU_KERNEL(gelu_backward, (int64_t n, const float *x, const float *dy, float *dx), (n, x, dy, dx))

void fsm_cpu_gelu_forward(int64_t n, const float *x, float *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, LINE_ELEMS);
        gelu_forward(mine.count, x + mine.begin, y + mine.begin);
    }
}

void fsm_cpu_gelu_backward(int64_t n, const float *x, const float *dy, float *dx)
{
#pragma omp parallel num_threads(fsm_cpu_threads(n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, LINE_ELEMS);
        gelu_backward(mine.count, x + mine.begin, dy + mine.begin, dx + mine.begin);
    }
}

FSM_CPU_BODY void swiglu_forward_body(int64_t n, int64_t width, const float *ab, float *y)
{
    for (int64_t i = 0; i < n; i++, ab += 2 * width, y += width) {
#pragma omp simd
        for (int64_t j = 0; j < width; j++) y[j] = ab[j] * fsm_cpu_sigmoid(ab[j]) * ab[width + j];
    }
}
FSM_CPU_KERNEL(swiglu_forward, (int64_t n, int64_t width, const float *ab, float *y), (n, width, ab, y))

/* d silu(a)/da = s + a s (1 - s), s = sigmoid(a). */
FSM_CPU_BODY void swiglu_backward_body(int64_t n, int64_t width, const float *ab, const float *dy, float *dab)
{
    for (int64_t i = 0; i < n; i++, ab += 2 * width, dab += 2 * width, dy += width) {
#pragma omp simd
        for (int64_t j = 0; j < width; j++) {
            float a = ab[j], b = ab[width + j], s = fsm_cpu_sigmoid(a);
            dab[j] = dy[j] * b * (s + a * s * (1 - s));
            dab[width + j] = dy[j] * a * s;
        }
    }
}
FSM_CPU_KERNEL(swiglu_backward, (int64_t n, int64_t width, const float *ab, const float *dy, float *dab),
               (n, width, ab, dy, dab))

void fsm_cpu_swiglu_forward(int64_t n, int64_t width, const float *ab, float *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(2 * n * width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        swiglu_forward(mine.count, width, ab + mine.begin * 2 * width, y + mine.begin * width);
    }
}

void fsm_cpu_swiglu_backward(int64_t n, int64_t width, const float *ab, const float *dy, float *dab)
{
#pragma omp parallel num_threads(fsm_cpu_threads(2 * n * width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * width;
        swiglu_backward(mine.count, width, ab + 2 * first, dy + first, dab + 2 * first);
    }
}
