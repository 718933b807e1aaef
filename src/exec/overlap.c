#include "exec/overlap.h"

#include <math.h>
#include <stdlib.h>

/* A sweep over the starts and ends of all tasks. Between two of them the set of busy resources stays the same: time is
 * added up by that set, a bit a resource, and every figure is a sum over some of the eight sets. */
enum { BUSY_SETS = 1 << FSM_RESOURCE_COUNT };
enum { COMPUTE = 1 << FSM_COMPUTE, INTRA = 1 << FSM_INTRA, INTER = 1 << FSM_INTER };

typedef struct event {
    double time_s;
    fsm_resource resource;
    int change; /* of the resource's running tasks */
} event;

static int compare_times(const void *left, const void *right)
{
    const event *a = left, *b = right;
    return (a->time_s > b->time_s) - (a->time_s < b->time_s);
}

static int busy_set(const int running[FSM_RESOURCE_COUNT])
{
    int set = 0;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (running[r] > 0) set |= 1 << r;
    return set;
}

/* Events of equal time may come in any order: no time passes between them. */
static void sweep(event *events, size_t count, double set_s[BUSY_SETS])
{
    int running[FSM_RESOURCE_COUNT] = {0};
    qsort(events, count, sizeof *events, compare_times);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) set_s[busy_set(running)] += events[i].time_s - events[i - 1].time_s;
        running[events[i].resource] += events[i].change;
    }
}

/* The seconds in which at least one of `any` and all of `all` were busy. */
static double seconds_of(const double set_s[BUSY_SETS], int any, int all)
{
    double sum_s = 0;
    for (int set = 0; set < BUSY_SETS; set++)
        if ((set & any) != 0 && (set & all) == all) sum_s += set_s[set];
    return sum_s;
}

static fsm_link_overlap overlap_of_links(const double set_s[BUSY_SETS], int links)
{
    fsm_link_overlap o = {.hidden_s = seconds_of(set_s, links, COMPUTE)};
    for (int set = 0; set < BUSY_SETS; set++)
        if ((set & links) != 0 && (set & COMPUTE) == 0) o.exposed_s += set_s[set];
    o.busy_s = o.hidden_s + o.exposed_s;
    o.overlap = o.busy_s > 0 ? o.hidden_s / o.busy_s : NAN;
    return o;
}

fsmoe_status fsm_overlap_of(const fsm_graph *graph, const fsm_timeline *timeline, fsm_overlap *out)
{
    double set_s[BUSY_SETS] = {0};
    event *events = malloc((2 * (size_t)graph->count + 1) * sizeof *events);
    if (!events) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the overlap of %d tasks", graph->count);
    size_t count = 0;
    for (int i = 0; i < graph->count; i++) {
        fsm_resource resource = graph->tasks[i].resource;
        if (!(timeline->end_s[i] > timeline->start_s[i])) continue; /* takes no time, or did not run */
        events[count++] = (event){timeline->start_s[i], resource, 1};
        events[count++] = (event){timeline->end_s[i], resource, -1};
    }
    sweep(events, count, set_s);
    free(events);
    *out = (fsm_overlap){.compute_s = seconds_of(set_s, COMPUTE, 0),
                         .intra = overlap_of_links(set_s, INTRA),
                         .inter = overlap_of_links(set_s, INTER),
                         .communication = overlap_of_links(set_s, INTRA | INTER),
                         .both_links_s = seconds_of(set_s, INTRA, INTRA | INTER),
                         .all_three_s = seconds_of(set_s, INTRA, COMPUTE | INTRA | INTER)};
    return FSMOE_OK;
}
