#define _GNU_SOURCE
#include "exec/trace.h"

#include "base/print.h"
#include "comm/op.h"
#include "exec/spans.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct slice {
    double start_s, end_s; /* 0: it did not run */
} slice;

struct fsm_trace {
    fsm_graph graph;
    slice *planned;           /* [graph.count], from 0; NULL: there is no plan */
    slice *slices;            /* [max_steps, graph.count] */
    int64_t steps, max_steps; /* begun, and as many as there is room for */
};

fsmoe_status fsm_trace_create(const fsm_graph *graph, int64_t max_steps, fsm_trace **trace)
{
    fsm_trace *t = calloc(1, sizeof *t);
    if (t) {
        t->graph = fsm_graph_copy(graph);
        t->max_steps = max_steps;
        t->slices = calloc((size_t)(graph->count * max_steps) + 1, sizeof *t->slices);
    }
    if (!t || !t->slices || t->graph.out_of_memory) {
        fsm_trace_destroy(t);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a trace of %lld steps", (long long)max_steps);
    }
    *trace = t;
    return FSMOE_OK;
}

void fsm_trace_destroy(fsm_trace *trace)
{
    if (!trace) return;
    fsm_graph_destroy(&trace->graph);
    free(trace->planned);
    free(trace->slices);
    free(trace);
}

fsmoe_status fsm_trace_set_plan(fsm_trace *trace, const fsm_timeline *planned)
{
    slice *slices = calloc((size_t)trace->graph.count + 1, sizeof *slices);
    if (!slices) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the planned times of a trace");
    for (int i = 0; i < trace->graph.count; i++) slices[i] = (slice){planned->start_s[i], planned->end_s[i]};
    free(trace->planned);
    trace->planned = slices;
    return FSMOE_OK;
}

void fsm_trace_begin_step(fsm_trace *trace)
{
    if (trace->steps <= trace->max_steps) trace->steps++; /* one more than there is room for: nothing is kept of it */
}

static void add_slice(void *user, int index, double start_s, double end_s)
{
    fsm_trace *t = user;
    if (t->steps < 1 || t->steps > t->max_steps) return;
    t->slices[(t->steps - 1) * t->graph.count + index] = (slice){start_s, end_s};
}

fsm_observer fsm_trace_observer(fsm_trace *trace)
{
    return (fsm_observer){add_slice, trace};
}

static int64_t count_slices(const fsm_trace *trace)
{
    return trace->graph.count * (trace->steps < trace->max_steps ? trace->steps : trace->max_steps);
}

static void print_begin(FILE *out)
{
    fprintf(out, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
}

static void print_process(FILE *out, int pid, const char *name, const char **comma)
{
    fprintf(out, "%s{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":{\"name\":\"%s\"}}", *comma, pid, name);
    *comma = ",\n";
}

static void print_thread(FILE *out, int pid, int tid, const char *name)
{
    fprintf(out, ",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":\"%s\"}}", pid,
            tid, name);
}

/* A slice up to its arguments. Both ends are rounded to whole nanoseconds, so that slices which meet or nest still
 * do. */
static void print_slice(FILE *out, int pid, int tid, const char *name, const char *category, double start_s,
                        double end_s)
{
    long long start_ns = llround(1e9 * start_s), dur_ns = llround(1e9 * end_s) - start_ns;
    fprintf(out,
            ",\n{\"ph\":\"X\",\"name\":\"%s\",\"cat\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":%lld.%03lld,"
            "\"dur\":%lld.%03lld",
            name, category, pid, tid, start_ns / 1000, start_ns % 1000, dur_ns / 1000, dur_ns % 1000);
}

static void print_task(FILE *out, int pid, const fsm_graph *graph, int64_t index, double start_s, double end_s)
{
    const fsm_task *task = &graph->tasks[index];
    char name[128];
    fsm_task_name(task, name);
    print_slice(out, pid, (int)task->resource, name, fsm_phase_name(task->phase), start_s, end_s);
    fprintf(out, ",\"args\":{\"task\":%lld,\"size\":%.17g}}", (long long)index, task->size);
}

static fsmoe_status finish(fsm_print *print, const char *path)
{
    fprintf(print->out, "\n]}\n");
    return fsm_print_write(print, FSMOE_OK, path);
}

static void print_row(FILE *out, int pid, const char *name, const char **comma)
{
    print_process(out, pid, name, comma);
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) print_thread(out, pid, r, fsm_resource_name((fsm_resource)r));
}

/* Times are the monotonic clock's: of one zero on one machine, each machine's own between machines. */
static void print_rank(FILE *out, const fsm_graph *graph, int rank, const slice *slices, int64_t count,
                       const char **comma)
{
    char name[32];
    snprintf(name, sizeof name, "rank %d", rank);
    print_row(out, rank, name, comma);
    for (int64_t i = 0; i < count; i++)
        if (slices[i].end_s > 0) print_task(out, rank, graph, i % graph->count, slices[i].start_s, slices[i].end_s);
}

/* When the last of `count` slices' steps began. */
static double last_start_s(const fsm_graph *graph, const slice *slices, int64_t count)
{
    double start_s = INFINITY;
    for (int64_t i = count - graph->count; i >= 0 && i < count; i++)
        if (slices[i].end_s > 0 && slices[i].start_s < start_s) start_s = slices[i].start_s;
    return isfinite(start_s) ? start_s : 0;
}

/* What was planned, moved to where rank 0's last step began. */
static void print_planned(FILE *out, const fsm_trace *trace, int pid, double start_s, const char **comma)
{
    const fsm_graph *graph = &trace->graph;
    if (!trace->planned) return;
    print_row(out, pid, "plan", comma);
    for (int i = 0; i < graph->count; i++)
        print_task(out, pid, graph, i, start_s + trace->planned[i].start_s, start_s + trace->planned[i].end_s);
}

static fsmoe_status print_all(const fsm_trace *trace, const slice *slices, const int64_t *bytes, int ranks,
                              const char *path)
{
    fsm_print print;
    FSM_TRY(fsm_print_begin(&print));
    FILE *out = print.out;
    const char *comma = "\n";
    print_begin(out);
    print_planned(out, trace, ranks, last_start_s(&trace->graph, slices, bytes[0] / (int64_t)sizeof(slice)), &comma);
    for (int rank = 0; rank < ranks; rank++) {
        int64_t count = bytes[rank] / (int64_t)sizeof(slice);
        print_rank(out, &trace->graph, rank, slices, count, &comma);
        slices += count;
    }
    return finish(&print, path);
}

fsmoe_status fsm_trace_write(const fsm_trace *trace, fsm_comm *world, const char *path)
{
    int64_t mine = count_slices(trace) * (int64_t)sizeof(slice), total = 0;
    int64_t *bytes = calloc((size_t)world->size, sizeof *bytes);
    slice *slices = NULL;
    fsmoe_status status = bytes ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to gather the trace");
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    FSM_TRY_GOTO(status, fsm_comm_all_gather_int64(world, &mine, 1, bytes), done);
    for (int i = 0; i < world->size; i++) total += bytes[i];
    if (world->rank == 0 && !(slices = malloc((size_t)total + 1)))
        status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to gather the trace");
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    FSM_TRY_GOTO(status, world->control->gather_bytes(world, trace->slices, mine, slices, bytes), done);
    if (world->rank == 0) status = print_all(trace, slices, bytes, world->size, path);
    status = fsm_comm_agree(world, status);
done:
    free(slices);
    free(bytes);
    return status;
}

/* Threads of a plan's trace: the resources, the step, its lanes. */
enum { PLAN_PID = 0, STEP_TID = FSM_RESOURCE_COUNT, LANE_TID };

static int thread_of(const fsm_span *span)
{
    return span->lane < 0 ? STEP_TID : LANE_TID + span->lane;
}

/* The viewer shows them in this order. */
static void print_span_thread(FILE *out, int tid, const char *name, int place)
{
    print_thread(out, PLAN_PID, tid, name);
    fprintf(out, ",\n{\"ph\":\"M\",\"name\":\"thread_sort_index\",\"pid\":%d,\"tid\":%d,\"args\":{\"sort_index\":%d}}",
            PLAN_PID, tid, place);
}

/* Before the resources: the step, then each lane, in which the same layers go by at other times. */
static void print_spans(FILE *out, const fsm_spans *spans, int lanes)
{
    char name[FSM_SPAN_NAME_BYTES];
    if (spans->count == 0) return;
    print_span_thread(out, STEP_TID, "step", -1 - lanes);
    for (int i = 0; i < spans->count; i++)
        if (spans->spans[i].level == FSM_SPAN_LANE) {
            fsm_span_name(&spans->spans[i], name);
            print_span_thread(out, thread_of(&spans->spans[i]), name, spans->spans[i].lane - lanes);
        }
    for (int i = 0; i < spans->count; i++) {
        const fsm_span *span = &spans->spans[i];
        fsm_span_name(span, name);
        print_slice(out, PLAN_PID, thread_of(span), name, "span", span->start_s, span->end_s);
        fprintf(out, "}");
    }
}

static void print_plan(FILE *out, const fsm_graph *graph, const fsm_timeline *timeline, const fsm_spans *spans)
{
    const char *comma = "\n";
    bool used[FSM_RESOURCE_COUNT] = {false};
    print_process(out, PLAN_PID, "plan", &comma);
    for (int i = 0; i < graph->count; i++) used[graph->tasks[i].resource] = true;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (used[r]) print_thread(out, PLAN_PID, r, fsm_resource_name((fsm_resource)r));
    print_spans(out, spans, fsm_graph_lanes(graph) > 1 ? fsm_graph_lanes(graph) : 0);
    for (int i = 0; i < graph->count; i++)
        print_task(out, PLAN_PID, graph, i, timeline->start_s[i], timeline->end_s[i]);
}

fsmoe_status fsm_trace_write_timeline(const fsm_graph *graph, const fsm_timeline *timeline, const char *path)
{
    fsm_spans spans;
    FSM_TRY(fsm_spans_create(graph, timeline, &spans));
    fsm_print print;
    fsmoe_status status = fsm_print_begin(&print);
    if (status == FSMOE_OK) {
        print_begin(print.out);
        print_plan(print.out, graph, timeline, &spans);
        status = finish(&print, path);
    }
    fsm_spans_destroy(&spans);
    return status;
}
