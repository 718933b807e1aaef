/* How fast a rehearsal goes: so slow that ranks and packets leave half of every machine free, since what waits for a
 * core is late for a reason that the cluster does not have.
 * In:  what links take of the machine; a plan, run in trials.
 * Out: the pace, the same on all ranks.
 */
#ifndef FSM_REHEARSE_PACE_H
#define FSM_REHEARSE_PACE_H

#include "rehearse/step.h"

/* score: of the plan with the most to do in its time; planned: its times on the cluster. given: the stretch, or 0.
 * Sets step->pace. Collective. Errors as of fsm_rehearsed_step_run. */
fsmoe_status fsm_pace_find(fsm_rehearsed_step *step, const fsm_score *score, const fsm_timeline *planned, double given);

#endif
