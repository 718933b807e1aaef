/* What is the same whichever driver runs a graph. */
#include "exec/driver.h"

#include <stdio.h>

void fsm_exec_fail(fsm_exec *exec, fsmoe_status status)
{
    if (exec->status != FSMOE_OK) return;
    exec->status = status;
    snprintf(exec->sentence, sizeof exec->sentence, "%s", fsmoe_last_error());
}

fsmoe_status fsm_job_begin(const fsm_job *job, int index, fsm_comm_op *op)
{
    const fsm_task *t = &job->graph->tasks[index];
    fsm_task_start start = job->table->start[t->kind][t->phase];
    *op = (fsm_comm_op){0};
    return start ? start(job->object, t, op) : job->table->run[t->kind][t->phase](job->object, t);
}

fsmoe_status fsm_job_finish(const fsm_job *job, int index)
{
    const fsm_task *t = &job->graph->tasks[index];
    fsm_task_function finish = job->table->finish[t->kind][t->phase];
    return finish ? finish(job->object, t) : FSMOE_OK;
}

void fsm_job_tell(const fsm_job *job, int index, double start_s, double end_s)
{
    for (int i = 0; i < job->observer_count; i++)
        job->observers[i].task_ran(job->observers[i].user, index, start_s, end_s);
}

static fsmoe_status check_functions(const fsm_graph *graph, const fsm_task_table *table)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (table->run[t->kind][t->phase] || table->start[t->kind][t->phase]) continue;
        char name[128];
        fsm_task_name(t, name);
        return fsm_fail(FSMOE_ERROR_INTERNAL, "no function runs task %d (%s)", i, name);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_exec_run(fsm_exec *exec, const fsm_graph *graph, const fsm_task_table *table, void *object,
                          const fsm_observer *observers, int n)
{
    FSM_TRY(check_functions(graph, table));
    if (graph->count == 0) return FSMOE_OK;
    FSM_TRY(fsm_exec_reserve(exec, graph->count));
    fsmoe_status status = exec->driver->run(exec, &(fsm_job){graph, table, object, observers, n});
    return status == FSMOE_OK ? FSMOE_OK : fsm_fail(status, "%s", exec->sentence);
}

fsmoe_status fsm_exec_reserve(fsm_exec *exec, int tasks)
{
    return exec->driver->reserve(exec, tasks);
}

void fsm_exec_set_longest_nap(fsm_exec *exec, double seconds)
{
    if (exec->driver->set_longest_nap) exec->driver->set_longest_nap(exec, seconds);
}

void fsm_exec_destroy(fsm_exec *exec)
{
    if (exec) exec->driver->destroy(exec);
}
