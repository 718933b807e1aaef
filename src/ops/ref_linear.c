#include "ops/ref.h"

/* Element [row, column] of a matrix. */
static float *element(fsm_matrix m, int64_t row, int64_t column)
{
    return (float *)m.at + row * m.ld + column;
}

void fsm_ref_gemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                  const fsm_real *alpha, fsm_matrix a, fsm_matrix b, float beta, fsm_matrix c)
{
    (void)self;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) {
                double a_il = trans_a ? *element(a, l, i) : *element(a, i, l);
                double b_lj = trans_b ? *element(b, j, l) : *element(b, l, j);
                sum += a_il * b_lj;
            }
            float *out = element(c, i, j);
            *out = (float)((alpha ? *alpha : 1) * sum + (beta == 0 ? 0 : beta * (double)*out));
        }
    }
}

/* Every element is a sum of its own anyway. */
void fsm_ref_row_by_row(fsm_ops *self, bool on)
{
    (void)self, (void)on;
}

bool fsm_ref_weight_create(const fsm_ops *self, fsm_weight *weight)
{
    (void)self;
    weight->pack = NULL;
    return true;
}

size_t fsm_ref_weight_bytes(const fsm_ops *self, int64_t out, int64_t in)
{
    (void)self, (void)out, (void)in;
    return 0;
}

void fsm_ref_weight_update(const fsm_ops *self, fsm_weight *weight)
{
    (void)self, (void)weight;
}

void fsm_ref_weight_destroy(const fsm_ops *self, fsm_weight *weight)
{
    (void)self, (void)weight;
}

void fsm_ref_linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias,
                            fsm_matrix x, fsm_matrix y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < weight->out; j++) {
            double sum = bias ? bias[j] : 0;
            for (int64_t l = 0; l < weight->in; l++) sum += (double)*element(x, i, l) * weight->w[j * weight->in + l];
            *element(y, i, j) = (float)sum;
        }
    }
}

void fsm_ref_linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, fsm_matrix dy, float beta,
                                   fsm_matrix dx)
{
    fsm_ref_gemm(self, false, false, n, weight->in, weight->out, NULL, dy, fsm_reals(weight->w, weight->in), beta, dx);
}

void fsm_ref_linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_joined *joined,
                                    fsm_matrix dy, fsm_matrix dx)
{
    (void)joined;
    fsm_ref_linear_backward_input(self, n, weight, dy, 0, dx);
}

void fsm_ref_linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy,
                                    fsm_matrix x, fsm_real *dw, fsm_real *dbias)
{
    fsm_ref_gemm(self, true, false, out, in, n, NULL, dy, x, 1, fsm_reals(dw, in));
    if (!dbias) return;
    for (int64_t j = 0; j < out; j++) {
        double sum = dbias[j];
        for (int64_t i = 0; i < n; i++) sum += *element(dy, i, j);
        dbias[j] = (float)sum;
    }
}
