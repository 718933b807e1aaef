#include "base/sigmoid.h"
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

void fsm_ref_add_bias(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *bias, fsm_real *y)
{
    for (int64_t i = 0; i < n; i++) fsm_ref_add(self, width, bias, y + i * width);
}

void fsm_ref_add_bias_backward(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *y, fsm_real *bias)
{
    for (int64_t i = 0; i < n; i++) fsm_ref_add(self, width, y + i * width, bias);
}

void fsm_ref_sigmoid(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_real *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] = fsm_sigmoid(x[i]);
}

void fsm_ref_sigmoid_backward(const fsm_ops *self, int64_t n, const fsm_real *y, const fsm_real *dy, fsm_real *dx)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * (y[i] * (1 - y[i]));
}

void fsm_ref_count_from(const fsm_ops *self, int64_t n, int64_t first, int64_t period, fsm_index *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] = (fsm_index)(first + i % period);
}

void fsm_ref_copy_rows(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *x, int64_t ld_x, fsm_row *y,
                       int64_t ld_y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) memcpy(y + i * ld_y, x + i * ld_x, sizeof *y * (size_t)width);
}

void fsm_ref_check_finite(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum)
{
    (void)self;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) *sum = NAN;
}

/* ---- sums ---- */

void fsm_ref_zero_sums(const fsm_ops *self, int64_t n, fsm_sum *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] = 0;
}

void fsm_ref_add_sums(const fsm_ops *self, int64_t n, const fsm_sum *x, fsm_sum *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

void fsm_ref_ratio(const fsm_ops *self, double a, const fsm_sum *x, const fsm_sum *d, double beta, fsm_sum *y)
{
    (void)self;
    double ratio = a * (x ? *x : 1) / (d && *d > 0 ? *d : 1);
    *y = beta == 0 ? ratio : beta * *y + ratio;
}

void fsm_ref_add_to_sums(const fsm_ops *self, int64_t n, double value, fsm_sum *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] += value;
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
    const float lr = step->rates[FSM_ADAMW_LR], c1 = step->rates[FSM_ADAMW_C1], c2 = step->rates[FSM_ADAMW_C2];
    float scale;
    if (!fsm_adamw_scale(step, &scale)) return;
    for (int64_t i = 0; i < n; i++) {
        double gradient = (double)scale * g[i];
        double first = b1 * m[i] + (1 - b1) * gradient, second = b2 * v[i] + (1 - b2) * gradient * gradient;
        double update = first / c1 / (sqrt(second / c2) + step->eps);
        m[i] = (float)first;
        v[i] = (float)second;
        p[i] = (float)(p[i] - lr * (update + (double)step->decay * p[i]));
    }
}
