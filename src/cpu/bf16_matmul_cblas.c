/* CBLAS has no products of bf16. */
#include "cpu/bf16_matmul.h"

bool fsm_cpu_multiplies_bf16(void)
{
    return false;
}

fsm_bf16_matmul *fsm_bf16_matmul_create(bool rows_are_float)
{
    (void)rows_are_float;
    return NULL;
}

void fsm_bf16_matmul_destroy(fsm_bf16_matmul *matmul)
{
    (void)matmul;
}

bool fsm_bf16_weight_create(const fsm_ops *self, fsm_bf16_matmul *matmul, fsm_weight *weight)
{
    (void)self, (void)matmul;
    weight->pack = NULL;
    return true;
}

size_t fsm_bf16_weight_bytes(const fsm_bf16_matmul *matmul, int64_t out, int64_t in)
{
    (void)matmul, (void)out, (void)in;
    return 0;
}

void fsm_bf16_weight_update(const fsm_ops *self, fsm_weight *weight)
{
    (void)self, (void)weight;
}

void fsm_bf16_weight_destroy(fsm_weight *weight)
{
    weight->pack = NULL;
}

bool fsm_bf16_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const void *x, fsm_elem elem, void *y)
{
    (void)self, (void)n, (void)weight, (void)x, (void)elem, (void)y;
    return false;
}

bool fsm_bf16_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, const void *dy, fsm_elem elem,
                             void *dx)
{
    (void)self, (void)n, (void)weight, (void)dy, (void)elem, (void)dx;
    return false;
}

bool fsm_bf16_has_shape(const fsm_bf16_matmul *matmul, int64_t out, int64_t in)
{
    (void)matmul, (void)out, (void)in;
    return false;
}

void fsm_bf16_backward_weight(const fsm_ops *self, fsm_bf16_matmul *matmul, int64_t n, int64_t out, int64_t in,
                              const void *dy, const void *x, float *dw)
{
    (void)self, (void)matmul, (void)n, (void)out, (void)in, (void)dy, (void)x, (void)dw;
}
