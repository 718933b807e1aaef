#include "ops/ref.h"

void fsm_ref_gemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    (void)self;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) {
                double a_il = trans_a ? a[l * lda + i] : a[i * lda + l];
                double b_lj = trans_b ? b[j * ldb + l] : b[l * ldb + j];
                sum += a_il * b_lj;
            }
            float *out = &c[i * ldc + j];
            *out = (float)(alpha * sum + (beta == 0 ? 0 : beta * (double)*out));
        }
    }
}

bool fsm_ref_weight_create(const fsm_ops *self, fsm_weight *weight)
{
    (void)self;
    weight->pack = NULL;
    return true;
}

void fsm_ref_weight_update(const fsm_ops *self, fsm_weight *weight)
{
    (void)self, (void)weight;
}

void fsm_ref_weight_destroy(const fsm_ops *self, fsm_weight *weight)
{
    (void)self, (void)weight;
}

void fsm_ref_linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *bias, const float *x,
                            int64_t ld_x, float *y, int64_t ld_y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < weight->out; j++) {
            double sum = bias ? bias[j] : 0;
            for (int64_t l = 0; l < weight->in; l++) sum += (double)x[i * ld_x + l] * weight->w[j * weight->in + l];
            y[i * ld_y + j] = (float)sum;
        }
    }
}

void fsm_ref_linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *dy,
                                   int64_t ld_dy, float beta, float *dx, int64_t ld_dx)
{
    fsm_ref_gemm(self, false, false, n, weight->in, weight->out, 1, dy, ld_dy, weight->w, weight->in, beta, dx, ld_dx);
}

void fsm_ref_linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *weight, int parts,
                                    const int64_t *part_rows, const int64_t *leaf_rows, const float *dy, int64_t ld_dy,
                                    float *dx, int64_t ld_dx)
{
    (void)parts, (void)part_rows, (void)leaf_rows;
    fsm_ref_linear_backward_input(self, n, weight, dy, ld_dy, 0, dx, ld_dx);
}

void fsm_ref_linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, const float *dy,
                                    int64_t ld_dy, const float *x, int64_t ld_x, float *dw, float *dbias)
{
    fsm_ref_gemm(self, true, false, out, in, n, 1, dy, ld_dy, x, ld_x, 1, dw, in);
    if (!dbias) return;
    for (int64_t j = 0; j < out; j++) {
        double sum = dbias[j];
        for (int64_t i = 0; i < n; i++) sum += dy[i * ld_dy + j];
        dbias[j] = (float)sum;
    }
}
