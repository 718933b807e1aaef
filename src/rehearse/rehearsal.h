/* A rehearsal: steps of plans on the ranks and links that are there, as they would run on a cluster that is not. Graph,
 * executor, messages and links are real; what a task costs is what the plan says, stretched.
 * In:  plans, which know what their tasks cost; groups; an executor.
 * Out: when each task ran, in seconds of the cluster.
 * A compute task sleeps. A collective is what its cost says: for alpha, the cost of moving nothing, no message is sent,
 * as none is while a real one starts; then messages of its own operation and group go out, as many elements as take the
 * rest of its time on the links that are there. It is done when they have arrived, and not before its time: packets
 * that a link which has rested lets through at once make no collective faster than the cluster's. Whatever stands in
 * its way, ranks that come late or a link that others use, makes it later. No value of a model exists.
 */
#ifndef FSM_REHEARSE_REHEARSAL_H
#define FSM_REHEARSE_REHEARSAL_H

#include "rehearse/step.h"

typedef struct fsm_rehearsal {
    fsm_links links;
    fsm_rehearsed_step step;
    fsm_score *scores; /* [count], one a plan; owned */
    int count;
} fsm_rehearsal;

/* plans[count], groups[FSM_GROUP_COUNT] and the executor are borrowed; cluster: what the plans were made from. Measures
 * the links, and finds the pace by trials unless stretch is given (0: not). Collective over world; all ranks return the
 * same status unless it is ERROR_COMM. ERROR_MEMORY, ERROR_COMM. Destroy it after an error, too; it must not move. */
fsmoe_status fsm_rehearsal_create(fsm_comm *world, fsm_comm *const *groups, fsm_exec *exec, const fsm_cluster *cluster,
                                  const fsm_plan *plans, int count, double stretch, fsm_rehearsal *rehearsal);
void fsm_rehearsal_destroy(fsm_rehearsal *rehearsal); /* {0} is fine */

/* One step of plans[plan]. observer (nobody: task_ran is NULL) and *step_s are told seconds of the cluster. Collective.
 * Errors as of fsm_exec_run. */
fsmoe_status fsm_rehearsal_run(fsm_rehearsal *rehearsal, int plan, fsm_observer observer, double *step_s);

#endif
