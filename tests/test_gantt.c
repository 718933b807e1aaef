/* Pictures of a planned step: the Gantt SVG, its spans, the Chrome trace.
 * Oracles: the graph itself, a reader of balanced tags, Jansson, the sum of all tasks' times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "exec/spans.h"
#include "exec/trace.h"
#include "report/gantt.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a step by hand: tasks in order on their resources, each after what it waits for ---- */

typedef struct plan {
    fsm_graph graph;
    fsm_timeline timeline;
    int capacity;
    double free_s[FSM_RESOURCE_COUNT];
} plan;

static int put(plan *p, fsm_task task, double seconds, const int *after, int n)
{
    if (p->graph.count == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 64;
        p->timeline.start_s = realloc(p->timeline.start_s, (size_t)p->capacity * sizeof(double));
        p->timeline.end_s = realloc(p->timeline.end_s, (size_t)p->capacity * sizeof(double));
        assert_non_null(p->timeline.start_s);
        assert_non_null(p->timeline.end_s);
    }
    double start_s = p->free_s[task.resource];
    for (int i = 0; i < n; i++)
        if (after[i] >= 0) start_s = fmax(start_s, p->timeline.end_s[after[i]]);
    int index = fsm_graph_add(&p->graph, task, after, n);
    assert_true(index >= 0);
    p->timeline.start_s[index] = start_s;
    p->timeline.end_s[index] = p->free_s[task.resource] = start_s + seconds;
    p->timeline.makespan_s = fmax(p->timeline.makespan_s, start_s + seconds);
    return index;
}

static void destroy(plan *p)
{
    fsm_graph_destroy(&p->graph);
    free(p->timeline.start_s);
    free(p->timeline.end_s);
}

static fsm_task task_of(fsm_task_kind kind, fsm_phase phase, fsm_resource resource, int layer, int micro)
{
    return (fsm_task){.kind = kind, .phase = phase, .resource = resource, .layer = layer, .micro = micro, .size = 1};
}

/* dispatch, expert, combine of two chunks; backward's weight gradients run late, on what follows. */
static int put_layer(plan *p, fsm_phase phase, int layer, int micro, int last)
{
    int ends[2];
    last = put(p, task_of(FSM_TASK_ATTENTION, phase, FSM_COMPUTE, layer, micro), 1.5e-3, &last, 1);
    for (int c = 0; c < 2; c++) {
        fsm_task chunk = task_of(FSM_TASK_A2A_DISPATCH, phase, FSM_INTER, layer, micro);
        chunk.rows_first = 64 * c, chunk.rows_last = 64 * c + 64;
        int at = put(p, chunk, 0.4e-3, &last, 1);
        chunk.kind = FSM_TASK_EXPERT, chunk.resource = FSM_COMPUTE;
        at = put(p, chunk, 0.7e-3, &at, 1);
        if (phase == FSM_BACKWARD) {
            chunk.kind = FSM_TASK_WEIGHT_GRAD;
            put(p, chunk, 0.6e-3, &at, 1);
        }
        chunk.kind = FSM_TASK_A2A_COMBINE, chunk.resource = FSM_INTER;
        ends[c] = put(p, chunk, 0.4e-3, &at, 1);
    }
    return put(p, task_of(FSM_TASK_IORDER, phase, FSM_COMPUTE, layer, micro), 0.05e-3, ends, 2);
}

/* All-reduces start beneath the last backward. */
static plan make_plan(int layers, int micros)
{
    plan p = {.capacity = 0};
    int last = -1;
    for (int m = 0; m < micros; m++) {
        last = put(&p, task_of(FSM_TASK_EMBEDDING, FSM_FORWARD, FSM_COMPUTE, -1, m), 0.2e-3, &last, 1);
        for (int l = 0; l < layers; l++) last = put_layer(&p, FSM_FORWARD, l, m, last);
        last = put(&p, task_of(FSM_TASK_HEAD, FSM_FORWARD, FSM_COMPUTE, -1, m), 1e-3, &last, 1);
        for (int l = layers - 1; l >= 0; l--) {
            last = put_layer(&p, FSM_BACKWARD, l, m, last);
            fsm_task piece = task_of(FSM_TASK_ALLREDUCE, FSM_UPDATE, FSM_INTER, -1, -1);
            piece.slice_first = 100 * l, piece.slice_last = 100 * l + 100;
            if (m == micros - 1) put(&p, piece, 0.3e-3, &last, 1);
        }
    }
    last = p.graph.count - 1;
    put(&p, task_of(FSM_TASK_OPTIMIZER, FSM_UPDATE, FSM_COMPUTE, -1, -1), 1e-3, &last, 1);
    return p;
}

static void move(plan *p, int task)
{
    double seconds = p->timeline.end_s[task] - p->timeline.start_s[task];
    p->timeline.start_s[task] = p->timeline.makespan_s;
    p->timeline.end_s[task] = p->timeline.makespan_s += seconds;
}

/* Weight gradients after all else but the optimizer: layers, phases and micro-batches end long after the next has begun. */
static void delay_weight_grads(plan *p)
{
    for (int i = 0; i < p->graph.count; i++)
        if (p->graph.tasks[i].kind == FSM_TASK_WEIGHT_GRAD) move(p, i);
    move(p, p->graph.count - 1);
}

/* ---- reading the picture ---- */

static char *picture_of(const plan *p, const char *title, const char *subtitle)
{
    char *svg = NULL;
    assert_int_equal(fsm_gantt_text(&p->graph, &p->timeline, title, subtitle, &svg), FSMOE_OK);
    assert_non_null(svg);
    return svg;
}

/* One of the five entities at `at`. */
static bool is_entity(const char *at)
{
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < 5; i++)
        if (strncmp(at, entities[i], strlen(entities[i])) == 0) return true;
    return false;
}

/* Tags balance and nest, attributes are quoted, every & is an entity. */
static void assert_well_formed(const char *svg)
{
    char open[16][16];
    int depth = 0;
    for (const char *at = svg; *at; at++) {
        if (*at == '&' && !is_entity(at)) fail_msg("a bare & at %.40s", at);
        if (*at != '<') continue;
        char name[16] = "";
        bool closes = at[1] == '/';
        sscanf(at + 1 + closes, "%15[a-z]", name);
        assert_true(name[0] != 0);
        int quotes = 0;
        for (at++; *at && (*at != '>' || quotes % 2); at++) {
            quotes += *at == '"';
            if (*at == '<') fail_msg("< inside <%s", name);
        }
        assert_int_equal(*at, '>');
        assert_int_equal(quotes % 2, 0);
        if (closes) {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        } else if (at[-1] != '/') {
            assert_true(depth < 16);
            strcpy(open[depth++], name);
        }
    }
    assert_int_equal(depth, 0);
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, word)); at += strlen(word)) count++;
    return count;
}

/* The rectangles of one resource: how many, and their area as time; busy times as titles tell them. */
typedef struct lane {
    int rects, tasks;
    double area_s, told_s;
} lane;

/* A title: "name", or "12 tasks" of a column, and their times. */
static void read_title(const char *title, lane *result)
{
    const char *times = strchr(title, '\n'), *busy = strstr(times, "busy "), *close = strstr(times, "</title>");
    double busy_ms;
    int tasks = 1;
    if (busy && busy < close) {
        assert_int_equal(sscanf(busy, "busy %lf ms", &busy_ms), 1);
        assert_int_equal(sscanf(title, "<title>%d tasks", &tasks), 1);
    } else {
        assert_int_equal(sscanf(strstr(times, " ms, "), " ms, %lf ms", &busy_ms), 1);
    }
    result->tasks += tasks;
    result->told_s += 1e-3 * busy_ms;
}

/* A lane ends with a line of its own; its columns, groups too, with the line of their rectangles. */
static lane read_lane(const char *svg, const char *id, double makespan_s)
{
    enum { PLOT_PX = 1300, LANE_PX = 72 };
    char begin[64];
    lane result = {0};
    snprintf(begin, sizeof begin, "<g class=\"lane\" id=\"%s\"", id);
    const char *at = strstr(svg, begin);
    if (!at) return result;
    const char *end = strstr(at, "\n</g>\n");
    assert_non_null(end);
    while ((at = strchr(at + 1, '<')) && at < end) {
        double width, height;
        if (strncmp(at, "<title>", 7) == 0) read_title(at, &result);
        if (strncmp(at, "<rect ", 6) != 0) continue;
        assert_int_equal(sscanf(strstr(at, " width=\""), " width=\"%lf\"", &width), 1);
        assert_int_equal(sscanf(strstr(at, " height=\""), " height=\"%lf\"", &height), 1);
        result.rects++;
        result.area_s += width * height / (PLOT_PX * LANE_PX) * makespan_s;
    }
    return result;
}

static double busy_of(const plan *p, fsm_resource resource, int *tasks)
{
    double sum_s = 0;
    *tasks = 0;
    for (int i = 0; i < p->graph.count; i++) {
        if (p->graph.tasks[i].resource != resource) continue;
        sum_s += p->timeline.end_s[i] - p->timeline.start_s[i];
        ++*tasks;
    }
    return sum_s;
}

/* ---- the picture ---- */

static void test_gantt_draws_every_task_once_with_its_times(void **state)
{
    (void)state;
    plan p = make_plan(2, 1);
    char *svg = picture_of(&p, "a step", "two layers");
    assert_well_formed(svg);
    for (int i = 0; i < p.graph.count; i++) {
        char name[128], title[256];
        fsm_task_name(&p.graph.tasks[i], name);
        double start_ms = 1e3 * p.timeline.start_s[i], end_ms = 1e3 * p.timeline.end_s[i];
        snprintf(title, sizeof title, "<title>%s\n%.3f – %.3f ms, %.3f ms</title>", name, start_ms, end_ms,
                 end_ms - start_ms);
        if (count_of(svg, title) != 1) fail_msg("%s: %d times", title, count_of(svg, title));
    }
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        int tasks;
        busy_of(&p, (fsm_resource)r, &tasks);
        assert_int_equal(read_lane(svg, fsm_resource_name((fsm_resource)r), p.timeline.makespan_s).rects, tasks);
    }
    free(svg);
    destroy(&p);
}

static void test_gantt_has_a_row_for_resources_with_tasks_and_their_busy_share(void **state)
{
    (void)state;
    plan p = {.capacity = 0};
    put(&p, task_of(FSM_TASK_ATTENTION, FSM_FORWARD, FSM_COMPUTE, 0, 0), 3e-3, NULL, 0);
    int last = 0;
    put(&p, task_of(FSM_TASK_A2A_DISPATCH, FSM_FORWARD, FSM_INTER, 0, 0), 1e-3, &last, 1);
    char *svg = picture_of(&p, "a step", NULL);
    assert_int_equal(count_of(svg, "class=\"lane\""), 2);
    assert_null(strstr(svg, "intra-node link"));
    assert_int_equal(count_of(svg, ">compute<"), 1);
    assert_int_equal(count_of(svg, ">inter-node link<"), 1);
    assert_int_equal(count_of(svg, ">75 %<"), 1);
    assert_int_equal(count_of(svg, ">25 %<"), 1);
    free(svg);
    destroy(&p);
}

static void test_gantt_legend_names_the_kinds_that_appear(void **state)
{
    (void)state;
    plan p = make_plan(1, 1);
    char *svg = picture_of(&p, "a step", NULL);
    const char *lanes = strstr(svg, "class=\"lane\"");
    assert_non_null(strstr(lanes, ">embedding, head</text>"));
    assert_non_null(strstr(lanes, ">weight_grad</text>"));
    assert_non_null(strstr(lanes, "the darker one is backward"));
    assert_null(strstr(svg, "reducescatter"));
    free(svg);
    destroy(&p);
}

/* Four chunks of 1 ms in a step of `step_ms`. */
static plan make_chunks(double step_ms)
{
    plan p = {.capacity = 0};
    for (int c = 0; c < 4; c++) {
        fsm_task chunk = task_of(FSM_TASK_EXPERT, FSM_FORWARD, FSM_COMPUTE, 0, 0);
        chunk.rows_first = 64 * c, chunk.rows_last = 64 * c + 64;
        put(&p, chunk, 1e-3, NULL, 0);
    }
    put(&p, task_of(FSM_TASK_HEAD, FSM_FORWARD, FSM_COMPUTE, -1, 0), 1e-3 * (step_ms - 4), NULL, 0);
    return p;
}

/* 130, 87 and 43 px wide; the last have room for "0–64", but not for "192–256". */
static void test_gantt_labels_chunks_alike(void **state)
{
    (void)state;
    static const struct {
        double step_ms;
        const char *labels[4];
    } cases[] = {{10, {">expert 0–64<", ">expert 64–128<", ">expert 128–192<", ">expert 192–256<"}},
                 {15, {">0–64<", ">64–128<", ">128–192<", ">192–256<"}},
                 {30, {"y=\"40\">0<", "y=\"40\">1<", "y=\"40\">2<", "y=\"40\">3<"}}};
    for (size_t c = 0; c < 3; c++) {
        plan p = make_chunks(cases[c].step_ms);
        char *svg = picture_of(&p, "a step", NULL);
        for (int i = 0; i < 4; i++)
            if (count_of(svg, cases[c].labels[i]) != 1) fail_msg("no label %s", cases[c].labels[i]);
        assert_int_equal(count_of(svg, "y=\"40\">head<"), 1);
        free(svg);
        destroy(&p);
    }
}

static void test_gantt_escapes_its_titles(void **state)
{
    (void)state;
    plan p = make_plan(1, 1);
    char *svg = picture_of(&p, "a < b & \"c\"", "d > 'e' \x01");
    assert_well_formed(svg);
    assert_int_equal(count_of(svg, "a &lt; b &amp; &quot;c&quot;"), 2); /* the label and the heading */
    assert_int_equal(count_of(svg, "d &gt; &#39;e&#39; \xEF\xBF\xBD"), 1);
    free(svg);
    destroy(&p);
}

static void test_gantt_of_nothing_says_so(void **state)
{
    (void)state;
    plan none = {.capacity = 0}, still = {.capacity = 0};
    put(&still, task_of(FSM_TASK_GATE, FSM_FORWARD, FSM_COMPUTE, 0, 0), 0, NULL, 0);
    char *svg = picture_of(&none, "an empty step", NULL);
    assert_well_formed(svg);
    assert_non_null(strstr(svg, "This graph has no tasks."));
    free(svg);
    svg = picture_of(&still, "a step of no time", NULL);
    assert_well_formed(svg);
    assert_non_null(strstr(svg, "The tasks of this graph take no time."));
    free(svg);
    destroy(&still);
}

/* The widths of columns, which depend on how many layers there are: 1, 10 and 5 pixels. */
static void test_gantt_of_thousands_of_tasks_conserves_busy_time(void **state)
{
    (void)state;
    static const struct {
        int layers, micros, stretch;
    } cases[] = {{64, 1, 12}, {64, 4, 4}, {64, 8, 1}};
    for (size_t c = 0; c < 3; c++) {
        plan p = make_plan(cases[c].layers, cases[c].micros);
        for (int i = 0, last = p.graph.count - 1; i < cases[c].stretch * 512; i++) {
            /* many short tasks, on all resources, with gaps */
            fsm_task_kind kind = i % 2 ? FSM_TASK_ALLGATHER : FSM_TASK_REDUCESCATTER;
            last = put(&p, task_of(kind, FSM_UPDATE, (fsm_resource)(i % 3), -1, -1), (1 + i % 7) * 3e-6, &last, 1);
        }
        assert_true(p.graph.count >= 6000);
        char *svg = picture_of(&p, "many", "tasks");
        assert_well_formed(svg);
        assert_true(strlen(svg) < 2000000);
        assert_true(count_of(svg, "class=\"column\"") > 0);
        for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
            int tasks;
            double busy_s = busy_of(&p, (fsm_resource)r, &tasks);
            lane l = read_lane(svg, fsm_resource_name((fsm_resource)r), p.timeline.makespan_s);
            assert_int_equal(l.tasks, tasks);
            assert_true(l.rects < tasks);
            if (fabs(l.told_s - busy_s) > 2e-3 * busy_s) fail_msg("told %.9g of %.9g s", l.told_s, busy_s);
            if (fabs(l.area_s - busy_s) > 5e-3 * busy_s) fail_msg("drawn %.9g of %.9g s", l.area_s, busy_s);
        }
        free(svg);
        destroy(&p);
    }
}

static void test_gantt_writes_the_text_to_a_file(void **state)
{
    (void)state;
    char folder[] = "/tmp/fsmoe-gantt-XXXXXX", path[64], *bytes;
    size_t size;
    plan p = make_plan(1, 1);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/step.svg", folder);
    assert_int_equal(fsm_gantt_write(&p.graph, &p.timeline, "a step", NULL, path), FSMOE_OK);
    assert_int_equal(fsm_file_read(path, &bytes, &size), FSMOE_OK);
    char *svg = picture_of(&p, "a step", NULL);
    assert_string_equal(bytes, svg);
    free(svg);
    free(bytes);
    snprintf(path, sizeof path, "%s/missing/step.svg", folder);
    assert_int_equal(fsm_gantt_write(&p.graph, &p.timeline, "a step", NULL, path), FSMOE_ERROR_IO);
    assert_int_equal(fsm_trace_write_timeline(&p.graph, &p.timeline, path), FSMOE_ERROR_IO);
    assert_int_equal(fsm_file_remove_tree(folder), FSMOE_OK);
    destroy(&p);
}

/* ---- spans ---- */

/* Children after their parents and inside them; siblings in order of time. */
static void assert_spans_nest(const fsm_spans *spans)
{
    for (int i = 0; i < spans->count; i++) {
        const fsm_span *span = &spans->spans[i];
        assert_true(span->parent < i);
        if (i == 0) continue;
        const fsm_span *parent = &spans->spans[span->parent], *before = span - 1;
        assert_true(span->level > parent->level);
        assert_true(span->start_s >= parent->start_s && span->end_s <= parent->end_s && span->end_s > span->start_s);
        if (before->parent == span->parent) assert_true(span->start_s >= before->end_s);
    }
}

static const fsm_span *find_span(const fsm_spans *spans, const char *name)
{
    for (int i = 0; i < spans->count; i++) {
        char text[FSM_SPAN_NAME_BYTES];
        fsm_span_name(&spans->spans[i], text);
        if (strcmp(text, name) == 0) return &spans->spans[i];
    }
    return NULL;
}

static int count_level(const fsm_spans *spans, fsm_span_level level)
{
    int count = 0;
    for (int i = 0; i < spans->count; i++) count += spans->spans[i].level == level;
    return count;
}

static void test_spans_of_one_micro_batch_are_step_phase_layer(void **state)
{
    (void)state;
    plan p = make_plan(3, 1);
    fsm_spans spans;
    assert_int_equal(fsm_spans_create(&p.graph, &p.timeline, &spans), FSMOE_OK);
    assert_spans_nest(&spans);
    assert_int_equal(count_level(&spans, FSM_SPAN_MICRO), 0);
    assert_int_equal(count_level(&spans, FSM_SPAN_PHASE), 3);
    assert_int_equal(count_level(&spans, FSM_SPAN_LAYER), 6);
    assert_true(find_span(&spans, "step")->end_s == p.timeline.makespan_s);
    assert_true(find_span(&spans, "forward")->start_s == 0);
    /* forward's last task is the head, and backward starts there */
    assert_true(find_span(&spans, "forward")->end_s == find_span(&spans, "backward")->start_s);
    /* all-reduces run early, yet the update starts with backward's end */
    int first = 0;
    while (p.graph.tasks[first].kind != FSM_TASK_ALLREDUCE) first++;
    assert_true(p.timeline.start_s[first] < find_span(&spans, "update")->start_s);
    assert_true(find_span(&spans, "update")->start_s == find_span(&spans, "backward")->end_s);
    fsm_spans_destroy(&spans);
    destroy(&p);
}

static void test_spans_of_several_micro_batches_nest_in_them(void **state)
{
    (void)state;
    plan p = make_plan(2, 3);
    fsm_spans spans;
    assert_int_equal(fsm_spans_create(&p.graph, &p.timeline, &spans), FSMOE_OK);
    assert_spans_nest(&spans);
    assert_int_equal(count_level(&spans, FSM_SPAN_MICRO), 3);
    assert_int_equal(count_level(&spans, FSM_SPAN_PHASE), 7);
    assert_int_equal(count_level(&spans, FSM_SPAN_LAYER), 12);
    assert_int_equal(find_span(&spans, "update")->parent, 0);
    assert_int_equal(spans.spans[find_span(&spans, "forward")->parent].level, FSM_SPAN_MICRO);
    fsm_spans_destroy(&spans);
    destroy(&p);
}

static void test_spans_end_where_the_next_one_starts(void **state)
{
    (void)state;
    plan p = make_plan(2, 3);
    fsm_spans spans;
    delay_weight_grads(&p);
    assert_int_equal(fsm_spans_create(&p.graph, &p.timeline, &spans), FSMOE_OK);
    assert_spans_nest(&spans);
    assert_int_equal(count_level(&spans, FSM_SPAN_LAYER), 12);
    assert_true(find_span(&spans, "micro 0")->end_s == find_span(&spans, "micro 1")->start_s);
    /* the last micro-batch keeps its late gradients */
    assert_true(find_span(&spans, "micro 2")->end_s == find_span(&spans, "update")->start_s);
    assert_true(find_span(&spans, "update")->start_s == p.timeline.start_s[p.graph.count - 1]);
    fsm_spans_destroy(&spans);
    destroy(&p);
}

/* ---- the trace ---- */

typedef struct slice {
    int thread;
    double start_us, end_us;
} slice;

static int compare_slices(const void *left, const void *right)
{
    const slice *a = left, *b = right;
    if (a->thread != b->thread) return a->thread - b->thread;
    if (a->start_us != b->start_us) return a->start_us < b->start_us ? -1 : 1;
    return (a->end_us < b->end_us) - (a->end_us > b->end_us);
}

/* Slices of a thread nest or are disjoint: in order of start, longest first, each ends within all that are open. The
 * least distance of two times is a nanosecond. */
static void assert_slices_nest(slice *slices, size_t count)
{
    double open_us[16];
    int depth = 0;
    qsort(slices, count, sizeof *slices, compare_slices);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && slices[i].thread != slices[i - 1].thread) depth = 0;
        while (depth > 0 && open_us[depth - 1] <= slices[i].start_us + 1e-4) depth--;
        if (depth > 0 && slices[i].end_us > open_us[depth - 1] + 1e-4)
            fail_msg("thread %d: a slice from %.3f to %.3f crosses one that ends at %.3f", slices[i].thread,
                     slices[i].start_us, slices[i].end_us, open_us[depth - 1]);
        assert_true(depth < 16);
        open_us[depth++] = slices[i].end_us;
    }
}

static const char *text_of(json_t *event, const char *key)
{
    return json_string_value(json_object_get(event, key));
}

/* The task of a slice has its name, thread and times. */
static void check_task_slice(const plan *p, json_t *event, const slice *s, int *seen)
{
    json_int_t index = json_integer_value(json_object_get(json_object_get(event, "args"), "task"));
    char name[128];
    assert_in_range(index, 0, p->graph.count - 1);
    fsm_task_name(&p->graph.tasks[index], name);
    assert_string_equal(text_of(event, "name"), name);
    assert_int_equal(s->thread, p->graph.tasks[index].resource);
    assert_true(fabs(s->start_us - 1e6 * p->timeline.start_s[index]) < 1e-3);
    assert_true(fabs(s->end_us - 1e6 * p->timeline.end_s[index]) < 2e-3);
    seen[index]++;
}

static void check_trace(const plan *p, json_t *events)
{
    slice *slices = calloc(json_array_size(events), sizeof *slices);
    int *seen = calloc((size_t)p->graph.count, sizeof *seen), spans = 0;
    size_t i, count = 0;
    json_t *event;
    assert_non_null(slices);
    assert_non_null(seen);
    json_array_foreach(events, i, event)
    {
        if (strcmp(text_of(event, "ph"), "X") != 0) continue;
        double start_us = json_number_value(json_object_get(event, "ts"));
        slice s = {(int)json_integer_value(json_object_get(event, "tid")), start_us,
                   start_us + json_number_value(json_object_get(event, "dur"))};
        if (s.thread < FSM_RESOURCE_COUNT) check_task_slice(p, event, &s, seen);
        else spans++;
        slices[count++] = s;
    }
    for (int t = 0; t < p->graph.count; t++) assert_int_equal(seen[t], 1);
    assert_true(spans > 3);
    assert_slices_nest(slices, count);
    free(slices);
    free(seen);
}

static void test_trace_of_a_plan_has_every_task_once_and_slices_that_nest(void **state)
{
    (void)state;
    char folder[] = "/tmp/fsmoe-gantt-XXXXXX", path[64];
    json_error_t error;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/trace.json", folder);
    for (int micros = 1; micros <= 3; micros++) {
        plan p = make_plan(5, micros);
        if (micros > 1) delay_weight_grads(&p);
        /* times that are no whole nanoseconds */
        for (int i = 0; i < p.graph.count; i++) p.timeline.start_s[i] /= 7, p.timeline.end_s[i] /= 7;
        assert_int_equal(fsm_trace_write_timeline(&p.graph, &p.timeline, path), FSMOE_OK);
        json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
        if (!root) fail_msg("line %d: %s", error.line, error.text);
        check_trace(&p, json_object_get(root, "traceEvents"));
        json_decref(root);
        destroy(&p);
    }
    assert_int_equal(fsm_file_remove_tree(folder), FSMOE_OK);
}

static void test_trace_of_an_empty_plan_is_json(void **state)
{
    (void)state;
    char folder[] = "/tmp/fsmoe-gantt-XXXXXX", path[64];
    plan none = {.capacity = 0};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/trace.json", folder);
    assert_int_equal(fsm_trace_write_timeline(&none.graph, &none.timeline, path), FSMOE_OK);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_int_equal(json_array_size(json_object_get(root, "traceEvents")), 1);
    json_decref(root);
    assert_int_equal(fsm_file_remove_tree(folder), FSMOE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gantt_draws_every_task_once_with_its_times),
        cmocka_unit_test(test_gantt_has_a_row_for_resources_with_tasks_and_their_busy_share),
        cmocka_unit_test(test_gantt_legend_names_the_kinds_that_appear),
        cmocka_unit_test(test_gantt_labels_chunks_alike),
        cmocka_unit_test(test_gantt_escapes_its_titles),
        cmocka_unit_test(test_gantt_of_nothing_says_so),
        cmocka_unit_test(test_gantt_of_thousands_of_tasks_conserves_busy_time),
        cmocka_unit_test(test_gantt_writes_the_text_to_a_file),
        cmocka_unit_test(test_spans_of_one_micro_batch_are_step_phase_layer),
        cmocka_unit_test(test_spans_of_several_micro_batches_nest_in_them),
        cmocka_unit_test(test_spans_end_where_the_next_one_starts),
        cmocka_unit_test(test_trace_of_a_plan_has_every_task_once_and_slices_that_nest),
        cmocka_unit_test(test_trace_of_an_empty_plan_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
