/* Steps of a bench as a model trains: values, gradients, an update. */
#include "base/clock.h"
#include "profile/measure.h"
#include "train/bench_method.h"
#include "train/costs.h"
#include "train/same.h"
#include "train/trial.h"

#include <stdlib.h>

enum { WARM_UP = 2, LEAST_RECORDED = 3, MOST_RECORDED = 5 };

typedef struct measured {
    const fsmoe_bench_options *options;
    fsm_stepper stepper;
    int64_t samples;
    int32_t *ids; /* [samples, L], targets after them */
    const fsm_plan *plans;
} measured;

static fsmoe_status prepare(measured *m, fsm_comm *world, fsmoe_config *config)
{
    FSM_TRY(fsm_comm_agree(world, fsm_trial_config(config, m->options->layers, fsm_bench_micro_batches(m->options))));
    const fsmoe_bench_options *o = m->options;
    FSM_TRY(fsm_trial_stepper(config, world, o->on_message, o->user, &m->samples, &m->stepper));
    fsmoe_status status = fsm_trial_tokens(&m->stepper, m->samples, &m->ids);
    if (status == FSMOE_OK && m->options->layer) status = fsm_stepper_experts_only(&m->stepper);
    return fsm_same_graph(world, status, &m->stepper.train_graph);
}

static fsmoe_status create(fsm_comm *world, fsmoe_config *config, const fsmoe_bench_options *options, void **work)
{
    measured *m = calloc(1, sizeof *m);
    *work = m;
    FSM_TRY(fsm_comm_agree(world, m ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a bench")));
    m->options = options;
    return prepare(m, world, config);
}

static void destroy(void *work)
{
    measured *m = work;
    if (!m) return;
    fsm_stepper_destroy(&m->stepper);
    free(m->ids);
    free(m);
}

/* ---- a step ---- */

static fsmoe_status run_step(measured *m, double *step_s)
{
    fsm_stepper *s = &m->stepper;
    int64_t length = s->config->data.seq_len, n = m->samples * length;
    const fsm_batch batch = {.samples = m->samples,
                             .seq_len = length,
                             .ids = m->ids,
                             .targets = m->ids + n,
                             .micro_samples = m->samples * s->topo.dp};
    fsmoe_status status;
    if (m->options->layer) {
        status = fsm_stepper_run_experts(s, &batch, step_s);
    } else {
        FSM_TRY(s->world->control->barrier(s->world));
        double start_s = fsm_clock_s();
        status = fsm_stepper_train_batch(s, &batch, n * s->topo.dp);
        *step_s = fsm_clock_s() - start_s;
    }
    return fsm_step_failed(s->world, status);
}

static fsmoe_status run(void *work, int plan, fsm_observer observer, double *step_s)
{
    measured *m = work;
    fsm_stepper *s = &m->stepper;
    fsm_graph graph = m->plans[plan].graph;
    s->observer = observer;
    fsmoe_status status = fsm_comm_agree(s->world, fsm_stepper_swap_graph(s, &graph));
    if (status == FSMOE_OK) status = run_step(m, step_s);
    fsmoe_status swapped = fsm_stepper_swap_graph(s, &graph);
    s->observer = (fsm_observer){0};
    return status == FSMOE_OK ? swapped : status;
}

/* ---- plans ---- */

static fsmoe_status shape(void *work, fsm_step_shape *described)
{
    return fsm_stepper_shape(&((measured *)work)->stepper, described);
}

static double budget_s(const measured *m)
{
    return m->options->budget_s > 0 ? m->options->budget_s : 15;
}

/* A step that warms up, then as many as are recorded and fit the budget, three at least. */
static fsmoe_status run_recorded(void *user)
{
    measured *m = user;
    double step_s, least_s, used_s = 0;
    FSM_TRY(run_step(m, &step_s));
    fsm_task_recorder_clear(m->stepper.recorder);
    double start_s = fsm_clock_s();
    for (int i = 1; i <= MOST_RECORDED && (i <= LEAST_RECORDED || used_s * i / (i - 1) < budget_s(m)); i++) {
        FSM_TRY(run_step(m, &step_s));
        FSM_TRY(fsm_ranks_range(m->stepper.world, fsm_clock_s() - start_s, &least_s, &used_s));
    }
    return FSMOE_OK;
}

static fsmoe_status find_costs(void *work, fsm_cluster *cluster)
{
    measured *m = work;
    const char *given = m->options->cluster;
    fsm_profile_options options = {.budget_s = budget_s(m), .points = 7, .repeats = 7};
    if (given) return fsm_costs_read_given(&m->stepper, "--cluster", given, cluster);
    FSM_TRY(fsm_profile_fit_sizes(&m->stepper, &options));
    return fsm_costs_measure(&m->stepper, &fsm_schedule_fsmoe_lanes, &options, run_recorded, m, cluster);
}

static fsmoe_status take_plans(void *work, const fsm_cluster *cluster, const fsm_plan *plans, int count)
{
    measured *m = work;
    fsmoe_status status = FSMOE_OK;
    (void)cluster;
    m->plans = plans;
    for (int i = 0; status == FSMOE_OK && i < count; i++)
        status = fsm_exec_reserve(m->stepper.exec, plans[i].graph.count);
    return fsm_comm_agree(m->stepper.world, status);
}

static double stretch(const void *work)
{
    (void)work;
    return 0;
}

const fsm_bench_method fsm_bench_measured = {.warm_up = WARM_UP,
                                             .create = create,
                                             .destroy = destroy,
                                             .shape = shape,
                                             .find_costs = find_costs,
                                             .take_plans = take_plans,
                                             .run = run,
                                             .stretch = stretch};
