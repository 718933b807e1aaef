/* What tasks cost: the lines of a cluster applied to the sizes of a graph.
 * In:  a graph, a cluster. Out: seconds a task.
 * A task with an entry of its own among cluster.tasks costs that; otherwise a collective costs its op's line, a task
 * made of GEMMs their line; what is neither (norms, copies, small exchanges) costs nothing until it is measured.
 */
#ifndef FSM_PLAN_COST_H
#define FSM_PLAN_COST_H

#include "plan/graph.h"
#include "profile/cluster.h"

/* seconds [graph->count]. ERROR_NUMERIC names the first task whose cost is not finite. */
fsmoe_status fsm_cost_graph(const fsm_graph *graph, const fsm_cluster *cluster, double *seconds);

/* The cost line of a kind of task: its own entry or its op's; NULL when it costs nothing. */
const fsm_cost *fsm_cost_find(const fsm_cluster *cluster, fsm_task_kind kind, fsm_phase phase);

/* Every entry of cluster.tasks must name a task. ERROR_FORMAT names the one that does not. */
fsmoe_status fsm_cost_check_tasks(const fsm_cluster *cluster);

#endif
