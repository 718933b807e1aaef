#include "exec/exec.h"

#include "base/clock.h"
#include "exec/trace.h"

/* In issue order, one task at a time: right for every graph, since edges point backwards. */
fsmoe_status fsm_exec_run(const fsm_graph *graph, const fsm_task_table *table, void *object, fsm_trace *trace)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *task = &graph->tasks[i];
        fsm_task_function run = table->run[task->kind][task->phase];
        if (!run) {
            char name[128];
            fsm_task_name(task, name);
            return fsm_fail(FSMOE_ERROR_INTERNAL, "no function runs task %d (%s)", i, name);
        }
        double start = fsm_clock_s();
        FSM_TRY(run(object, task));
        if (trace) fsm_trace_add(trace, i, start, fsm_clock_s());
    }
    return FSMOE_OK;
}
