#include "plan/simulate.h"

#include "plan/list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void fsm_timeline_destroy(fsm_timeline *timeline)
{
    free(timeline->start_s);
    free(timeline->end_s);
    *timeline = (fsm_timeline){0};
}

static fsmoe_status create(const fsm_graph *graph, fsm_timeline *timeline)
{
    size_t bytes = sizeof(double) * ((size_t)graph->count + 1);
    *timeline = (fsm_timeline){.start_s = malloc(bytes), .end_s = malloc(bytes)};
    if (timeline->start_s && timeline->end_s) return FSMOE_OK;
    fsm_timeline_destroy(timeline);
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the times of %d tasks", graph->count);
}

static double later(double x_s, double y_s)
{
    return x_s > y_s ? x_s : y_s;
}

/* When the tasks that it waits for have ended. */
static double ready_s(const fsm_graph *graph, int task, const double *end_s)
{
    const fsm_task *t = &graph->tasks[task];
    double ready = 0;
    for (int e = t->after_first; e < t->after_first + t->after_count; e++) ready = later(ready, end_s[graph->edges[e]]);
    return ready;
}

/* ---- in order ---- */

static void run_in_order(const fsm_graph *graph, const double *seconds, fsm_timeline *timeline)
{
    double free_s[FSM_RESOURCE_COUNT] = {0};
    for (int i = 0; i < graph->count; i++) {
        double *resource_s = &free_s[graph->tasks[i].resource];
        timeline->start_s[i] = later(ready_s(graph, i, timeline->end_s), *resource_s);
        *resource_s = timeline->end_s[i] = timeline->start_s[i] + seconds[i];
        timeline->makespan_s = later(timeline->makespan_s, *resource_s);
    }
}

/* ---- by priority ---- */

static fsmoe_status run_by_priority(const fsm_graph *graph, const double *seconds, fsm_timeline *timeline)
{
    fsm_list list;
    fsmoe_status status = fsm_list_create(graph, seconds, &list);
    if (status == FSMOE_OK) {
        fsm_list_run(&list, NULL);
        memcpy(timeline->start_s, list.start_s, sizeof *list.start_s * (size_t)graph->count);
        memcpy(timeline->end_s, list.end_s, sizeof *list.end_s * (size_t)graph->count);
        timeline->makespan_s = list.makespan_s;
    }
    fsm_list_destroy(&list);
    return status;
}

fsmoe_status fsm_simulate(const fsm_graph *graph, const double *seconds, fsm_discipline discipline,
                          fsm_timeline *timeline)
{
    FSM_TRY(create(graph, timeline));
    if (discipline == FSM_IN_ORDER) {
        run_in_order(graph, seconds, timeline);
        return FSMOE_OK;
    }
    fsmoe_status status = run_by_priority(graph, seconds, timeline);
    if (status != FSMOE_OK) fsm_timeline_destroy(timeline);
    return status;
}

/* ---- classes of ranks ---- */

static fsmoe_status check_classes(const fsm_rank_class *classes, int n)
{
    if (n < 1) return fsm_fail(FSMOE_ERROR_CONFIG, "there is no class of ranks to simulate");
    for (int c = 0; c < n; c++) {
        if (classes[c].ranks < 1)
            return fsm_fail(FSMOE_ERROR_CONFIG, "class '%s' has %lld ranks", classes[c].name,
                            (long long)classes[c].ranks);
        for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
            if (!(classes[c].slowdown[r] > 0 && isfinite(classes[c].slowdown[r])))
                return fsm_fail(FSMOE_ERROR_CONFIG, "class '%s': slowdown of %s is %g, not positive", classes[c].name,
                                fsm_resource_name((fsm_resource)r), classes[c].slowdown[r]);
    }
    return FSMOE_OK;
}

static fsm_resource other_link(fsm_resource link)
{
    return link == FSM_INTER ? FSM_INTRA : FSM_INTER;
}

/* All classes, task by task; end [n_classes][count]. */
typedef struct crowd {
    const fsm_graph *graph;
    const double *seconds;
    const fsm_link_share *other;
    const fsm_rank_class *classes;
    int n;
    double *start_s, *end_s;
    double (*free_s)[FSM_RESOURCE_COUNT];
} crowd;

/* A task that crosses nodes, if only by a part of it, is one for all classes: the slowest sets the pace of either
 * part. */
static void run_task(crowd *w, int i)
{
    const fsm_task *t = &w->graph->tasks[i];
    size_t count = (size_t)w->graph->count;
    fsm_resource own = t->resource, there = other_link(own);
    double other_s = w->other && own != FSM_COMPUTE ? w->other[i].other_s : 0, together_s = 0, slowest[2] = {0, 0};
    bool shared = own == FSM_INTER || other_s > 0;
    for (int c = 0; c < w->n; c++) {
        double *start_s = &w->start_s[(size_t)c * count + (size_t)i];
        *start_s = later(ready_s(w->graph, i, w->end_s + (size_t)c * count), w->free_s[c][own]);
        if (other_s > 0) *start_s = later(*start_s, w->free_s[c][there]);
        together_s = later(together_s, *start_s);
        slowest[0] = later(slowest[0], w->classes[c].slowdown[own]);
        slowest[1] = later(slowest[1], w->classes[c].slowdown[there]);
    }
    for (int c = 0; c < w->n; c++) {
        size_t at = (size_t)c * count + (size_t)i;
        if (shared) w->start_s[at] = together_s;
        double own_s = w->start_s[at] + w->seconds[i] * (shared ? slowest[0] : w->classes[c].slowdown[own]);
        w->free_s[c][own] = w->end_s[at] = own_s;
        if (other_s == 0) continue;
        w->free_s[c][there] = w->start_s[at] + other_s * slowest[1];
        w->end_s[at] = later(own_s, w->free_s[c][there]);
    }
}

static void take_latest(const crowd *w, fsm_timeline *timeline, double *makespan_s)
{
    size_t count = (size_t)w->graph->count, latest = 0;
    for (int c = 0; c < w->n; c++) {
        double end_s = 0;
        for (size_t i = 0; i < count; i++) end_s = later(end_s, w->end_s[(size_t)c * count + i]);
        if (makespan_s) makespan_s[c] = end_s;
        if (end_s <= timeline->makespan_s) continue;
        timeline->makespan_s = end_s;
        latest = (size_t)c;
    }
    memcpy(timeline->start_s, w->start_s + latest * count, count * sizeof(double));
    memcpy(timeline->end_s, w->end_s + latest * count, count * sizeof(double));
}

fsmoe_status fsm_simulate_classes(const fsm_graph *graph, const double *seconds, const fsm_link_share *other,
                                  const fsm_rank_class *classes, int n_classes, fsm_timeline *timeline,
                                  double *makespan_s)
{
    FSM_TRY(check_classes(classes, n_classes));
    FSM_TRY(create(graph, timeline));
    size_t cells = (size_t)graph->count * (size_t)n_classes + 1;
    crowd w = {.graph = graph, .seconds = seconds, .other = other, .classes = classes, .n = n_classes};
    w.start_s = malloc(cells * sizeof(double));
    w.end_s = malloc(cells * sizeof(double));
    w.free_s = calloc((size_t)n_classes, sizeof *w.free_s);
    fsmoe_status status = FSMOE_OK;
    if (w.start_s && w.end_s && w.free_s) {
        for (int i = 0; i < graph->count; i++) run_task(&w, i);
        take_latest(&w, timeline, makespan_s);
    } else {
        status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to simulate %d classes of ranks", n_classes);
        fsm_timeline_destroy(timeline);
    }
    free(w.start_s);
    free(w.end_s);
    free(w.free_s);
    return status;
}
