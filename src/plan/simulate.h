/* The simulator: a graph on a virtual clock.
 * In:  a checked graph, the seconds each task takes, and what kinds of ranks there are.
 * Out: when each task starts and ends.
 * A task starts when the tasks it waits for have ended and its resource is free. In order: and everything issued before
 * it on its resource has ended. By priority: of the tasks that are ready when a resource is free, the one issued first.
 *
 * Ranks that are alike are one class: 10,000 equal ranks cost as much to simulate as one. A class is made of whole
 * nodes. Compute and intra-node tasks are a class's own; an inter-node collective starts when every class is ready
 * and ends for all at once, at the pace of the slowest.
 */
#ifndef FSM_PLAN_SIMULATE_H
#define FSM_PLAN_SIMULATE_H

#include "plan/graph.h"

typedef struct fsm_timeline {
    double *start_s, *end_s; /* [graph->count], owned; of the class that ends last */
    double makespan_s;
} fsm_timeline;

void fsm_timeline_destroy(fsm_timeline *timeline);

typedef enum fsm_discipline { FSM_IN_ORDER, FSM_BY_PRIORITY } fsm_discipline;

/* A class of ranks: how many times as long as planned its tasks take, by resource (a straggler, a loaded expert, a
 * slow link). */
typedef struct fsm_rank_class {
    const char *name;
    int64_t ranks;
    double slowdown[FSM_RESOURCE_COUNT]; /* > 0; 1: as planned */
} fsm_rank_class;

/* Part of a collective's time that it spends on the other link, at once with its own: a collective split over links.
 * NULL: none. */
typedef struct fsm_link_share {
    double other_s; /* seconds on the other link */
} fsm_link_share;

/* One class, as planned. Deterministic. ERROR_MEMORY. */
fsmoe_status fsm_simulate(const fsm_graph *graph, const double *seconds, fsm_discipline discipline,
                          fsm_timeline *timeline);

/* In order, over classes; other [graph->count] or NULL. makespan [n_classes] or NULL: when each class is done.
 * ERROR_CONFIG: no class, no rank, a slowdown that is not positive; ERROR_MEMORY. */
fsmoe_status fsm_simulate_classes(const fsm_graph *graph, const double *seconds, const fsm_link_share *other,
                                  const fsm_rank_class *classes, int n_classes, fsm_timeline *timeline,
                                  double *makespan_s);

#endif
