#include "plan/tracks.h"

#include <stdlib.h>

typedef struct entry {
    double start_s, end_s;
    int task;
} entry;

static int compare_starts(const void *left, const void *right)
{
    const entry *a = left, *b = right;
    if (a->start_s != b->start_s) return a->start_s < b->start_s ? -1 : 1;
    if (a->end_s != b->end_s) return a->end_s < b->end_s ? -1 : 1;
    return (a->task > b->task) - (a->task < b->task);
}

static void part_by_resource(const fsm_graph *graph, const entry *entries, int *order, fsm_tracks *tracks)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        tracks->order[r] = order;
        for (int i = 0; i < graph->count; i++)
            if ((int)graph->tasks[entries[i].task].resource == r) *order++ = entries[i].task;
        tracks->count[r] = (int)(order - tracks->order[r]);
    }
}

fsmoe_status fsm_tracks_create(const fsm_graph *graph, const fsm_timeline *timeline, fsm_tracks *tracks)
{
    size_t n = (size_t)graph->count;
    entry *entries = malloc((n + 1) * sizeof *entries);
    int *order = malloc((n + 1) * sizeof *order);
    *tracks = (fsm_tracks){0};
    if (!entries || !order) {
        free(entries);
        free(order);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to sort %d tasks by time", graph->count);
    }
    for (int i = 0; i < graph->count; i++) entries[i] = (entry){timeline->start_s[i], timeline->end_s[i], i};
    qsort(entries, n, sizeof *entries, compare_starts);
    part_by_resource(graph, entries, order, tracks);
    free(entries);
    return FSMOE_OK;
}

void fsm_tracks_destroy(fsm_tracks *tracks)
{
    free(tracks->order[0]);
    *tracks = (fsm_tracks){0};
}
