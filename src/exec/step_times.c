#include "exec/step_times.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool make_timeline(int count, fsm_timeline *timeline)
{
    timeline->start_s = calloc((size_t)count + 1, sizeof(double));
    timeline->end_s = calloc((size_t)count + 1, sizeof(double));
    return timeline->start_s && timeline->end_s;
}

static void set_times(fsm_timeline *timeline, int count, const double *start_s, const double *end_s)
{
    timeline->makespan_s = 0;
    for (int i = 0; i < count; i++) {
        timeline->start_s[i] = start_s[i];
        timeline->end_s[i] = end_s[i];
        timeline->makespan_s = fmax(timeline->makespan_s, end_s[i]);
    }
}

fsmoe_status fsm_step_times_create(const fsm_graph *graph, const fsm_timeline *planned, const char *schedule,
                                   int64_t step, int n_ranks, fsm_step_times *times)
{
    *times = (fsm_step_times){.step = step, .has_planned = planned != NULL, .n_ranks = n_ranks};
    snprintf(times->schedule, sizeof times->schedule, "%s", schedule);
    times->ranks = calloc((size_t)n_ranks, sizeof *times->ranks);
    times->graph = fsm_graph_copy(graph);
    bool made = times->ranks && !times->graph.out_of_memory && make_timeline(graph->count, &times->planned);
    for (int r = 0; made && r < n_ranks; r++) made = make_timeline(graph->count, &times->ranks[r]);
    if (!made) {
        fsm_step_times_destroy(times);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the times of %d tasks on %d ranks", graph->count, n_ranks);
    }
    if (planned) set_times(&times->planned, graph->count, planned->start_s, planned->end_s);
    return FSMOE_OK;
}

void fsm_step_times_destroy(fsm_step_times *times)
{
    for (int r = 0; times->ranks && r < times->n_ranks; r++) fsm_timeline_destroy(&times->ranks[r]);
    free(times->ranks);
    fsm_timeline_destroy(&times->planned);
    fsm_graph_destroy(&times->graph);
    *times = (fsm_step_times){0};
}

void fsm_step_times_set(fsm_step_times *times, int rank, const double *start_s, const double *end_s)
{
    set_times(&times->ranks[rank], times->graph.count, start_s, end_s);
}

int fsm_step_times_wrong_task(const fsm_graph *graph, const fsm_timeline *timeline)
{
    for (int i = 0; i < graph->count; i++) {
        double start_s = timeline->start_s[i], end_s = timeline->end_s[i];
        if (!(start_s >= 0 && start_s <= end_s && isfinite(end_s))) return i;
    }
    return -1;
}
