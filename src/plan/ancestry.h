/* Which task of a graph waits for which, directly or through others.
 * In:  a graph that is sound (fsm_graph_check): edges point to earlier tasks. Out: yes or no, by one search backwards.
 */
#ifndef FSM_PLAN_ANCESTRY_H
#define FSM_PLAN_ANCESTRY_H

#include "plan/graph.h"

typedef struct fsm_ancestry {
    const fsm_graph *graph;   /* borrowed */
    int *mark, *stack, stamp; /* marks of one search at a time; owned */
} fsm_ancestry;

/* ERROR_MEMORY; needs no end then. */
fsmoe_status fsm_ancestry_begin(const fsm_graph *graph, fsm_ancestry *ancestry);
void fsm_ancestry_end(fsm_ancestry *ancestry);

/* Whether `task` waits for `before`. */
bool fsm_waits_for(fsm_ancestry *ancestry, int task, int before);

/* Finds all from `first` on that `task` waits for; until the next search fsm_is_marked tells which. */
void fsm_mark_ancestors(fsm_ancestry *ancestry, int task, int first);
bool fsm_is_marked(const fsm_ancestry *ancestry, int task);

#endif
