/* What the checker of plans (check.h) looks at where passes go beside one another: whether such lanes may be, and
 * whether what passes hold is overwritten only when it has been read.
 * In:  a graph and its step, both from whoever made them. Out: OK, or the first thing that is wrong.
 */
#ifndef FSM_PLAN_CHECK_LANES_H
#define FSM_PLAN_CHECK_LANES_H

#include "plan/ancestry.h"
#include "plan/step.h"

/* ERROR_FORMAT: more lanes or parts than the step may have, more memory than was asked for, micro-batches beside one
 * another whose sums have an order, or parts that are not the whole. */
fsmoe_status fsm_check_lanes(const fsm_step_shape *shape, const fsm_graph *graph);

/* ERROR_FORMAT: a task writes over what a weight gradient that it does not wait for still reads, by the layout of a
 * pass's memory (model/pass.c):
 *  - dy of the layer that backward enters k-th, k > spare, lies in dy or x of the (k - spare - 1) / 2-th, rounded down;
 *  - x of a micro-batch lies where that of the lane's one before did. */
fsmoe_status fsm_check_buffers(const fsm_step_shape *shape, fsm_ancestry *ancestry);

#endif
