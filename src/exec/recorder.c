#include "exec/recorder.h"

#include "profile/measure.h"

#include <stdlib.h>

/* The latest durations of one task. */
typedef struct history {
    double latest_s[FSM_RECORDED_STEPS];
    int64_t runs;
} history;

struct fsm_task_recorder {
    const fsm_graph *graph;
    history *histories; /* [graph->count] */
};

static void record(void *user, int index, double start_s, double end_s)
{
    history *h = &((fsm_task_recorder *)user)->histories[index];
    h->latest_s[h->runs++ % FSM_RECORDED_STEPS] = end_s - start_s;
}

fsmoe_status fsm_task_recorder_create(const fsm_graph *graph, fsm_task_recorder **recorder)
{
    fsm_task_recorder *r = calloc(1, sizeof *r);
    if (r) r->histories = calloc((size_t)graph->count + 1, sizeof *r->histories);
    if (!r || !r->histories) {
        fsm_task_recorder_destroy(r);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the durations of %d tasks", graph->count);
    }
    r->graph = graph;
    *recorder = r;
    return FSMOE_OK;
}

void fsm_task_recorder_destroy(fsm_task_recorder *recorder)
{
    if (!recorder) return;
    free(recorder->histories);
    free(recorder);
}

fsm_observer fsm_task_recorder_observer(fsm_task_recorder *recorder)
{
    return (fsm_observer){record, recorder};
}

void fsm_task_recorder_clear(fsm_task_recorder *recorder)
{
    for (int i = 0; i < recorder->graph->count; i++) recorder->histories[i].runs = 0;
}

/* ---- medians ---- */

static bool belongs(const fsm_task_time *time, const fsm_task *task)
{
    return time->kind == task->kind && time->phase == task->phase && time->size == task->size;
}

/* The row of the task's kind, phase and size, a new one at the end if there is none. */
static fsm_task_time *row_of(fsm_task_time *times, int *count, const fsm_task *task)
{
    for (int i = 0; i < *count; i++)
        if (belongs(&times[i], task)) return &times[i];
    times[*count] =
        (fsm_task_time){.kind = task->kind, .phase = task->phase, .resource = task->resource, .size = task->size};
    return &times[(*count)++];
}

/* scratch: room for every duration of the row's tasks */
static double median_of(const fsm_task_recorder *r, const fsm_task_time *row, double *scratch)
{
    int n = 0;
    for (int i = 0; i < r->graph->count; i++) {
        const history *h = &r->histories[i];
        if (!belongs(row, &r->graph->tasks[i])) continue;
        for (int64_t j = 0; j < h->runs && j < FSM_RECORDED_STEPS; j++) scratch[n++] = h->latest_s[j];
    }
    return n > 0 ? fsm_median(scratch, n) : 0;
}

fsmoe_status fsm_task_recorder_times(const fsm_task_recorder *recorder, fsm_task_time **times, int *count)
{
    size_t tasks = (size_t)recorder->graph->count + 1;
    double *scratch = malloc(tasks * FSM_RECORDED_STEPS * sizeof *scratch);
    *times = malloc(tasks * sizeof **times);
    *count = 0;
    if (!*times || !scratch) {
        free(scratch);
        free(*times);
        *times = NULL;
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the medians of %zu tasks", tasks);
    }
    for (int i = 0; i < recorder->graph->count; i++) row_of(*times, count, &recorder->graph->tasks[i])->tasks++;
    for (int i = 0; i < *count; i++) (*times)[i].median_s = median_of(recorder, &(*times)[i], scratch);
    free(scratch);
    return FSMOE_OK;
}
