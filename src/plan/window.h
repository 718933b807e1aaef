/* One generalised layer in one direction, before it is cut: what each stage costs as a function of the chunk's share.
 * In:  the layer's sizes, the cluster's costs.
 * Out: the best degree and its makespan, with a lower bound that holds for every degree and every order.
 * Times are seconds. At degree r every stage handles 1/r of its size a chunk.
 */
#ifndef FSM_PLAN_WINDOW_H
#define FSM_PLAN_WINDOW_H

#include "plan/pipeline.h"
#include "profile/cluster.h"

/* `launches` operations that together have `size`; none: no such stage. */
typedef struct fsm_load {
    fsm_cost cost;
    int launches;
    double size;
} fsm_load;

double fsm_load_s(const fsm_load *load, double share);

typedef struct fsm_window {
    fsm_load stage[FSM_STAGE_COUNT];
    fsm_load allreduce; /* gradient that may be sent from the start on, on the link of the all-to-alls */
    double dense_s;     /* dense work on the compute resource before the first dispatch, which leaves the links free */
    int max_degree;     /* >= 1 */
    double rows; /* that chunks are made of, floor(rows / r) or one more each: planned as if equal, bounded as they
                             are; 0: exactly 1/r */
} fsm_window;

/* What a schedule may do with a layer. */
typedef struct fsm_freedom {
    bool split;      /* weight gradients are tasks of their own; else part of the expert's task */
    bool one_stream; /* both links share one stream */
    bool lanes;      /* layers overlap: of several lanes, and weight gradients that leave theirs */
} fsm_freedom;

typedef struct fsm_window_plan {
    int degree;
    double moe_s;      /* from the first dispatch on, without an all-reduce */
    double makespan_s; /* with dense work and all-reduce */
    double bound_s;    /* no degree and no order is faster */
    const char
        *binding; /* what the bound rests on: "inter", "intra", "compute", "path", or "stream" when links share one */
} fsm_window_plan;

/* The layer at a degree. */
void fsm_window_pipeline(const fsm_window *window, fsm_freedom freedom, int degree, fsm_pipeline *pipeline);

/* Time on the all-to-alls' link at that degree, without the all-reduce. */
double fsm_window_link_s(const fsm_window *window, fsm_freedom freedom, int degree);

/* The largest piece that an all-reduce of several lines should be cut into, because larger ones go slower; 0: it should
 * not be cut. */
double fsm_window_piece_elems(const fsm_cost *allreduce);

/* The whole window when the MoE part alone takes moe_s: the all-reduce goes between the last dispatch and the first
 * combine, or beside dense work, or part of it here and the rest there; whichever ends first. In one piece a place,
 * or in more where costs are more than one line and small pieces go faster. */
double fsm_window_s(const fsm_window *window, double moe_s, double link_s);

/* The best degree. ERROR_NUMERIC when a time is not finite; ERROR_MEMORY. */
fsmoe_status fsm_window_best(const fsm_window *window, fsm_freedom freedom, fsm_window_plan *plan);

/* A given degree: its best makespan and the lower bound of every order at that degree. */
fsmoe_status fsm_window_at(const fsm_window *window, fsm_freedom freedom, int degree, fsm_window_plan *plan);

/* An issue order of that degree that takes plan->moe_s or less; slots [6 degree], *count used. */
fsmoe_status fsm_window_order(const fsm_window *window, fsm_freedom freedom, const fsm_window_plan *plan,
                              fsm_slot *slots, int *count);

/* PipeMoE's choice: the one degree that is best for both directions together, with one stream of communication. */
fsmoe_status fsm_window_one_degree(const fsm_window windows[2], fsm_freedom freedom, fsm_window_plan plan[2]);

/* The best degree of each direction; gradients as fsm_window_s sends them. */
fsmoe_status fsm_window_two_degrees(const fsm_window windows[2], fsm_freedom freedom, fsm_window_plan plan[2]);

#endif
