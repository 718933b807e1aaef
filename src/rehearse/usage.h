/* What share of a machine's cores ranks take, their packets included: the kernel shapes and hands those on while nobody
 * runs, so that no process is charged for them.
 * In:  two moments on every rank. Out: one number, the same on all ranks: that of the busiest machine.
 */
#ifndef FSM_REHEARSE_USAGE_H
#define FSM_REHEARSE_USAGE_H

#include "comm/op.h"

typedef struct fsm_usage {
    double busy_s, process_s, at_s; /* the machine's and the rank's processor time, and when */
    double resting; /* share of the cores that others took while no rank did anything */
} fsm_usage;

/* Waits a moment, in which all ranks rest. Collective. ERROR_COMM. */
fsmoe_status fsm_usage_rest(fsm_comm *world, fsm_usage *usage);

/* From now on. */
void fsm_usage_begin(fsm_usage *usage);

/* *share: of the cores, until now, 0 to 1: what processes of the ranks were charged for, or what the machine was busier
 * than at rest, whichever is more. Collective. ERROR_COMM. */
fsmoe_status fsm_usage_end(fsm_comm *world, const fsm_usage *usage, double *share);

/* Ranks of this one's machine over its cores. Collective. ERROR_COMM. */
fsmoe_status fsm_usage_crowd(fsm_comm *world, double *ranks_a_core);

#endif
