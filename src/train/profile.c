#include "train/profile.h"

#include "moe/expert/expert.h"
#include "plan/cost.h"
#include "profile/measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- operations ---- */

/* Dense gradients are summed over DP; where MP takes all ranks only the norms' are, over all of them. */
fsm_group fsm_profile_group(const fsm_topo *topo, fsm_cost_op op)
{
    switch (op) {
    case FSM_COST_ALLTOALL:
        return FSM_GROUP_EP;
    case FSM_COST_ALLGATHER:
    case FSM_COST_REDUCESCATTER:
        return FSM_GROUP_ESP;
    case FSM_COST_ALLREDUCE:
        return topo->dp > 1 ? FSM_GROUP_DP : FSM_GROUP_WORLD;
    default:
        return FSM_GROUP_WORLD;
    }
}

static fsmoe_status find_site(fsm_stepper *s, fsm_measure_site *site)
{
    int index;
    *site = (fsm_measure_site){.world = s->world,
                               .ops = s->model->ops,
                               .gemm_in = s->config->model.hidden,
                               .gemm_out = s->config->model.ffn_hidden / s->topo.esp,
                               .alltoall = &s->model->alltoall,
                               .tree_scratch = s->tree_scratch,
                               .tree_counts = s->tree_counts};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        site->group[op] = s->groups[fsm_profile_group(&s->topo, (fsm_cost_op)op)];
    return s->world->control->local_ranks(s->world, &site->local_ranks, &index);
}

/* With defaults for what is 0. */
static fsm_measure_options complete(const fsm_profile_options *options)
{
    return (fsm_measure_options){
        .min_elems = options->min_elems != 0 ? options->min_elems : 1 << 14,
        .max_elems = options->max_elems != 0 ? options->max_elems : 1 << 24,
        .points = options->points != 0 ? options->points : 11,
        .repeats = options->repeats != 0 ? options->repeats : 10,
        .in_a_row = 32,
        .budget_s = options->budget_s != 0 ? options->budget_s : FSM_PROFILE_BUDGET_S,
        .on_message = options->on_message,
        .on_progress = options->on_progress,
        .user = options->user,
    };
}

fsmoe_status fsm_profile_check(const fsm_profile_options *options)
{
    fsm_measure_options measure = complete(options);
    return fsm_measure_check(&measure);
}

static fsmoe_status measure_operations(fsm_stepper *s, const fsm_profile_options *options, fsm_cluster *cluster)
{
    fsm_measure_options measure = complete(options);
    fsm_measure_site site;
    if (s->world->rank != 0) {
        measure.on_message = NULL;
        measure.on_progress = NULL;
    }
    FSM_TRY(fsm_comm_agree(s->world, find_site(s, &site)));
    return fsm_measure_cluster(&site, &measure, cluster);
}

/* ---- tasks ---- */

/* Kinds whose cost an operation's line gives. */
static bool is_operation(fsm_task_kind kind)
{
    return kind == FSM_TASK_A2A_DISPATCH || kind == FSM_TASK_A2A_COMBINE || kind == FSM_TASK_ALLGATHER ||
           kind == FSM_TASK_REDUCESCATTER || kind == FSM_TASK_ALLREDUCE;
}

static bool waits_for_ranks(const fsm_task_time *t)
{
    return t->resource != FSM_COMPUTE;
}

/* Each row's time becomes that of the rank which decides. */
static fsmoe_status agree_on_times(fsm_comm *world, fsm_task_time *times, int count)
{
    for (int i = 0; i < count; i++) {
        double least_s, greatest_s;
        FSM_TRY(fsm_ranks_range(world, times[i].median_s, &least_s, &greatest_s));
        times[i].median_s = waits_for_ranks(&times[i]) ? least_s : greatest_s;
    }
    return FSMOE_OK;
}

/* What a chunk of experts costs however few its rows: the start of its GEMMs, one a weight and local expert. */
static double chunk_alpha_s(const fsm_stepper *s, fsm_task_kind kind, const fsm_cluster *cluster)
{
    if (kind != FSM_TASK_EXPERT && kind != FSM_TASK_WEIGHT_GRAD) return 0;
    int64_t gemms = fsm_expert_find(s->config->moe.expert)->pre_width + 1,
            experts = s->config->moe.num_experts / s->topo.ep;
    return (double)(gemms * experts) * cluster->op[FSM_COST_GEMM].cost.line[0].alpha_s;
}

/* A fitted line for several sizes; for one, a line from alpha, which is at most half of it. */
static fsmoe_status fit_task(const fsm_point *points, int n, double alpha_s, fsm_cost *cost)
{
    double r2;
    alpha_s = fmin(alpha_s, 0.5 * points[0].time_s);
    *cost = (fsm_cost){.line = {{alpha_s, (points[0].time_s - alpha_s) / points[0].size}}};
    return n == 1 ? FSMOE_OK : fsm_fit_line(points, n, &cost->line[0], &r2);
}

/* The cost of times[first]'s kind and phase, from that row and those after it. points: room for `count`. */
static fsmoe_status set_task(const fsm_stepper *s, const fsm_task_time *times, int first, int count, fsm_point *points,
                             fsm_cluster *cluster)
{
    char name[64];
    fsm_cost cost;
    int n = 0;
    for (int i = first; i < count; i++)
        if (times[i].kind == times[first].kind && times[i].phase == times[first].phase && times[i].size > 0 &&
            times[i].median_s > 0)
            points[n++] = (fsm_point){times[i].size, times[i].median_s};
    snprintf(name, sizeof name, "%s.%s", fsm_task_kind_name(times[first].kind), fsm_phase_name(times[first].phase));
    if (n == 0 || is_operation(times[first].kind) || fsm_cluster_task(cluster, name)) return FSMOE_OK;
    fsmoe_status status = fit_task(points, n, chunk_alpha_s(s, times[first].kind, cluster), &cost);
    return status == FSMOE_OK ? fsm_cluster_set_task(cluster, name, cost) : fsm_fail_within(status, "%s", name);
}

static fsmoe_status set_tasks(const fsm_stepper *s, const fsm_task_time *times, int count, fsm_cluster *cluster)
{
    fsm_point *points = malloc(sizeof *points * ((size_t)count + 1));
    fsmoe_status status = points ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %d tasks", count);
    for (int i = 0; status == FSMOE_OK && i < count; i++) status = set_task(s, times, i, count, points, cluster);
    free(points);
    return status;
}

/* *times is malloc'd, also after an error. */
static fsmoe_status read_times(const fsm_stepper *s, fsm_task_time **times, int *count)
{
    *times = NULL;
    FSM_TRY(fsm_comm_agree(s->world, fsm_task_recorder_times(s->recorder, times, count)));
    return agree_on_times(s->world, *times, *count);
}

static fsmoe_status read_tasks(const fsm_stepper *s, fsm_cluster *cluster)
{
    fsm_task_time *times;
    int count = 0;
    if (!s->recorder) return FSMOE_OK;
    fsmoe_status status = read_times(s, &times, &count);
    if (status == FSMOE_OK) status = fsm_comm_agree(s->world, set_tasks(s, times, count, cluster));
    free(times);
    return status;
}

fsmoe_status fsm_profile_stepper(fsm_stepper *stepper, const fsm_profile_options *options, fsm_cluster *cluster)
{
    *cluster = (fsm_cluster){0};
    fsm_profile_describe(stepper, options->name, cluster);
    fsmoe_status status = measure_operations(stepper, options, cluster);
    if (status == FSMOE_OK) status = read_tasks(stepper, cluster);
    if (status != FSMOE_OK) fsm_cluster_destroy(cluster);
    return status;
}

/* ---- while streams overlap, and later ---- */

/* What was seen of one kind and phase of task. */
typedef struct sight {
    fsm_task_kind kind;
    char name[64];
    bool waits, overlapped; /* for other ranks; in a graph that overlaps */
    fsm_cost alone;         /* as far as the costs know; what they do not is held against a second a unit */
    double factor;          /* times as long as that; 0: it cannot be told */
} sight;

static sight look_at(const fsm_task_time *times, int first, int count, bool overlapped, const fsm_cluster *cluster)
{
    double took_s = 0, expected_s = 0;
    const fsm_task_time *t = &times[first];
    fsm_price price = fsm_cost_find(cluster, t->kind, t->phase, false);
    sight seen = {.kind = t->kind, .waits = waits_for_ranks(t), .overlapped = overlapped, .alone = price.cost};
    snprintf(seen.name, sizeof seen.name, "%s.%s", fsm_task_kind_name(t->kind), fsm_phase_name(t->phase));
    if (!price.known) seen.alone.line[0].beta_s = 1;
    for (int i = first; i < count; i++) {
        if (times[i].kind != t->kind || times[i].phase != t->phase) continue;
        took_s += times[i].tasks * times[i].median_s;
        expected_s += times[i].tasks * fsm_cost_s(&seen.alone, 1, times[i].size);
    }
    if (expected_s > 0) seen.factor = took_s / expected_s;
    return seen;
}

typedef fsmoe_status (*adjust_cost)(fsm_cluster *cluster, const sight *seen);

/* Shows adjust every kind and phase that ran, once; the recorder's steps ran the stepper's graph. Collective. */
static fsmoe_status adjust_costs(const fsm_stepper *s, adjust_cost adjust, fsm_cluster *cluster)
{
    bool shown[FSM_TASK_KIND_COUNT][FSM_PHASE_COUNT] = {0}, overlapped = fsm_graph_overlaps(&s->train_graph);
    fsm_task_time *times;
    int count = 0;
    fsmoe_status status = read_times(s, &times, &count);
    for (int i = 0; status == FSMOE_OK && i < count; i++) {
        bool *once = &shown[times[i].kind][times[i].phase];
        sight seen = look_at(times, i, count, overlapped, cluster);
        if (!*once && seen.factor > 0) status = adjust(cluster, &seen);
        *once = true;
    }
    free(times);
    return fsm_comm_agree(s->world, status);
}

/* A rank that comes last to an exchange finds what the others sent already there, and so sees too short a time. */
static fsmoe_status set_overlap(fsm_cluster *cluster, const sight *seen)
{
    double times = seen->waits && seen->factor < 1 ? 1 : seen->factor;
    return fsm_cluster_set_overlap(cluster, seen->name, times);
}

fsmoe_status fsm_profile_overlap(fsm_stepper *stepper, fsm_cluster *cluster)
{
    if (!fsm_graph_overlaps(&stepper->train_graph)) return FSMOE_OK; /* the plan found nothing to gain */
    return adjust_costs(stepper, set_overlap, cluster);
}

static fsm_cost scaled(const fsm_cost *cost, double factor)
{
    fsm_cost more = *cost;
    fsm_cost_scale(&more, factor);
    return more;
}

/* Operations have been measured alone, so what is new is what streams take from them. Other tasks take as many times
 * longer alone as they do beside others: they have more to do. */
static fsmoe_status renew(fsm_cluster *cluster, const sight *seen)
{
    double overlap = seen->overlapped ? fsm_cluster_overlap(cluster, seen->name) : 1, longer = seen->factor / overlap;
    if (is_operation(seen->kind)) return seen->overlapped ? set_overlap(cluster, seen) : FSMOE_OK;
    if (seen->overlapped && seen->waits && longer < 1) return FSMOE_OK; /* as above */
    return fsm_cluster_set_task(cluster, seen->name, scaled(&seen->alone, longer));
}

static fsmoe_status copy_tasks(const fsm_cluster *from, fsm_cluster *to)
{
    for (int i = 0; i < from->task_count; i++) {
        const fsm_task_cost *t = &from->tasks[i];
        if (t->own) FSM_TRY(fsm_cluster_set_task(to, t->task, t->cost));
        if (t->overlap > 0) FSM_TRY(fsm_cluster_set_overlap(to, t->task, t->overlap));
    }
    return FSMOE_OK;
}

fsmoe_status fsm_profile_renew(fsm_stepper *stepper, const fsm_profile_options *options, const fsm_cluster *before,
                               fsm_cluster *cluster)
{
    *cluster = (fsm_cluster){0};
    fsm_profile_describe(stepper, options->name, cluster);
    fsmoe_status status = measure_operations(stepper, options, cluster);
    if (status == FSMOE_OK) status = fsm_comm_agree(stepper->world, copy_tasks(before, cluster));
    if (status == FSMOE_OK) status = adjust_costs(stepper, renew, cluster);
    if (status != FSMOE_OK) fsm_cluster_destroy(cluster);
    return status;
}

fsmoe_status fsm_profile_fit_sizes(const fsm_stepper *stepper, fsm_profile_options *options)
{
    const int64_t least_elems = 1 << 10, parts = 64;
    fsm_step_shape shape;
    FSM_TRY(fsm_comm_agree(stepper->world, fsm_stepper_shape(stepper, &shape)));
    int64_t whole = (int64_t)(shape.rows * (double)shape.hidden) * shape.group_size[FSM_GROUP_ESP];
    fsm_step_shape_destroy(&shape);
    options->max_elems = whole > parts * least_elems ? whole : parts * least_elems;
    options->min_elems = options->max_elems / parts;
    return FSMOE_OK;
}
