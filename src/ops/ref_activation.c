#include "ops/ref.h"

#include <math.h>

/* An activation, or its derivative. */
typedef double scalar_function(double x);

static double gelu(double x)
{
    return 0.5 * x * erfc(-x / sqrt(2));
}

/* Phi(x) + x phi(x) of the normal distribution. */
static double gelu_slope(double x)
{
    const double root_2_pi = 2.5066282746310005;
    return 0.5 * erfc(-x / sqrt(2)) + x * exp(-0.5 * x * x) / root_2_pi;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* (1 + tanh u) / 2 = sigmoid(2u), which keeps its digits where tanh is near -1. */
static const double two_root_2_over_pi = 1.5957691216057308, cubic = 0.044715;

static double gelu_tanh(double x)
{
    return x * sigmoid(two_root_2_over_pi * (x + cubic * x * x * x));
}

static double gelu_tanh_slope(double x)
{
    double s = sigmoid(two_root_2_over_pi * (x + cubic * x * x * x));
    return s + x * s * (1 - s) * two_root_2_over_pi * (1 + 3 * cubic * x * x);
}

static double silu(double x)
{
    return x * sigmoid(x);
}

static double silu_slope(double x)
{
    double s = sigmoid(x);
    return s + x * s * (1 - s);
}

/* A NaN is passed on. */
static double relu(double x)
{
    return x < 0 ? 0 : x;
}

static double relu_slope(double x)
{
    return x > 0;
}

static double relu_squared(double x)
{
    return relu(x) * relu(x);
}

static double relu_squared_slope(double x)
{
    return 2 * relu(x);
}

static void forward(scalar_function *f, int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (float)f(x[i]);
}

static void backward(scalar_function *slope, int64_t n, const float *x, const float *dy, float *dx)
{
    for (int64_t i = 0; i < n; i++) dx[i] = (float)(dy[i] * slope(x[i]));
}

static void gated_forward(scalar_function *f, int64_t n, int64_t width, const float *ab, float *y)
{
    for (int64_t i = 0; i < n; i++, ab += 2 * width, y += width)
        for (int64_t j = 0; j < width; j++) y[j] = (float)(f(ab[j]) * ab[width + j]);
}

static void gated_backward(scalar_function *f, scalar_function *slope, int64_t n, int64_t width, const float *ab,
                           const float *dy, float *dab)
{
    for (int64_t i = 0; i < n; i++, ab += 2 * width, dab += 2 * width, dy += width) {
        for (int64_t j = 0; j < width; j++) {
            double a = ab[j], b = ab[width + j];
            dab[j] = (float)(dy[j] * b * slope(a));
            dab[width + j] = (float)(dy[j] * f(a));
        }
    }
}

void fsm_ref_gelu_forward(const fsm_ops *self, int64_t n, const float *x, float *y)
{
    (void)self;
    forward(gelu, n, x, y);
}

void fsm_ref_gelu_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx)
{
    (void)self;
    backward(gelu_slope, n, x, dy, dx);
}

void fsm_ref_gelu_tanh_forward(const fsm_ops *self, int64_t n, const float *x, float *y)
{
    (void)self;
    forward(gelu_tanh, n, x, y);
}

void fsm_ref_gelu_tanh_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx)
{
    (void)self;
    backward(gelu_tanh_slope, n, x, dy, dx);
}

void fsm_ref_relu_forward(const fsm_ops *self, int64_t n, const float *x, float *y)
{
    (void)self;
    forward(relu, n, x, y);
}

void fsm_ref_relu_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx)
{
    (void)self;
    backward(relu_slope, n, x, dy, dx);
}

void fsm_ref_relu_squared_forward(const fsm_ops *self, int64_t n, const float *x, float *y)
{
    (void)self;
    forward(relu_squared, n, x, y);
}

void fsm_ref_relu_squared_backward(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx)
{
    (void)self;
    backward(relu_squared_slope, n, x, dy, dx);
}

void fsm_ref_swiglu_forward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y)
{
    (void)self;
    gated_forward(silu, n, width, ab, y);
}

void fsm_ref_swiglu_backward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy,
                             float *dab)
{
    (void)self;
    gated_backward(silu, silu_slope, n, width, ab, dy, dab);
}

void fsm_ref_geglu_forward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y)
{
    (void)self;
    gated_forward(gelu, n, width, ab, y);
}

void fsm_ref_geglu_backward(const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy, float *dab)
{
    (void)self;
    gated_backward(gelu, gelu_slope, n, width, ab, dy, dab);
}
