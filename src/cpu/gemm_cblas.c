/* Any CBLAS: no packed copies. A BLAS with threads of its own follows its own settings, inside parallel regions too. */
#include "cpu/gemm.h"
#include "cpu/slots.h"

#include <cblas.h>

void fsm_cpu_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                  const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m == 0 || n == 0) return;
    if (k == 0) lda = trans_a ? m : 1, ldb = n; /* CBLAS demands leading dimensions even of nothing */
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, (int)m, (int)n,
                (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

bool fsm_cpu_weight_create(fsm_weight *weight)
{
    weight->pack = NULL;
    return true;
}

bool fsm_cpu_weight_create_forced(fsm_weight *weight)
{
    return fsm_cpu_weight_create(weight);
}

void fsm_cpu_weight_update(fsm_weight *weight)
{
    (void)weight;
}

void fsm_cpu_weight_destroy(fsm_weight *weight)
{
    (void)weight;
}

int64_t fsm_cpu_packed_forward(int64_t n, const fsm_weight *weight, const float *x, float *y)
{
    (void)n, (void)weight, (void)x, (void)y;
    return 0;
}

int64_t fsm_cpu_packed_backward_input(int64_t n, const fsm_weight *weight, const float *dy, float *dx)
{
    (void)n, (void)weight, (void)dy, (void)dx;
    return 0;
}
