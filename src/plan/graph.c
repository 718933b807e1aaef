#include "plan/graph.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fsm_graph_destroy(fsm_graph *graph)
{
    free(graph->tasks);
    free(graph->edges);
    *graph = (fsm_graph){0};
}

/* Room for one more element, doubling; false when memory is out. */
static bool reserve(void **array, int count, int more, int *capacity, size_t size)
{
    if (count + more <= *capacity) return true;
    int larger = *capacity > 0 ? *capacity : 64;
    while (larger < count + more) larger *= 2;
    void *moved = realloc(*array, (size_t)larger * size);
    if (!moved) return false;
    *array = moved;
    *capacity = larger;
    return true;
}

void fsm_graph_wait(fsm_graph *graph, int task, int after)
{
    if (after < 0 || graph->out_of_memory) return;
    if (!reserve((void **)&graph->edges, graph->edge_count, 1, &graph->edge_capacity, sizeof *graph->edges)) {
        graph->out_of_memory = true;
        return;
    }
    graph->edges[graph->edge_count++] = after;
    graph->tasks[task].after_count++;
}

int fsm_graph_add(fsm_graph *graph, fsm_task task, const int *after, int n)
{
    if (graph->out_of_memory ||
        !reserve((void **)&graph->tasks, graph->count, 1, &graph->capacity, sizeof *graph->tasks)) {
        graph->out_of_memory = true;
        return -1;
    }
    task.after_first = graph->edge_count;
    task.after_count = 0;
    graph->tasks[graph->count] = task;
    for (int i = 0; i < n; i++) fsm_graph_wait(graph, graph->count, after[i]);
    return graph->count++;
}

fsm_graph fsm_graph_copy(const fsm_graph *graph)
{
    fsm_graph copy = {.count = graph->count, .capacity = graph->count, .edge_count = graph->edge_count};
    copy.lanes = graph->lanes, copy.parts = graph->parts, copy.spare = graph->spare;
    copy.edge_capacity = graph->edge_count;
    copy.tasks = malloc(sizeof *copy.tasks * ((size_t)graph->count + 1));
    copy.edges = malloc(sizeof *copy.edges * ((size_t)graph->edge_count + 1));
    if (!copy.tasks || !copy.edges) {
        fsm_graph_destroy(&copy);
        copy.out_of_memory = true;
        return copy;
    }
    if (graph->count > 0) memcpy(copy.tasks, graph->tasks, sizeof *copy.tasks * (size_t)graph->count);
    if (graph->edge_count > 0) memcpy(copy.edges, graph->edges, sizeof *copy.edges * (size_t)graph->edge_count);
    return copy;
}

__attribute__((format(printf, 3, 4))) static fsmoe_status wrong(const fsm_graph *graph, int i, const char *format, ...)
{
    char name[128], text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fsm_task_name(&graph->tasks[i], name);
    return fsm_fail(FSMOE_ERROR_FORMAT, "task %d (%s)%s", i, name, text);
}

static fsmoe_status check_task(const fsm_graph *graph, int i)
{
    const fsm_task *t = &graph->tasks[i];
    if (t->after_first < 0 || t->after_count < 0 || t->after_count > graph->edge_count - t->after_first)
        return wrong(graph, i, ": its edges lie outside the graph");
    for (int e = t->after_first; e < t->after_first + t->after_count; e++)
        if (graph->edges[e] < 0 || graph->edges[e] >= i)
            return wrong(graph, i, " waits for task %d, which is not before it", graph->edges[e]);
    if (t->rows_first > t->rows_last || t->slice_first > t->slice_last)
        return wrong(graph, i, ": its range ends before it starts");
    return FSMOE_OK;
}

fsmoe_status fsm_graph_check(const fsm_graph *graph)
{
    if (graph->out_of_memory) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a graph of %d tasks", graph->count);
    for (int i = 0; i < graph->count; i++) FSM_TRY(check_task(graph, i));
    return FSMOE_OK;
}

fsmoe_status fsm_graph_reorder(const fsm_graph *graph, const int *order, fsm_graph *reordered)
{
    int *place = malloc(sizeof *place * ((size_t)graph->count + 1));
    *reordered = (fsm_graph){.lanes = graph->lanes, .parts = graph->parts, .spare = graph->spare};
    if (!place) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to reorder %d tasks", graph->count);
    for (int i = 0; i < graph->count; i++) place[order[i]] = i;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *task = &graph->tasks[order[i]];
        int added = fsm_graph_add(reordered, *task, NULL, 0);
        for (int e = 0; e < task->after_count && added >= 0; e++)
            fsm_graph_wait(reordered, added, place[graph->edges[task->after_first + e]]);
    }
    free(place);
    fsmoe_status status = fsm_graph_check(reordered);
    if (status != FSMOE_OK) fsm_graph_destroy(reordered);
    return status;
}

const char *fsm_task_kind_name(fsm_task_kind kind)
{
    static const char *const names[FSM_TASK_KIND_COUNT] = {
#define TASK_NAME(name, text, description) text,
        FSM_TASK_KINDS(TASK_NAME)
#undef TASK_NAME
    };
    return names[kind];
}

const char *fsm_phase_name(fsm_phase phase)
{
    static const char *const names[FSM_PHASE_COUNT] = {"forward", "backward", "update"};
    return names[phase];
}

enum { TASK_NAME_BYTES = 128 };

void fsm_task_name(const fsm_task *t, char name[TASK_NAME_BYTES])
{
    char of[TASK_NAME_BYTES] = "";
    size_t size = sizeof of;
    if (t->layer >= 0) fsm_text_append(of, size, "layer %d, ", t->layer);
    if (t->micro >= 0) fsm_text_append(of, size, "micro %d, ", t->micro);
    if (t->lane >= 0) fsm_text_append(of, size, "lane %d, ", t->lane);
    if (t->rows_last > t->rows_first)
        fsm_text_append(of, size, "rows %lld-%lld, ", (long long)t->rows_first, (long long)t->rows_last);
    if (t->slice_last > t->slice_first)
        fsm_text_append(of, size, "slice %lld-%lld, ", (long long)t->slice_first, (long long)t->slice_last);
    snprintf(name, TASK_NAME_BYTES, "%s.%s", fsm_task_kind_name(t->kind), fsm_phase_name(t->phase));
    if (of[0]) fsm_text_append(name, TASK_NAME_BYTES, "[%.*s]", (int)strlen(of) - 2, of);
}
