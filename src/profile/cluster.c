#include "profile/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *fsm_cost_op_name(fsm_cost_op op)
{
    static const char *const names[] = {
#define COST_OP_NAME(name, text, counts) text,
        FSM_COST_OPS(COST_OP_NAME)
#undef COST_OP_NAME
    };
    return names[op];
}

double fsm_cost_s(const fsm_cost *cost, int launches, double size)
{
    if (launches < 1) launches = 1;
    double each = size / launches;
    return launches * fsm_line_at(cost->line[cost->large_from > 0 && each >= cost->large_from], each);
}

void fsm_cluster_destroy(fsm_cluster *cluster)
{
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) free(cluster->op[op].points);
    free(cluster->tasks);
    *cluster = (fsm_cluster){0};
}

static fsm_task_cost *find_task(const fsm_cluster *cluster, const char *task)
{
    for (int i = 0; i < cluster->task_count; i++)
        if (strcmp(cluster->tasks[i].task, task) == 0) return &cluster->tasks[i];
    return NULL;
}

const fsm_cost *fsm_cluster_task(const fsm_cluster *cluster, const char *task)
{
    const fsm_task_cost *found = find_task(cluster, task);
    return found && found->own ? &found->cost : NULL;
}

double fsm_cluster_overlap(const fsm_cluster *cluster, const char *task)
{
    const fsm_task_cost *found = find_task(cluster, task);
    return found && found->overlap > 0 ? found->overlap : 1;
}

/* The task's entry, a new one if there is none. */
static fsmoe_status find_or_add(fsm_cluster *cluster, const char *task, fsm_task_cost **entry)
{
    *entry = find_task(cluster, task);
    if (*entry) return FSMOE_OK;
    if (strlen(task) >= sizeof(*entry)->task)
        return fsm_fail(FSMOE_ERROR_FORMAT, "a task's name has at most %zu bytes: '%s'", sizeof(*entry)->task - 1,
                        task);
    fsm_task_cost *grown = realloc(cluster->tasks, ((size_t)cluster->task_count + 1) * sizeof *grown);
    if (!grown) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the cost of task '%s'", task);
    cluster->tasks = grown;
    *entry = &grown[cluster->task_count++];
    **entry = (fsm_task_cost){0};
    snprintf((*entry)->task, sizeof(*entry)->task, "%s", task);
    return FSMOE_OK;
}

fsmoe_status fsm_cluster_set_task(fsm_cluster *cluster, const char *task, fsm_cost cost)
{
    fsm_task_cost *entry;
    FSM_TRY(find_or_add(cluster, task, &entry));
    entry->own = true;
    entry->cost = cost;
    return FSMOE_OK;
}

fsmoe_status fsm_cluster_set_overlap(fsm_cluster *cluster, const char *task, double times)
{
    fsm_task_cost *entry;
    FSM_TRY(find_or_add(cluster, task, &entry));
    entry->overlap = times;
    return FSMOE_OK;
}

/* What is fitted must be readable again. */
static fsmoe_status check_fitted(const fsm_measured *measured)
{
    bool fits = true;
    for (int i = 0; i < 2; i++)
        fits &= measured->cost.line[i].alpha_s <= FSM_COST_MOST && measured->cost.line[i].beta_s <= FSM_COST_MOST;
    for (int i = 0; i < measured->point_count; i++)
        fits &= measured->points[i].size <= FSM_COST_MOST && measured->points[i].time_s <= FSM_COST_MOST;
    return fits ? FSMOE_OK : fsm_fail(FSMOE_ERROR_NUMERIC, "sizes or times are more than any operation has");
}

fsmoe_status fsm_cluster_fit(fsm_cluster *cluster, fsm_cost_op op, fsm_point *points, int n)
{
    fsm_measured measured = {.points = points, .point_count = n};
    fsmoe_status status = fsm_fit_two_lines(points, n, measured.cost.line, &measured.cost.large_from, &measured.r2);
    if (status == FSMOE_OK) status = check_fitted(&measured);
    if (status != FSMOE_OK) {
        free(points);
        return fsm_fail_within(status, "%s", fsm_cost_op_name(op));
    }
    free(cluster->op[op].points);
    cluster->op[op] = measured;
    return FSMOE_OK;
}
