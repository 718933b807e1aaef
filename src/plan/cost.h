/* What tasks cost: the lines of a cluster applied to the sizes of a graph.
 * In:  a graph, a cluster. Out: seconds a task.
 * A task with a cost of its own among cluster.tasks costs that; otherwise a collective costs its op's line, a task
 * made of GEMMs their line; what is neither (norms, copies, small exchanges) costs nothing until it is measured. While
 * streams overlap each costs cluster.tasks' overlap times as much, for they share cores, memory and links.
 */
#ifndef FSM_PLAN_COST_H
#define FSM_PLAN_COST_H

#include "plan/graph.h"
#include "profile/cluster.h"

/* Whether a task may run beside another in forward or backward. Not in a plain graph: every MoE layer in one piece,
 * each task waiting for the one before it, gradients summed after backward. */
bool fsm_graph_overlaps(const fsm_graph *graph);

/* seconds [graph->count], of streams that overlap if the graph's do. ERROR_NUMERIC names the first task whose cost is
 * not finite. */
fsmoe_status fsm_cost_graph(const fsm_graph *graph, const fsm_cluster *cluster, double *seconds);

/* The same when the graph is a part, or a measure, of one whose streams overlap or do not. */
fsmoe_status fsm_cost_tasks(const fsm_graph *graph, const fsm_cluster *cluster, bool overlapped, double *seconds);

/* The operation that a kind of task is made of, if some of them are; FSM_COST_OP_COUNT: none. */
fsm_cost_op fsm_cost_op_of(fsm_task_kind kind);

/* What a kind of task costs. `known` is false when it costs nothing. */
typedef struct fsm_price {
    fsm_cost cost;
    bool known, own; /* own: a measured task is one launch, whatever it is made of */
} fsm_price;

fsm_price fsm_cost_find(const fsm_cluster *cluster, fsm_task_kind kind, fsm_phase phase, bool overlapped);

/* Every entry of cluster.tasks must name a task. ERROR_FORMAT names the one that does not. */
fsmoe_status fsm_cost_check_tasks(const fsm_cluster *cluster);

#endif
