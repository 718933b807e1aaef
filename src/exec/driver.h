/* What a driver of the executor supplies, and what drivers share.
 * In:  a job: a graph and the functions of its tasks.
 * Out: its tasks run as exec.h says. A driver is a struct that begins with fsm_exec.
 */
#ifndef FSM_EXEC_DRIVER_H
#define FSM_EXEC_DRIVER_H

#include "exec/exec.h"

/* What is to be run, on what, and who is told; all borrowed for the run. */
typedef struct fsm_job {
    const fsm_graph *graph;
    const fsm_task_table *table;
    void *object;
    const fsm_observer *observers;
    int observer_count;
} fsm_job;

typedef struct fsm_exec_driver {
    const char *name;
    void (*destroy)(fsm_exec *exec);
    fsmoe_status (*reserve)(fsm_exec *exec, int tasks);
    void (*set_longest_nap)(fsm_exec *exec, double seconds); /* NULL: it takes none */
    /* The graph has tasks, room is reserved for them, and the table has functions for all. Returns the first failure,
     * after fsm_exec_fail. */
    fsmoe_status (*run)(fsm_exec *exec, const fsm_job *job);
} fsm_exec_driver;

struct fsm_exec {
    const fsm_exec_driver *driver;
    fsmoe_status status; /* of the present run */
    char sentence[1024]; /* of its failure, which another thread may have seen */
};

/* The first failure of a run is its failure. */
void fsm_exec_fail(fsm_exec *exec, fsmoe_status status);

/* A task's function, from beginning to end; or its start, and *op is what is to be done before fsm_job_finish. */
fsmoe_status fsm_job_begin(const fsm_job *job, int index, fsm_comm_op *op);
fsmoe_status fsm_job_finish(const fsm_job *job, int index);

void fsm_job_tell(const fsm_job *job, int index, double start_s, double end_s);

#endif
