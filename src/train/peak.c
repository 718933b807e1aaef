#include "train/peak.h"

#include "base/clock.h"
#include "ops/memory.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIRST_WIDTH = 512, LAST_WIDTH = 4096, FILL_ELEMS = 1 << 16 };
enum { LEAST_CALLS = 2, SUM_ELEMS = 8 << 20, PIECE_ELEMS = 1 << 19 };

/* Calls are short, so that one of them is not interrupted where others want the cores, too. */
static const double long_call_s = 0.002, patience_s = 0.1, longest_products_s = 0.4, longest_sums_s = 0.2;

/* The least that calls took: they are tried until none was faster for a while, and not for ever. */
typedef struct least {
    double s, found_s, end_s;
} least;

static least least_within(double most_s)
{
    double now_s = fsm_clock_s();
    return (least){.s = INFINITY, .found_s = now_s, .end_s = now_s + most_s};
}

static void take_least(least *l, double start_s)
{
    double now_s = fsm_clock_s();
    if (now_s - start_s < 0.98 * l->s) l->found_s = now_s;
    l->s = fmin(l->s, now_s - start_s);
}

static bool may_fall(const least *l)
{
    double now_s = fsm_clock_s();
    return now_s < l->end_s && now_s < l->found_s + patience_s;
}

/* z += x y or y += x, arrays of n elements each. */
typedef struct arrays {
    fsm_memory memory;
    fsm_real *x, *y, *z;
} arrays;

static void take(fsm_memory *memory, int64_t n, bool has_z, arrays *a)
{
    a->x = fsm_take_reals(memory, n);
    a->y = fsm_take_reals(memory, n);
    a->z = has_z ? fsm_take_reals(memory, n) : NULL;
}

/* Touched, so that no page is missing when it counts. */
static fsmoe_status create(const fsm_ops *ops, int64_t n, bool has_z, arrays *a)
{
    fsm_memory measured = fsm_memory_measure_for(ops);
    take(&measured, n, has_z, a);
    FSM_TRY(fsm_memory_create(&measured, &a->memory));
    take(&a->memory, n, has_z, a);
    ops->zero(ops, n, a->x);
    ops->zero(ops, n, a->y);
    if (has_z) ops->zero(ops, n, a->z);
    return FSMOE_OK;
}

/* Devices may be faster on zeros than on numbers. n: a multiple of FILL_ELEMS. */
static fsmoe_status fill(const fsm_ops *ops, int64_t n, arrays *a)
{
    float *values = malloc(sizeof *values * FILL_ELEMS);
    if (!values) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to measure what the machine can do");
    for (int64_t i = 0; i < FILL_ELEMS; i++) values[i] = 1.0f / (float)(1 + i % 97);
    for (int64_t at = 0; at < n; at += FILL_ELEMS) {
        ops->write(ops, sizeof *values * FILL_ELEMS, values, fsm_real_at(a->x, at));
        ops->write(ops, sizeof *values * FILL_ELEMS, values, fsm_real_at(a->y, at));
    }
    free(values);
    return FSMOE_OK;
}

/* Two products, or as many as it takes. */
static fsmoe_status time_products(const fsm_ops *ops, int64_t width, bool thoroughly, least *l)
{
    arrays a;
    FSM_TRY(create(ops, width * width, true, &a));
    fsmoe_status status = fill(ops, width * width, &a);
    for (int i = 0; status == FSMOE_OK && (i < LEAST_CALLS || (thoroughly && may_fall(l))); i++) {
        double start_s = fsm_clock_s();
        ops->gemm(ops, false, true, width, width, width, NULL, fsm_reals(a.x, width), fsm_reals(a.y, width), 0,
                  fsm_reals(a.z, width));
        take_least(l, start_s);
    }
    fsm_memory_destroy(&a.memory);
    return status;
}

/* Eight times as many threads have eight times as much to do: as wide as 100 GF/s of each need for 2 ms, which is told
 * before. */
static int64_t widest(int threads)
{
    int64_t width = FIRST_WIDTH;
    for (int more = threads; more > 1 && width < LAST_WIDTH; more = (more + 7) / 8) width *= 2;
    return width;
}

static fsmoe_status measure_products(const fsm_ops *ops, int threads, double *flops_per_s)
{
    int64_t width = FIRST_WIDTH, last = ops->on_host ? widest(threads) : LAST_WIDTH;
    least l = least_within(longest_products_s);
    FSM_TRY(time_products(ops, width, false, &l));
    while (l.s < long_call_s && width < last) {
        width *= 2;
        l.s = INFINITY;
        FSM_TRY(time_products(ops, width, false, &l));
    }
    FSM_TRY(time_products(ops, width, true, &l));
    *flops_per_s = 2 * pow((double)width, 3) / l.s;
    return FSMOE_OK;
}

static fsmoe_status measure_bandwidth(const fsm_ops *ops, double *bytes_per_s)
{
    arrays a;
    FSM_TRY(create(ops, SUM_ELEMS, false, &a));
    least l = least_within(longest_sums_s);
    for (int64_t at = 0; at < LEAST_CALLS * SUM_ELEMS || may_fall(&l); at += PIECE_ELEMS) {
        double start_s = fsm_clock_s();
        ops->add(ops, PIECE_ELEMS, fsm_real_at(a.x, at % SUM_ELEMS), fsm_real_at(a.y, at % SUM_ELEMS));
        take_least(&l, start_s);
    }
    fsm_memory_destroy(&a.memory);
    *bytes_per_s = 3.0 * FSM_REAL_BYTES * PIECE_ELEMS / l.s;
    return FSMOE_OK;
}

int64_t fsm_peak_bytes(int threads, bool bandwidth)
{
    int64_t width = widest(threads), elems = 3 * width * width, sums = bandwidth ? 2 * SUM_ELEMS : 0;
    return FSM_REAL_BYTES * (elems > sums ? elems : sums);
}

/* *share: ranks that share cores cannot all have them for long, as each may for the moment of its fastest call. */
static fsmoe_status begin_together(const fsm_ops *ops, int threads, fsm_comm *world, double *share)
{
    int local_ranks, index;
    FSM_TRY(world->control->local_ranks(world, &local_ranks, &index));
    double cores = (double)sysconf(_SC_NPROCESSORS_ONLN);
    *share = ops->on_host ? fmin(1, cores / (double)(threads * local_ranks)) : 1;
    return world->control->barrier(world);
}

fsmoe_status fsm_peak_products(const fsm_ops *ops, int threads, fsm_comm *world, double *flops_per_s)
{
    double share;
    FSM_TRY(begin_together(ops, threads, world, &share));
    FSM_TRY(fsm_comm_agree(world, measure_products(ops, threads, flops_per_s)));
    *flops_per_s *= share;
    return FSMOE_OK;
}

fsmoe_status fsm_peak_bandwidth(const fsm_ops *ops, int threads, fsm_comm *world, double *bytes_per_s)
{
    double share;
    FSM_TRY(begin_together(ops, threads, world, &share));
    FSM_TRY(fsm_comm_agree(world, measure_bandwidth(ops, bytes_per_s)));
    *bytes_per_s *= share;
    return FSMOE_OK;
}
