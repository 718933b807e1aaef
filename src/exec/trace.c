#define _GNU_SOURCE
#include "exec/trace.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct slice {
    int64_t task;
    double start_s, end_s;
} slice;

struct fsm_trace {
    const fsm_graph *graph;
    slice *slices;
    int64_t count, capacity;
};

fsmoe_status fsm_trace_create(const fsm_graph *graph, int64_t max_steps, fsm_trace **trace)
{
    fsm_trace *t = calloc(1, sizeof *t);
    if (t) {
        t->graph = graph;
        t->capacity = graph->count * max_steps;
        t->slices = calloc((size_t)t->capacity + 1, sizeof *t->slices);
    }
    if (!t || !t->slices) {
        fsm_trace_destroy(t);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a trace of %lld steps", (long long)max_steps);
    }
    *trace = t;
    return FSMOE_OK;
}

void fsm_trace_destroy(fsm_trace *trace)
{
    if (!trace) return;
    free(trace->slices);
    free(trace);
}

void fsm_trace_add(fsm_trace *trace, int index, double start_s, double end_s)
{
    if (trace->count < trace->capacity) trace->slices[trace->count++] = (slice){index, start_s, end_s};
}

/* Times are the monotonic clock's: of one zero on one machine, each machine's own between machines. */
static void print_rank(FILE *out, const fsm_graph *graph, int rank, const slice *slices, int64_t count,
                       const char **comma)
{
    fprintf(out, "%s{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":{\"name\":\"rank %d\"}}", *comma, rank,
            rank);
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        fprintf(out, ",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":\"%s\"}}",
                rank, r, fsm_resource_name((fsm_resource)r));
    *comma = ",\n";
    for (int64_t i = 0; i < count; i++) {
        const fsm_task *task = &graph->tasks[slices[i].task];
        char name[128];
        fsm_task_name(task, name);
        fprintf(out,
                ",\n{\"ph\":\"X\",\"name\":\"%s\",\"cat\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,"
                "\"args\":{\"task\":%lld,\"size\":%.17g}}",
                name, fsm_phase_name(task->phase), rank, (int)task->resource, 1e6 * slices[i].start_s,
                1e6 * (slices[i].end_s - slices[i].start_s), (long long)slices[i].task, task->size);
    }
}

static fsmoe_status print_all(const fsm_trace *trace, const slice *slices, const int64_t *bytes, int ranks,
                              const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to print the trace");
    const char *comma = "\n";
    fprintf(out, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
    for (int rank = 0; rank < ranks; rank++) {
        int64_t count = bytes[rank] / (int64_t)sizeof(slice);
        print_rank(out, trace->graph, rank, slices, count, &comma);
        slices += count;
    }
    fprintf(out, "\n]}\n");
    fsmoe_status status = fclose(out) == 0 ? fsm_file_replace(path, text, size)
                                           : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to print the trace");
    free(text);
    return status;
}

fsmoe_status fsm_trace_write(const fsm_trace *trace, fsm_comm *world, const char *path)
{
    int64_t mine = trace->count * (int64_t)sizeof(slice), total = 0;
    int64_t *bytes = calloc((size_t)world->size, sizeof *bytes);
    slice *slices = NULL;
    fsmoe_status status = bytes ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to gather the trace");
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    FSM_TRY_GOTO(status, world->table->all_gather_int64(world, &mine, 1, bytes), done);
    for (int i = 0; i < world->size; i++) total += bytes[i];
    if (world->rank == 0 && !(slices = malloc((size_t)total + 1)))
        status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to gather the trace");
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    FSM_TRY_GOTO(status, world->table->gather_bytes(world, trace->slices, mine, slices, bytes), done);
    if (world->rank == 0) status = print_all(trace, slices, bytes, world->size, path);
    status = fsm_comm_agree(world, status);
done:
    free(slices);
    free(bytes);
    return status;
}
