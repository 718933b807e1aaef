#include "exec/spans.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A task as the spans see it; sorted by the first four, so that the tasks of every span are one run. */
typedef struct item {
    int lane, micro, phase, layer;
    double start_s, end_s;
} item;

static int order(int a, int b)
{
    return (a > b) - (a < b);
}

static int compare_items(const void *left, const void *right)
{
    const item *a = left, *b = right;
    if (a->lane != b->lane) return order(a->lane, b->lane);
    if (a->micro != b->micro) return order(a->micro, b->micro);
    if (a->phase != b->phase) return order(a->phase, b->phase);
    return order(a->layer, b->layer);
}

static bool is_update(const fsm_span *span)
{
    return span->level == FSM_SPAN_PHASE && span->number == FSM_UPDATE;
}

static int compare_siblings(const void *left, const void *right)
{
    const fsm_span *a = left, *b = right;
    if (is_update(a) != is_update(b)) return is_update(a) ? 1 : -1;
    if (a->start_s != b->start_s) return a->start_s < b->start_s ? -1 : 1;
    return order(a->first, b->first);
}

/* The span of a task among the children of `parent`, without its times; false: it has none. */
static bool child_of(const fsm_span *parent, const item *task, fsm_span *child)
{
    if (parent->level == FSM_SPAN_LAYER) return false;
    if (parent->level == FSM_SPAN_PHASE) *child = (fsm_span){.level = FSM_SPAN_LAYER, .number = task->layer};
    else if (parent->level < FSM_SPAN_LANE && task->lane >= 0)
        *child = (fsm_span){.level = FSM_SPAN_LANE, .number = task->lane};
    else if (parent->level < FSM_SPAN_MICRO && task->micro >= 0)
        *child = (fsm_span){.level = FSM_SPAN_MICRO, .number = task->micro};
    else *child = (fsm_span){.level = FSM_SPAN_PHASE, .number = task->phase};
    child->lane = task->lane;
    return child->number >= 0;
}

/* Makes siblings lie inside their parent and, but for lanes, apart. The update's all-reduces may run beneath a backward
 * phase: were their start to end it, most of it would be gone. */
static void part_siblings(fsm_span *siblings, int count, const fsm_span *parent)
{
    double latest_s = parent->start_s;
    qsort(siblings, (size_t)count, sizeof *siblings, compare_siblings);
    for (int i = 0; i < count; i++) {
        fsm_span *span = &siblings[i];
        span->start_s = fmax(span->start_s, parent->start_s);
        span->end_s = fmin(span->end_s, parent->end_s);
        if (is_update(span)) span->start_s = fmax(span->start_s, latest_s);
        else if (i > 0 && span->level != FSM_SPAN_LANE)
            siblings[i - 1].end_s = fmin(siblings[i - 1].end_s, span->start_s);
        latest_s = fmax(latest_s, span->end_s);
    }
}

/* Appends the children of span `p`. */
static void add_children(fsm_spans *spans, const item *items, int p)
{
    const fsm_span parent = spans->spans[p];
    fsm_span *children = spans->spans + spans->count, child, next;
    int n = 0, kept = 0;
    for (int i = parent.first, end = parent.first + parent.count; i < end;) {
        int first = i;
        bool exists = child_of(&parent, &items[i], &child);
        child.parent = p, child.first = first;
        child.start_s = items[i].start_s, child.end_s = items[i].end_s;
        for (i++; i < end && child_of(&parent, &items[i], &next) == exists; i++) {
            if (exists && (next.level != child.level || next.number != child.number)) break;
            child.start_s = fmin(child.start_s, items[i].start_s);
            child.end_s = fmax(child.end_s, items[i].end_s);
        }
        child.count = i - first;
        if (exists) children[n++] = child;
    }
    part_siblings(children, n, &parent);
    for (int i = 0; i < n; i++)
        if (children[i].end_s > children[i].start_s) children[kept++] = children[i];
    spans->count += kept;
}

static bool has_several_micros(const fsm_graph *graph)
{
    int only = -1;
    for (int i = 0; i < graph->count; i++) {
        int micro = graph->tasks[i].micro;
        if (micro >= 0 && only >= 0 && micro != only) return true;
        if (micro >= 0) only = micro;
    }
    return false;
}

/* With one lane or one micro-batch no task names it. What is of several lanes together, as the exchange of the losses
 * is, belongs to the step alone; the update is a phase of it. */
static item item_of(const fsm_task *t, bool lanes, bool micros)
{
    item of = {.lane = -1, .micro = micros && t->micro >= 0 ? t->micro : -1, .phase = (int)t->phase, .layer = t->layer};
    if (!lanes || t->phase == FSM_UPDATE) return of;
    if (t->lane < 0) return (item){.lane = -1, .micro = -1, .phase = -1, .layer = -1};
    of.lane = t->lane;
    return of;
}

/* The tasks, sorted; the update's lane and micro -1 come first. */
static void fill_items(const fsm_graph *graph, const fsm_timeline *timeline, item *items)
{
    bool lanes = fsm_graph_lanes(graph) > 1, micros = has_several_micros(graph);
    for (int i = 0; i < graph->count; i++) {
        items[i] = item_of(&graph->tasks[i], lanes, micros);
        items[i].start_s = timeline->start_s[i];
        items[i].end_s = timeline->end_s[i];
    }
    qsort(items, (size_t)graph->count, sizeof *items, compare_items);
}

fsmoe_status fsm_spans_create(const fsm_graph *graph, const fsm_timeline *timeline, fsm_spans *spans)
{
    *spans = (fsm_spans){0};
    if (graph->count == 0) return FSMOE_OK;
    item *items = malloc((size_t)graph->count * sizeof *items);
    spans->spans = malloc((1 + (FSM_SPAN_LEVEL_COUNT - 1) * (size_t)graph->count) * sizeof *spans->spans);
    if (!items || !spans->spans) {
        free(items);
        fsm_spans_destroy(spans);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the spans of %d tasks", graph->count);
    }
    fill_items(graph, timeline, items);
    fsm_span step = {.level = FSM_SPAN_STEP,
                     .lane = -1,
                     .parent = -1,
                     .start_s = INFINITY,
                     .end_s = -INFINITY,
                     .count = graph->count};
    for (int i = 0; i < graph->count; i++) {
        step.start_s = fmin(step.start_s, items[i].start_s);
        step.end_s = fmax(step.end_s, items[i].end_s);
    }
    spans->spans[spans->count++] = step;
    for (int i = 0; i < spans->count; i++) add_children(spans, items, i);
    free(items);
    return FSMOE_OK;
}

void fsm_spans_destroy(fsm_spans *spans)
{
    free(spans->spans);
    *spans = (fsm_spans){0};
}

void fsm_span_name(const fsm_span *span, char name[FSM_SPAN_NAME_BYTES])
{
    static const char *const kinds[FSM_SPAN_LEVEL_COUNT] = {
        [FSM_SPAN_LANE] = "lane", [FSM_SPAN_MICRO] = "micro", [FSM_SPAN_LAYER] = "layer"};
    if (span->level == FSM_SPAN_STEP) snprintf(name, FSM_SPAN_NAME_BYTES, "step");
    else if (span->level == FSM_SPAN_PHASE)
        snprintf(name, FSM_SPAN_NAME_BYTES, "%s", fsm_phase_name((fsm_phase)span->number));
    else snprintf(name, FSM_SPAN_NAME_BYTES, "%s %d", kinds[span->level], span->number);
}
