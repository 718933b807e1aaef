#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

enum { LINE_ELEMS = 16 };

typedef void forward_kernel(int64_t n, const float *x, float *y);
typedef void backward_kernel(int64_t n, const float *x, const float *dy, float *dx);
typedef void gated_forward_kernel(int64_t n, int64_t width, const float *ab, float *y);
typedef void gated_backward_kernel(int64_t n, int64_t width, const float *ab, const float *dy, float *dab);

static void share_forward(const fsm_ops *self, forward_kernel *kernel, int64_t n, const float *x, float *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, LINE_ELEMS);
        kernel(mine.count, x + mine.begin, y + mine.begin);
    }
}

static void share_backward(const fsm_ops *self, backward_kernel *kernel, int64_t n, const float *x, const float *dy,
                           float *dx)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, LINE_ELEMS);
        kernel(mine.count, x + mine.begin, dy + mine.begin, dx + mine.begin);
    }
}

static void share_gated_forward(const fsm_ops *self, gated_forward_kernel *kernel, int64_t n, int64_t width,
                                const float *ab, float *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, 2 * n * width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        kernel(mine.count, width, ab + mine.begin * 2 * width, y + mine.begin * width);
    }
}

static void share_gated_backward(const fsm_ops *self, gated_backward_kernel *kernel, int64_t n, int64_t width,
                                 const float *ab, const float *dy, float *dab)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, 2 * n * width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * width;
        kernel(mine.count, width, ab + 2 * first, dy + first, dab + 2 * first);
    }
}

/* ---- GELU and GEGLU ---- */

/* e^(-x^2/2), of which tail and density of the normal distribution are made. */
FSM_CPU_BODY float bell(float x)
{
    return fsm_cpu_exp(-0.5f * x * x);
}

/* x Phi(x) of the normal distribution. With its tail T(x) = Phi(-|x|) that is max(x, 0) - |x| T(x). */
FSM_CPU_BODY float gelu(float x, float tail)
{
    return (x > 0 ? x : 0) - fabsf(x) * tail;
}

/* Phi(x) + x phi(x) */
FSM_CPU_BODY float gelu_slope(float x, float e, float tail)
{
    float density = 0.398942280401432678f * e;
    return fsm_cpu_distribution(x, tail) + x * density;
}

FSM_CPU_BODY void gelu_forward_body(int64_t n, const float *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = gelu(x[i], fsm_cpu_normal_tail(x[i], bell(x[i])));
}
FSM_CPU_KERNEL(gelu_forward, (int64_t n, const float *x, float *y), (n, x, y))

FSM_CPU_BODY void gelu_backward_body(int64_t n, const float *x, const float *dy, float *dx)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float e = bell(x[i]), tail = fsm_cpu_normal_tail(x[i], e);
        dx[i] = dy[i] * gelu_slope(x[i], e, tail);
    }
}
FSM_CPU_KERNEL(gelu_backward, (int64_t n, const float *x, const float *dy, float *dx), (n, x, dy, dx))

FSM_CPU_BODY void geglu_forward_body(int64_t n, int64_t width, const float *ab, float *y)
{
    for (int64_t i = 0; i < n; i++, ab += 2 * width, y += width) {
#pragma omp simd
        for (int64_t j = 0; j < width; j++) y[j] = gelu(ab[j], fsm_cpu_normal_tail(ab[j], bell(ab[j]))) * ab[width + j];
    }
}
FSM_CPU_KERNEL(geglu_forward, (int64_t n, int64_t width, const float *ab, float *y), (n, width, ab, y))

FSM_CPU_BODY void geglu_backward_body(int64_t n, int64_t width, const float *ab, const float *dy, float *dab)
{
    for (int64_t i = 0; i < n; i++, ab += 2 * width, dab += 2 * width, dy += width) {
#pragma omp simd
        for (int64_t j = 0; j < width; j++) {
            float a = ab[j], b = ab[width + j], e = bell(a), tail = fsm_cpu_normal_tail(a, e);
            dab[j] = dy[j] * b * gelu_slope(a, e, tail);
            dab[width + j] = dy[j] * gelu(a, tail);
        }
    }
}
FSM_CPU_KERNEL(geglu_backward, (int64_t n, int64_t width, const float *ab, const float *dy, float *dab),
               (n, width, ab, dy, dab))

/* ---- GELU by tanh ---- */

/* (1 + tanh u) / 2 = sigmoid(2u), 2u = x (C1 + C3 x^2) with C1 = 2 sqrt(2/pi), C3 = 0.044715 C1. */
static const float C1 = 1.59576912160573f, C3 = 0.0713548162726009f;

FSM_CPU_BODY void gelu_tanh_forward_body(int64_t n, const float *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * fsm_cpu_sigmoid(x[i] * (C1 + C3 * x[i] * x[i]));
}
FSM_CPU_KERNEL(gelu_tanh_forward, (int64_t n, const float *x, float *y), (n, x, y))

/* dy/dx = s + x s (1 - s) (C1 + 3 C3 x^2), s = sigmoid(2u), s (1 - s) = t (1 - t) with its tail t <= 1/2, which keeps
 * its digits. x^2 is multiplied in factor by factor: what is 0 times it stays 0 where x^2 overflows. */
FSM_CPU_BODY void gelu_tanh_backward_body(int64_t n, const float *x, const float *dy, float *dx)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float twice = x[i] * (C1 + C3 * x[i] * x[i]), e = fsm_cpu_exp(-fabsf(twice)), tail = e / (1 + e);
        float bend = tail * (1 - tail) * x[i];
        dx[i] = dy[i] * (fsm_cpu_distribution(twice, tail) + C1 * bend + bend * x[i] * (3 * C3 * x[i]));
    }
}
FSM_CPU_KERNEL(gelu_tanh_backward, (int64_t n, const float *x, const float *dy, float *dx), (n, x, dy, dx))

/* ---- ReLU ---- */

/* x where asked to keep it, else 0. A mask: gcc makes branches of what is done with a maximum, and then no vectors. */
FSM_CPU_BODY float keep_if(bool keep, float x)
{
    return fsm_cpu_float_of_bits(fsm_cpu_bits_of_float(x) & -(uint32_t)keep);
}

/* max(x, 0); a NaN is passed on. */
FSM_CPU_BODY float relu(float x)
{
    return keep_if(!(x < 0), x);
}

FSM_CPU_BODY void relu_forward_body(int64_t n, const float *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = relu(x[i]);
}
FSM_CPU_KERNEL(relu_forward, (int64_t n, const float *x, float *y), (n, x, y))

FSM_CPU_BODY void relu_backward_body(int64_t n, const float *x, const float *dy, float *dx)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dx[i] = keep_if(x[i] > 0, dy[i]);
}
FSM_CPU_KERNEL(relu_backward, (int64_t n, const float *x, const float *dy, float *dx), (n, x, dy, dx))

FSM_CPU_BODY void relu_squared_forward_body(int64_t n, const float *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = relu(x[i]) * relu(x[i]);
}
FSM_CPU_KERNEL(relu_squared_forward, (int64_t n, const float *x, float *y), (n, x, y))

FSM_CPU_BODY void relu_squared_backward_body(int64_t n, const float *x, const float *dy, float *dx)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * (2 * relu(x[i]));
}
FSM_CPU_KERNEL(relu_squared_backward, (int64_t n, const float *x, const float *dy, float *dx), (n, x, dy, dx))

/* ---- SwiGLU ---- */

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

/* ---- the slots ---- */

void fsm_cpu_gelu_forward(const fsm_ops *self, int64_t n, const float *x, float *y)
{
    share_forward(self, gelu_forward, n, x, y);
}

void fsm_cpu_gelu_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx)
{
    share_backward(self, gelu_backward, n, x, dy, dx);
}

void fsm_cpu_gelu_tanh_forward(const fsm_ops *self, int64_t n, const float *x, float *y)
{
    share_forward(self, gelu_tanh_forward, n, x, y);
}

void fsm_cpu_gelu_tanh_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx)
{
    share_backward(self, gelu_tanh_backward, n, x, dy, dx);
}

void fsm_cpu_relu_forward(const fsm_ops *self, int64_t n, const float *x, float *y)
{
    share_forward(self, relu_forward, n, x, y);
}

void fsm_cpu_relu_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx)
{
    share_backward(self, relu_backward, n, x, dy, dx);
}

void fsm_cpu_relu_squared_forward(const fsm_ops *self, int64_t n, const float *x, float *y)
{
    share_forward(self, relu_squared_forward, n, x, y);
}

void fsm_cpu_relu_squared_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx)
{
    share_backward(self, relu_squared_backward, n, x, dy, dx);
}

void fsm_cpu_swiglu_forward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y)
{
    share_gated_forward(self, swiglu_forward, n, width, ab, y);
}

void fsm_cpu_swiglu_backward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy,
                             float *dab)
{
    share_gated_backward(self, swiglu_backward, n, width, ab, dy, dab);
}

void fsm_cpu_geglu_forward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y)
{
    share_gated_forward(self, geglu_forward, n, width, ab, y);
}

void fsm_cpu_geglu_backward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy, float *dab)
{
    share_gated_backward(self, geglu_backward, n, width, ab, dy, dab);
}
