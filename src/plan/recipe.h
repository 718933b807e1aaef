/* A recipe: everything a schedule decides about a step, short of the graph; and the cook.
 * In:  a step's shape, the cluster's costs, the recipe.
 * Out: the whole-step task graph. Gradients are sent in the order in which backward finishes them, never before; what
 *      no place takes is sent after backward.
 */
#ifndef FSM_PLAN_RECIPE_H
#define FSM_PLAN_RECIPE_H

#include "plan/builder.h"
#include "plan/cost.h"
#include "plan/window.h"

/* What is sent at one kind of place of backward. */
typedef enum fsm_sending {
    FSM_SEND_NOTHING,
    FSM_SEND_FITTING, /* as much as the link has time for */
    FSM_SEND_PIECES,  /* pieces of one size, as many as the link has time for */
} fsm_sending;

typedef struct fsm_recipe {
    fsm_freedom freedom;        /* the schedule's */
    fsm_window_plan plan[2];    /* forward and backward, of every MoE layer */
    fsm_sending beside_experts; /* between the last dispatch and the first combine */
    fsm_sending beside_dense;   /* while attention and gate run backward */
    int64_t piece_elems;        /* of FSM_SEND_PIECES */
    double least_alphas;        /* a piece is sent only if it takes this many times the all-reduce's alpha; 0: 4 */
    bool own_degrees;           /* backward, each layer has the best degree for what it sends; else all have plan's */
    double stretch_s;           /* time an MoE layer's links give to gradients even if that makes the layer longer */
} fsm_recipe;

/* The stages of an MoE layer as fsm_window wants them; dense_s is 0, no all-reduce. Chunks are at least as large as
 * whole rows allow, so that bounds hold for real cuts. */
fsm_window fsm_step_moe_window(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_phase phase);

/* What the links of a step allow: where the all-to-alls and the ESP group share a link there is one stream. */
fsm_freedom fsm_step_freedom(const fsm_step_shape *shape, fsm_freedom wanted);

/* Backward's time in which gradients may be sent beside the dense work of one layer. ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_step_dense_s(const fsm_step_shape *shape, const fsm_cluster *cluster, bool one_stream, int layer,
                              double *dense_s);

/* Whether a region's gradients travel on the all-to-alls' link, or stream. */
bool fsm_step_shares_link(const fsm_step_shape *shape, bool one_stream, int region);

/* Fills recipe->plan with the one degree that is best for both directions together. ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_recipe_one_degree(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_recipe *recipe);

/* ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_recipe_build(const fsm_recipe *recipe, const fsm_step_shape *shape, const fsm_cluster *cluster,
                              fsm_graph *graph);

#endif
