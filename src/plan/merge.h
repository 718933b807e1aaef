/* A merge: lanes that take turns in an order that is fixed beforehand, as systems do that do not plan it.
 * In:  a step's shape, the cluster's costs; which lanes, whose turn it is when.
 * Out: the graph in that order of issue, every layer in one chunk a lane, all collectives on one stream. Costs decide
 *      nothing but where sums of gradients find room.
 * A pass goes through its layers in sections. Turns name a section of a role, and a round of turns takes each role
 * through one layer with experts; a turn whose section is not there is passed over.
 */
#ifndef FSM_PLAN_MERGE_H
#define FSM_PLAN_MERGE_H

#include "plan/builder.h"
#include "plan/cost.h"

typedef enum fsm_section {
    FSM_SECTION_APPROACH,     /* from the experts before to what the next attention waits for */
    FSM_SECTION_DENSE,        /* from that attention on, up to the next experts */
    FSM_SECTION_DISPATCH,     /* and the all-gather */
    FSM_SECTION_EXPERTS,      /* the feed-forward; backward, gradients of their rows */
    FSM_SECTION_WEIGHT_GRADS, /* of the experts */
    FSM_SECTION_COMBINE,      /* and the reduce-scatter before it */
    FSM_SECTION_COUNT
} fsm_section;

typedef struct fsm_turn {
    int role;
    fsm_section section;
    int ahead; /* which layer's: so many after the one of the round, of those with experts */
} fsm_turn;

enum { FSM_MAX_TURNS = FSM_SECTION_COUNT * FSM_MAX_LANES };

typedef struct fsm_merge {
    fsm_lanes lanes;
    /* Roles are directions, and the forward of a micro-batch goes beside the backward of the one before; else they are
     * the parts of a micro-batch, which go the same way. */
    bool opposite;
    bool split;          /* reduce-scatters do not wait for weight gradients */
    int64_t piece_elems; /* of gradients that are summed during backward; 0: they are summed after it */
    fsm_turn turns[FSM_MAX_TURNS];
    int turn_count;
} fsm_merge;

/* Parts of a micro-batch, each through a layer's attention, then each through its experts, and so through all layers:
 * the all-to-alls of one run beside what the next computes. One part: the step in order. */
fsm_merge fsm_merge_parts(int parts);

/* Of so many at most, as many as the step and parallel.memory allow; 1: no parts. */
int fsm_merge_most_parts(const fsm_step_shape *shape, int most);

/* Where gradients are summed in pieces, a piece is sent, the first that was finished, when the stream has nothing else
 * that could run; nothing else ever waits for more than one. ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_merge_build(const fsm_merge *merge, const fsm_step_shape *shape, const fsm_cluster *cluster,
                             fsm_graph *graph);

#endif
