#include "plan/waits.h"

#include "plan/tracks.h"

#include <math.h>
#include <stdlib.h>

typedef struct search {
    const fsm_graph *graph;
    const double *start_s, *end_s;
    const int *before;       /* [graph->count] the task before each on its resource; -1: none */
    fsm_resource_waits *out; /* of the resource that is looked at */
} search;

/* Whichever of two a task waited for last; it cannot have waited for what ended after its start. */
static int later(const search *s, int task, int last, int other)
{
    if (other < 0 || s->end_s[other] > s->start_s[task]) return last;
    return last < 0 || s->end_s[other] > s->end_s[last] ? other : last;
}

/* -1: nothing. Times never grow on the way back, and at one time the order of issue falls: it comes to an end. */
static int waited_for(const search *s, int task)
{
    const fsm_task *t = &s->graph->tasks[task];
    int last = -1;
    for (int e = t->after_first; e < t->after_first + t->after_count; e++)
        last = later(s, task, last, s->graph->edges[e]);
    return later(s, task, last, s->before[task]);
}

static void add(const search *s, int task, double seconds)
{
    const fsm_task *t = &s->graph->tasks[task];
    fsm_wait *w = &s->out->waits[(int)t->kind * FSM_PHASE_COUNT + (int)t->phase];
    if (seconds <= 0) return;
    w->seconds += seconds;
    w->times++;
    if (seconds <= w->longest_s) return;
    w->longest = task;
    w->longest_s = seconds;
}

/* The resource is idle from since_s until the task starts. */
static void look_back(const search *s, double since_s, int task)
{
    double until_s = s->start_s[task];
    while (until_s > since_s && (task = waited_for(s, task)) >= 0) {
        double start_s = fmax(s->start_s[task], since_s), end_s = fmax(s->end_s[task], since_s);
        s->out->late_s += until_s - end_s;
        add(s, task, end_s - start_s);
        until_s = start_s;
    }
    s->out->late_s += until_s - since_s;
}

static void walk_track(const search *s, const int *tasks, int count, double step_s)
{
    double free_s = 0;
    for (int i = 0; i < count; i++) {
        double start_s = s->start_s[tasks[i]], end_s = s->end_s[tasks[i]];
        if (!(end_s > start_s)) continue; /* what takes no time ends no idle time */
        if (start_s > free_s) look_back(s, free_s, tasks[i]);
        s->out->busy_s += fmax(0, end_s - fmax(start_s, free_s));
        free_s = fmax(free_s, end_s);
    }
    s->out->done_s = fmax(0, step_s - free_s);
    s->out->idle_s = fmax(0, step_s - s->out->busy_s);
}

static int longest_first(const void *left, const void *right)
{
    const fsm_wait *a = left, *b = right;
    if (a->seconds != b->seconds) return a->seconds > b->seconds ? -1 : 1;
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    return (a->phase > b->phase) - (a->phase < b->phase);
}

static void begin_list(fsm_resource_waits *r)
{
    *r = (fsm_resource_waits){0};
    for (int i = 0; i < FSM_MOST_WAITS; i++)
        r->waits[i] = (fsm_wait){.kind = (fsm_task_kind)(i / FSM_PHASE_COUNT),
                                 .phase = (fsm_phase)(i % FSM_PHASE_COUNT),
                                 .longest = -1};
}

static void end_list(fsm_resource_waits *r)
{
    qsort(r->waits, FSM_MOST_WAITS, sizeof *r->waits, longest_first);
    while (r->count < FSM_MOST_WAITS && r->waits[r->count].seconds > 0) r->count++;
}

static void list_neighbours(const fsm_tracks *tracks, int *before)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        for (int i = 0; i < tracks->count[r]; i++) before[tracks->order[r][i]] = i > 0 ? tracks->order[r][i - 1] : -1;
}

fsmoe_status fsm_waits_find(const fsm_graph *graph, const fsm_timeline *timeline, fsm_waits *waits)
{
    fsm_tracks tracks;
    FSM_TRY(fsm_tracks_create(graph, timeline, &tracks));
    int *before = malloc(sizeof *before * ((size_t)graph->count + 1));
    if (!before) {
        fsm_tracks_destroy(&tracks);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for what %d tasks wait for", graph->count);
    }
    list_neighbours(&tracks, before);
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        search s = {graph, timeline->start_s, timeline->end_s, before, &waits->of[r]};
        begin_list(s.out);
        walk_track(&s, tracks.order[r], tracks.count[r], timeline->makespan_s);
        end_list(s.out);
    }
    free(before);
    fsm_tracks_destroy(&tracks);
    return FSMOE_OK;
}
