/* The profile of a stepper: what its operations and tasks cost.
 * In:  a stepper, between two steps; the recorder that its latest steps filled.
 * Out: a cluster value, the same on all ranks but for its name, machine and date. Parameters, gradients, optimizer
 *      and random numbers stay as they are.
 */
#ifndef FSM_TRAIN_PROFILE_H
#define FSM_TRAIN_PROFILE_H

#include "profile/cluster.h"
#include "train/stepper.h"

#include <fsmoe/profile.h>

typedef fsmoe_profile_options fsm_profile_options;

#define FSM_PROFILE_BUDGET_S 60.0 /* when options->budget_s is 0 */

/* ERROR_CONFIG: options that make no sense. */
fsmoe_status fsm_profile_check(const fsm_profile_options *options);

/* The group that an operation is measured in; for GEMM, which has none, all ranks. */
fsm_group fsm_profile_group(const fsm_topo *topo, fsm_cost_op op);

/* Sets name (NULL: the host's), machine, date, layout and work: what costs measured now would be of. */
void fsm_profile_describe(const fsm_stepper *stepper, const char *name, fsm_cluster *cluster);

/* Measures the five operations within options->budget_s. Tasks come from stepper->recorder; without one, or before its
 * first step, there are none. A task that waits for other ranks gets its fastest rank's time, for that one waited
 * least; another task the slowest rank's. Collective over the stepper's world, all ranks return the same status unless
 * it is ERROR_COMM. On failure *cluster holds nothing; else destroy it. */
fsmoe_status fsm_profile_stepper(fsm_stepper *stepper, const fsm_profile_options *options, fsm_cluster *cluster);

/* What tasks take while streams overlap: the recorder's latest steps ran a graph that does, and each kind and phase of
 * task took so many times what `cluster` says of it alone. What one stream takes from another, of a core, of memory, of
 * a link, is in that. Nothing where the graph overlaps nothing. Collective, as above. */
fsmoe_status fsm_profile_overlap(fsm_stepper *stepper, fsm_cluster *cluster);

/* The costs of now, from those of `before`: operations are measured again; tasks take so many times longer as the
 * recorder saw in the stepper's graph. Collective, as above. */
fsmoe_status fsm_profile_renew(fsm_stepper *stepper, const fsm_profile_options *options, const fsm_cluster *before,
                               fsm_cluster *cluster);

/* Options for the sizes that the step's own collectives have, whole and in chunks. Collective. ERROR_MEMORY. */
fsmoe_status fsm_profile_fit_sizes(const fsm_stepper *stepper, fsm_profile_options *options);

#endif
