#include "train/planning.h"

#include "base/file.h"
#include "plan/predict.h"
#include "train/profile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEASURED_STEPS = 4 };
static const double FIRST_BUDGET_S = 15, LATER_BUDGET_S = 3, WORTH_CHANGING = 0.02;

static const fsm_schedule *schedule_of(const fsm_stepper *s)
{
    return fsm_schedule_find(s->config->parallel.schedule);
}

/* ---- costs ---- */

/* Rank 0's costs become everybody's. */
static fsmoe_status share(fsm_comm *world, fsm_cluster *cluster)
{
    char *text = NULL;
    int64_t size = 0, *sizes = malloc(sizeof *sizes * (size_t)world->size);
    fsmoe_status status = sizes ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to share costs");
    if (status == FSMOE_OK && world->rank == 0) status = fsm_cluster_to_json(cluster, &text);
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    if (world->rank == 0) size = (int64_t)strlen(text) + 1;
    FSM_TRY_GOTO(status, world->table->all_gather_int64(world, &size, 1, sizes), done);
    if (world->rank != 0 && !(text = malloc((size_t)sizes[0])))
        status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to share costs");
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    FSM_TRY_GOTO(status, world->table->broadcast_bytes(world, text, sizes[0], 0), done);
    fsm_cluster_destroy(cluster);
    status = fsm_comm_agree(world, fsm_cluster_from_json(text, "the cluster", cluster));
done:
    free(text);
    free(sizes);
    return status;
}

static fsmoe_status read_costs(fsm_stepper *s, const char *path, fsm_cluster *cluster)
{
    fsmoe_status status = s->world->rank == 0 ? fsm_cluster_read(path, cluster) : FSMOE_OK;
    if (status != FSMOE_OK) fsm_fail_within(status, "parallel.cluster");
    FSM_TRY(fsm_comm_agree(s->world, status));
    return share(s->world, cluster);
}

static fsmoe_status measure(fsm_stepper *s, double budget_s, fsm_cluster *cluster)
{
    const fsm_profile_options options = {.budget_s = budget_s, .points = 8, .max_elems = 1 << 22, .repeats = 5};
    FSM_TRY(fsm_profile_stepper(s, &options, cluster));
    return share(s->world, cluster);
}

static fsmoe_status watch(fsm_planning *p, fsm_stepper *s)
{
    fsm_task_recorder_destroy(p->recorder);
    p->recorder = NULL;
    fsmoe_status status = fsm_task_recorder_create(&s->train_graph, &fsm_stepper_tasks, s, NULL, &p->recorder);
    s->recorder = p->recorder;
    return fsm_comm_agree(s->world, status);
}

static void unwatch(fsm_planning *p, fsm_stepper *s)
{
    s->recorder = NULL;
    fsm_task_recorder_destroy(p->recorder);
    p->recorder = NULL;
}

/* Steps in order on the first samples, and back to the beginning. */
static fsmoe_status measure_first(fsm_planning *p, fsm_stepper *s, fsm_batches *batches)
{
    FSM_TRY(watch(p, s));
    for (int i = 0; i < MEASURED_STEPS; i++) {
        if (i == 1) fsm_task_recorder_clear(p->recorder); /* the first one warms up */
        FSM_TRY(fsm_stepper_train(s, batches, 0));
    }
    FSM_TRY(measure(s, FIRST_BUDGET_S, &p->cluster));
    unwatch(p, s);
    fsm_stepper_reset(s);
    return FSMOE_OK;
}

static fsmoe_status take_costs(fsm_planning *p, fsm_stepper *s, fsm_batches *batches, bool resume, const char **from)
{
    char path[FSM_PATH_BYTES];
    const char *file = s->config->parallel.cluster;
    *from = file;
    if (file[0]) return read_costs(s, file, &p->cluster);
    FSM_TRY(fsm_comm_agree(s->world, fsm_file_path(s->config->run.dir, "cluster.json", path)));
    *from = "the costs of the run's beginning";
    int64_t kept = s->world->rank == 0 && resume && fsm_file_exists(path);
    FSM_TRY(s->world->table->broadcast_bytes(s->world, &kept, sizeof kept, 0));
    if (kept) return read_costs(s, path, &p->cluster);
    *from = "costs measured now";
    return measure_first(p, s, batches);
}

/* ---- the plan ---- */

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
    fsm_stepper_use_graph(s, plan->graph);
    s->trace = NULL; /* a trace is of one graph, and ends with it */
    plan->graph = (fsm_graph){0};
    return s->config->parallel.replan_every > 0 ? watch(p, s) : FSMOE_OK;
}

fsmoe_status fsm_planning_begin(fsm_stepper *s, fsm_batches *batches, bool resume, fsm_planning *p)
{
    fsm_plan plan;
    const char *from;
    *p = (fsm_planning){.step_s = NAN};
    if (!schedule_of(s)->needs_costs) return FSMOE_OK;
    FSM_TRY(take_costs(p, s, batches, resume, &from));
    FSM_TRY(fsm_comm_agree(s->world, make_plan(s, &p->cluster, &plan)));
    fsmoe_status status = use_plan(p, s, &plan);
    snprintf(
        p->message, sizeof p->message,
        "%s planned from %s: degrees %d forward, %d backward; %.4g s a step expected, at most %.2f %% above the best",
        plan.schedule, from, p->degree[0], p->degree[1], p->step_s,
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
    int old[2] = {p->degree[0], p->degree[1]};
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
        "step %lld: plan changed, degrees %d/%d -> %d/%d: %s takes %.2f times what it took; %.4g s a step expected "
        "instead of %.4g s",
        (long long)step, old[0], old[1], p->degree[0], p->degree[1], op, factor, new_s, kept_s);
    return FSMOE_OK;
}

fsmoe_status fsm_planning_renew(fsm_planning *p, fsm_stepper *s, int64_t step)
{
    fsm_plan plan;
    fsm_cluster cluster = {0};
    FSM_TRY(measure(s, LATER_BUDGET_S, &cluster));
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
    fsm_cluster_destroy(&p->cluster);
    *p = (fsm_planning){0};
}
