/* Schedules held against one another: <fsmoe/bench.h>. */
#include <fsmoe/bench.h>

#include "base/clock.h"
#include "comm/world.h"
#include "exec/overlap.h"
#include "plan/plan.h"
#include "profile/measure.h"
#include "train/costs.h"
#include "train/same.h"
#include "train/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 2, RECORDED = 5, MOST_STEPS = 1000 };

/* One schedule in the race. */
typedef struct runner {
    fsm_plan plan;
    double *step_s;          /* [steps] */
    double *start_s, *end_s; /* [steps, graph.count] of this rank */
} runner;

typedef struct bench {
    fsm_comm *world;
    fsmoe_config *config;
    const fsmoe_bench_options *options;
    int steps;
    fsm_stepper stepper;
    fsm_cluster cluster;
    int64_t samples;
    int32_t *ids; /* [samples, L], targets after them */
    runner runners[FSMOE_BENCH_MOST_ROWS];
    int count;
    /* the present step, for on_task */
    runner *now;
    int step;
    double started_s;
} bench;

/* ---- preparation ---- */

static fsmoe_status prepare(bench *b)
{
    FSM_TRY(fsm_comm_agree(b->world, fsm_trial_config(b->config)));
    b->samples = fsm_samples_a_group(b->config, b->world);
    const fsm_model_options options = {.max_samples = b->samples, .training = true};
    FSM_TRY(fsm_stepper_create(b->config, b->world, &options, &b->stepper));
    fsmoe_status status = fsm_trial_tokens(&b->stepper, b->samples, &b->ids);
    if (status == FSMOE_OK && b->options->layer) status = fsm_stepper_experts_only(&b->stepper);
    return fsm_same_graph(b->world, status, &b->stepper.train_graph);
}

/* ---- a step ---- */

static fsmoe_status run_step(bench *b, double *step_s)
{
    fsm_stepper *s = &b->stepper;
    int64_t n = b->samples * b->config->data.seq_len;
    const fsm_batch batch = {.samples = b->samples,
                             .seq_len = b->config->data.seq_len,
                             .ids = b->ids,
                             .targets = b->ids + n};
    fsmoe_status status;
    if (b->options->layer) {
        status = fsm_stepper_run_experts(s, &batch, step_s);
    } else {
        FSM_TRY(b->world->table->barrier(b->world));
        double start_s = fsm_clock_s();
        status = fsm_stepper_train_batch(s, &batch, n * s->topo.dp);
        *step_s = fsm_clock_s() - start_s;
    }
    return fsm_step_failed(b->world, status);
}

/* ---- costs ---- */

static fsmoe_status run_recorded(void *user)
{
    bench *b = user;
    double step_s;
    for (int i = 0; i < WARM_UP + RECORDED; i++) {
        if (i == WARM_UP) fsm_task_recorder_clear(b->stepper.recorder);
        FSM_TRY(run_step(b, &step_s));
    }
    return FSMOE_OK;
}

static fsmoe_status find_costs(bench *b)
{
    fsm_profile_options options = {.budget_s = b->options->budget_s > 0 ? b->options->budget_s : 15,
                                   .points = 7,
                                   .repeats = 7};
    if (b->options->cluster) return fsm_costs_read_given(&b->stepper, "--cluster", b->options->cluster, &b->cluster);
    FSM_TRY(fsm_profile_fit_sizes(&b->stepper, &options));
    return fsm_costs_measure(&b->stepper, &fsm_schedule_fsmoe, &options, run_recorded, b, &b->cluster);
}

/* ---- the race ---- */

static fsmoe_status add_runner(bench *b, const char *name)
{
    const fsm_schedule *schedule;
    fsm_step_shape shape;
    runner *r = &b->runners[b->count];
    FSM_TRY(fsm_schedule_named(name, &schedule));
    FSM_TRY(fsm_stepper_shape(&b->stepper, &shape));
    FSM_TRY(fsm_plan_create(&shape, &b->cluster, schedule, &r->plan));
    b->count++;
    size_t times = (size_t)b->steps * (size_t)r->plan.graph.count;
    r->step_s = calloc((size_t)b->steps, sizeof *r->step_s);
    r->start_s = calloc(2 * times + 1, sizeof *r->start_s);
    if (!r->step_s || !r->start_s) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the times of %s", name);
    r->end_s = r->start_s + times;
    return fsm_exec_reserve(b->stepper.exec, r->plan.graph.count);
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
    for (int i = 0; i < b->count; i++) FSM_TRY(fsm_same_graph(b->world, FSMOE_OK, &b->runners[i].plan.graph));
    return FSMOE_OK;
}

/* Before anything is measured. */
static fsmoe_status check_names(const char *const *names)
{
    const fsm_schedule *schedule;
    for (int i = 0; names && names[i]; i++) {
        if (i == FSMOE_BENCH_MOST_ROWS) return fsm_fail(FSMOE_ERROR_CONFIG, "more than %d schedules", i);
        FSM_TRY(fsm_schedule_named(names[i], &schedule));
    }
    return FSMOE_OK;
}

static void on_task(void *user, int index, double start_s, double end_s)
{
    const bench *b = user;
    if (b->step < 0) return; /* it warms up */
    size_t at = (size_t)b->step * (size_t)b->now->plan.graph.count + (size_t)index;
    b->now->start_s[at] = start_s;
    b->now->end_s[at] = end_s;
}

/* The slowest rank's time counts: the others wait for it. */
static fsmoe_status run_one(bench *b, runner *r, int step)
{
    fsm_stepper *s = &b->stepper;
    fsm_graph kept = s->train_graph;
    double mine_s = 0, least_s, slowest_s;
    b->now = r;
    b->step = step;
    s->observer = (fsm_observer){on_task, b};
    s->train_graph = r->plan.graph;
    fsmoe_status status = run_step(b, &mine_s);
    s->train_graph = kept;
    s->observer = (fsm_observer){0};
    FSM_TRY(status);
    FSM_TRY(fsm_ranks_range(b->world, mine_s, &least_s, &slowest_s));
    if (step >= 0) r->step_s[step] = slowest_s;
    return FSMOE_OK;
}

static fsmoe_status race(bench *b)
{
    for (int step = -WARM_UP; step < b->steps; step++)
        for (int i = 0; i < b->count; i++) FSM_TRY(run_one(b, &b->runners[i], step));
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

static fsmoe_status fill_row(const bench *b, const runner *r, fsmoe_bench_row *row)
{
    fsm_overlap overlap;
    double *sorted = malloc((size_t)b->steps * sizeof *sorted);
    if (!sorted) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a median");
    memcpy(sorted, r->step_s, (size_t)b->steps * sizeof *sorted);
    double median_s = fsm_median(sorted, b->steps);
    *row = (fsmoe_bench_row){.schedule = fsm_schedule_find(r->plan.schedule)->name,
                             .step_s = median_s,
                             .fastest_s = sorted[0],
                             .slowest_s = sorted[b->steps - 1],
                             .planned_s = r->plan.certificate.makespan_s,
                             .bound_s = r->plan.certificate.bound.seconds};
    free(sorted);
    for (int i = 0; i < r->plan.shape.num_layers && row->forward == 0; i++) {
        row->forward = r->plan.degree[i][FSM_FORWARD];
        row->backward = r->plan.degree[i][FSM_BACKWARD];
    }
    size_t at = (size_t)median_step(b, r, median_s) * (size_t)r->plan.graph.count;
    const fsm_timeline timeline = {.start_s = r->start_s + at, .end_s = r->end_s + at};
    FSM_TRY(fsm_overlap_of(&r->plan.graph, &timeline, &overlap));
    row->overlap = overlap.communication.overlap;
    row->intra_s = overlap.intra.busy_s;
    row->inter_s = overlap.inter.busy_s;
    row->compute_s = overlap.compute_s;
    return FSMOE_OK;
}

static fsmoe_status fill_rows(const bench *b, fsmoe_bench_row *rows, int *count)
{
    for (int i = 0; i < b->count; i++) FSM_TRY(fill_row(b, &b->runners[i], &rows[i]));
    *count = b->count;
    return FSMOE_OK;
}

static void destroy(bench *b)
{
    for (int i = 0; i < b->count; i++) {
        fsm_plan_destroy(&b->runners[i].plan);
        free(b->runners[i].step_s);
        free(b->runners[i].start_s);
    }
    fsm_cluster_destroy(&b->cluster);
    fsm_stepper_destroy(&b->stepper);
    free(b->ids);
}

fsmoe_status fsmoe_bench_schedules(fsmoe_world *world, fsmoe_config *config, const char *const *names,
                                   const fsmoe_bench_options *options, fsmoe_bench_row *rows, int *count)
{
    bench b = {.world = world->comm, .config = config, .options = options, .steps = options->steps};
    if (b.steps == 0) b.steps = 7;
    if (b.steps < 1 || b.steps > MOST_STEPS)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%d steps: between 1 and %d can be measured", b.steps, MOST_STEPS);
    FSM_TRY(check_names(names));
    fsmoe_status status = prepare(&b);
    if (status == FSMOE_OK) status = find_costs(&b);
    if (status == FSMOE_OK) status = compare_plans(&b, add_runners(&b, names));
    if (status == FSMOE_OK) status = race(&b);
    if (status == FSMOE_OK) status = fsm_comm_agree(b.world, fill_rows(&b, rows, count));
    if (status != FSMOE_ERROR_COMM) destroy(&b); /* else groups cannot be taken apart together any more */
    return status;
}
