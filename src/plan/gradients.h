/* Which task of backward finishes which gradients.
 * In:  the table of parameters. Out: the list behind fsm_step_shape.gradients.
 */
#ifndef FSM_PLAN_GRADIENTS_H
#define FSM_PLAN_GRADIENTS_H

#include "plan/step.h"

/* Fills shape->gradients (owned by the shape): runs of a region in the order of the array, padding included, so that
 * they cover every region without gaps. ERROR_MEMORY. */
fsmoe_status fsm_step_list_gradients(const fsm_params *params, fsm_step_shape *shape);

#endif
