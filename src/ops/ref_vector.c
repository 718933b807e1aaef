#include "ops/ref.h"

#include <math.h>
#include <string.h>

void fsm_ref_read(const fsm_ops *self, size_t bytes, const void *tensor, void *host)
{
    (void)self;
    if (bytes > 0) memcpy(host, tensor, bytes);
}

void fsm_ref_write(const fsm_ops *self, size_t bytes, const void *host, void *tensor)
{
    (void)self;
    if (bytes > 0) memcpy(tensor, host, bytes);
}

void fsm_ref_copy(const fsm_ops *self, size_t bytes, const void *from, void *to)
{
    (void)self;
    if (bytes > 0) memcpy(to, from, bytes);
}

void fsm_ref_add(const fsm_ops *self, int64_t n, const float *x, float *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

void fsm_ref_scale(const fsm_ops *self, int64_t n, float a, float *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] *= a;
}

void fsm_ref_zero(const fsm_ops *self, int64_t n, float *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] = 0;
}

void fsm_ref_zero_rows(const fsm_ops *self, int64_t n, fsm_row *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] = 0;
}

void fsm_ref_sum_squares(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum)
{
    (void)self;
    double own = 0;
    for (int64_t i = 0; i < n; i++) own += (double)x[i] * x[i];
    *sum += own;
}

bool fsm_adamw_scale(const fsm_adamw *step, float *scale)
{
    double norm = step->squares ? sqrt(*step->squares) : 0;
    /* torch.nn.utils.clip_grad_norm_ guards the division the same way, so that recorded runs compare */
    *scale = (float)(step->clip > 0 && norm > step->clip ? step->clip / (norm + 1e-6) : 1);
    return isfinite(norm) && (!step->loss || isfinite(*step->loss));
}

void fsm_ref_adamw(const fsm_ops *self, int64_t n, const fsm_adamw *step, const float *g, float *m, float *v, float *p)
{
    (void)self;
    double b1 = step->beta1, b2 = step->beta2;
    float scale;
    if (!fsm_adamw_scale(step, &scale)) return;
    for (int64_t i = 0; i < n; i++) {
        double gradient = (double)scale * g[i];
        double first = b1 * m[i] + (1 - b1) * gradient, second = b2 * v[i] + (1 - b2) * gradient * gradient;
        double update = first / step->correction1 / (sqrt(second / step->correction2) + step->eps);
        m[i] = (float)first;
        v[i] = (float)second;
        p[i] = (float)(p[i] - step->lr * (update + (double)step->decay * p[i]));
    }
}
