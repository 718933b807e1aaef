/* Products of few rows, as decoding makes them, by the library and row by row, beside reading the same bytes.
 * In:  the number of threads (default 1); with more on a shared machine, OMP_WAIT_POLICY=passive.
 * Out: bytes of the weight a second of each, the best of rounds in turns, and its share of reading.
 */
#include "base/clock.h"
#include "cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>

enum { MATRICES = 24, ROUNDS = 7, MOST_ROWS = 64 };

typedef struct problem {
    fsm_ops *ops;
    int64_t out, in;
    float *w, *x, *y; /* [MATRICES, out, in], [MOST_ROWS, in], [MOST_ROWS, out] */
} problem;

static double read_s(const problem *p)
{
    double sum = 0, start_s = fsm_clock_s();
    p->ops->check_finite(p->ops, MATRICES * p->out * p->in, p->w, &sum);
    return fsm_clock_s() - start_s;
}

/* Every matrix once, so that none is still in the cache. */
static double multiply_s(const problem *p, int64_t n, bool row_by_row)
{
    p->ops->row_by_row(p->ops, row_by_row);
    double start_s = fsm_clock_s();
    for (int i = 0; i < MATRICES; i++) {
        const fsm_weight weight = {p->w + i * p->out * p->in, p->out, p->in, NULL};
        p->ops->linear_forward(p->ops, n, &weight, NULL, fsm_rows(p->x, p->in), fsm_rows(p->y, p->out));
    }
    return fsm_clock_s() - start_s;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static void measure(const problem *p, int64_t n)
{
    double reading = 1e9, library = 1e9, own = 1e9, bytes = 4.0 * MATRICES * (double)(p->out * p->in);
    for (int i = 0; i < ROUNDS; i++) {
        reading = least(reading, read_s(p));
        library = least(library, multiply_s(p, n, false));
        own = least(own, multiply_s(p, n, true));
    }
    printf("%6lld x %-6lld %4lld rows  read %6.2f GB/s  library %6.2f (%3.0f %%)  row by row %6.2f (%3.0f %%)\n",
           (long long)p->out, (long long)p->in, (long long)n, 1e-9 * bytes / reading, 1e-9 * bytes / library,
           100 * reading / library, 1e-9 * bytes / own, 100 * reading / own);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    static const int64_t sizes[][2] = {{1536, 512}, {2048, 512}, {512, 1024}, {4096, 1024}},
                         rows[] = {1, 2, 4, 8, 16, 64};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        problem p = {.out = sizes[s][0], .in = sizes[s][1]};
        size_t elems = (size_t)(MATRICES * p.out * p.in);
        if (fsm_cpu_ops_create(argc > 1 ? atoi(argv[1]) : 1, FSM_CPU_FP32, &p.ops) != FSMOE_OK) return 1;
        p.w = malloc(elems * sizeof *p.w);
        p.x = calloc((size_t)(MOST_ROWS * p.in), sizeof *p.x);
        p.y = calloc((size_t)(MOST_ROWS * p.out), sizeof *p.y);
        if (!p.w || !p.x || !p.y) return 1;
        for (size_t i = 0; i < elems; i++) p.w[i] = (float)(i % 1000) * 1e-3f;
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) measure(&p, rows[r]);
        free(p.y);
        free(p.x);
        free(p.w);
        fsm_ops_destroy(p.ops);
    }
    return 0;
}
