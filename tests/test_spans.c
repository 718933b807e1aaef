/* A step as nested spans, and the Chrome trace of a planned one. Oracles: the graph itself, Jansson. */
#include "plan_by_hand.h"

/* ---- spans ---- */

/* Children after their parents and inside them; siblings but lanes one after the other. */
static void assert_spans_nest(const fsm_spans *spans)
{
    for (int i = 0; i < spans->count; i++) {
        const fsm_span *span = &spans->spans[i];
        assert_true(span->parent < i);
        if (i == 0) continue;
        const fsm_span *parent = &spans->spans[span->parent], *before = span - 1;
        assert_true(span->level > parent->level);
        assert_true(span->start_s >= parent->start_s && span->end_s <= parent->end_s && span->end_s > span->start_s);
        if (before->parent == span->parent && span->level != FSM_SPAN_LANE) assert_true(span->start_s >= before->end_s);
        if (parent->lane >= 0) assert_int_equal(span->lane, parent->lane);
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

/* Each lane goes through all layers; the exchange between forward and backward is of none. */
static void test_spans_of_lanes_nest_in_each(void **state)
{
    (void)state;
    for (int lanes = 2; lanes <= 4; lanes++) {
        plan p = make_plan_of_lanes(3, lanes);
        fsm_spans spans;
        assert_int_equal(fsm_spans_create(&p.graph, &p.timeline, &spans), FSMOE_OK);
        assert_spans_nest(&spans);
        assert_int_equal(count_level(&spans, FSM_SPAN_LANE), lanes);
        assert_int_equal(count_level(&spans, FSM_SPAN_MICRO), 0);
        assert_int_equal(count_level(&spans, FSM_SPAN_PHASE), 2 * lanes + 1);
        assert_int_equal(count_level(&spans, FSM_SPAN_LAYER), 6 * lanes);
        const fsm_span *first = find_span(&spans, "lane 0"), *second = find_span(&spans, "lane 1");
        const fsm_span *update = find_span(&spans, "update");
        assert_true(first->start_s == 0 && second->start_s > 0 && second->start_s < first->end_s);
        assert_int_equal(update->parent, 0);
        assert_int_equal(update->lane, -1);
        assert_true(update->start_s >= first->end_s && update->start_s >= second->end_s);
        fsm_spans_destroy(&spans);
        destroy(&p);
    }
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
    for (int micros = 0; micros <= 3; micros++) {
        plan p = micros > 0 ? make_plan(5, micros) : make_plan_of_lanes(5, 3);
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
        cmocka_unit_test(test_spans_of_one_micro_batch_are_step_phase_layer),
        cmocka_unit_test(test_spans_of_several_micro_batches_nest_in_them),
        cmocka_unit_test(test_spans_end_where_the_next_one_starts),
        cmocka_unit_test(test_spans_of_lanes_nest_in_each),
        cmocka_unit_test(test_trace_of_a_plan_has_every_task_once_and_slices_that_nest),
        cmocka_unit_test(test_trace_of_an_empty_plan_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
