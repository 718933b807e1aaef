/* How long the tasks of a graph take, from the steps that run anyway: asking costs nothing but the asking.
 * In:  a graph; an executor tells when its tasks ran.
 * Out: each task's latest durations; their medians.
 */
#ifndef FSM_EXEC_RECORDER_H
#define FSM_EXEC_RECORDER_H

#include "exec/exec.h"

typedef struct fsm_task_recorder fsm_task_recorder;

/* `graph` is borrowed. A recorder is of one graph: make another when it is replaced. ERROR_MEMORY. */
fsmoe_status fsm_task_recorder_create(const fsm_graph *graph, fsm_task_recorder **recorder);
void fsm_task_recorder_destroy(fsm_task_recorder *recorder); /* NULL is fine */

/* What to give fsm_exec_run. Recording never allocates. */
fsm_observer fsm_task_recorder_observer(fsm_task_recorder *recorder);

/* Forgets what was recorded: the first steps, which warm up. */
void fsm_task_recorder_clear(fsm_task_recorder *recorder);

/* Tasks of one kind, phase and size, in the order of the graph. */
typedef struct fsm_task_time {
    fsm_task_kind kind;
    fsm_phase phase;
    fsm_resource resource; /* of the first of them */
    double size;
    int tasks;       /* in a step */
    double median_s; /* over these tasks and the latest FSM_RECORDED_STEPS steps; 0: none ran */
} fsm_task_time;

enum { FSM_RECORDED_STEPS = 16 };

/* *times [*count] is malloc'd. Not while a step runs. ERROR_MEMORY. */
fsmoe_status fsm_task_recorder_times(const fsm_task_recorder *recorder, fsm_task_time **times, int *count);

#endif
