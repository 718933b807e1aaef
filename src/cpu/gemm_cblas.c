/* Any CBLAS: no packed copies. A BLAS with threads of its own, not OpenMP's, follows its own settings, inside parallel
 * regions too. */
#include "cpu/gemm.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

#include <cblas.h>

void fsm_cpu_gemm_reserve(fsm_cpu *cpu)
{
    (void)cpu;
}

void fsm_cpu_sgemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m == 0 || n == 0) return;
    if (k == 0) lda = trans_a ? m : 1, ldb = n; /* CBLAS demands leading dimensions even of nothing */
    int before = fsm_cpu_library_begin(self);
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, (int)m, (int)n,
                (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    fsm_cpu_library_end(self, before);
}

bool fsm_cpu_weight_create(const fsm_ops *self, fsm_weight *weight)
{
    (void)self;
    weight->pack = NULL;
    return true;
}

size_t fsm_cpu_weight_bytes(const fsm_ops *self, int64_t out, int64_t in)
{
    (void)self, (void)out, (void)in;
    return 0;
}

bool fsm_cpu_weight_create_forced(const fsm_ops *self, fsm_weight *weight)
{
    return fsm_cpu_weight_create(self, weight);
}

bool fsm_cpu_weight_create_ways(const fsm_ops *self, fsm_weight *weight, unsigned ways)
{
    (void)ways;
    return fsm_cpu_weight_create(self, weight);
}

int64_t fsm_cpu_multiply(const fsm_ops *self, fsm_product_way way, bool backward, int64_t n, const fsm_weight *weight,
                         const float *source, float *result)
{
    (void)self, (void)way, (void)backward, (void)n, (void)weight, (void)source, (void)result;
    return 0;
}

void fsm_cpu_weight_update(const fsm_ops *self, fsm_weight *weight)
{
    (void)self, (void)weight;
}

void fsm_cpu_weight_destroy(const fsm_ops *self, fsm_weight *weight)
{
    (void)self, (void)weight;
}

int64_t fsm_cpu_packed_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *x, float *y)
{
    (void)self, (void)n, (void)weight, (void)x, (void)y;
    return 0;
}

int64_t fsm_cpu_packed_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *dy,
                                      float *dx)
{
    (void)self, (void)n, (void)weight, (void)dy, (void)dx;
    return 0;
}
