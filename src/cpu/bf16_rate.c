/* What products reach with rows of floats and with rows of bf16, on this machine and now. */
#include "base/clock.h"
#include "cpu/bf16_matmul.h"
#include "cpu/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 256, TIMES = 3, WIDEST = 2048 };

/* An expert's first product and its two gradients. */
typedef struct subject {
    fsm_ops *ops;
    fsm_weight weight;
    float *w, *dw; /* [out, in] */
    void *x, *y;   /* rows of `in`, of `out` */
} subject;

/* A hundredth, of either type: zeros may be faster than numbers. */
static void *numbers(int64_t n, size_t bytes)
{
    void *made = malloc((size_t)n * bytes);
    if (made) memset(made, 0x3c, (size_t)n * bytes);
    return made;
}

static fsmoe_status prepare(int threads, fsm_cpu_kind kind, int64_t out, int64_t in, subject *s)
{
    FSM_TRY(fsm_cpu_ops_create(threads, kind, &s->ops));
    s->w = numbers(out * in, sizeof *s->w);
    s->dw = numbers(out * in, sizeof *s->dw);
    s->x = numbers(ROWS * in, sizeof(float));
    s->y = numbers(ROWS * out, sizeof(float));
    s->weight = (fsm_weight){s->w, out, in, NULL};
    if (!s->w || !s->dw || !s->x || !s->y || !s->ops->weight_create(s->ops, &s->weight))
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to compare fp32 with bf16");
    return FSMOE_OK;
}

static void release(subject *s)
{
    if (s->ops) s->ops->weight_destroy(s->ops, &s->weight);
    fsm_ops_destroy(s->ops);
    free(s->w);
    free(s->dw);
    free(s->x);
    free(s->y);
}

static double time_s(const subject *s)
{
    const fsm_ops *ops = s->ops;
    const int64_t out = s->weight.out, in = s->weight.in;
    const fsm_matrix x = fsm_rows(s->x, in), y = fsm_rows(s->y, out);
    double start = fsm_clock_s();
    ops->linear_forward(ops, ROWS, &s->weight, NULL, x, y);
    ops->linear_backward_input(ops, ROWS, &s->weight, y, 0, x);
    ops->linear_backward_weight(ops, ROWS, out, in, y, x, s->dw, NULL);
    return fsm_clock_s() - start;
}

static void compare(const subject s[2], double gflops[2])
{
    double least[2] = {INFINITY, INFINITY}, work = 3 * 2e-9 * ROWS * (double)s->weight.out * (double)s->weight.in;
    for (int i = 0; i <= TIMES; i++) {
        for (int kind = 0; kind < 2; kind++) {
            double t = time_s(&s[kind]);
            if (i > 0) least[kind] = fmin(least[kind], t); /* the first warms up */
        }
    }
    for (int kind = 0; kind < 2; kind++) gflops[kind] = work / fmax(least[kind], 1e-9);
}

fsmoe_status fsm_cpu_compare_rows(int threads, int64_t out, int64_t in, double gflops[2])
{
    subject s[2] = {{0}, {0}};
    gflops[0] = gflops[1] = 0;
    if (!fsm_cpu_multiplies_bf16()) return FSMOE_OK;
    if (out > WIDEST) out = WIDEST;
    if (in > WIDEST) in = WIDEST;
    fsmoe_status status = prepare(threads, FSM_CPU_FP32, out, in, &s[0]);
    if (status == FSMOE_OK) status = prepare(threads, FSM_CPU_BF16, out, in, &s[1]);
    if (status == FSMOE_OK) compare(s, gflops);
    for (int kind = 0; kind < 2; kind++) release(&s[kind]);
    return status;
}
