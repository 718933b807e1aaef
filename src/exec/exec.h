/* The executor: runs any task graph, each task by the function that a table has for its (kind, phase).
 * In:  a checked graph, the table, the object the functions work on.
 * Out: the tasks done in an order that respects the graph; when and how long each ran, if a trace is given.
 * The executor names no schedule and no model; a schedule names no function.
 */
#ifndef FSM_EXEC_EXEC_H
#define FSM_EXEC_EXEC_H

#include "plan/graph.h"

/* One task on `object`. Collective tasks must be run by all members of their group. */
typedef fsmoe_status (*fsm_task_function)(void *object, const fsm_task *task);

typedef struct fsm_task_table {
    fsm_task_function run[FSM_TASK_KIND_COUNT][FSM_PHASE_COUNT];
} fsm_task_table;

typedef struct fsm_trace fsm_trace;

/* Runs all tasks; stops at the first that fails. ERROR_INTERNAL for a task that the table has no function for. */
fsmoe_status fsm_exec_run(const fsm_graph *graph, const fsm_task_table *table, void *object, fsm_trace *trace);

#endif
