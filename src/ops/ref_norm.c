#include "ops/ref.h"

#include <math.h>

void fsm_ref_rmsnorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const float *x,
                             const float *gain, float *y, float *rstd)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, x += width, y += width) {
        double squares = 0;
        for (int64_t j = 0; j < width; j++) squares += (double)x[j] * x[j];
        double r = 1 / sqrt(squares / (double)width + eps);
        for (int64_t j = 0; j < width; j++) y[j] = (float)(x[j] * r * gain[j]);
        rstd[i] = (float)r;
    }
}

/* With h = x r and g = gain dy:  dx = r (g - h mean(g h)),  dgain = dy h. */
void fsm_ref_rmsnorm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                              const float *rstd, const float *dy, float *dx, float *dgain)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, x += width, dy += width, dx += width) {
        double r = rstd[i], mean_gh = 0;
        for (int64_t j = 0; j < width; j++) mean_gh += (double)gain[j] * dy[j] * x[j] * r / (double)width;
        for (int64_t j = 0; j < width; j++) {
            double h = x[j] * r;
            dx[j] += (float)(r * ((double)gain[j] * dy[j] - h * mean_gh));
            dgain[j] += (float)(dy[j] * h);
        }
    }
}

void fsm_ref_layernorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const float *x,
                               const float *gain, const float *bias, float *y, float *mean, float *rstd)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, x += width, y += width) {
        double m = 0, variance = 0;
        for (int64_t j = 0; j < width; j++) m += x[j] / (double)width;
        for (int64_t j = 0; j < width; j++) variance += (x[j] - m) * (x[j] - m) / (double)width;
        double r = 1 / sqrt(variance + eps);
        for (int64_t j = 0; j < width; j++) y[j] = (float)((x[j] - m) * r * gain[j] + bias[j]);
        mean[i] = (float)m;
        rstd[i] = (float)r;
    }
}

/* With h = (x - mean) r and g = gain dy:  dx = r (g - mean(g) - h mean(g h)),  dgain = dy h,  dbias = dy. */
void fsm_ref_layernorm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                                const float *mean, const float *rstd, const float *dy, float *dx, float *dgain,
                                float *dbias)
{
    (void)self;
    for (int64_t i = 0; i < n; i++, x += width, dy += width, dx += width) {
        double m = mean[i], r = rstd[i], mean_g = 0, mean_gh = 0;
        for (int64_t j = 0; j < width; j++) {
            double g = (double)gain[j] * dy[j] / (double)width;
            mean_g += g;
            mean_gh += g * (x[j] - m) * r;
        }
        for (int64_t j = 0; j < width; j++) {
            double h = (x[j] - m) * r;
            dx[j] += (float)(r * ((double)gain[j] * dy[j] - mean_g - h * mean_gh));
            dgain[j] += (float)(dy[j] * h);
            dbias[j] += dy[j];
        }
    }
}
