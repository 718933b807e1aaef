/* The tracks of a step: what each resource does, one task after the other.
 * In:  a graph, when each of its tasks starts and ends. Out: the tasks of each resource as they start.
 */
#ifndef FSM_PLAN_TRACKS_H
#define FSM_PLAN_TRACKS_H

#include "plan/simulate.h"

typedef struct fsm_tracks {
    int *order[FSM_RESOURCE_COUNT]; /* [count] by start, then end, then issue; one array, owned by the first */
    int count[FSM_RESOURCE_COUNT];
} fsm_tracks;

/* ERROR_MEMORY; `tracks` then needs no destroying. */
fsmoe_status fsm_tracks_create(const fsm_graph *graph, const fsm_timeline *timeline, fsm_tracks *tracks);
void fsm_tracks_destroy(fsm_tracks *tracks); /* {0} is fine */

#endif
