#include "ops/ref.h"

#include <math.h>

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

void fsm_ref_gelu_forward(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (float)(0.5 * x[i] * erfc(-x[i] / sqrt(2)));
}

/* dy/dx = Phi(x) + x phi(x) of the normal distribution. */
void fsm_ref_gelu_backward(int64_t n, const float *x, const float *dy, float *dx)
{
    const double root_2_pi = 2.5066282746310005;
    for (int64_t i = 0; i < n; i++) {
        double density = exp(-0.5 * (double)x[i] * x[i]) / root_2_pi;
        dx[i] = (float)(dy[i] * (0.5 * erfc(-x[i] / sqrt(2)) + x[i] * density));
    }
}

void fsm_ref_swiglu_forward(int64_t n, int64_t width, const float *ab, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        const float *a = ab + i * 2 * width, *b = a + width;
        for (int64_t j = 0; j < width; j++) y[i * width + j] = (float)(a[j] * sigmoid(a[j]) * b[j]);
    }
}

/* d silu(a)/da = s + a s (1 - s), s = sigmoid(a). */
void fsm_ref_swiglu_backward(int64_t n, int64_t width, const float *ab, const float *dy, float *dab)
{
    for (int64_t i = 0; i < n; i++, ab += 2 * width, dab += 2 * width, dy += width) {
        for (int64_t j = 0; j < width; j++) {
            double a = ab[j], b = ab[width + j], s = sigmoid(a);
            dab[j] = (float)(dy[j] * b * (s + a * s * (1 - s)));
            dab[width + j] = (float)(dy[j] * a * s);
        }
    }
}
