/* List scheduling: an order for tasks of which only the dependencies are given.
 * In:  a graph, the seconds of its tasks, a key for each. A resource that is free takes, of the tasks that are ready,
 *      the one with the greatest key; of equal ones the one issued first.
 * Out: when each starts, in which order; the graph in that order.
 */
#ifndef FSM_PLAN_LIST_H
#define FSM_PLAN_LIST_H

#include "plan/graph.h"

typedef struct fsm_list {
    int count;
    const fsm_graph *graph; /* borrowed, as are the seconds */
    const double *seconds;
    double *way_s; /* [count] the longest way to the end, from a task's start on */
    /* of the latest run */
    double *start_s, *end_s; /* [count] */
    int *order;              /* [count] the tasks as they start */
    double makespan_s;
    /* what a run needs: the edges turned around, and the tasks that are ready on each resource, a heap */
    int *first, *successors, *waiting;
    struct fsm_list_heap {
        int *tasks, count;
    } ready[FSM_RESOURCE_COUNT];
} fsm_list;

/* ERROR_MEMORY. Destroy it then, too. */
fsmoe_status fsm_list_create(const fsm_graph *graph, const double *seconds, fsm_list *list);
void fsm_list_destroy(fsm_list *list);

/* keys [count]; NULL: the order of issue. Allocates nothing. */
void fsm_list_run(fsm_list *list, const double *keys);

/* The graph in the order of the latest run: simulated in order it takes makespan_s. ERROR_MEMORY. */
fsmoe_status fsm_list_reorder(const fsm_list *list, fsm_graph *reordered);

#endif
