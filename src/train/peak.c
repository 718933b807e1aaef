#include "train/peak.h"

#include "base/clock.h"
#include "ops/memory.h"

#include <math.h>
#include <stdlib.h>

enum { FIRST_WIDTH = 512, LAST_WIDTH = 4096, LEAST_CALLS = 2, SUM_ELEMS = 8 << 20 };
static const double enough_s = 0.1, long_call_s = 0.01;

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
    fsm_memory measured = fsm_memory_measure(ops->row_bytes);
    take(&measured, n, has_z, a);
    FSM_TRY(fsm_memory_create(&measured, &a->memory));
    take(&a->memory, n, has_z, a);
    ops->zero(ops, n, a->x);
    ops->zero(ops, n, a->y);
    if (has_z) ops->zero(ops, n, a->z);
    return FSMOE_OK;
}

/* Devices may be faster on zeros than on numbers. */
static fsmoe_status fill(const fsm_ops *ops, int64_t n, arrays *a)
{
    float *values = malloc(sizeof *values * (size_t)n);
    if (!values) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to measure what the machine can do");
    for (int64_t i = 0; i < n; i++) values[i] = 1.0f / (float)(1 + i % 97);
    ops->write(ops, sizeof *values * (size_t)n, values, a->x);
    ops->write(ops, sizeof *values * (size_t)n, values, a->y);
    free(values);
    return FSMOE_OK;
}

/* The best of some products, and how long it takes. */
static fsmoe_status time_products(const fsm_ops *ops, int64_t width, double until_s, double *best_s)
{
    arrays a;
    *best_s = INFINITY;
    FSM_TRY(create(ops, width * width, true, &a));
    fsmoe_status status = fill(ops, width * width, &a);
    for (int i = 0; status == FSMOE_OK && (i < LEAST_CALLS || fsm_clock_s() < until_s); i++) {
        double start_s = fsm_clock_s();
        ops->gemm(ops, false, true, width, width, width, NULL, fsm_reals(a.x, width), fsm_reals(a.y, width), 0,
                  fsm_reals(a.z, width));
        *best_s = fmin(*best_s, fsm_clock_s() - start_s);
    }
    fsm_memory_destroy(&a.memory);
    return status;
}

static fsmoe_status measure_products(const fsm_ops *ops, double *flops_per_s)
{
    double s, until_s = fsm_clock_s() + enough_s;
    int64_t width = FIRST_WIDTH;
    FSM_TRY(time_products(ops, width, 0, &s));
    for (; s < long_call_s && width < LAST_WIDTH; width *= 2) FSM_TRY(time_products(ops, 2 * width, 0, &s));
    if (fsm_clock_s() < until_s) {
        double again_s;
        FSM_TRY(time_products(ops, width, until_s, &again_s));
        s = fmin(s, again_s);
    }
    *flops_per_s = 2 * pow((double)width, 3) / s;
    return FSMOE_OK;
}

static fsmoe_status measure_bandwidth(const fsm_ops *ops, double *bytes_per_s)
{
    arrays a;
    double best_s = INFINITY;
    FSM_TRY(create(ops, SUM_ELEMS, false, &a));
    double until_s = fsm_clock_s() + enough_s;
    for (int i = 0; i < LEAST_CALLS || fsm_clock_s() < until_s; i++) {
        double start_s = fsm_clock_s();
        ops->add(ops, SUM_ELEMS, a.x, a.y);
        best_s = fmin(best_s, fsm_clock_s() - start_s);
    }
    fsm_memory_destroy(&a.memory);
    *bytes_per_s = 3.0 * FSM_REAL_BYTES * SUM_ELEMS / best_s;
    return FSMOE_OK;
}

fsmoe_status fsm_peak_products(const fsm_ops *ops, fsm_comm *world, double *flops_per_s)
{
    FSM_TRY(world->control->barrier(world));
    return fsm_comm_agree(world, measure_products(ops, flops_per_s));
}

fsmoe_status fsm_peak_bandwidth(const fsm_ops *ops, fsm_comm *world, double *bytes_per_s)
{
    FSM_TRY(world->control->barrier(world));
    return fsm_comm_agree(world, measure_bandwidth(ops, bytes_per_s));
}
