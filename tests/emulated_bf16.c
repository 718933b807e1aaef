/* A processor with arithmetic of bf16, for tests on those that have none: all of cpu/bf16_matmul.h, linked before the
 * library's. Weights are rounded and kept as floats, rows widened, sums fp32's, results rounded once. */
#include "base/bf16.h"
#include "cpu/bf16_matmul.h"
#include "cpu/gemm.h"

#include <stdlib.h>

enum { MOST_SHAPES = 256 };

struct fsm_bf16_matmul {
    int64_t shapes[MOST_SHAPES][2];
    int count;
};

/* Nothing else may take it for a pack of its own: it would read far beyond its end. */
typedef struct pack {
    float *w;
} pack;

bool fsm_cpu_multiplies_bf16(void)
{
    return true;
}

fsm_bf16_matmul *fsm_bf16_matmul_create(bool rows_are_float)
{
    (void)rows_are_float;
    return calloc(1, sizeof(fsm_bf16_matmul));
}

void fsm_bf16_matmul_destroy(fsm_bf16_matmul *matmul)
{
    free(matmul);
}

bool fsm_bf16_has_shape(const fsm_bf16_matmul *matmul, int64_t out, int64_t in)
{
    for (int i = 0; i < matmul->count; i++)
        if (matmul->shapes[i][0] == out && matmul->shapes[i][1] == in) return true;
    return false;
}

bool fsm_bf16_weight_create(const fsm_ops *self, fsm_bf16_matmul *matmul, fsm_weight *weight)
{
    pack *p = malloc(sizeof *p);
    p->w = malloc(sizeof *p->w * (size_t)(weight->out * weight->in + 1));
    weight->pack = p;
    if (!fsm_bf16_has_shape(matmul, weight->out, weight->in) && matmul->count < MOST_SHAPES) {
        matmul->shapes[matmul->count][0] = weight->out;
        matmul->shapes[matmul->count++][1] = weight->in;
    }
    fsm_bf16_weight_update(self, weight);
    return true;
}

size_t fsm_bf16_weight_bytes(const fsm_bf16_matmul *matmul, int64_t out, int64_t in)
{
    (void)matmul;
    return sizeof(float) * (size_t)(out * in);
}

void fsm_bf16_weight_update(const fsm_ops *self, fsm_weight *weight)
{
    pack *p = weight->pack;
    (void)self;
    for (int64_t i = 0; p && i < weight->out * weight->in; i++)
        p->w[i] = fsm_from_bf16(fsm_to_bf16(((const float *)weight->w)[i]));
}

void fsm_bf16_weight_destroy(fsm_weight *weight)
{
    pack *p = weight->pack;
    weight->pack = NULL;
    if (p) free(p->w);
    free(p);
}

static float *widened(int64_t n, const uint16_t *rows)
{
    float *wide = malloc(sizeof *wide * (size_t)(n + 1));
    for (int64_t i = 0; i < n; i++) wide[i] = fsm_from_bf16(rows[i]);
    return wide;
}

static bool multiply(const fsm_ops *self, bool transposed, int64_t n, const fsm_weight *weight, const void *source,
                     fsm_elem elem, void *result)
{
    const pack *p = weight->pack;
    const int64_t from = transposed ? weight->in : weight->out, to = transposed ? weight->out : weight->in;
    if (!p) return false;
    float *x = widened(n * from, source), *y = malloc(sizeof *y * (size_t)(n * to + 1));
    fsm_cpu_sgemm(self, false, transposed, n, to, from, 1, x, from, p->w, weight->in, 0, y, to);
    for (int64_t i = 0; i < n * to; i++) {
        if (elem == FSM_ELEM_ROW) ((uint16_t *)result)[i] = fsm_to_bf16(y[i]);
        else ((float *)result)[i] = y[i];
    }
    free(x);
    free(y);
    return true;
}

bool fsm_bf16_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const void *x, fsm_elem elem, void *y)
{
    return multiply(self, true, n, weight, x, elem, y);
}

bool fsm_bf16_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, const void *dy, fsm_elem elem,
                             void *dx)
{
    return multiply(self, false, n, weight, dy, elem, dx);
}

void fsm_bf16_backward_weight(const fsm_ops *self, fsm_bf16_matmul *matmul, int64_t n, int64_t out, int64_t in,
                              const void *dy, const void *x, float *dw)
{
    (void)matmul;
    float *wide_dy = widened(n * out, dy), *wide_x = widened(n * in, x);
    fsm_cpu_sgemm(self, true, false, out, in, n, 1, wide_dy, out, wide_x, in, 1, dw, in);
    free(wide_dy);
    free(wide_x);
}
