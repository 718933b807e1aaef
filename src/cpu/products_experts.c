/* Which way products of a layer's experts go, measured: one after the other on all threads, or side by side on a thread
 * each. */
#include "base/clock.h"
#include "cpu/instance.h"

#include <math.h>
#include <stdlib.h>

enum { TIMES = 3, ENOUGH_ROWS = 256, MOST_ELEMS = 16 << 20 /* of all experts' weights, and of their rows */ };
static const double ENOUGH_FLOPS = 6e9; /* of a round */

/* Experts of as many rows each, one behind the other. */
typedef struct subject {
    fsm_linear *linear;
    int64_t *bounds; /* [count + 1] */
    float *w, *dw;   /* [count, out, in] */
    float *x, *y, *dx;
} subject;

static void release(subject *s)
{
    free(s->linear);
    free(s->bounds);
    free(s->w);
    free(s->dw);
    free(s->x);
    free(s->y);
    free(s->dx);
}

static bool prepare(const fsm_expert_products *p, subject *s)
{
    const int64_t rows = p->count * p->rows, elems = p->out * p->in;
    *s = (subject){calloc((size_t)p->count, sizeof *s->linear), malloc(sizeof(int64_t) * (size_t)(p->count + 1)),
                   fsm_products_numbers(p->count * elems),      fsm_products_numbers(p->count * elems),
                   fsm_products_numbers(rows * p->in),          fsm_products_numbers(rows * p->out),
                   fsm_products_numbers(rows * p->in)};
    if (!s->linear || !s->bounds || !s->w || !s->dw || !s->x || !s->y || !s->dx) return false;
    for (int64_t e = 0; e <= p->count; e++) s->bounds[e] = e * p->rows;
    for (int64_t e = 0; e < p->count; e++)
        s->linear[e] = (fsm_linear){{s->w + e * elems, p->out, p->in, NULL}, NULL, s->dw + e * elems, NULL};
    return true;
}

static double time_s(const fsm_ops *ops, const fsm_expert_products *p, const subject *s)
{
    const fsm_runs runs = {p->count, s->bounds, s->bounds + 1};
    const fsm_matrix x = fsm_reals(s->x, p->in), y = fsm_reals(s->y, p->out), dx = fsm_reals(s->dx, p->in);
    double start = fsm_clock_s();
    ops->grouped.forward(ops, &runs, s->linear, x, y);
    ops->grouped.backward_input(ops, &runs, s->linear, NULL, y, dx);
    ops->grouped.backward_weight(ops, &runs, s->linear, y, x);
    return fsm_clock_s() - start;
}

/* Of forward and both gradients. */
static double flops_of(const fsm_expert_products *p)
{
    return 3 * 2 * (double)p->count * (double)p->rows * (double)p->out * (double)p->in;
}

/* The least time of each way, since what disturbs only adds. */
static void measure(const fsm_ops *ops, const subject *s, fsm_expert_products *p)
{
    bool *side_by_side = &fsm_cpu_of(ops)->products->experts.side_by_side;
    double least[2] = {INFINITY, INFINITY};
    for (int i = 0; i <= TIMES; i++) {
        for (int side = 0; side < 2; side++) {
            *side_by_side = side;
            double t = time_s(ops, p, s);
            if (i > 0) least[side] = fmin(least[side], t); /* the first warms up */
        }
    }
    for (int side = 0; side < 2; side++) p->gflops[side] = 1e-9 * flops_of(p) / fmax(least[side], 1e-9);
    p->side_by_side = p->gflops[1] > FSM_PRODUCTS_CLEARLY * p->gflops[0];
}

static bool is_enough(const fsm_expert_products *p)
{
    double weights = (double)p->count * (double)p->out * (double)p->in;
    double rows = (double)p->count * (double)p->rows * (double)(p->out > p->in ? p->out : p->in);
    return flops_of(p) <= ENOUGH_FLOPS && weights <= MOST_ELEMS && rows <= MOST_ELEMS;
}

/* As many as are no burden: fewer experts, but two a thread; then fewer rows; then fewer experts, but one a thread. */
static fsm_expert_products few_of(const fsm_expert_products *all, int threads)
{
    fsm_expert_products few = *all;
    while (few.count > 2 * threads && !is_enough(&few)) few.count--;
    while (few.rows > ENOUGH_ROWS && !is_enough(&few)) few.rows /= 2;
    while (few.count > threads && !is_enough(&few)) few.count--;
    return few;
}

fsmoe_status fsm_products_measure_experts(fsm_ops *ops, fsm_products *table)
{
    subject s;
    fsm_expert_products *p = &table->experts;
    if (p->count < 1 || p->rows < 1) {
        *p = (fsm_expert_products){0};
        return FSMOE_OK;
    }
    const int threads = fsm_cpu_of(ops)->threads;
    *p = few_of(p, threads);
    bool fits = (double)p->count * (double)p->out * (double)p->in <= MOST_ELEMS;
    if (p->count < threads || threads < 2 || !fits) return FSMOE_OK;
    FSM_TRY(fsm_cpu_use_products(ops, table));
    bool ready = prepare(p, &s);
    if (ready) measure(ops, &s, p);
    release(&s);
    FSM_TRY(fsm_cpu_use_products(ops, NULL));
    return ready ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to measure products of experts");
}
