/* The task graph: as a value (JSON and back, checks), as the in-order schedule builds it, and as the executor runs it.
 * Oracles: equality of arrays, counts and sums written down by hand from the model's shape, reachability by search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "exec/trace.h"
#include "plan/schedule.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t draws;

static int64_t draw(int64_t limit)
{
    return (int64_t)(fsm_rng_bits(31, FSM_RNG_TEST, draws++) % (uint64_t)limit);
}

/* ---- graphs as values ---- */

static fsm_task random_task(void)
{
    int64_t rows = draw(100), slice = draw(1000) * 1000000007;
    return (fsm_task){
        .kind = (fsm_task_kind)draw(FSM_TASK_KIND_COUNT),
        .phase = (fsm_phase)draw(FSM_PHASE_COUNT),
        .resource = (fsm_resource)draw(FSM_RESOURCE_COUNT),
        .layer = (int)draw(5) - 1,
        .micro = (int)draw(3) - 1,
        .rows_first = rows,
        .rows_last = rows + draw(3) * draw(50),
        .slice_first = slice,
        .slice_last = slice + draw(2) * draw(1000),
        .group = (fsm_group)draw(FSM_GROUP_COUNT),
        .size = draw(4) == 0 ? 0 : 1e15 * fsm_rng_uniform(31, FSM_RNG_TEST, draws++),
    };
}

static void random_graph(int tasks, fsm_graph *graph)
{
    *graph = (fsm_graph){0};
    for (int i = 0; i < tasks; i++) {
        int after[8], n = 0;
        for (int e = 0; i > 0 && e < draw(6); e++) after[n++] = draw(8) ? (int)draw(i) : -1;
        assert_int_equal(fsm_graph_add(graph, random_task(), after, n), i);
        if (i > 0 && draw(3) == 0) fsm_graph_wait(graph, i, (int)draw(i));
    }
    assert_int_equal(fsm_graph_check(graph), FSMOE_OK);
}

static void assert_same_task(const fsm_task *a, const fsm_task *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->phase, b->phase);
    assert_int_equal(a->resource, b->resource);
    assert_int_equal(a->layer, b->layer);
    assert_int_equal(a->micro, b->micro);
    assert_int_equal(a->rows_first, b->rows_first);
    assert_int_equal(a->rows_last, b->rows_last);
    assert_int_equal(a->slice_first, b->slice_first);
    assert_int_equal(a->slice_last, b->slice_last);
    assert_int_equal(a->group, b->group);
    assert_true(a->size == b->size);
    assert_int_equal(a->after_first, b->after_first);
    assert_int_equal(a->after_count, b->after_count);
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
        assert_int_equal(back.count, graph.count);
        assert_int_equal(back.edge_count, graph.edge_count);
        for (int i = 0; i < graph.count; i++) assert_same_task(&graph.tasks[i], &back.tasks[i]);
        if (graph.edge_count)
            assert_memory_equal(graph.edges, back.edges, sizeof *graph.edges * (size_t)graph.edge_count);
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
    for (int i = 0; i < 4; i++) fsm_graph_add(&graph, (fsm_task){.layer = i, .micro = -1, .size = i}, &(int){i - 1}, 1);
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
        "", "{", "[]", "{}", "{\"tasks\": 1}", "{\"tasks\": [1]}", "{\"tasks\": [], \"tasks\": []}"};
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
    int task = fsm_graph_add(&graph, (fsm_task){.kind = FSM_TASK_EXPERT, .layer = 3, .micro = -1}, &(int){4}, 1);
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
    const fsm_task whole = {.kind = FSM_TASK_HEAD, .phase = FSM_BACKWARD, .layer = -1, .micro = -1};
    fsm_task_name(&whole, name);
    assert_string_equal(name, "head.backward");
    const fsm_task chunk = {.kind = FSM_TASK_EXPERT, .layer = 2, .micro = 0, .rows_last = 64};
    fsm_task_name(&chunk, name);
    assert_string_equal(name, "expert.forward[layer 2, micro 0, rows 0-64]");
    const fsm_task slice = {
        .kind = FSM_TASK_ALLREDUCE, .phase = FSM_UPDATE, .layer = -1, .micro = -1, .slice_first = 16, .slice_last = 32};
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

/* ---- the in-order schedule ---- */

/* 24 tokens a group, hidden 8, 4 experts; regions of the gradients as a model with all three kinds has them. */
static fsm_step_shape make_shape(int layers, int moe_every, int micro_batches, bool training, const int *sizes)
{
    fsm_step_shape s = {.num_layers = layers,
                        .moe_every = moe_every,
                        .micro_batches = micro_batches,
                        .training = training,
                        .hidden = 8,
                        .ffn_hidden = 32,
                        .vocab_size = 100,
                        .seq_len = 12,
                        .attention_width = 8,
                        .qkv_width = 24,
                        .n_group = 24,
                        .n_local = 12,
                        .num_experts = 4,
                        .top_k = 2,
                        .rows = 30,
                        .nominal_rows = 10,
                        .expert_gemms = 2,
                        .regions = {{FSM_GROUP_WORLD, 0, 160}, {FSM_GROUP_DP, 160, 1600}, {FSM_GROUP_EDP, 1600, 8000}},
                        .region_count = 3};
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        s.group_size[g] = sizes[g];
        s.link[g] = g % 2 ? FSM_INTER : FSM_INTRA;
    }
    return s;
}

/* world, dp, mp, ep, esp, edp, expert */
static const int group_sizes[][FSM_GROUP_COUNT] = {
    {1, 1, 1, 1, 1, 1, 1}, {8, 4, 2, 2, 2, 2, 4}, {2, 2, 1, 2, 1, 1, 2}, {2, 1, 2, 1, 2, 1, 2}, {2, 2, 1, 1, 1, 2, 1}};
enum { LAYOUTS = sizeof group_sizes / sizeof *group_sizes };

/* How many tasks of (kind, phase) one micro-batch has in one layer of a kind. */
static int expected_in_layer(const fsm_step_shape *s, bool is_moe, fsm_task_kind kind, fsm_phase phase, int chunks)
{
    bool backward = phase == FSM_BACKWARD, mp = s->group_size[FSM_GROUP_MP] > 1, esp = s->group_size[FSM_GROUP_ESP] > 1;
    switch (kind) {
    case FSM_TASK_NORM:
    case FSM_TASK_ATTENTION:
        return 1;
    case FSM_TASK_MP_ALLGATHER:
    case FSM_TASK_MP_REDUCESCATTER:
        return mp;
    case FSM_TASK_FFN_NORM:
    case FSM_TASK_FFN:
        return !is_moe;
    case FSM_TASK_FFN_ALLGATHER:
    case FSM_TASK_FFN_REDUCESCATTER:
        return !is_moe && mp;
    case FSM_TASK_GATE:
    case FSM_TASK_ORDER:
    case FSM_TASK_IORDER:
        return is_moe;
    case FSM_TASK_COUNTS:
        return is_moe && !backward;
    case FSM_TASK_A2A_DISPATCH:
        return is_moe && s->group_size[FSM_GROUP_EP] > 1 ? chunks : 0;
    case FSM_TASK_ALLGATHER:
    case FSM_TASK_REDUCESCATTER:
        return is_moe && esp ? chunks : 0;
    case FSM_TASK_EXPERT:
    case FSM_TASK_A2A_COMBINE:
        return is_moe ? chunks : 0;
    case FSM_TASK_WEIGHT_GRAD:
        return backward ? (is_moe ? chunks : 1) : 0;
    default:
        return 0;
    }
}

/* The same of tasks without a layer, over the whole step. */
static int expected_outside(const fsm_step_shape *s, fsm_task_kind kind, fsm_phase phase)
{
    int micros = s->training ? s->micro_batches : 1, reduced = 0;
    for (int i = 0; i < s->region_count; i++) reduced += s->group_size[s->regions[i].group] > 1;
    switch (kind) {
    case FSM_TASK_EMBEDDING:
    case FSM_TASK_HEAD:
        return phase == FSM_FORWARD || (phase == FSM_BACKWARD && s->training) ? micros : 0;
    case FSM_TASK_SUMS:
        return phase == FSM_FORWARD ? micros : 0;
    case FSM_TASK_ALLREDUCE:
        return phase == FSM_UPDATE && s->training ? reduced : 0;
    case FSM_TASK_GRAD_NORM:
        return phase == FSM_UPDATE && s->training;
    case FSM_TASK_OPTIMIZER:
        return phase == FSM_UPDATE && s->training ? s->region_count : 0;
    default:
        return 0;
    }
}

static int count_tasks(const fsm_graph *graph, fsm_task_kind kind, fsm_phase phase, int layer, int micro)
{
    int n = 0;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        n += t->kind == kind && t->phase == phase && t->layer == layer && (layer < 0 || t->micro == micro);
    }
    return n;
}

static void check_every_task(const fsm_step_shape *s, const fsm_graph *graph, int forward_chunks, int backward_chunks)
{
    int micros = s->training ? s->micro_batches : 1, total = 0;
    for (int kind = 0; kind < FSM_TASK_KIND_COUNT; kind++)
        for (int phase = 0; phase < FSM_PHASE_COUNT; phase++) {
            int outside = expected_outside(s, (fsm_task_kind)kind, (fsm_phase)phase);
            assert_int_equal(count_tasks(graph, (fsm_task_kind)kind, (fsm_phase)phase, -1, 0), outside);
            total += outside;
            if (phase == FSM_UPDATE || (phase == FSM_BACKWARD && !s->training)) continue;
            for (int layer = 0; layer < s->num_layers; layer++)
                for (int micro = 0; micro < micros; micro++) {
                    bool is_moe = (layer + 1) % s->moe_every == 0;
                    int want = expected_in_layer(s, is_moe, (fsm_task_kind)kind, (fsm_phase)phase,
                                                 phase == FSM_FORWARD ? forward_chunks : backward_chunks);
                    assert_int_equal(count_tasks(graph, (fsm_task_kind)kind, (fsm_phase)phase, layer, micro), want);
                    total += want;
                }
        }
    assert_int_equal(graph->count, total);
}

static bool is_chunked(const fsm_task *t)
{
    return t->rows_last > t->rows_first;
}

/* Chunks of a (kind, phase, layer, micro) follow one another over the nominal rows; sizes add up to the whole's. */
static void check_chunks(const fsm_step_shape *s, const fsm_graph *graph)
{
    double moved = s->rows * (double)s->hidden, gathered = moved * s->group_size[FSM_GROUP_ESP];
    double macs = gathered * (double)(s->expert_gemms * s->ffn_hidden / s->group_size[FSM_GROUP_ESP]);
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (!is_chunked(t) || t->rows_first != 0) continue;
        int64_t at = 0;
        double size = 0;
        for (int j = i; j < graph->count; j++) {
            const fsm_task *u = &graph->tasks[j];
            if (u->kind != t->kind || u->phase != t->phase || u->layer != t->layer || u->micro != t->micro) continue;
            assert_int_equal(u->rows_first, at);
            at = u->rows_last;
            size += u->size;
        }
        assert_int_equal(at, s->nominal_rows);
        bool a2a = t->kind == FSM_TASK_A2A_DISPATCH || t->kind == FSM_TASK_A2A_COMBINE;
        bool computed = t->kind == FSM_TASK_EXPERT || t->kind == FSM_TASK_WEIGHT_GRAD;
        double want = a2a ? moved : computed ? macs : gathered;
        assert_true(fabs(size - want) <= 1e-12 * want);
    }
}

/* Whether `task` waits for `before`, directly or through others. */
static bool waits_for(const fsm_graph *graph, int task, int before)
{
    bool *waits = calloc((size_t)graph->count, sizeof *waits);
    assert_non_null(waits);
    waits[task] = true;
    for (int i = task; i > before; i--)
        for (int e = 0; waits[i] && e < graph->tasks[i].after_count; e++)
            waits[graph->edges[graph->tasks[i].after_first + e]] = true;
    bool found = waits[before];
    free(waits);
    return found;
}

/* Nothing overlaps across layers here, so each task but a chunk's waits for all before it; a chunk's waits for the
 * earlier tasks of its own rows. */
static void check_dependencies(const fsm_graph *graph)
{
    for (int i = 1; i < graph->count; i++)
        for (int j = 0; j < i; j++) {
            const fsm_task *t = &graph->tasks[i], *u = &graph->tasks[j];
            if (t->phase == FSM_UPDATE && u->phase == FSM_UPDATE && t->kind == u->kind) continue;
            bool same_layer = t->layer == u->layer && t->phase == u->phase && t->micro == u->micro;
            bool other_chunk = is_chunked(t) && is_chunked(u) && same_layer && t->rows_first != u->rows_first;
            bool weight_grad =
                u->kind == FSM_TASK_WEIGHT_GRAD && is_chunked(t) && same_layer; /* only the layer's end needs it */
            if (!other_chunk && !weight_grad) assert_true(waits_for(graph, i, j));
        }
}

/* Every gradient element is updated once, and summed once over the group of its region when that has other ranks. */
static void check_slices(const fsm_step_shape *s, const fsm_graph *graph)
{
    for (int r = 0; r < s->region_count; r++) {
        const fsm_region *region = &s->regions[r];
        int sums = s->group_size[region->group] > 1;
        for (int64_t at = region->first; at < region->last; at += 16) {
            int updated = 0, reduced = 0;
            for (int i = 0; i < graph->count; i++) {
                const fsm_task *t = &graph->tasks[i];
                if (at < t->slice_first || at >= t->slice_last) continue;
                assert_true(t->slice_first >= region->first && t->slice_last <= region->last);
                updated += t->kind == FSM_TASK_OPTIMIZER;
                if (t->kind != FSM_TASK_ALLREDUCE) continue;
                assert_int_equal(t->group, region->group);
                reduced++;
            }
            assert_int_equal(updated, s->training);
            assert_int_equal(reduced, s->training ? sums : 0);
        }
    }
}

static void check_links(const fsm_step_shape *s, const fsm_graph *graph)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->resource == FSM_COMPUTE) continue;
        assert_true(s->group_size[t->group] > 1 || t->kind == FSM_TASK_A2A_COMBINE);
        assert_int_equal(t->resource, s->link[t->group]);
    }
}

static void check_schedule(const fsm_step_shape *s, int forward_degree, int backward_degree)
{
    fsm_graph graph;
    int most = (int)s->nominal_rows;
    assert_int_equal(fsm_schedule_in_order(s, forward_degree, backward_degree, &graph), FSMOE_OK);
    check_every_task(s, &graph, forward_degree < most ? forward_degree : most,
                     backward_degree < most ? backward_degree : most);
    check_chunks(s, &graph);
    check_dependencies(&graph);
    check_slices(s, &graph);
    check_links(s, &graph);
    fsm_graph_destroy(&graph);
}

static void test_graph_in_order_schedule_has_every_task(void **state)
{
    (void)state;
    for (int layout = 0; layout < LAYOUTS; layout++)
        for (int training = 0; training < 2; training++)
            for (int moe_every = 1; moe_every <= 2; moe_every++) {
                fsm_step_shape s = make_shape(2, moe_every, 2, training, group_sizes[layout]);
                check_schedule(&s, 1, 1);
                check_schedule(&s, 3, 2);
                check_schedule(&s, 4, 100); /* more chunks than nominal rows */
            }
}

static void test_graph_in_order_schedule_refuses_impossible_degrees(void **state)
{
    (void)state;
    fsm_step_shape s = make_shape(1, 1, 1, true, group_sizes[0]);
    const int degrees[][2] = {{0, 1}, {1, 0}, {-1, 1}, {FSM_MAX_CHUNKS + 1, 1}, {1, FSM_MAX_CHUNKS + 1}};
    for (int i = 0; i < 5; i++) {
        fsm_graph graph = {0};
        char number[16];
        assert_int_equal(fsm_schedule_in_order(&s, degrees[i][0], degrees[i][1], &graph), FSMOE_ERROR_CONFIG);
        snprintf(number, sizeof number, "%d", degrees[i][0] == 1 ? degrees[i][1] : degrees[i][0]);
        assert_non_null(strstr(fsmoe_last_error(), number));
    }
    assert_null(fsm_schedule_find("nonsense"));
    assert_ptr_equal(fsm_schedule_find("dsmoe"), &fsm_schedule_dsmoe);
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
    fsm_task_table table;
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

static void test_graph_executor_runs_each_task_once_after_its_edges(void **state)
{
    (void)state;
    fsm_task_table table = full_table();
    for (int round = 0; round < 50; round++) {
        fsm_graph graph;
        random_graph((int)draw(150), &graph);
        journal j = open_journal(&graph, -1);
        assert_int_equal(fsm_exec_run(&graph, &table, &j, NULL), FSMOE_OK);
        for (int i = 0; i < graph.count; i++) assert_int_equal(j.runs[i], 1);
        free(j.runs);
        fsm_graph_destroy(&graph);
    }
}

static void test_graph_executor_stops_at_the_first_error(void **state)
{
    (void)state;
    fsm_task_table table = full_table();
    fsm_graph graph;
    random_graph(40, &graph);
    for (int fail_at = 0; fail_at < 40; fail_at += 13) {
        journal j = open_journal(&graph, fail_at);
        assert_int_equal(fsm_exec_run(&graph, &table, &j, NULL), FSMOE_ERROR_NUMERIC);
        assert_non_null(strstr(fsmoe_last_error(), "meant to fail"));
        assert_int_equal(j.runs[fail_at], 0);
        /* in this executor, issue order is run order: nothing behind the failed task has run */
        for (int i = fail_at; i < graph.count; i++) assert_int_equal(j.runs[i], 0);
        free(j.runs);
    }
    fsm_graph_destroy(&graph);
}

static void test_graph_executor_names_a_task_without_function(void **state)
{
    (void)state;
    fsm_task_table table = full_table();
    fsm_graph graph = {0};
    fsm_graph_add(&graph, (fsm_task){.kind = FSM_TASK_NORM, .layer = 0, .micro = 0}, NULL, 0);
    fsm_graph_add(&graph, (fsm_task){.kind = FSM_TASK_GATE, .phase = FSM_BACKWARD, .layer = 5, .micro = 1}, NULL, 0);
    table.run[FSM_TASK_GATE][FSM_BACKWARD] = NULL;
    journal j = open_journal(&graph, -1);
    assert_int_equal(fsm_exec_run(&graph, &table, &j, NULL), FSMOE_ERROR_INTERNAL);
    assert_non_null(strstr(fsmoe_last_error(), "task 1 (gate.backward[layer 5, micro 1])"));
    assert_int_equal(j.total, 1);
    free(j.runs);
    fsm_graph_destroy(&graph);
}

/* ---- the trace ---- */

/* One complete slice a task and step, with the task's name, on its resource, in order of time; returns how many. */
static int check_trace(const json_t *events, const fsm_graph *graph)
{
    size_t i;
    const json_t *event;
    double last_us = 0;
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
        assert_true(start_us >= last_us && json_number_value(json_object_get(event, "dur")) >= 0);
        last_us = start_us;
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
    fsm_comm *self;
    json_error_t error;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/trace.json", folder);
    random_graph(30, &graph);
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_int_equal(fsm_trace_create(&graph, 2, &trace), FSMOE_OK);
    for (int step = 0; step < 3; step++) {
        journal j = open_journal(&graph, -1);
        assert_int_equal(fsm_exec_run(&graph, &table, &j, trace), FSMOE_OK);
        free(j.runs);
    }
    assert_int_equal(fsm_trace_write(trace, self, path), FSMOE_OK);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root) fail_msg("line %d: %s", error.line, error.text);
    assert_int_equal(check_trace(json_object_get(root, "traceEvents"), &graph), 2 * graph.count);
    json_decref(root);
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
        cmocka_unit_test(test_graph_in_order_schedule_has_every_task),
        cmocka_unit_test(test_graph_in_order_schedule_refuses_impossible_degrees),
        cmocka_unit_test(test_graph_executor_runs_each_task_once_after_its_edges),
        cmocka_unit_test(test_graph_executor_stops_at_the_first_error),
        cmocka_unit_test(test_graph_executor_names_a_task_without_function),
        cmocka_unit_test(test_graph_trace_is_json_with_a_slice_a_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
