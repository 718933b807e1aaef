/* What collectives take on the links that are there, measured before a rehearsal: how many elements take how long.
 * In:  the groups, the plans whose collectives are to be rehearsed.
 * Out: a line for each operation and group that they use, from two sizes; what share of the machine its messages take.
 */
#ifndef FSM_REHEARSE_LINKS_H
#define FSM_REHEARSE_LINKS_H

#include "plan/plan.h"
#include "rehearse/rounds.h"
#include "rehearse/usage.h"

typedef struct fsm_links {
    fsm_comm *world;
    fsm_comm *const *groups;                            /* [FSM_GROUP_COUNT], borrowed */
    fsm_collective collectives[FSM_RESOURCE_COUNT];     /* of one stream each */
    fsm_line lines[FSM_COST_OP_COUNT][FSM_GROUP_COUNT]; /* beta 0: the plans do not use it, or it is of one rank */
    double share[FSM_RESOURCE_COUNT]; /* of the machine, that a link takes which is busy all the time, at its most */
} fsm_links;

/* Measures the lines. Collective over world; all ranks get the same. ERROR_MEMORY, ERROR_COMM. Destroy it after an
 * error, too. */
fsmoe_status fsm_links_create(fsm_comm *world, fsm_comm *const *groups, const fsm_plan *plans, int count,
                              fsm_links *links);
void fsm_links_destroy(fsm_links *links); /* {0} is fine */

#endif
