/* Costs that all ranks plan with: one set, rank 0's, to the bit, so that every rank makes the same plan from it.
 * In:  a stepper whose steps are measured, or a file.
 * Out: the same costs on every rank. Collective over world.
 */
#ifndef FSM_TRAIN_COSTS_H
#define FSM_TRAIN_COSTS_H

#include "train/profile.h"

enum { FSM_COSTS_WHY_BYTES = 256 };

/* What other ranks had is destroyed. ERROR_MEMORY, ERROR_COMM. */
fsmoe_status fsm_costs_share(fsm_comm *world, fsm_cluster *cluster);

/* A cluster file, read by rank 0. what: the key or option that names it. fsm_cluster_read's errors. */
fsmoe_status fsm_costs_read(fsm_comm *world, const char *what, const char *path, fsm_cluster *cluster);

/* Likewise, for planning the stepper's steps from. ERROR_CONFIG names both layouts where the file is of another one
 * than the stepper has, as far as it says: what a collective costs is of the group and the link that its layout gave
 * it. */
fsmoe_status fsm_costs_read_given(const fsm_stepper *stepper, const char *what, const char *path, fsm_cluster *cluster);

/* Likewise, costs that an earlier run of the same folder has left. *hold: whether they are of this layout, machine,
 * model and batch; else *cluster holds nothing, and `why` says on rank 0 what they are of. */
fsmoe_status fsm_costs_read_kept(const fsm_stepper *stepper, const char *path, fsm_cluster *cluster, bool *hold,
                                 char why[FSM_COSTS_WHY_BYTES]);

/* Runs some steps of the stepper's graph, and lets its recorder forget those that warm up. */
typedef fsmoe_status (*fsm_costs_run)(void *user);

/* What operations and tasks cost alone, from steps in order; then what tasks cost beside other streams, from steps of
 * the plan that `schedule` makes of that. The stepper must run its graph in order, as it does afterwards, without
 * a recorder. All ranks return the same status unless it is ERROR_COMM. */
fsmoe_status fsm_costs_measure(fsm_stepper *stepper, const fsm_schedule *schedule, const fsm_profile_options *options,
                               fsm_costs_run run, void *user, fsm_cluster *cluster);

#endif
