/* How much communication a step hid behind computation.
 * In:  a graph and when each of its tasks ran on one rank, measured or planned.
 * Out: for each link, and for both as one, the seconds in which it was busy, and of these the seconds in which the
 *      compute stream was busy too (hidden) or idle (exposed).
 * A resource is busy while at least one of its tasks runs: what runs twice at a time counts once.
 */
#ifndef FSM_EXEC_OVERLAP_H
#define FSM_EXEC_OVERLAP_H

#include "plan/simulate.h"

typedef struct fsm_link_overlap {
    double busy_s, hidden_s, exposed_s; /* busy_s = hidden_s + exposed_s */
    double overlap;                     /* hidden_s / busy_s, 0 to 1; NaN when the link was never busy */
} fsm_link_overlap;

typedef struct fsm_overlap {
    double compute_s;                 /* the compute stream was busy */
    fsm_link_overlap intra, inter;    /* each link by itself */
    fsm_link_overlap communication;   /* either link: busy_s = intra.busy_s + inter.busy_s - both_links_s */
    double both_links_s, all_three_s; /* both links at the same time; and the compute stream as well */
} fsm_overlap;

/* O(n log n) in the tasks. Thread-safe; `out` is written last. ERROR_MEMORY. */
fsmoe_status fsm_overlap_of(const fsm_graph *graph, const fsm_timeline *timeline, fsm_overlap *out);

#endif
