/* The products of a layer's experts: expert after expert on all threads, and experts side by side on a thread each.
 * In:  threads (default 2), rounds (default 7); the shapes of bench_layer, every expert with as many rows.
 * Out: per product GF/s of both ways, medians of rounds in which they take turns, and the median of the rounds' ratios.
 */
#include "base/clock.h"
#include "base/rng.h"
#include "cpu/cpu.h"
#include "cpu/products.h"
#include "profile/measure.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_ROUNDS = 64, MOST_EXPERTS = 32 };

typedef struct shape {
    int64_t rows, hidden, ffn;
    int experts;
} shape;

static const shape shapes[] = {{8192, 512, 1024, 8}, {4096, 1024, 2048, 8}, {16384, 512, 512, 32}};

typedef struct data {
    const shape *s;
    fsm_ops *ops;
    int64_t bounds[MOST_EXPERTS + 1];
    fsm_linear linear[MOST_EXPERTS];
    float *x, *y; /* [rows, in], [rows, out] */
} data;

typedef enum product { FORWARD, INPUT, WEIGHT, PRODUCTS } product;
static const char *const names[] = {"forward", "input gradient", "weight gradient"};

static float *fill(int64_t n)
{
    float *x = malloc(sizeof *x * (size_t)n);
    if (!x) abort();
    for (int64_t i = 0; i < n; i++) x[i] = (float)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) >> 40) * 0x1p-24f - 0.5f;
    return x;
}

static void prepare(data *d, int64_t out, int64_t in)
{
    const int64_t n = d->s->rows / d->s->experts;
    d->x = fill(d->s->rows * in);
    d->y = fill(d->s->rows * out);
    for (int e = 0; e < d->s->experts; e++) {
        d->bounds[e + 1] = (e + 1) * n;
        d->linear[e] = (fsm_linear){{fill(out * in), out, in, NULL}, NULL, fill(out * in), NULL};
    }
}

static void release(data *d)
{
    for (int e = 0; e < d->s->experts; e++) {
        free((void *)d->linear[e].weight.w);
        free(d->linear[e].dw);
    }
    free(d->x);
    free(d->y);
}

static double time_s(const data *d, product p, bool side_by_side)
{
    const fsm_runs runs = {d->s->experts, d->bounds, d->bounds + 1};
    const fsm_matrix x = fsm_reals(d->x, d->linear[0].weight.in), y = fsm_reals(d->y, d->linear[0].weight.out);
    const fsm_products table = {.experts = {.side_by_side = side_by_side}};
    if (fsm_cpu_use_products(d->ops, &table) != FSMOE_OK) abort();
    double start = fsm_clock_s();
    if (p == FORWARD) d->ops->grouped.forward(d->ops, &runs, d->linear, x, y);
    else if (p == INPUT) d->ops->grouped.backward_input(d->ops, &runs, d->linear, NULL, y, x);
    else d->ops->grouped.backward_weight(d->ops, &runs, d->linear, y, x);
    return fsm_clock_s() - start;
}

static void measure(data *d, product p, int rounds)
{
    double turn[MOST_ROUNDS], side[MOST_ROUNDS], ratio[MOST_ROUNDS];
    double work = 2e-9 * (double)(d->s->rows * d->linear[0].weight.in * d->linear[0].weight.out);
    time_s(d, p, true);
    for (int i = 0; i < rounds; i++) {
        turn[i] = time_s(d, p, false);
        side[i] = time_s(d, p, true);
        ratio[i] = turn[i] / side[i];
    }
    printf("  %5lld -> %5lld %-16s %9.1f %9.1f %9.2f\n", (long long)d->linear[0].weight.in,
           (long long)d->linear[0].weight.out, names[p], work / fsm_median(turn, rounds),
           work / fsm_median(side, rounds), fsm_median(ratio, rounds));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static data d;
    int threads = argc > 1 ? atoi(argv[1]) : 2, rounds = argc > 2 ? atoi(argv[2]) : 7;
    if (rounds < 1 || rounds > MOST_ROUNDS || fsm_cpu_ops_create(threads, FSM_CPU_FP32, &d.ops) != FSMOE_OK) return 1;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        d.s = &shapes[i];
        printf("%lld rows of %d experts, %d threads, GF/s\n  %-31s %9s %9s %9s\n", (long long)d.s->rows, d.s->experts,
               threads, "", "in turn", "side", "faster");
        for (int half = 0; half < 2; half++) {
            prepare(&d, half ? d.s->hidden : 2 * d.s->ffn, half ? d.s->ffn : d.s->hidden);
            for (product p = FORWARD; p < PRODUCTS; p++) measure(&d, p, rounds);
            release(&d);
        }
    }
    fsm_ops_destroy(d.ops);
    return 0;
}
