/* Schedules held against one another: <fsmoe/bench.h>. */
#include <fsmoe/bench.h>

#include "comm/world.h"
#include "exec/overlap.h"
#include "profile/measure.h"
#include "train/bench_method.h"
#include "train/same.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS = 1000, MOST_MICRO_BATCHES = 1024 };

/* One schedule in the race. */
typedef struct runner {
    double *step_s;          /* [steps] */
    double *start_s, *end_s; /* [steps, graph.count] of this rank */
} runner;

typedef struct bench {
    fsm_comm *world;
    const fsm_bench_method *method;
    void *work; /* the method's */
    int steps;
    fsm_cluster cluster;
    fsm_plan plans[FSMOE_BENCH_MOST_ROWS];
    runner runners[FSMOE_BENCH_MOST_ROWS];
    int count;
    /* the present step, for on_task */
    int now, step;
} bench;

/* ---- the race ---- */

static fsmoe_status add_runner(bench *b, const char *name)
{
    const fsm_schedule *schedule;
    fsm_step_shape shape;
    runner *r = &b->runners[b->count];
    fsm_plan *plan = &b->plans[b->count];
    FSM_TRY(fsm_schedule_named(name, &schedule));
    FSM_TRY(b->method->shape(b->work, &shape));
    FSM_TRY(fsm_plan_create(&shape, &b->cluster, schedule, plan));
    b->count++;
    size_t times = (size_t)b->steps * (size_t)plan->graph.count;
    r->step_s = calloc((size_t)b->steps, sizeof *r->step_s);
    r->start_s = calloc(2 * times + 1, sizeof *r->start_s);
    if (!r->step_s || !r->start_s) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the times of %s", name);
    r->end_s = r->start_s + times;
    return FSMOE_OK;
}

static fsmoe_status add_runners(bench *b, const char *const *names)
{
    for (int i = 0; names ? names[i] != NULL : fsm_schedules[i] != NULL; i++)
        FSM_TRY(add_runner(b, names ? names[i] : fsm_schedules[i]->name));
    return FSMOE_OK;
}

/* Every schedule's plan, on all ranks. */
static fsmoe_status compare_plans(const bench *b, fsmoe_status mine)
{
    FSM_TRY(fsm_comm_agree(b->world, mine));
    for (int i = 0; i < b->count; i++) FSM_TRY(fsm_same_graph(b->world, FSMOE_OK, &b->plans[i].graph));
    return FSMOE_OK;
}

int fsm_bench_micro_batches(const fsmoe_bench_options *options)
{
    return options->micro_batches != 0 ? options->micro_batches : 1;
}

/* Before anything is measured. */
static fsmoe_status check_arguments(const char *const *names, int steps, const fsmoe_bench_options *options)
{
    const fsm_schedule *schedule;
    int micro_batches = fsm_bench_micro_batches(options);
    if (steps < 1 || steps > MOST_STEPS)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%d steps: between 1 and %d can be run", steps, MOST_STEPS);
    if (micro_batches < 1 || micro_batches > MOST_MICRO_BATCHES)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%d micro-batches: a step has between 1 and %d", micro_batches,
                        MOST_MICRO_BATCHES);
    if (options->layer && micro_batches > 1)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%d micro-batches: MoE layers alone are run with one", micro_batches);
    for (int i = 0; names && names[i]; i++) {
        if (i == FSMOE_BENCH_MOST_ROWS) return fsm_fail(FSMOE_ERROR_CONFIG, "more than %d schedules", i);
        FSM_TRY(fsm_schedule_named(names[i], &schedule));
        for (int k = 0; k < i; k++)
            if (strcmp(names[k], names[i]) == 0)
                return fsm_fail(FSMOE_ERROR_CONFIG, "schedule '%s' is named twice", names[i]);
    }
    return FSMOE_OK;
}

static void on_task(void *user, int index, double start_s, double end_s)
{
    const bench *b = user;
    if (b->step < 0) return; /* it warms up */
    const runner *r = &b->runners[b->now];
    size_t at = (size_t)b->step * (size_t)b->plans[b->now].graph.count + (size_t)index;
    r->start_s[at] = start_s;
    r->end_s[at] = end_s;
}

/* The slowest rank's time counts: the others wait for it. */
static fsmoe_status run_one(bench *b, int number, int step)
{
    double mine_s = 0, least_s, slowest_s;
    b->now = number;
    b->step = step;
    FSM_TRY(b->method->run(b->work, number, (fsm_observer){on_task, b}, &mine_s));
    FSM_TRY(fsm_ranks_range(b->world, mine_s, &least_s, &slowest_s));
    if (step >= 0) b->runners[number].step_s[step] = slowest_s;
    return FSMOE_OK;
}

static fsmoe_status race(bench *b)
{
    for (int step = -b->method->warm_up; step < b->steps; step++)
        for (int i = 0; i < b->count; i++) FSM_TRY(run_one(b, i, step));
    return FSMOE_OK;
}

/* ---- rows ---- */

/* The step whose time is nearest to the median. */
static int median_step(const bench *b, const runner *r, double median_s)
{
    int best = 0;
    for (int i = 1; i < b->steps; i++) {
        double distance_s = r->step_s[i] - median_s, best_s = r->step_s[best] - median_s;
        if (distance_s * distance_s < best_s * best_s) best = i;
    }
    return best;
}

static fsmoe_status fill_row(const bench *b, int number, fsmoe_bench_row *row)
{
    const runner *r = &b->runners[number];
    const fsm_plan *plan = &b->plans[number];
    fsm_overlap overlap;
    double *sorted = malloc((size_t)b->steps * sizeof *sorted);
    if (!sorted) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a median");
    memcpy(sorted, r->step_s, (size_t)b->steps * sizeof *sorted);
    double median_s = fsm_median(sorted, b->steps);
    *row = (fsmoe_bench_row){.schedule = fsm_schedule_find(plan->schedule)->name,
                             .lanes = fsm_graph_lanes(&plan->graph),
                             .step_s = median_s,
                             .fastest_s = sorted[0],
                             .slowest_s = sorted[b->steps - 1],
                             .planned_s = plan->certificate.makespan_s,
                             .bound_s = plan->certificate.bound.seconds,
                             .stretch = b->method->stretch(b->work)};
    free(sorted);
    for (int i = 0; i < plan->shape.num_layers && row->forward == 0; i++) {
        row->forward = plan->degree[i][FSM_FORWARD];
        row->backward = plan->degree[i][FSM_BACKWARD];
    }
    size_t at = (size_t)median_step(b, r, median_s) * (size_t)plan->graph.count;
    const fsm_timeline timeline = {.start_s = r->start_s + at, .end_s = r->end_s + at};
    FSM_TRY(fsm_overlap_of(&plan->graph, &timeline, &overlap));
    row->overlap = overlap.communication.overlap;
    row->intra_s = overlap.intra.busy_s;
    row->inter_s = overlap.inter.busy_s;
    row->compute_s = overlap.compute_s;
    return FSMOE_OK;
}

static fsmoe_status fill_rows(const bench *b, fsmoe_bench_row *rows, int *count)
{
    for (int i = 0; i < b->count; i++) FSM_TRY(fill_row(b, i, &rows[i]));
    *count = b->count;
    return FSMOE_OK;
}

static void destroy(bench *b)
{
    for (int i = 0; i < b->count; i++) {
        fsm_plan_destroy(&b->plans[i]);
        free(b->runners[i].step_s);
        free(b->runners[i].start_s);
    }
    fsm_cluster_destroy(&b->cluster);
    b->method->destroy(b->work);
}

static fsmoe_status run(bench *b, fsmoe_config *config, const char *const *names, const fsmoe_bench_options *options)
{
    FSM_TRY(b->method->create(b->world, config, options, &b->work));
    FSM_TRY(b->method->find_costs(b->work, &b->cluster));
    FSM_TRY(compare_plans(b, add_runners(b, names)));
    FSM_TRY(b->method->take_plans(b->work, &b->cluster, b->plans, b->count));
    return race(b);
}

fsmoe_status fsmoe_bench_schedules(fsmoe_world *world, fsmoe_config *config, const char *const *names,
                                   const fsmoe_bench_options *options, fsmoe_bench_row *rows, int *count)
{
    bench b = {.world = world->comm, .steps = options->steps != 0 ? options->steps : 7};
    b.method = options->rehearse ? &fsm_bench_rehearsed : &fsm_bench_measured;
    FSM_TRY(check_arguments(names, b.steps, options));
    fsmoe_status status = run(&b, config, names, options);
    if (status == FSMOE_OK) status = fsm_comm_agree(b.world, fill_rows(&b, rows, count));
    if (status != FSMOE_ERROR_COMM) destroy(&b); /* else groups cannot be taken apart together any more */
    return status;
}
