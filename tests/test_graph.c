/* The task graph: as a value (JSON and back, checks), and as the executor runs it.
 * Oracles: equality of arrays, the order of edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DRAW_SEED 31
#include "base/file.h"
#include "draws.h"
#include "exec/trace.h"
#include "plan/schedule/schedule.h"
#include "same_graph.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- graphs as values ---- */

static fsm_task random_task(int lanes)
{
    int64_t rows = draw(100), slice = draw(1000) * 1000000007;
    return (fsm_task){
        .kind = (fsm_task_kind)draw(FSM_TASK_KIND_COUNT),
        .phase = (fsm_phase)draw(FSM_PHASE_COUNT),
        .resource = (fsm_resource)draw(FSM_RESOURCE_COUNT),
        .layer = (int)draw(5) - 1,
        .micro = (int)draw(3) - 1,
        .lane = (int)draw(lanes + 1) - 1,
        .rows_first = rows,
        .rows_last = rows + draw(3) * draw(50),
        .slice_first = slice,
        .slice_last = slice + draw(2) * draw(1000),
        .group = (fsm_group)draw(FSM_GROUP_COUNT),
        .size = draw(4) == 0 ? 0 : 1e15 * draw_uniform(),
        .launches = (int)draw(4),
    };
}

/* Micro-batches in parts, or side by side, or both. */
static void random_graph(int tasks, fsm_graph *graph)
{
    int lanes = 1 + (int)draw(FSM_MAX_LANES), parts = 1 + (int)draw(lanes);
    if (lanes % parts != 0) parts = lanes;
    *graph = (fsm_graph){.lanes = lanes, .parts = parts, .spare = (int)draw(3)};
    for (int i = 0; i < tasks; i++) {
        int after[8], n = 0;
        for (int e = 0; i > 0 && e < draw(6); e++) after[n++] = draw(8) ? (int)draw(i) : -1;
        assert_int_equal(fsm_graph_add(graph, random_task(lanes), after, n), i);
        if (i > 0 && draw(3) == 0) fsm_graph_wait(graph, i, (int)draw(i));
    }
    assert_int_equal(fsm_graph_check(graph), FSMOE_OK);
}

static void test_graph_reads_back_what_it_prints(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        fsm_graph graph, back;
        char *text;
        random_graph((int)draw(200), &graph);
        assert_int_equal(fsm_graph_to_json(&graph, &text), FSMOE_OK);
        assert_int_equal(fsm_graph_from_json(text, &back), FSMOE_OK);
        assert_same_graph(&graph, &back);
        free(text);
        fsm_graph_destroy(&graph);
        fsm_graph_destroy(&back);
    }
}

static void test_graph_that_has_no_number_for_a_size_is_not_printed(void **state)
{
    (void)state;
    fsm_graph graph = {0};
    char *text;
    fsm_graph_add(&graph, (fsm_task){.size = NAN}, NULL, 0);
    assert_int_not_equal(fsm_graph_to_json(&graph, &text), FSMOE_OK);
    assert_null(text);
    fsm_graph_destroy(&graph);
}

/* A graph of four tasks in which `key` of task 2 is replaced, or left out for NULL. */
static char *mutated(const char *key, json_t *value)
{
    fsm_graph graph = {0};
    char *text;
    for (int i = 0; i < 4; i++)
        fsm_graph_add(&graph, (fsm_task){.layer = i, .micro = -1, .lane = -1, .size = i}, &(int){i - 1}, 1);
    assert_int_equal(fsm_graph_to_json(&graph, &text), FSMOE_OK);
    fsm_graph_destroy(&graph);
    json_t *root = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(root);
    json_t *task = json_array_get(json_object_get(root, "tasks"), 2);
    if (value) json_object_set_new(task, key, value);
    else json_object_del(task, key);
    text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static void assert_refused(const char *key, json_t *value)
{
    char *text = mutated(key, value);
    fsm_graph graph;
    fsmoe_status status = fsm_graph_from_json(text, &graph);
    if (status != FSMOE_ERROR_FORMAT) fail_msg("status %d for %s", status, text);
    if (!strstr(fsmoe_last_error(), "task 2")) fail_msg("'%s' does not name task 2 (%s)", fsmoe_last_error(), key);
    assert_null(graph.tasks);
    free(text);
}

static void test_graph_malformed_json_names_the_task(void **state)
{
    (void)state;
    const char *const keys[] = {"kind",  "phase", "resource", "group", "layer",
                                "micro", "rows",  "slice",    "size",  "after"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        assert_refused(keys[i], NULL);
        assert_refused(keys[i], json_null());
        assert_refused(keys[i], json_object());
    }
    for (int i = 0; i < 4; i++) assert_refused(keys[i], json_string("nonsense"));
    assert_refused("extra", json_integer(1));
    assert_refused("layer", json_real(1.5));
    assert_refused("lane", json_integer(1)); /* there is one */
    assert_refused("lane", json_integer(-2));
    assert_refused("size", json_string("1"));
    assert_refused("rows", json_pack("[i]", 1));
    assert_refused("rows", json_pack("[iii]", 1, 2, 3));
    assert_refused("rows", json_pack("[ii]", 2, 1));
    assert_refused("slice", json_pack("[ii]", 2, 1));
    assert_refused("after", json_pack("[s]", "1"));
    assert_refused("after", json_pack("[i]", 2));
    assert_refused("after", json_pack("[i]", 3));
    assert_refused("after", json_pack("[i]", -1));
    assert_refused("after", json_pack("[I]", (json_int_t)1 << 32)); /* 0 once cut to an int */
}

static void test_graph_text_that_is_no_graph_is_refused(void **state)
{
    (void)state;
    const char *const texts[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"tasks\": 1}",
        "{\"tasks\": [1]}",
        "{\"tasks\": [], \"tasks\": []}",
        "{\"tasks\": [], \"lanes\": 5, \"parts\": 1}",
        "{\"tasks\": [], \"lanes\": 3, \"parts\": 2}",
        "{\"tasks\": [], \"lanes\": \"2\", \"parts\": 2}",
        "{\"tasks\": [], \"spare\": -1}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fsm_graph graph;
        assert_int_equal(fsm_graph_from_json(texts[i], &graph), FSMOE_ERROR_FORMAT);
        assert_null(graph.tasks);
    }
    fsm_graph empty;
    assert_int_equal(fsm_graph_from_json("{\"tasks\": []}", &empty), FSMOE_OK);
    assert_int_equal(empty.count, 0);
    fsm_graph_destroy(&empty);
}

static void assert_check_names(const fsm_graph *graph, const char *task)
{
    assert_int_equal(fsm_graph_check(graph), FSMOE_ERROR_FORMAT);
    if (!strstr(fsmoe_last_error(), task)) fail_msg("'%s' does not name %s", fsmoe_last_error(), task);
}

static void test_graph_check_refuses_forward_edges_and_ranges_outside(void **state)
{
    (void)state;
    fsm_graph graph;
    random_graph(20, &graph);
    int task =
        fsm_graph_add(&graph, (fsm_task){.kind = FSM_TASK_EXPERT, .layer = 3, .micro = -1, .lane = -1}, &(int){4}, 1);
    int *edge = &graph.edges[graph.tasks[task].after_first];
    const int wrong[] = {20, 21, -1, 1000000};
    for (int i = 0; i < 4; i++) {
        *edge = wrong[i];
        assert_check_names(&graph, "task 20 (expert.forward[layer 3])");
    }
    *edge = 19;
    assert_int_equal(fsm_graph_check(&graph), FSMOE_OK);
    const int first = graph.tasks[task].after_first, firsts[] = {first, first + 1, -1}, counts[] = {2, 1, 1};
    for (int i = 0; i < 3; i++) {
        graph.tasks[task].after_first = firsts[i];
        graph.tasks[task].after_count = counts[i];
        assert_check_names(&graph, "task 20");
    }
    fsm_graph_destroy(&graph);
}

static void test_graph_task_names_say_everything(void **state)
{
    (void)state;
    char name[128];
    const fsm_task whole = {.kind = FSM_TASK_HEAD, .phase = FSM_BACKWARD, .layer = -1, .micro = -1, .lane = -1};
    fsm_task_name(&whole, name);
    assert_string_equal(name, "head.backward");
    const fsm_task chunk = {.kind = FSM_TASK_EXPERT, .layer = 2, .micro = 0, .lane = -1, .rows_last = 64};
    fsm_task_name(&chunk, name);
    assert_string_equal(name, "expert.forward[layer 2, micro 0, rows 0-64]");
    const fsm_task slice = {.kind = FSM_TASK_ALLREDUCE,
                            .phase = FSM_UPDATE,
                            .layer = -1,
                            .micro = -1,
                            .lane = -1,
                            .slice_first = 16,
                            .slice_last = 32};
    fsm_task_name(&slice, name);
    assert_string_equal(name, "allreduce.update[slice 16-32]");
    const fsm_task longest = {.kind = FSM_TASK_MP_REDUCESCATTER,
                              .phase = FSM_BACKWARD,
                              .layer = INT32_MAX,
                              .micro = INT32_MAX,
                              .rows_last = INT64_MAX,
                              .slice_first = INT64_MAX - 1,
                              .slice_last = INT64_MAX};
    fsm_task_name(&longest, name);
    assert_in_range(strlen(name), 60, 127);
}

/* ---- the executor ---- */

typedef struct journal {
    const fsm_graph *graph;
    int *runs; /* how often each task ran */
    int total, fail_at;
} journal;

static fsmoe_status run_and_note(void *object, const fsm_task *task)
{
    journal *j = object;
    int index = (int)(task - j->graph->tasks);
    for (int e = 0; e < task->after_count; e++)
        if (j->runs[j->graph->edges[task->after_first + e]] != 1)
            return fsm_fail(FSMOE_ERROR_INTERNAL, "task %d ran before what it waits for", index);
    if (index == j->fail_at) return fsm_fail(FSMOE_ERROR_NUMERIC, "task %d is meant to fail", index);
    j->runs[index]++;
    j->total++;
    return FSMOE_OK;
}

static fsm_task_table full_table(void)
{
    fsm_task_table table = {0};
    for (int kind = 0; kind < FSM_TASK_KIND_COUNT; kind++)
        for (int phase = 0; phase < FSM_PHASE_COUNT; phase++) table.run[kind][phase] = run_and_note;
    return table;
}

static journal open_journal(const fsm_graph *graph, int fail_at)
{
    journal j = {.graph = graph, .runs = calloc((size_t)graph->count + 1, sizeof(int)), .fail_at = fail_at};
    assert_non_null(j.runs);
    return j;
}

/* All on the caller's thread, where the journal is kept; test_exec.c has two. */
static fsm_exec *create_exec(void)
{
    fsm_exec *exec;
    assert_int_equal(fsm_exec_create(FSM_PROGRESS_TASKS, &exec), FSMOE_OK);
    return exec;
}

static void test_graph_executor_runs_each_task_once_after_its_edges(void **state)
{
    (void)state;
    fsm_task_table table = full_table();
    fsm_exec *exec = create_exec();
    for (int round = 0; round < 50; round++) {
        fsm_graph graph;
        random_graph((int)draw(150), &graph);
        journal j = open_journal(&graph, -1);
        assert_int_equal(fsm_exec_run(exec, &graph, &table, &j, NULL, 0), FSMOE_OK);
        for (int i = 0; i < graph.count; i++) assert_int_equal(j.runs[i], 1);
        free(j.runs);
        fsm_graph_destroy(&graph);
    }
    fsm_exec_destroy(exec);
}

static void test_graph_executor_stops_at_the_first_error(void **state)
{
    (void)state;
    fsm_task_table table = full_table();
    fsm_graph graph;
    fsm_exec *exec = create_exec();
    random_graph(40, &graph);
    for (int fail_at = 0; fail_at < 40; fail_at += 13) {
        journal j = open_journal(&graph, fail_at);
        assert_int_equal(fsm_exec_run(exec, &graph, &table, &j, NULL, 0), FSMOE_ERROR_NUMERIC);
        assert_non_null(strstr(fsmoe_last_error(), "meant to fail"));
        assert_int_equal(j.runs[fail_at], 0);
        /* nothing behind the failed task on its stream has run; run_and_note looks after what waits for it */
        for (int i = fail_at; i < graph.count; i++)
            if (graph.tasks[i].resource == graph.tasks[fail_at].resource) assert_int_equal(j.runs[i], 0);
        free(j.runs);
    }
    fsm_exec_destroy(exec);
    fsm_graph_destroy(&graph);
}

static void test_graph_executor_names_a_task_without_function(void **state)
{
    (void)state;
    fsm_task_table table = full_table();
    fsm_graph graph = {0};
    fsm_graph_add(&graph, (fsm_task){.kind = FSM_TASK_NORM, .layer = 0, .micro = 0, .lane = -1}, NULL, 0);
    fsm_graph_add(&graph, (fsm_task){.kind = FSM_TASK_GATE, .phase = FSM_BACKWARD, .layer = 5, .micro = 1, .lane = 1},
                  NULL, 0);
    table.run[FSM_TASK_GATE][FSM_BACKWARD] = NULL;
    journal j = open_journal(&graph, -1);
    fsm_exec *exec = create_exec();
    assert_int_equal(fsm_exec_run(exec, &graph, &table, &j, NULL, 0), FSMOE_ERROR_INTERNAL);
    assert_non_null(strstr(fsmoe_last_error(), "task 1 (gate.backward[layer 5, micro 1, lane 1])"));
    assert_int_equal(j.total, 0); /* seen before anything runs */
    fsm_exec_destroy(exec);
    free(j.runs);
    fsm_graph_destroy(&graph);
}

/* ---- the trace ---- */

static const double PRINTED_US = 0.01; /* times are printed to nanoseconds */

/* One complete slice a task and step, with the task's name, on its resource and after what was there before; returns
 * how many. */
static int check_trace(const json_t *events, const fsm_graph *graph)
{
    size_t i;
    const json_t *event;
    double end_us[FSM_RESOURCE_COUNT] = {0};
    int slices = 0;
    json_array_foreach(events, i, event)
    {
        if (strcmp(json_string_value(json_object_get(event, "ph")), "X") != 0) continue;
        const fsm_task *task = &graph->tasks[slices % graph->count];
        char name[128];
        double start_us = json_number_value(json_object_get(event, "ts"));
        fsm_task_name(task, name);
        assert_string_equal(json_string_value(json_object_get(event, "name")), name);
        assert_int_equal(json_integer_value(json_object_get(event, "tid")), task->resource);
        assert_int_equal(json_integer_value(json_object_get(event, "pid")), 0);
        double duration_us = json_number_value(json_object_get(event, "dur"));
        assert_true(start_us >= end_us[task->resource] - PRINTED_US && duration_us >= 0);
        end_us[task->resource] = start_us + duration_us;
        slices++;
    }
    return slices;
}

/* Three steps run, two are recorded. */
static void test_graph_trace_is_json_with_a_slice_a_task(void **state)
{
    (void)state;
    char folder[] = "/tmp/fsmoe-graph-XXXXXX", path[64];
    fsm_task_table table = full_table();
    fsm_graph graph;
    fsm_trace *trace;
    fsm_exec *exec = create_exec();
    fsm_comm *self;
    json_error_t error;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/trace.json", folder);
    random_graph(30, &graph);
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_int_equal(fsm_trace_create(&graph, 2, &trace), FSMOE_OK);
    for (int step = 0; step < 3; step++) {
        journal j = open_journal(&graph, -1);
        fsm_observer observer = fsm_trace_observer(trace);
        fsm_trace_begin_step(trace);
        assert_int_equal(fsm_exec_run(exec, &graph, &table, &j, &observer, 1), FSMOE_OK);
        free(j.runs);
    }
    assert_int_equal(fsm_trace_write(trace, self, path), FSMOE_OK);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root) fail_msg("line %d: %s", error.line, error.text);
    assert_int_equal(check_trace(json_object_get(root, "traceEvents"), &graph), 2 * graph.count);
    json_decref(root);
    fsm_exec_destroy(exec);
    fsm_trace_destroy(trace);
    fsm_comm_destroy(self);
    fsm_graph_destroy(&graph);
    assert_int_equal(fsm_file_remove_tree(folder), FSMOE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph_reads_back_what_it_prints),
        cmocka_unit_test(test_graph_that_has_no_number_for_a_size_is_not_printed),
        cmocka_unit_test(test_graph_malformed_json_names_the_task),
        cmocka_unit_test(test_graph_text_that_is_no_graph_is_refused),
        cmocka_unit_test(test_graph_check_refuses_forward_edges_and_ranges_outside),
        cmocka_unit_test(test_graph_task_names_say_everything),
        cmocka_unit_test(test_graph_executor_runs_each_task_once_after_its_edges),
        cmocka_unit_test(test_graph_executor_stops_at_the_first_error),
        cmocka_unit_test(test_graph_executor_names_a_task_without_function),
        cmocka_unit_test(test_graph_trace_is_json_with_a_slice_a_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
