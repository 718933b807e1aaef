/* The in-order schedule's graph of a step: every task, every chunk, every gradient once.
 * Oracles: counts and sums written down by hand from the model's shape, reachability by search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "plan/schedule/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    case FSM_TASK_GRAD_SQUARES:
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

static void test_schedule_in_order_has_every_task(void **state)
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

static void test_schedule_in_order_refuses_impossible_degrees(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule_in_order_has_every_task),
        cmocka_unit_test(test_schedule_in_order_refuses_impossible_degrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
