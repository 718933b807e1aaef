#include "plan/list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- creation ---- */

/* The successors of every task, as the edges are turned around: a counting sort. */
static void turn_edges(fsm_list *list)
{
    const fsm_graph *graph = list->graph;
    int *at = list->first;
    memset(at, 0, sizeof *at * ((size_t)list->count + 2));
    for (int e = 0; e < graph->edge_count; e++) at[graph->edges[e] + 2]++;
    for (int i = 1; i < list->count + 2; i++) at[i] += at[i - 1];
    for (int i = 0; i < list->count; i++)
        for (int e = 0; e < graph->tasks[i].after_count; e++)
            list->successors[at[graph->edges[graph->tasks[i].after_first + e] + 1]++] = i;
}

static void find_ways(fsm_list *list)
{
    for (int i = list->count - 1; i >= 0; i--) {
        double after_s = 0;
        for (int e = list->first[i]; e < list->first[i + 1]; e++)
            after_s = fmax(after_s, list->way_s[list->successors[e]]);
        list->way_s[i] = list->seconds[i] + after_s;
    }
}

fsmoe_status fsm_list_create(const fsm_graph *graph, const double *seconds, fsm_list *list)
{
    size_t n = (size_t)graph->count + 2, edges = (size_t)graph->edge_count;
    *list = (fsm_list){.count = graph->count, .graph = graph, .seconds = seconds};
    list->way_s = malloc(3 * n * sizeof *list->way_s);
    list->order = malloc(((3 + FSM_RESOURCE_COUNT) * n + edges) * sizeof *list->order);
    if (!list->way_s || !list->order) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to order %d tasks", graph->count);
    list->start_s = list->way_s + n;
    list->end_s = list->start_s + n;
    list->first = list->order + n;
    list->waiting = list->first + n;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) list->ready[r].tasks = list->waiting + (size_t)(1 + r) * n;
    list->successors = list->waiting + (1 + FSM_RESOURCE_COUNT) * n;
    turn_edges(list);
    find_ways(list);
    return FSMOE_OK;
}

void fsm_list_destroy(fsm_list *list)
{
    free(list->way_s);
    free(list->order);
    *list = (fsm_list){0};
}

/* ---- what is ready ---- */

static bool comes_first(const double *keys, int a, int b)
{
    if (keys && keys[a] != keys[b]) return keys[a] > keys[b];
    return a < b;
}

static void push(struct fsm_list_heap *h, const double *keys, int task)
{
    int at = h->count++;
    for (; at > 0 && comes_first(keys, task, h->tasks[(at - 1) / 2]); at = (at - 1) / 2)
        h->tasks[at] = h->tasks[(at - 1) / 2];
    h->tasks[at] = task;
}

static int pop(struct fsm_list_heap *h, const double *keys)
{
    int top = h->tasks[0], last = h->tasks[--h->count], at = 0;
    for (int child; (child = 2 * at + 1) < h->count; at = child) {
        if (child + 1 < h->count && comes_first(keys, h->tasks[child + 1], h->tasks[child])) child++;
        if (!comes_first(keys, h->tasks[child], last)) break;
        h->tasks[at] = h->tasks[child];
    }
    h->tasks[at] = last;
    return top;
}

/* ---- a run ---- */

typedef struct clock {
    fsm_list *list;
    const double *keys;
    int running[FSM_RESOURCE_COUNT]; /* -1: free */
    int started;
    double now_s;
} clock;

static void make_ready(clock *c, int task)
{
    push(&c->list->ready[c->list->graph->tasks[task].resource], c->keys, task);
}

static void end_task(clock *c, int resource)
{
    const fsm_list *list = c->list;
    int task = c->running[resource];
    c->running[resource] = -1;
    for (int e = list->first[task]; e < list->first[task + 1]; e++)
        if (--list->waiting[list->successors[e]] == 0) make_ready(c, list->successors[e]);
}

static void start(clock *c, int resource)
{
    fsm_list *list = c->list;
    int task = c->running[resource] = pop(&list->ready[resource], c->keys);
    list->order[c->started++] = task;
    list->start_s[task] = c->now_s;
    list->end_s[task] = c->now_s + list->seconds[task];
}

/* Tasks that take no time end in the instant in which they start, and may make others ready for it: they come first. */
static void start_ready(clock *c)
{
    const fsm_list *list = c->list;
    for (int r = 0; r < FSM_RESOURCE_COUNT;) {
        bool instant = c->running[r] < 0 && list->ready[r].count > 0 && list->seconds[list->ready[r].tasks[0]] == 0;
        if (instant) {
            start(c, r);
            end_task(c, r);
        }
        r = instant ? 0 : r + 1;
    }
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (c->running[r] < 0 && list->ready[r].count > 0) start(c, r);
}

static double next_end_s(const clock *c)
{
    double next_s = INFINITY;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (c->running[r] >= 0) next_s = fmin(next_s, c->list->end_s[c->running[r]]);
    return next_s;
}

void fsm_list_run(fsm_list *list, const double *keys)
{
    clock c = {.list = list, .keys = keys};
    list->makespan_s = 0;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        c.running[r] = -1;
        list->ready[r].count = 0;
    }
    for (int i = 0; i < list->count; i++) {
        list->waiting[i] = list->graph->tasks[i].after_count;
        if (list->waiting[i] == 0) make_ready(&c, i);
    }
    for (;;) {
        start_ready(&c);
        double next_s = next_end_s(&c);
        if (next_s == INFINITY) return;
        c.now_s = list->makespan_s = next_s;
        for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
            if (c.running[r] >= 0 && list->end_s[c.running[r]] <= next_s) end_task(&c, r);
    }
}

/* ---- the graph in that order ---- */

fsmoe_status fsm_list_reorder(const fsm_list *list, fsm_graph *reordered)
{
    return fsm_graph_reorder(list->graph, list->order, reordered);
}
