/* The issue driver: one thread walks the graph once, in its order, and gives each resource's stream the events its next
 * task waits for, the task, and an event. What a task is to a stream is the device's to say (fsm_device_table's
 * submit): its functions may compute in the stream's turn, or enqueue what computes.
 *
 * A collective is begun in its stream's turn and keeps the stream until it is done: it is called again and again
 * meanwhile. Where streams work at once that is one collective after another, in the order of the graph. It is the same
 * on all ranks, so none waits for a collective that another has put behind one it waits for itself: of all that are not
 * done, the first in the graph has all its members. Streams that work later go on with others while one waits for a
 * collective. */
#include "exec/driver.h"

#include "base/clock.h"

#include <stdlib.h>

typedef struct issuer issuer;

/* A task as work on a stream. */
typedef struct task_work {
    issuer *owner;
    int index;
    bool begun, done;
    fsm_event *starts, *ends;
} task_work;

struct issuer {
    fsm_exec base; /* first */
    fsm_device *device;
    fsm_stream *streams[FSM_RESOURCE_COUNT];
    fsm_event *zero;  /* times are counted from here */
    task_work *works; /* [capacity], of them `made` have events */
    int capacity, made;
    /* the present run */
    fsm_job job;
    fsm_comm_op ops[FSM_RESOURCE_COUNT]; /* of what is under way */
};

/* ---- a task in its stream's turn ---- */

static fsmoe_status move_task(task_work *w)
{
    issuer *x = w->owner;
    const fsm_task_table *table = x->job.table;
    fsm_resource resource = x->job.graph->tasks[w->index].resource;
    fsm_comm_op *op = &x->ops[resource];
    bool arrived;
    if (table->use_stream) table->use_stream(x->job.object, resource, x->streams[resource]);
    if (!w->begun) FSM_TRY(fsm_job_begin(&x->job, w->index, op));
    w->begun = true;
    FSM_TRY(fsm_comm_advance(op, &arrived));
    if (!arrived) return FSMOE_OK;
    FSM_TRY(fsm_job_finish(&x->job, w->index));
    w->done = true;
    return FSMOE_OK;
}

/* After a failure nothing begins, and nothing is moved any more. */
static bool do_task(void *user)
{
    task_work *w = user;
    fsm_exec *exec = &w->owner->base;
    if (exec->status != FSMOE_OK) return true;
    fsmoe_status status = move_task(w);
    if (status != FSMOE_OK) fsm_exec_fail(exec, status);
    return w->done || status != FSMOE_OK;
}

/* ---- issuing ---- */

/* On each other stream only the last that the task waits for: those before it have ended by then. */
static fsmoe_status wait_for_others(issuer *x, const fsm_task *t)
{
    const fsm_graph *graph = x->job.graph;
    int last[FSM_RESOURCE_COUNT];
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) last[r] = -1;
    for (int e = t->after_first; e < t->after_first + t->after_count; e++) {
        int before = graph->edges[e], *of_resource = &last[graph->tasks[before].resource];
        if (before > *of_resource) *of_resource = before;
    }
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (r != (int)t->resource && last[r] >= 0)
            FSM_TRY(x->device->table->wait(x->streams[t->resource], x->works[last[r]].ends));
    return FSMOE_OK;
}

static fsmoe_status issue_task(issuer *x, int index)
{
    const fsm_device_table *device = x->device->table;
    const fsm_task *t = &x->job.graph->tasks[index];
    fsm_stream *s = x->streams[t->resource];
    task_work *w = &x->works[index];
    w->begun = w->done = false;
    FSM_TRY(wait_for_others(x, t));
    FSM_TRY(device->record(w->starts, s));
    FSM_TRY(device->submit(s, do_task, w));
    return device->record(w->ends, s);
}

static fsmoe_status synchronise_all(issuer *x)
{
    fsmoe_status first = FSMOE_OK;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        fsmoe_status status = x->device->table->synchronise(x->streams[r]);
        if (first == FSMOE_OK) first = status;
    }
    return first;
}

/* *zero_s: the clock when the event is done. */
static fsmoe_status begin_times(issuer *x, double *zero_s)
{
    FSM_TRY(x->device->table->record(x->zero, x->streams[FSM_COMPUTE]));
    FSM_TRY(x->device->table->synchronise(x->streams[FSM_COMPUTE]));
    *zero_s = fsm_clock_s();
    return FSMOE_OK;
}

/* Of the first `issued` tasks those that were done. */
static fsmoe_status tell_times(issuer *x, int issued, double zero_s)
{
    const fsm_device_table *device = x->device->table;
    for (int i = 0; i < issued && x->job.observer_count > 0; i++) {
        const task_work *w = &x->works[i];
        double start_s, end_s;
        if (!w->done) continue;
        FSM_TRY(device->elapsed(x->zero, w->starts, &start_s));
        FSM_TRY(device->elapsed(x->zero, w->ends, &end_s));
        fsm_job_tell(&x->job, i, zero_s + start_s, zero_s + end_s);
    }
    return FSMOE_OK;
}

static void note(issuer *x, fsmoe_status status)
{
    if (status != FSMOE_OK) fsm_exec_fail(&x->base, status);
}

/* Whatever fails, nothing of the run is on a stream at its end. */
static fsmoe_status issue_run(fsm_exec *exec, const fsm_job *job)
{
    issuer *x = (issuer *)exec;
    double zero_s = 0;
    int issued = 0;
    exec->status = FSMOE_OK;
    x->job = *job;
    note(x, begin_times(x, &zero_s));
    for (; issued < job->graph->count && exec->status == FSMOE_OK; issued++) note(x, issue_task(x, issued));
    note(x, synchronise_all(x));
    note(x, tell_times(x, issued, zero_s));
    return exec->status;
}

/* ---- the executor ---- */

static fsmoe_status make_work(issuer *x, int index)
{
    task_work *w = &x->works[index];
    *w = (task_work){.owner = x, .index = index};
    FSM_TRY(x->device->table->create_event(x->device, &w->starts));
    fsmoe_status status = x->device->table->create_event(x->device, &w->ends);
    if (status != FSMOE_OK) x->device->table->destroy_event(w->starts);
    return status;
}

static fsmoe_status issue_reserve(fsm_exec *exec, int tasks)
{
    issuer *x = (issuer *)exec;
    if (tasks > x->capacity) {
        task_work *works = realloc(x->works, (size_t)tasks * sizeof *works);
        if (!works) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to run %d tasks", tasks);
        x->works = works;
        x->capacity = tasks;
    }
    for (; x->made < tasks; x->made++) FSM_TRY(make_work(x, x->made));
    return FSMOE_OK;
}

static void issue_destroy(fsm_exec *exec)
{
    issuer *x = (issuer *)exec;
    const fsm_device_table *device = x->device->table;
    for (int i = 0; i < x->made; i++) {
        device->destroy_event(x->works[i].starts);
        device->destroy_event(x->works[i].ends);
    }
    device->destroy_event(x->zero);
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) device->destroy_stream(x->streams[r]);
    free(x->works);
    free(x);
}

static const fsm_exec_driver driver = {
    .name = "issue",
    .destroy = issue_destroy,
    .reserve = issue_reserve,
    .run = issue_run,
};

static fsmoe_status make_streams(issuer *x)
{
    FSM_TRY(x->device->table->create_event(x->device, &x->zero));
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) FSM_TRY(x->device->table->create_stream(x->device, &x->streams[r]));
    return FSMOE_OK;
}

fsmoe_status fsm_exec_create_issue(fsm_device *device, fsm_exec **exec)
{
    issuer *x = calloc(1, sizeof *x);
    if (!x) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for an executor");
    x->base.driver = &driver;
    x->device = device;
    fsmoe_status status = make_streams(x);
    if (status != FSMOE_OK) {
        issue_destroy(&x->base);
        return status;
    }
    *exec = &x->base;
    return FSMOE_OK;
}
