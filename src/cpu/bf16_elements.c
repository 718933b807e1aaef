/* Operations on elements and on whole rows, with rows of bf16: blocks that stay in the cache between their three
 * steps. */
#include "cpu/bf16.h"
#include "cpu/slots.h"

typedef void forward_slot(const fsm_ops *self, int64_t n, const float *x, float *y);
typedef void backward_slot(const fsm_ops *self, int64_t n, const float *x, const float *dy, float *dx);
typedef void gated_forward_slot(const fsm_ops *self, int64_t n, int64_t width, const float *ab, float *y);
typedef void gated_backward_slot(const fsm_ops *self, int64_t n, int64_t width, const float *ab, const float *dy,
                                 float *dab);

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows without gaps from row i on. */
static fsm_row *at(const fsm_row *x, int64_t i, int64_t width)
{
    return fsm_row_at(x, FSM_CPU_BF16_BYTES, i * width);
}

static void load(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *x, float *to)
{
    fsm_cpu_widen_all(self, n, width, x, width, to, width);
}

static void store(const fsm_ops *self, int64_t n, int64_t width, const float *from, fsm_row *y)
{
    fsm_cpu_narrow_all(self, n, width, from, width, y, width);
}

/* ---- activations ---- */

static void forward(const fsm_ops *self, forward_slot *slot, int64_t n, const fsm_row *x, fsm_row *y)
{
    const int64_t step = fsm_cpu_rows_in_cache(self, 2);
    float *from = fsm_cpu_of(self)->wide, *to = from + step;
    for (int64_t i = 0; i < n; i += step) {
        int64_t count = least(step, n - i);
        load(self, count, 1, at(x, i, 1), from);
        slot(self, count, from, to);
        store(self, count, 1, to, at(y, i, 1));
    }
}

static void backward(const fsm_ops *self, backward_slot *slot, int64_t n, const fsm_row *x, const fsm_row *dy,
                     fsm_row *dx)
{
    const int64_t step = fsm_cpu_rows_in_cache(self, 3);
    float *from = fsm_cpu_of(self)->wide, *from_dy = from + step, *to = from_dy + step;
    for (int64_t i = 0; i < n; i += step) {
        int64_t count = least(step, n - i);
        load(self, count, 1, at(x, i, 1), from);
        load(self, count, 1, at(dy, i, 1), from_dy);
        slot(self, count, from, from_dy, to);
        store(self, count, 1, to, at(dx, i, 1));
    }
}

static void gated_forward(const fsm_ops *self, gated_forward_slot *slot, int64_t n, int64_t width, const fsm_row *ab,
                          fsm_row *y)
{
    const int64_t step = fsm_cpu_rows_in_cache(self, 3 * width);
    float *from = fsm_cpu_of(self)->wide, *to = from + step * 2 * width;
    for (int64_t i = 0; width > 0 && i < n; i += step) {
        int64_t rows = least(step, n - i);
        load(self, rows, 2 * width, at(ab, i, 2 * width), from);
        slot(self, rows, width, from, to);
        store(self, rows, width, to, at(y, i, width));
    }
}

static void gated_backward(const fsm_ops *self, gated_backward_slot *slot, int64_t n, int64_t width, const fsm_row *ab,
                           const fsm_row *dy, fsm_row *dab)
{
    const int64_t step = fsm_cpu_rows_in_cache(self, 3 * width);
    float *from = fsm_cpu_of(self)->wide, *from_dy = from + step * 2 * width;
    for (int64_t i = 0; width > 0 && i < n; i += step) {
        int64_t rows = least(step, n - i);
        load(self, rows, 2 * width, at(ab, i, 2 * width), from);
        load(self, rows, width, at(dy, i, width), from_dy);
        slot(self, rows, width, from, from_dy, from); /* dab may be ab */
        store(self, rows, 2 * width, from, at(dab, i, 2 * width));
    }
}

/* A slot is a function of its own; what it does is one of the four above. */
#define ACTIVATION(name)                                                                                          \
    static void name##_forward(const fsm_ops *self, int64_t n, const fsm_row *x, fsm_row *y)                      \
    {                                                                                                             \
        forward(self, fsm_cpu_##name##_forward, n, x, y);                                                         \
    }                                                                                                             \
    static void name##_backward(const fsm_ops *self, int64_t n, const fsm_row *x, const fsm_row *dy, fsm_row *dx) \
    {                                                                                                             \
        backward(self, fsm_cpu_##name##_backward, n, x, dy, dx);                                                  \
    }
#define GATED(name)                                                                                                  \
    static void name##_forward(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *ab, fsm_row *y)         \
    {                                                                                                                \
        gated_forward(self, fsm_cpu_##name##_forward, n, width, ab, y);                                              \
    }                                                                                                                \
    static void name##_backward(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *ab, const fsm_row *dy, \
                                fsm_row *dab)                                                                        \
    {                                                                                                                \
        gated_backward(self, fsm_cpu_##name##_backward, n, width, ab, dy, dab);                                      \
    }

ACTIVATION(gelu)
ACTIVATION(gelu_tanh)
ACTIVATION(relu)
ACTIVATION(relu_squared)
GATED(swiglu)
GATED(geglu)

/* ---- norms: statistics are of the floats that come in ---- */

static void rmsnorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const fsm_real *x,
                            const fsm_real *gain, fsm_row *y, fsm_real *rstd)
{
    const int64_t step = fsm_cpu_rows_in_cache(self, 2 * width);
    float *to = fsm_cpu_of(self)->wide;
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        fsm_cpu_rmsnorm_forward(self, rows, width, eps, x + i * width, gain, to, rstd + i);
        store(self, rows, width, to, at(y, i, width));
    }
}

static void layernorm_forward(const fsm_ops *self, int64_t n, int64_t width, float eps, const fsm_real *x,
                              const fsm_real *gain, const fsm_real *bias, fsm_row *y, fsm_real *mean, fsm_real *rstd)
{
    const int64_t step = fsm_cpu_rows_in_cache(self, 2 * width);
    float *to = fsm_cpu_of(self)->wide;
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        fsm_cpu_layernorm_forward(self, rows, width, eps, x + i * width, gain, bias, to, mean + i, rstd + i);
        store(self, rows, width, to, at(y, i, width));
    }
}

/* ---- rotation, jitter, directions ---- */

static void rope(const fsm_ops *self, int64_t n, int64_t heads, int64_t head_dim, const fsm_index *position,
                 const fsm_real *cosine, const fsm_real *sine, int direction, fsm_row *x, int64_t ld)
{
    const int64_t width = heads * head_dim, step = fsm_cpu_rows_in_cache(self, width);
    float *turned = fsm_cpu_of(self)->wide;
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        fsm_cpu_widen_all(self, rows, width, at(x, i, ld), ld, turned, width);
        fsm_cpu_rope(self, rows, heads, head_dim, position + i, cosine, sine, direction, turned, width);
        fsm_cpu_narrow_all(self, rows, width, turned, width, at(x, i, ld), ld);
    }
}

static void jitter_forward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                           const fsm_row *x, fsm_row *y)
{
    const int64_t step = fsm_cpu_rows_in_cache(self, 2 * width);
    float *from = fsm_cpu_of(self)->wide, *to = from + step * width;
    for (int64_t i = 0; width > 0 && i < n; i += step) {
        int64_t rows = least(step, n - i);
        const fsm_draw drawn = {draw->seed, draw->stream, draw->first + (uint64_t)i};
        load(self, rows, width, at(x, i, width), from);
        fsm_cpu_jitter_forward(self, rows, width, most, &drawn, from, to);
        store(self, rows, width, to, at(y, i, width));
    }
}

static void jitter_backward(const fsm_ops *self, int64_t n, int64_t width, float most, const fsm_draw *draw,
                            const fsm_row *dy, fsm_real *dx)
{
    const int64_t step = fsm_cpu_rows_in_cache(self, 2 * width);
    float *from = fsm_cpu_of(self)->wide;
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        const fsm_draw drawn = {draw->seed, draw->stream, draw->first + (uint64_t)i};
        load(self, rows, width, at(dy, i, width), from);
        fsm_cpu_jitter_backward(self, rows, width, most, &drawn, from, dx + i * width);
    }
}

/* u lies as v does, so a block keeps the distance of its rows. */
static void unit_forward(const fsm_ops *self, const fsm_vectors *vectors, fsm_matrix v, fsm_real *u, fsm_real *length)
{
    if (v.elem == FSM_ELEM_REAL) {
        fsm_cpu_unit_forward(self, vectors, v, u, length);
        return;
    }
    const int64_t step = fsm_cpu_rows_in_cache(self, v.ld);
    float *from = fsm_cpu_of(self)->wide;
    for (int64_t i = 0; i < vectors->n; i += step) {
        const fsm_vectors block = {least(step, vectors->n - i), vectors->size, false};
        fsm_cpu_widen_all(self, block.n, block.size, at(v.at, i, v.ld), v.ld, from, v.ld);
        fsm_cpu_unit_forward(self, &block, fsm_reals(from, v.ld), u + i * v.ld, length + i);
    }
}

void fsm_cpu_bf16_elements(fsm_ops *ops)
{
    ops->gelu_forward = gelu_forward, ops->gelu_backward = gelu_backward;
    ops->gelu_tanh_forward = gelu_tanh_forward, ops->gelu_tanh_backward = gelu_tanh_backward;
    ops->relu_forward = relu_forward, ops->relu_backward = relu_backward;
    ops->relu_squared_forward = relu_squared_forward, ops->relu_squared_backward = relu_squared_backward;
    ops->swiglu_forward = swiglu_forward, ops->swiglu_backward = swiglu_backward;
    ops->geglu_forward = geglu_forward, ops->geglu_backward = geglu_backward;
    ops->rmsnorm_forward = rmsnorm_forward;
    ops->layernorm_forward = layernorm_forward;
    ops->rope = rope;
    ops->route.jitter_forward = jitter_forward, ops->route.jitter_backward = jitter_backward;
    ops->route.unit_forward = unit_forward;
}
