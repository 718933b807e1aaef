/* A trace: when each task of each step ran on each rank, as Chrome trace JSON (opens in Perfetto and chrome://tracing).
 * In:  the graph whose tasks are recorded, room for a number of steps; or a graph and its planned times.
 * Out: one slice a task; process = rank or "plan", thread = resource; the slice's name is the task's.
 */
#ifndef FSM_EXEC_TRACE_H
#define FSM_EXEC_TRACE_H

#include "comm/comm.h"
#include "exec/exec.h"
#include "plan/simulate.h"

typedef struct fsm_trace fsm_trace;

/* Room for max_steps steps of the graph (copied); steps after that are not recorded. */
fsmoe_status fsm_trace_create(const fsm_graph *graph, int64_t max_steps, fsm_trace **trace);
void fsm_trace_destroy(fsm_trace *trace);

/* The planned times of the graph's tasks (copied): a process "plan" beside the last step recorded. ERROR_MEMORY. */
fsmoe_status fsm_trace_set_plan(fsm_trace *trace, const fsm_timeline *planned);

/* The next step begins. */
void fsm_trace_begin_step(fsm_trace *trace);

/* What to give fsm_exec_run, or a trace's caller of its own. Recording never allocates. */
fsm_observer fsm_trace_observer(fsm_trace *trace);

/* Gathers the slices of all ranks and writes them on rank 0. Collective over world. */
fsmoe_status fsm_trace_write(const fsm_trace *trace, fsm_comm *world, const char *path);

/* The planned times of every task, and a thread "step" whose slices nest: step > micro-batch > phase > layer
 * (exec/spans.h). ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_trace_write_timeline(const fsm_graph *graph, const fsm_timeline *timeline, const char *path);

#endif
