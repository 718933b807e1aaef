/* A collective of any size in buffers of one: done round after round, since nobody reads what it brings.
 * In:  a group, an operation, elements as cluster files count them.
 * Out: messages on the links, as of one collective of that size.
 */
#ifndef FSM_REHEARSE_ROUNDS_H
#define FSM_REHEARSE_ROUNDS_H

#include "profile/collective.h"

enum { FSM_ROUND_ELEMS = 1 << 20 }; /* what a round adds is then nothing beside its messages */

typedef struct fsm_rounds {
    fsm_collective *collective; /* borrowed; of FSM_ROUND_ELEMS */
    fsm_comm *group;
    fsm_cost_op op;
    int64_t left;      /* elements after the present round */
    fsm_comm_op round; /* {0}: there is nothing to do */
} fsm_rounds;

/* Begins what left says. ERROR_COMM, as below. */
fsmoe_status fsm_rounds_start(fsm_rounds *rounds);

/* *done: the last round has ended. */
fsmoe_status fsm_rounds_advance(fsm_rounds *rounds, bool *done);

#endif
