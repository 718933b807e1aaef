#include "train/planning.h"

#include "base/file.h"
#include "plan/predict.h"
#include "train/costs.h"
#include "train/same.h"
#include "train/trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEASURED_STEPS = 4, FROM_BYTES = 352 };
static const double FIRST_BUDGET_S = 6, LATER_BUDGET_S = 3, WORTH_CHANGING = 0.05;

static const fsm_schedule *schedule_of(const fsm_stepper *s)
{
    return fsm_schedule_find(s->config->parallel.schedule);
}

/* ---- costs ---- */

static fsmoe_status watch(fsm_planning *p, fsm_stepper *s)
{
    fsm_task_recorder_destroy(p->recorder);
    p->recorder = NULL;
    fsmoe_status status = fsm_task_recorder_create(&s->train_graph, &p->recorder);
    s->recorder = p->recorder;
    return fsm_comm_agree(s->world, status);
}

static fsmoe_status make_plan(const fsm_stepper *s, const fsm_cluster *cluster, fsm_plan *plan)
{
    fsm_step_shape shape;
    FSM_TRY(fsm_stepper_shape(s, &shape));
    return fsm_plan_create(&shape, cluster, schedule_of(s), plan);
}

static void degrees_of(const fsm_stepper *s, const fsm_plan *plan, int degree[2])
{
    int layer = (int)s->config->model.moe_every - 1;
    for (int phase = 0; phase < 2; phase++)
        degree[phase] = layer < plan->shape.num_layers ? plan->degree[layer][phase] : 0;
}

/* The stepper runs the plan's graph from now on. */
static fsmoe_status use_plan(fsm_planning *p, fsm_stepper *s, fsm_plan *plan)
{
    degrees_of(s, plan, p->degree);
    p->step_s = plan->certificate.makespan_s;
    memcpy(p->load_s, plan->certificate.load_s, sizeof p->load_s);
    fsm_graph graph = plan->graph;
    plan->graph = (fsm_graph){0};
    fsm_timeline_destroy(&p->timeline);
    p->timeline = plan->timeline;
    plan->timeline = (fsm_timeline){0};
    s->trace = NULL; /* a trace is of one graph, and ends with it */
    FSM_TRY(fsm_same_graph(s->world, fsm_stepper_use_graph(s, graph), &s->train_graph));
    return s->config->parallel.replan_every > 0 ? watch(p, s) : FSMOE_OK;
}

typedef struct first_steps {
    fsm_stepper *stepper;
    fsm_batches *batches;
} first_steps;

/* A few steps on the first samples, the first of which warms up. */
static fsmoe_status run_first_steps(void *user)
{
    const first_steps *first = user;
    for (int i = 0; i < MEASURED_STEPS; i++) {
        if (i == 1) fsm_task_recorder_clear(first->stepper->recorder);
        fsmoe_status status = fsm_stepper_train(first->stepper, first->batches, 0);
        if (status == FSMOE_OK) continue;
        fsm_fail_within(status, "step 1, to measure its tasks");
        return fsm_step_failed(first->stepper->world, status);
    }
    return FSMOE_OK;
}

/* Steps that are run to be measured; then back to the beginning. */
static fsmoe_status measure_first(fsm_planning *p, fsm_stepper *s, fsm_batches *batches)
{
    first_steps first = {s, batches};
    fsm_profile_options options = {.budget_s = FIRST_BUDGET_S, .points = 7, .repeats = 5};
    FSM_TRY(fsm_profile_fit_sizes(s, &options));
    FSM_TRY(fsm_costs_measure(s, schedule_of(s), &options, run_first_steps, &first, &p->cluster));
    return fsm_stepper_reset(s);
}

/* What an earlier part of the run has left in its folder, if this one is like it. */
static fsmoe_status take_kept(fsm_planning *p, const fsm_stepper *s, bool *taken, char from[FROM_BYTES])
{
    char path[FSM_PATH_BYTES], why[FSM_COSTS_WHY_BYTES];
    FSM_TRY(fsm_comm_agree(s->world, fsm_file_path(s->config->run.dir, "cluster.json", path)));
    int64_t kept = s->world->rank == 0 && fsm_file_exists(path);
    *taken = false;
    FSM_TRY(s->world->control->broadcast_bytes(s->world, &kept, sizeof kept, 0));
    if (!kept) return FSMOE_OK;
    FSM_TRY(fsm_costs_read_kept(s, path, &p->cluster, taken, why));
    if (*taken) snprintf(from, FROM_BYTES, "the costs of the run's beginning");
    else snprintf(from, FROM_BYTES, "costs measured now (those of the run's beginning %s)", why);
    return FSMOE_OK;
}

static fsmoe_status take_costs(fsm_planning *p, fsm_stepper *s, fsm_batches *batches, bool resume,
                               fsm_planning_announce announce, void *user, char from[FROM_BYTES])
{
    const char *file = s->config->parallel.cluster;
    bool taken = false;
    snprintf(from, FROM_BYTES, "%s", file[0] ? file : "costs measured now");
    if (file[0]) return fsm_costs_read_given(s, "parallel.cluster", file, &p->cluster);
    if (resume) FSM_TRY(take_kept(p, s, &taken, from));
    if (taken) return FSMOE_OK;
    announce(
        user,
        "measuring what this model's operations and tasks cost here: a few seconds and some steps that are undone");
    return measure_first(p, s, batches);
}

fsmoe_status fsm_planning_begin(fsm_stepper *s, fsm_batches *batches, bool resume, fsm_planning_announce announce,
                                void *user, fsm_planning *p)
{
    fsm_plan plan;
    char from[FROM_BYTES];
    *p = (fsm_planning){.step_s = NAN};
    if (!schedule_of(s)->needs_costs || s->world->size == 1) return FSMOE_OK;
    FSM_TRY(take_costs(p, s, batches, resume, announce, user, from));
    FSM_TRY(fsm_comm_agree(s->world, make_plan(s, &p->cluster, &plan)));
    fsmoe_status status = use_plan(p, s, &plan);
    snprintf(p->message, sizeof p->message,
             "%s planned from %s: %d lane%s, degrees %d forward, %d backward; %.4g s a step expected, at most %.2f %% "
             "above the "
             "best",
             plan.schedule, from, fsm_graph_lanes(&s->train_graph), fsm_graph_lanes(&s->train_graph) > 1 ? "s" : "",
             p->degree[0], p->degree[1], p->step_s,
             100 * fsm_gap(plan.certificate.makespan_s, plan.certificate.bound.seconds));
    fsm_plan_destroy(&plan);
    return status;
}

fsmoe_status fsm_planning_save(const fsm_planning *p, const fsmoe_config *config)
{
    char path[FSM_PATH_BYTES];
    if (isnan(p->step_s)) return FSMOE_OK;
    FSM_TRY(fsm_file_path(config->run.dir, "cluster.json", path));
    return fsm_cluster_write(&p->cluster, path);
}

/* ---- once more ---- */

/* The operation whose cost, at the size a layer has, changed most. */
static const char *changed_most(const fsm_cluster *before, const fsm_cluster *after, double *factor)
{
    const double size = 1 << 20;
    const char *name = "";
    *factor = 1;
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        double old_s = fsm_cost_s(&before->op[op].cost, 1, size), new_s = fsm_cost_s(&after->op[op].cost, 1, size);
        if (old_s <= 0 || new_s <= 0 || fabs(log(new_s / old_s)) <= fabs(log(*factor))) continue;
        *factor = new_s / old_s;
        name = fsm_cost_op_name((fsm_cost_op)op);
    }
    return name;
}

/* Takes the new plan, and then the new costs, if that is worth it; the costs in use stay those that the plan was made
 * from. */
static fsmoe_status choose(fsm_planning *p, fsm_stepper *s, fsm_plan *plan, fsm_cluster *cluster, int64_t step)
{
    double kept_s = 0, factor;
    int old[2] = {p->degree[0], p->degree[1]}, old_lanes = fsm_graph_lanes(&s->train_graph);
    FSM_TRY(fsm_comm_agree(s->world, fsm_predict(&s->train_graph, cluster, &kept_s)));
    const char *op = changed_most(&p->cluster, cluster, &factor);
    double new_s = plan->certificate.makespan_s;
    if (new_s > kept_s * (1 - WORTH_CHANGING)) {
        p->step_s = kept_s;
        snprintf(p->message, sizeof p->message,
                 "step %lld: measured again, the plan stays (%.4g s a step expected, another would take %.4g s)",
                 (long long)step, kept_s, new_s);
        return FSMOE_OK;
    }
    FSM_TRY(use_plan(p, s, plan));
    fsm_cluster_destroy(&p->cluster);
    p->cluster = *cluster;
    *cluster = (fsm_cluster){0};
    snprintf(
        p->message, sizeof p->message,
        "step %lld: plan changed, lanes %d -> %d, degrees %d/%d -> %d/%d: %s takes %.2f times what it took; %.4g s a "
        "step expected instead of %.4g s",
        (long long)step, old_lanes, fsm_graph_lanes(&s->train_graph), old[0], old[1], p->degree[0], p->degree[1], op,
        factor, new_s, kept_s);
    return FSMOE_OK;
}

fsmoe_status fsm_planning_renew(fsm_planning *p, fsm_stepper *s, int64_t step)
{
    fsm_plan plan;
    fsm_cluster cluster = {0};
    fsm_profile_options options = {.budget_s = LATER_BUDGET_S, .points = 7, .repeats = 5};
    FSM_TRY(fsm_profile_fit_sizes(s, &options));
    FSM_TRY(fsm_profile_renew(s, &options, &p->cluster, &cluster));
    FSM_TRY(fsm_costs_share(s->world, &cluster));
    fsmoe_status status = fsm_comm_agree(s->world, make_plan(s, &cluster, &plan));
    if (status == FSMOE_OK) {
        status = choose(p, s, &plan, &cluster, step);
        fsm_plan_destroy(&plan);
    }
    fsm_cluster_destroy(&cluster);
    return status;
}

void fsm_planning_end(fsm_planning *p)
{
    fsm_task_recorder_destroy(p->recorder);
    fsm_timeline_destroy(&p->timeline);
    fsm_cluster_destroy(&p->cluster);
    *p = (fsm_planning){0};
}
