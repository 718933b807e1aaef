/* The choices of the FSMoE paper made the paper's way, so that the exact search can be held against them.
 * In:  a layer window, or the shape of a step; the cluster's costs.
 * Out: the degree that the four closed forms of its section 4 name, with their own estimate of the time; and which
 *      gradients each layer's window takes (§5).
 * Sources: Pan et al., FSMoE, ASPLOS 2025, sections 4 and 5; NLopt's SLSQP (Kraft 1994) and ESCH (Santos et al. 2010).
 */
#ifndef FSM_PLAN_PAPER_H
#define FSM_PLAN_PAPER_H

#include "plan/schedule/schedule.h"

/* What a closed form takes for the bottleneck, in its order. */
typedef enum fsm_paper_case {
    FSM_PAPER_INTER = 1, /* the inter-node link, whose all-reduce is longer than what hides it: 2 r a + G */
    FSM_PAPER_COMPUTE,   /* 2 a + g + s + r e */
    FSM_PAPER_ALLTOALL,  /* 2 r a + g + s */
    FSM_PAPER_INTRA,     /* 2 a + r (g + s) */
} fsm_paper_case;

/* What the closed forms say of a window; seconds, dense work included. */
typedef struct fsm_paper_estimate {
    int degree;              /* the better integer beside real_degree, by the closed forms */
    double makespan_s;       /* at degree */
    double real_degree;      /* in [1, max_degree] */
    double real_s;           /* at real_degree: the least value of any case */
    fsm_paper_case bound_by; /* the case of real_degree */
} fsm_paper_estimate;

/* The closed form that holds at a real degree >= 1, and its value. G is what of the all-reduce does not fit beside the
 * dense work. */
double fsm_paper_estimate_s(const fsm_window *window, double degree, fsm_paper_case *bound_by);

/* Time that the all-to-alls' link has left at that degree beside the experts, by the closed form without an
 * all-reduce. */
double fsm_paper_room_s(const fsm_window *window, double degree);

/* The least of the closed forms over degrees. Deterministic, safe in any thread. ERROR_NUMERIC when a time is not
 * finite; ERROR_MEMORY. */
fsmoe_status fsm_paper_solve(const fsm_window *window, fsm_paper_estimate *estimate);

/* The paper's degree and what it really takes: *plan as fsm_window_at gives it. estimate: NULL or what the closed
 * forms say. ERROR_NUMERIC, ERROR_MEMORY. */
fsmoe_status fsm_paper_degree(const fsm_window *window, fsm_window_plan *plan, fsm_paper_estimate *estimate);

/* Gradients that one layer of backward sends. */
typedef struct fsm_paper_layer {
    fsm_piece pieces[2][3]; /* at most one a region: [0] beside the experts, [1] beside dense work */
    int piece_count[2];
    double allreduce_s; /* of the pieces beside the experts: the layer's G */
} fsm_paper_layer;

/* Shares the gradients out over the layers, never before they are finished. layers [num_layers]. Deterministic: the
 * solver is started from a fixed seed. Its generator is the calling thread's own (NLopt keeps it thread-local), so
 * threads do not disturb one another; but the thread's own use of NLopt's generator starts anew. ERROR_NUMERIC,
 * ERROR_MEMORY. */
fsmoe_status fsm_paper_partition(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_paper_layer *layers);

/* Schedule `fsmoe` with these choices; not among fsm_schedules. */
extern const fsm_schedule fsm_schedule_fsmoe_paper;

#endif
