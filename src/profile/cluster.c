#include "profile/cluster.h"

#include <math.h>
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
    int i = fsm_cost_line_count(cost) - 1;
    while (i > 0 && each < fsm_cost_line_from(cost, i)) i--;
    return launches * fsm_line_at(cost->line[i], each);
}

int fsm_cost_line_count(const fsm_cost *cost)
{
    return 1 + (cost->large_from > 0) + (cost->large_from > 0 && cost->largest_from > 0);
}

double fsm_cost_line_from(const fsm_cost *cost, int i)
{
    return i == 1 ? cost->large_from : cost->largest_from;
}

fsm_line fsm_cost_least(const fsm_cost *cost)
{
    fsm_line least = cost->line[0];
    for (int i = 1; i < fsm_cost_line_count(cost); i++) {
        least.alpha_s = fmin(least.alpha_s, cost->line[i].alpha_s);
        least.beta_s = fmin(least.beta_s, cost->line[i].beta_s);
    }
    return least;
}

void fsm_cost_scale(fsm_cost *cost, double times)
{
    for (int i = 0; i < FSM_COST_LINES; i++) {
        cost->line[i].alpha_s *= times;
        cost->line[i].beta_s *= times;
    }
}

void fsm_cluster_destroy(fsm_cluster *cluster)
{
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) free(cluster->op[op].points);
    free(cluster->tasks);
    *cluster = (fsm_cluster){0};
}

/* ---- the layout ---- */

enum { LAYOUT_PARTS = 5 };

static void list_layout(const fsm_cluster *c, int parts[LAYOUT_PARTS])
{
    const int all[LAYOUT_PARTS] = {c->nodes, c->ranks_per_node, c->ep_size, c->esp_size, c->mp_size};
    memcpy(parts, all, sizeof all);
}

void fsm_cluster_print_layout(const fsm_cluster *cluster, char text[FSM_CLUSTER_LAYOUT_BYTES])
{
    static const char *const names[LAYOUT_PARTS][2] = {
        {"", " nodes"}, {"", " ranks a node"}, {"EP ", ""}, {"ESP ", ""}, {"MP ", ""}};
    static const char *const single[LAYOUT_PARTS] = {" node", " rank a node", "", "", ""};
    int parts[LAYOUT_PARTS], at = 0;
    list_layout(cluster, parts);
    strcpy(text, "an unknown layout");
    for (int i = 0; i < LAYOUT_PARTS; i++)
        if (parts[i] > 0)
            at += snprintf(text + at, FSM_CLUSTER_LAYOUT_BYTES - (size_t)at, "%s%s%d%s", at > 0 ? ", " : "",
                           names[i][0], parts[i], parts[i] == 1 ? single[i] : names[i][1]);
}

bool fsm_cluster_same_layout(const fsm_cluster *a, const fsm_cluster *b)
{
    int of_a[LAYOUT_PARTS], of_b[LAYOUT_PARTS];
    list_layout(a, of_a);
    list_layout(b, of_b);
    for (int i = 0; i < LAYOUT_PARTS; i++)
        if (of_a[i] > 0 && of_b[i] > 0 && of_a[i] != of_b[i]) return false;
    return true;
}

/* ---- tasks ---- */

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
    for (int i = 0; i < FSM_COST_LINES; i++)
        fits &= measured->cost.line[i].alpha_s <= FSM_COST_MOST && measured->cost.line[i].beta_s <= FSM_COST_MOST;
    for (int i = 0; i < measured->point_count; i++)
        fits &= measured->points[i].size <= FSM_COST_MOST && measured->points[i].time_s <= FSM_COST_MOST;
    return fits ? FSMOE_OK : fsm_fail(FSMOE_ERROR_NUMERIC, "sizes or times are more than any operation has");
}

static fsmoe_status fit_cost(const fsm_point *points, int n, int most_lines, fsm_measured *measured)
{
    fsm_fit three;
    fsm_cost *cost = &measured->cost;
    if (most_lines < FSM_COST_LINES) return fsm_fit_two_lines(points, n, cost->line, &cost->large_from, &measured->r2);
    FSM_TRY(fsm_fit_three_lines(points, n, &three));
    *cost = (fsm_cost){{three.line[0], three.line[1], three.line[2]}, three.from[0], three.from[1]};
    measured->r2 = three.r2;
    return FSMOE_OK;
}

fsmoe_status fsm_cluster_fit(fsm_cluster *cluster, fsm_cost_op op, fsm_point *points, int n, int most_lines)
{
    fsm_measured measured = {.points = points, .point_count = n};
    fsmoe_status status = fit_cost(points, n, most_lines, &measured);
    if (status == FSMOE_OK) status = check_fitted(&measured);
    if (status != FSMOE_OK) {
        free(points);
        return fsm_fail_within(status, "%s", fsm_cost_op_name(op));
    }
    free(cluster->op[op].points);
    cluster->op[op] = measured;
    return FSMOE_OK;
}

double fsm_measured_worst(const fsm_measured *measured, double *size)
{
    double worst = 0;
    *size = 0;
    for (int i = 0; i < measured->point_count; i++) {
        fsm_point p = measured->points[i];
        double relative = fabs(fsm_cost_s(&measured->cost, 1, p.size) / p.time_s - 1);
        if (relative > worst) worst = relative, *size = p.size;
    }
    return worst;
}
