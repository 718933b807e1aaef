/* The executor: runs any task graph on three streams at once: compute, the links inside a node, the links between
 * nodes.
 * In:  a checked graph, a table from (kind, phase) to function, the object the functions work on.
 * Out: the tasks done: each after the tasks it waits for, and after everything before it on its stream has ended; when
 *      and how long each ran, for whoever observes.
 * Two drivers (driver.h) do it. *Threads*, for the host: the caller's thread computes, one thread of the executor
 * begins and moves communication (threads.c). *Issue*, for devices: one thread walks the graph once and gives streams
 * work and events (issue.c). The executor names no schedule and no model; a schedule names no function.
 */
#ifndef FSM_EXEC_EXEC_H
#define FSM_EXEC_EXEC_H

#include "comm/op.h"
#include "device/device.h"
#include "plan/graph.h"

/* One task on `object`, from beginning to end. */
typedef fsmoe_status (*fsm_task_function)(void *object, const fsm_task *task);

/* Begins a collective task, to be run by all members of its group; it is done when `op` is. */
typedef fsmoe_status (*fsm_task_start)(void *object, const fsm_task *task, fsm_comm_op *op);

/* A kind and phase has either a function, or a start and, if something is left to do then, a finish: little, since the
 * links wait meanwhile. */
typedef struct fsm_task_table {
    fsm_task_function run[FSM_TASK_KIND_COUNT][FSM_PHASE_COUNT];
    fsm_task_start start[FSM_TASK_KIND_COUNT][FSM_PHASE_COUNT];
    fsm_task_function finish[FSM_TASK_KIND_COUNT][FSM_PHASE_COUNT];
    /* Of the issue driver, before each of the above: what they enqueue until the next call belongs on `stream`, where
     * the tasks of this resource are. NULL: they work on the host alone. */
    void (*use_stream)(void *object, fsm_resource resource, fsm_stream *stream);
} fsm_task_table;

/* Is told when a task ran (fsm_clock_s): by the thread that ran it, of different streams at the same time; by the issue
 * driver after the run, of one task after another. */
typedef struct fsm_observer {
    void (*task_ran)(void *user, int index, double start_s, double end_s);
    void *user;
} fsm_observer;

typedef enum fsm_progress { FSM_PROGRESS_THREAD, FSM_PROGRESS_TASKS } fsm_progress;

typedef struct fsm_exec fsm_exec;

/* The threads driver. ERROR_MEMORY; ERROR_INTERNAL when the system gives no thread. */
fsmoe_status fsm_exec_create(fsm_progress progress, fsm_exec **exec);
/* The issue driver, with streams and events of `device`, which is borrowed. ERROR_MEMORY; errors as the device's. */
fsmoe_status fsm_exec_create_issue(fsm_device *device, fsm_exec **exec);
void fsm_exec_destroy(fsm_exec *exec); /* NULL is fine */

/* Room for graphs of so many tasks; fsm_exec_run does not allocate then. ERROR_MEMORY. */
fsmoe_status fsm_exec_reserve(fsm_exec *exec, int tasks);

/* The longest that communication under way is not looked at: 250 us at first. Longer naps leave the cores of many ranks
 * free where all is slow. Not while it runs. Of the threads driver; nothing to the other. */
void fsm_exec_set_longest_nap(fsm_exec *exec, double seconds);

/* Runs all tasks. observers[n] may be none. Stops at the first that fails: its status, and its sentence in
 * fsmoe_last_error(); what is under way then is left as it is. ERROR_INTERNAL for a task the table has no function
 * for. */
fsmoe_status fsm_exec_run(fsm_exec *exec, const fsm_graph *graph, const fsm_task_table *table, void *object,
                          const fsm_observer *observers, int n);

#endif
