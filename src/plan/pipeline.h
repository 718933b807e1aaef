/* One MoE layer in one direction at one degree: r equal chunks through three resources, and the best order of them.
 * In:  seconds that one chunk takes at each stage.
 * Out: the least makespan, an issue order that attains it, a lower bound that holds for every order.
 * Stages of a chunk: dispatch (inter) → allgather (intra) → expert (compute) → reducescatter (intra) → combine (inter),
 * and, when weight gradients are split off, weight_grad (compute) after expert. docs/planner.md has the
 * proofs: chunks are alike, so each stage takes them first in first out; all dispatches go before any combine; an
 * all-reduce of length G on the inter-node link between them makes max(T, r (dispatch + combine) + G) of the optimum
 * T without it.
 */
#ifndef FSM_PLAN_PIPELINE_H
#define FSM_PLAN_PIPELINE_H

#include "base/status.h"

#include <stdbool.h>

typedef enum fsm_stage {
    FSM_STAGE_DISPATCH,
    FSM_STAGE_ALLGATHER,
    FSM_STAGE_EXPERT,
    FSM_STAGE_WEIGHT_GRAD,
    FSM_STAGE_REDUCESCATTER,
    FSM_STAGE_COMBINE,
    FSM_STAGE_COUNT
} fsm_stage;

typedef struct fsm_pipeline {
    int degree;                      /* r >= 1 */
    bool split;                      /* weight gradients are tasks of their own */
    double stage_s[FSM_STAGE_COUNT]; /* of one chunk, >= 0 */
} fsm_pipeline;

/* One step of an issue order. */
typedef struct fsm_slot {
    fsm_stage stage;
    int chunk;
} fsm_slot;

/* How many slots an order has: 5 r, or 6 r with weight gradients. */
int fsm_pipeline_slots(const fsm_pipeline *pipeline);

/* What a resource does when several of its tasks are ready. */
typedef struct fsm_policy {
    bool reducescatter_first; /* else allgather first */
    double weight_patience;   /* weight_grad starts if that delays a coming expert by at most this share of itself */
} fsm_policy;

/* List scheduling: makespan of a policy, and its issue order when `order` is not NULL. O(r). scratch [2 r]. */
double fsm_pipeline_list(const fsm_pipeline *pipeline, fsm_policy policy, double *scratch, fsm_slot *order);

/* The best of all policies; `policy` may be NULL. scratch [2 r]. */
double fsm_pipeline_quick(const fsm_pipeline *pipeline, double *scratch, fsm_policy *policy);

/* The makespan of an issue order, each resource in that order. scratch [6 r]. */
double fsm_pipeline_run(const fsm_pipeline *pipeline, const fsm_slot *order, double *scratch);

/* Closed-form lower bound of every order. `binding`, if not NULL: "inter", "intra", "compute" or "path". */
double fsm_pipeline_bound(const fsm_pipeline *pipeline, const char **binding);

/* The same when chunks differ: each stage takes `mean` on average over the chunks and at least `least` for each. */
double fsm_pipeline_uneven_bound(const fsm_pipeline *mean, const fsm_pipeline *least, const char **binding);

/* A tighter bound in O(r): each resource alone, its tasks interruptible, between the least times before and after them.
 * scratch [8 r]. */
double fsm_pipeline_preemptive_bound(const fsm_pipeline *pipeline, double *scratch);

/* Search among orders with makespan below `upper_s` (a makespan that is had already), by dynamic programming over how
 * many tasks of each stage are done, with dominance and bounds. Orders that could win less than `tolerance` (a share;
 * 0: exact) are not followed; at most max_states partial orders are kept.
 * *makespan_s: the best found, or upper_s; order [slots], if not NULL, is written only when one was found.
 * *bound_s: no order is faster; with tolerance 0 equal to *makespan_s (to rounding) when nothing had to be given up.
 * ERROR_MEMORY. */
fsmoe_status fsm_pipeline_search(const fsm_pipeline *pipeline, double upper_s, double tolerance, int max_states,
                                 bool *found, double *makespan_s, double *bound_s, fsm_slot *order);

#endif
