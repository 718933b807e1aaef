/* The whole way from a configuration to a cluster file. */
#include "base/clock.h"
#include "base/file.h"
#include "comm/world.h"
#include "plan/cost.h"
#include "profile/measure.h"
#include "train/costs.h"
#include "train/trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the budget, for steps of the model in order, and of each of two plans where there are ranks to overlap with; the
 * rest is the operations'. */
#define STEPS_SHARE (1.0 / 6)
enum { LEAST_STEPS = 3 };

typedef struct profile {
    fsm_comm *world;
    fsmoe_config *config;
    const fsmoe_profile_options *options;
    const char *path;
    double budget_s;
    fsm_stepper stepper;
    int64_t samples; /* of a step, of one data-parallel group */
    int32_t *ids;    /* [samples, L], targets after them */
    double done;     /* of the whole */
    fsm_cluster cluster;
} profile;

static void show(const profile *p, double fraction, const char *what)
{
    if (p->world->rank == 0 && p->options->on_progress) p->options->on_progress(p->options->user, fraction, what);
}

/* ---- preparation ---- */

/* What would otherwise fail only when all is measured. */
static fsmoe_status check_path(const profile *p)
{
    return p->world->rank == 0 ? fsm_file_can_write(p->path) : FSMOE_OK;
}

static fsmoe_status prepare(profile *p)
{
    fsmoe_status status = fsm_profile_check(p->options);
    if (status == FSMOE_OK) status = fsm_trial_config(p->config, 0, 1);
    if (status == FSMOE_OK) status = check_path(p);
    FSM_TRY(fsm_comm_agree(p->world, status));
    const fsmoe_profile_options *o = p->options;
    FSM_TRY(fsm_trial_stepper(p->config, p->world, o->on_message, o->user, &p->samples, &p->stepper));
    return fsm_comm_agree(p->world, fsm_trial_tokens(&p->stepper, p->samples, &p->ids));
}

/* ---- measuring ---- */

static fsmoe_status step(profile *p)
{
    int64_t n = p->samples * p->config->data.seq_len;
    const fsm_batch batch = {.samples = p->samples,
                             .seq_len = p->config->data.seq_len,
                             .ids = p->ids,
                             .targets = p->ids + n,
                             .micro_samples = p->samples * p->stepper.topo.dp};
    return fsm_step_failed(p->world, fsm_stepper_train_batch(&p->stepper, &batch, n * p->stepper.topo.dp));
}

/* A first step that warms up, then at least three and as many more as are recorded and fit the share. */
static fsmoe_status run_steps(void *user)
{
    profile *p = user;
    double share_s = STEPS_SHARE * p->budget_s, least_s, used_s = 0;
    show(p, p->done, "steps");
    FSM_TRY(step(p));
    fsm_task_recorder_clear(p->stepper.recorder);
    double start_s = fsm_clock_s();
    for (int i = 1; i <= FSM_RECORDED_STEPS; i++) {
        FSM_TRY(step(p));
        FSM_TRY(fsm_ranks_range(p->world, fsm_clock_s() - start_s, &least_s, &used_s));
        show(p, p->done + STEPS_SHARE * i / FSM_RECORDED_STEPS, "steps");
        if (i >= LEAST_STEPS && used_s * (i + 1) / i > share_s) break;
    }
    p->done += STEPS_SHARE;
    return FSMOE_OK;
}

static double operations_share(const profile *p)
{
    return 1 - (p->world->size > 1 ? 3 : 1) * STEPS_SHARE;
}

static void pass_message(void *user, const char *sentence)
{
    const profile *p = user;
    if (p->options->on_message) p->options->on_message(p->options->user, sentence);
}

static void pass_progress(void *user, double fraction, const char *what)
{
    profile *p = user;
    p->done = STEPS_SHARE + operations_share(p) * fraction;
    show(p, p->done, what);
}

static fsmoe_status measure(profile *p)
{
    fsm_profile_options options = *p->options;
    options.budget_s = operations_share(p) * p->budget_s;
    options.on_message = pass_message;
    options.on_progress = pass_progress;
    options.user = p;
    return fsm_costs_measure(&p->stepper, &fsm_schedule_fsmoe_lanes, &options, run_steps, p, &p->cluster);
}

/* ---- the result ---- */

static void read_operation(const profile *p, fsm_cost_op op, fsmoe_profile_op *out)
{
    static const char *const group_names[FSM_GROUP_COUNT] = {"all", "DP", "MP", "EP", "ESP", "expert-DP", "EP x ESP"};
    const fsm_measured *measured = &p->cluster.op[op];
    const fsm_topo *topo = &p->stepper.topo;
    bool is_gemm = op == FSM_COST_GEMM;
    double worst_size;
    fsm_group group = fsm_profile_group(topo, op);
    *out = (fsmoe_profile_op){.name = fsm_cost_op_name(op),
                              .group = is_gemm ? "" : group_names[group],
                              .link = is_gemm ? "" : fsm_resource_name(fsm_topo_link(topo, group)),
                              .ranks = is_gemm ? 1 : fsm_topo_group_size(topo, group),
                              .large_from = measured->cost.large_from,
                              .r2 = measured->r2,
                              .worst_residual = fsm_measured_worst(measured, &worst_size)};
    for (int i = 0; i < 2; i++) {
        out->alpha_s[i] = measured->cost.line[i].alpha_s;
        out->beta_s[i] = measured->cost.line[i].beta_s;
    }
    if (measured->point_count == 0) return;
    fsm_point last = measured->points[measured->point_count - 1];
    out->largest = last.size;
    out->rate = (is_gemm ? 2 : (double)sizeof(float)) * last.size / last.time_s;
}

/* How many tasks of a step have the name; the largest size and what that costs alone. */
static void find_tasks(const fsm_graph *graph, const fsm_cluster *cluster, fsmoe_profile_task *task)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        char name[64];
        snprintf(name, sizeof name, "%s.%s", fsm_task_kind_name(t->kind), fsm_phase_name(t->phase));
        if (strcmp(name, task->name) != 0) continue;
        fsm_price price = fsm_cost_find(cluster, t->kind, t->phase, false);
        task->tasks++;
        task->size = fmax(task->size, t->size);
        task->time_s = fsm_cost_s(&price.cost, price.own ? 1 : t->launches, task->size);
    }
}

static void read_result(const profile *p, fsmoe_profile_result *result)
{
    _Static_assert(FSMOE_PROFILE_OPS == (int)FSM_COST_OP_COUNT, "an operation has no row");
    _Static_assert(FSMOE_PROFILE_MOST_TASKS >= FSM_TASK_KIND_COUNT * FSM_PHASE_COUNT, "a task has no row");
    *result = (fsmoe_profile_result){.task_count = p->cluster.task_count};
    snprintf(result->name, sizeof result->name, "%s", p->cluster.name);
    snprintf(result->machine, sizeof result->machine, "%s", p->cluster.machine);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) read_operation(p, (fsm_cost_op)op, &result->ops[op]);
    for (int i = 0; i < p->cluster.task_count; i++) {
        fsmoe_profile_task *task = &result->tasks[i];
        snprintf(task->name, sizeof task->name, "%s", p->cluster.tasks[i].task);
        task->overlap = p->cluster.tasks[i].overlap;
        find_tasks(&p->stepper.train_graph, &p->cluster, task);
    }
}

static void destroy(profile *p)
{
    fsm_cluster_destroy(&p->cluster);
    fsm_stepper_destroy(&p->stepper);
    free(p->ids);
}

fsmoe_status fsmoe_profile(fsmoe_world *world, fsmoe_config *config, const fsmoe_profile_options *options,
                           const char *path, fsmoe_profile_result *result)
{
    profile p = {.world = world->comm, .config = config, .options = options, .path = path};
    p.budget_s = options->budget_s != 0 ? options->budget_s : FSM_PROFILE_BUDGET_S;
    fsmoe_status status = prepare(&p);
    if (status == FSMOE_OK) status = measure(&p);
    if (status == FSMOE_OK)
        status = fsm_comm_agree(p.world, p.world->rank == 0 ? fsm_cluster_write(&p.cluster, path) : FSMOE_OK);
    if (status == FSMOE_OK && result) read_result(&p, result);
    if (status != FSMOE_ERROR_COMM) destroy(&p); /* else groups cannot be taken apart together any more */
    return status;
}
