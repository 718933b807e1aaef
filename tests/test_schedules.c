/* Every schedule on random steps: the same work, every gradient once and never early, bounds that hold, no schedule
 * slower than those it contains.
 * Oracles: the schedule without overlap (test_schedule.c counts its tasks), reachability over the graph's edges,
 * intervals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "plan/bound.h"
#include "plan/schedule/schedule.h"
#include "plan/simulate.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SCHEDULES = 16, STEPS = 60 };

static uint64_t draws;

static int64_t draw(int64_t limit)
{
    return (int64_t)(fsm_rng_bits(44, FSM_RNG_TEST, draws++) % (uint64_t)limit);
}

static double draw_uniform(void)
{
    return fsm_rng_uniform(44, FSM_RNG_TEST, draws++);
}

/* ---- steps ---- */

static void add_run(fsm_step_shape *s, int region, int layer, fsm_task_kind after)
{
    fsm_region *r = &s->regions[region];
    int64_t elems = 16 * (1 + draw(draw(2) ? 20 : 2000));
    s->gradients[s->gradient_count++] = (fsm_gradient){region, r->last, r->last + elems, layer, after};
    r->last += elems;
}

static void add_layer_runs(fsm_step_shape *s, int region, int layer)
{
    bool is_moe = fsm_layer_is_moe(s->moe_every, layer);
    if (region == 0 && is_moe) add_run(s, region, layer, FSM_TASK_GATE);
    if (region == 2 && is_moe) add_run(s, region, layer, FSM_TASK_WEIGHT_GRAD);
    if (region != 1) return;
    if (!is_moe) add_run(s, region, layer, FSM_TASK_WEIGHT_GRAD);
    add_run(s, region, layer, is_moe ? FSM_TASK_GATE : FSM_TASK_FFN_NORM);
    add_run(s, region, layer, FSM_TASK_ATTENTION);
    add_run(s, region, layer, FSM_TASK_NORM);
}

/* Three regions as a model has them, each in the order in which backward finishes it: gates, dense parameters,
 * experts. */
static void list_gradients(fsm_step_shape *s)
{
    static const fsm_group groups[3] = {FSM_GROUP_WORLD, FSM_GROUP_DP, FSM_GROUP_EDP};
    s->gradients = calloc((size_t)(s->num_layers * 8 + 8), sizeof *s->gradients);
    assert_non_null(s->gradients);
    s->region_count = s->num_layers / s->moe_every > 0 ? 3 : 2;
    for (int r = 0; r < s->region_count; r++) {
        s->regions[r] = (fsm_region){groups[r], 0, 0};
        if (r > 0) s->regions[r].first = s->regions[r].last = s->regions[r - 1].last;
        if (r < 2) add_run(s, r, -1, FSM_TASK_HEAD);
        for (int layer = s->num_layers - 1; layer >= 0; layer--) add_layer_runs(s, r, layer);
        if (r == 1) add_run(s, r, -1, FSM_TASK_EMBEDDING);
    }
    if (draw(8) == 0) s->gradient_count = 0; /* all of them at the end of backward */
}

/* Tokens divide by 2, 3 and 4. */
static void part_micro_batches(fsm_step_shape *s)
{
    s->most_parts = (int)draw(FSM_MAX_LANES + 1);
    for (int parts = 2; parts <= s->most_parts; parts++)
        for (int part = 0; part < parts; part++)
            s->part[parts - 2][part] = (fsm_pass_size){.n_group = s->n_group / parts,
                                                       .n_local = s->n_local / parts,
                                                       .rows = s->rows / parts,
                                                       .nominal_rows = (s->nominal_rows + parts - 1) / parts};
}

static fsm_step_shape random_shape(void)
{
    fsm_step_shape s = {.num_layers = (int)draw(7),
                        .moe_every = 1 + (int)draw(3),
                        .micro_batches = 1 + (int)draw(3),
                        .training = draw(5) > 0,
                        .hidden = 8 << draw(5),
                        .vocab_size = 100 + draw(1000),
                        .seq_len = 12,
                        .num_experts = 4,
                        .top_k = 2,
                        .nominal_rows = 1 + draw(draw(2) ? 4 : 40),
                        .expert_gemms = 2 + (int)draw(2)};
    s.ffn_hidden = 4 * s.hidden;
    s.attention_width = s.hidden;
    s.qkv_width = 3 * s.hidden;
    s.n_local = 12 * (1 + draw(8));
    s.n_group = 2 * s.n_local;
    s.rows = (double)s.n_local * (1 + 2 * draw_uniform());
    s.max_degree = draw(4) ? FSM_MAX_CHUNKS : (int)draw(8);
    bool usual = draw(2);
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        s.group_size[g] = 1 << draw(3);
        bool inside = g == FSM_GROUP_MP || g == FSM_GROUP_ESP;
        s.link[g] = (usual ? inside : draw(2)) ? FSM_INTRA : FSM_INTER;
    }
    part_micro_batches(&s);
    list_gradients(&s);
    return s;
}

/* Costs of the right order for such steps, alphas and betas each dominating at times; some clusters have a second
 * line that goes on from the first, some have costs of a task's own. */
static void random_cluster(fsm_cluster *cluster)
{
    static const char *const own[] = {"attention.backward", "gate.forward",         "norm.backward",
                                      "order.forward",      "head.forward",         "weight_grad.backward",
                                      "expert.forward",     "grad_norm.update",     "optimizer.update",
                                      "allreduce.update",   "allgather.backward",   "sums.forward",
                                      "counts.forward",     "reducescatter.forward"};
    *cluster = (fsm_cluster){.name = "random"};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        double unit_s = op == FSM_COST_GEMM ? 1e-9 : 1e-7;
        fsm_cost *cost = &cluster->op[op].cost;
        cost->line[0] =
            (fsm_line){draw(4) ? 1e-4 * pow(10, 2 * draw_uniform() - 1) : 0, unit_s * pow(10, 2 * draw_uniform())};
        if (draw(4)) continue;
        cost->large_from = 1000 * pow(10, 2 * draw_uniform());
        cost->line[1].beta_s = cost->line[0].beta_s * draw_uniform();
        cost->line[1].alpha_s =
            cost->line[0].alpha_s + cost->large_from * (cost->line[0].beta_s - cost->line[1].beta_s);
        if (draw(3)) continue; /* a third that jumps up */
        cost->largest_from = cost->large_from * (1 + 20 * draw_uniform());
        cost->line[2] = (fsm_line){2 * cost->line[1].alpha_s, cost->line[0].beta_s * draw_uniform()};
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (draw(4)) continue;
        fsm_cost cost = {.line[0] = {1e-4 * draw_uniform(), 1e-8 * draw_uniform()}};
        assert_int_equal(fsm_cluster_set_task(cluster, own[i], cost), FSMOE_OK);
    }
    if (draw(2)) return;
    static const char *const shared[] = {"a2a_dispatch.forward", "a2a_combine.backward", "expert.forward",
                                         "weight_grad.backward", "allreduce.update",     "attention.forward"};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        assert_int_equal(fsm_cluster_set_overlap(cluster, shared[i], 0.8 + 2 * draw_uniform()), FSMOE_OK);
}

/* ---- reachability ---- */

/* reach[i]: which tasks i waits for, itself included, directly or through others; a row of bits a task. */
typedef struct reach {
    uint64_t *bits;
    size_t words;
} reach;

static reach find_reach(const fsm_graph *graph)
{
    reach r = {.words = ((size_t)graph->count + 63) / 64};
    r.bits = calloc(r.words * (size_t)graph->count + 1, sizeof *r.bits);
    assert_non_null(r.bits);
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        uint64_t *row = r.bits + r.words * (size_t)i;
        row[i / 64] |= (uint64_t)1 << (i % 64);
        for (int e = 0; e < t->after_count; e++) {
            const uint64_t *before = r.bits + r.words * (size_t)graph->edges[t->after_first + e];
            for (size_t w = 0; w < r.words; w++) row[w] |= before[w];
        }
    }
    return r;
}

static void assert_waits(const fsm_graph *graph, const reach *r, int task, int before)
{
    if (r->bits[r->words * (size_t)task + (size_t)before / 64] >> (before % 64) & 1) return;
    char name[128], other[128];
    fsm_task_name(&graph->tasks[task], name);
    fsm_task_name(&graph->tasks[before], other);
    fail_msg("%s does not wait for %s", name, other);
}

/* ---- checks of a graph ---- */

static bool same_work(const fsm_task *t, const fsm_task *u)
{
    return t->kind == u->kind && t->phase == u->phase && t->layer == u->layer && t->micro == u->micro;
}

static bool same_layer_of(const fsm_task *t, const fsm_task *u)
{
    return t->layer == u->layer && t->phase == u->phase && t->micro == u->micro;
}

static double size_of(const fsm_graph *graph, const fsm_task *like)
{
    double size = 0;
    for (int i = 0; i < graph->count; i++) size += same_work(&graph->tasks[i], like) ? graph->tasks[i].size : 0;
    return size;
}

/* Both ways: as much of every (kind, phase, layer, micro) as without overlap, in all lanes together. */
static void check_same_work(const fsm_graph *graph, const fsm_graph *plain)
{
    for (int i = 0; i < plain->count; i++) {
        double want = size_of(plain, &plain->tasks[i]), got = size_of(graph, &plain->tasks[i]);
        if (plain->tasks[i].kind == FSM_TASK_COUNTS) want *= fsm_graph_parts(graph); /* a lane counts for itself */
        assert_true(fabs(got - want) <= 1e-9 * want);
    }
    for (int i = 0; i < graph->count; i++) {
        bool found = false;
        for (int j = 0; j < plain->count && !found; j++) found = same_work(&graph->tasks[i], &plain->tasks[j]);
        assert_true(found);
    }
}

/* The chunk beside t that begins at a row; NULL: none. */
static const fsm_task *chunk_at(const fsm_graph *graph, const fsm_task *t, int64_t at)
{
    for (int j = 0; j < graph->count; j++) {
        const fsm_task *u = &graph->tasks[j];
        if (same_work(t, u) && t->lane == u->lane && u->rows_first == at) return u;
    }
    return NULL;
}

/* Chunks of one kind and lane follow one another over all nominal rows, none empty. */
static void check_chunks_tile_rows(const fsm_step_shape *s, const fsm_graph *graph)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i], *u;
        if (t->rows_first == t->rows_last || t->rows_first != 0) continue;
        int64_t at = 0;
        int chunks = 0, all = 0, parts = fsm_graph_parts(graph);
        for (; (u = chunk_at(graph, t, at)); chunks++) {
            assert_true(u->rows_last > at);
            at = u->rows_last;
        }
        for (int j = 0; j < graph->count; j++) all += same_work(t, &graph->tasks[j]) && t->lane == graph->tasks[j].lane;
        assert_int_equal(chunks, all);
        assert_int_equal(at, fsm_step_part(s, parts, fsm_task_lane(t) % parts).nominal_rows);
        assert_true(chunks <= fsm_step_max_degree(s) && chunks <= FSM_MAX_CHUNKS);
    }
}

static int64_t tiled_until(const fsm_graph *graph, fsm_task_kind kind, fsm_group group, int64_t at)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->kind == kind && t->slice_first == at && t->slice_last > at) {
            assert_int_equal(t->group, group);
            return t->slice_last;
        }
    }
    return at;
}

static int64_t elems_in(const fsm_graph *graph, fsm_task_kind kind, const fsm_region *region)
{
    int64_t elems = 0;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->kind != kind || t->slice_last <= region->first || t->slice_first >= region->last) continue;
        assert_true(t->slice_first >= region->first && t->slice_last <= region->last);
        elems += t->slice_last - t->slice_first;
    }
    return elems;
}

/* Slices of a kind go gaplessly over the region, and no element is in two of them. */
static void check_region_once(const fsm_graph *graph, fsm_task_kind kind, const fsm_region *region)
{
    int64_t at = region->first, before = at - 1;
    while (at < region->last && at > before) {
        before = at;
        at = tiled_until(graph, kind, region->group, at);
    }
    assert_int_equal(at, region->last);
    assert_int_equal(elems_in(graph, kind, region), region->last - region->first);
}

static void check_gradients_once(const fsm_step_shape *s, const fsm_graph *graph)
{
    for (int r = 0; r < s->region_count; r++) {
        if (s->training) check_region_once(graph, FSM_TASK_OPTIMIZER, &s->regions[r]);
        else assert_int_equal(elems_in(graph, FSM_TASK_OPTIMIZER, &s->regions[r]), 0);
        if (s->training && s->group_size[s->regions[r].group] > 1)
            check_region_once(graph, FSM_TASK_ALLREDUCE, &s->regions[r]);
        else assert_int_equal(elems_in(graph, FSM_TASK_ALLREDUCE, &s->regions[r]), 0);
    }
}

/* An all-reduce waits for every task, of every micro-batch, that adds to its gradients. */
static void check_piece_is_finished(const fsm_step_shape *s, const fsm_graph *graph, const reach *r, int piece)
{
    const fsm_task *p = &graph->tasks[piece];
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        bool adds = s->gradient_count == 0;
        for (int k = 0; k < s->gradient_count; k++) {
            const fsm_gradient *g = &s->gradients[k];
            bool overlaps = g->first < p->slice_last && g->last > p->slice_first;
            adds |= overlaps && g->after == t->kind && g->layer == t->layer;
        }
        if (t->phase == FSM_BACKWARD && adds) assert_waits(graph, r, piece, i);
    }
}

static void check_update_waits(const fsm_step_shape *s, const fsm_graph *graph, const reach *r)
{
    int norm = -1;
    for (int i = 0; i < graph->count; i++) {
        if (graph->tasks[i].kind == FSM_TASK_ALLREDUCE) check_piece_is_finished(s, graph, r, i);
        if (graph->tasks[i].kind == FSM_TASK_OPTIMIZER) assert_waits(graph, r, i, norm);
        if (graph->tasks[i].kind != FSM_TASK_GRAD_NORM) continue;
        assert_int_equal(norm, -1);
        norm = i;
        for (int j = 0; j < i; j++) assert_waits(graph, r, i, j);
    }
    assert_int_equal(norm >= 0, s->training);
}

/* Place of a kind in the chain of one chunk; -1: not of a chunk. */
static int stage_of(const fsm_task *t)
{
    static const fsm_task_kind kinds[] = {FSM_TASK_A2A_DISPATCH, FSM_TASK_ALLGATHER,     FSM_TASK_EXPERT,
                                          FSM_TASK_WEIGHT_GRAD,  FSM_TASK_REDUCESCATTER, FSM_TASK_A2A_COMBINE};
    for (int i = 0; i < 6; i++)
        if (t->kind == kinds[i] && t->rows_last > t->rows_first) return i;
    return -1;
}

/* Whether a task is a weight gradient that its layer does not wait for. */
static bool is_late(const fsm_graph *graph, const fsm_task *t)
{
    return graph->lanes > 0 && t->kind == FSM_TASK_WEIGHT_GRAD && stage_of(t) >= 0;
}

/* Stages of the same rows wait for one another, but nothing waits for a weight gradient that is split off; a layer's
 * other tasks wait for all chunks or all chunks wait for them. */
static void check_chunk_order(const fsm_graph *graph, const reach *r)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        for (int j = 0; j < i; j++) {
            const fsm_task *u = &graph->tasks[j];
            bool same_layer = same_layer_of(t, u) && t->lane == u->lane && t->layer >= 0;
            if (!same_layer || is_late(graph, u)) continue;
            bool chunks = stage_of(t) >= 0 && stage_of(u) >= 0;
            bool overlap = t->rows_first < u->rows_last && u->rows_first < t->rows_last;
            bool beside =
                u->kind == FSM_TASK_WEIGHT_GRAD || (t->kind == FSM_TASK_WEIGHT_GRAD && stage_of(u) > stage_of(t));
            if (is_late(graph, t) && u->kind != FSM_TASK_EXPERT && (!chunks || beside)) continue;
            if (chunks && (!overlap || beside)) continue;
            if (chunks) assert_true(stage_of(t) > stage_of(u));
            assert_waits(graph, r, i, j);
        }
    }
}

/* Whether the micro-batches of two tasks go beside one another, in lanes of their own. */
static bool are_beside(const fsm_graph *graph, const fsm_task *t, const fsm_task *u)
{
    int at_once = fsm_graph_lanes(graph) / fsm_graph_parts(graph);
    return t->micro % at_once != u->micro % at_once;
}

/* Whether a task of one lane, issued later, has to wait for one of another: only where losses are exchanged. */
static bool lanes_meet(const fsm_task *t, const fsm_task *u)
{
    if (t->micro != u->micro) return false;
    return (t->kind == FSM_TASK_SUMS && u->phase == FSM_FORWARD) ||
           (u->kind == FSM_TASK_SUMS && t->phase == FSM_BACKWARD);
}

/* What follows a layer waits for all of it, in every lane. */
static void check_chain(const fsm_graph *graph, const reach *r)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->phase == FSM_UPDATE || is_late(graph, t)) continue;
        for (int j = 0; j < i; j++) {
            const fsm_task *u = &graph->tasks[j];
            if (u->phase == FSM_UPDATE || is_late(graph, u) || same_layer_of(t, u) || are_beside(graph, t, u)) continue;
            if (t->lane == u->lane || lanes_meet(t, u)) assert_waits(graph, r, i, j);
        }
    }
}

static void check_links(const fsm_step_shape *s, const fsm_graph *graph)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->resource == FSM_COMPUTE || t->kind == FSM_TASK_A2A_COMBINE) continue;
        assert_true(s->group_size[t->group] > 1);
        assert_true(t->resource == s->link[t->group] || t->resource == fsm_step_stream(s));
    }
}

static void check_graph(const fsm_step_shape *s, const fsm_graph *graph, const fsm_graph *plain)
{
    reach r = find_reach(graph);
    assert_int_equal(fsm_graph_check(graph), FSMOE_OK);
    check_same_work(graph, plain);
    check_chunks_tile_rows(s, graph);
    check_gradients_once(s, graph);
    check_update_waits(s, graph, &r);
    check_chunk_order(graph, &r);
    check_chain(graph, &r);
    check_links(s, graph);
    free(r.bits);
}

/* ---- checks of times ---- */

static double time_of(const fsm_graph *graph, const fsm_cluster *cluster, fsm_bound *order_bound)
{
    fsm_timeline timeline;
    double *seconds = malloc(sizeof *seconds * ((size_t)graph->count + 1));
    assert_non_null(seconds);
    assert_int_equal(fsm_cost_graph(graph, cluster, seconds), FSMOE_OK);
    assert_int_equal(fsm_simulate(graph, seconds, FSM_IN_ORDER, &timeline), FSMOE_OK);
    assert_int_equal(fsm_bound_graph(graph, seconds, order_bound), FSMOE_OK);
    double makespan_s = timeline.makespan_s;
    fsm_timeline_destroy(&timeline);
    free(seconds);
    return makespan_s;
}

static void assert_not_below(double makespan_s, const fsm_bound *bound, const char *schedule, const char *what)
{
    if (makespan_s >= bound->seconds * (1 - 1e-9) && bound->seconds >= 0) return;
    fail_msg("%s takes %.17g s, less than its %s bound %.17g s (%s)", schedule, makespan_s, what, bound->seconds,
             bound->binding);
}

/* The schedule's graph in all respects; returns its makespan. */
static double check_schedule(const fsm_step_shape *s, const fsm_cluster *cluster, const fsm_schedule *schedule,
                             const fsm_graph *plain)
{
    fsm_graph graph, again;
    fsm_bound bound, order_bound;
    if (schedule->build(s, cluster, &graph) != FSMOE_OK) fail_msg("%s: %s", schedule->name, fsmoe_last_error());
    check_graph(s, &graph, plain);
    double makespan_s = time_of(&graph, cluster, &order_bound);
    assert_int_equal(fsm_bound_step(s, cluster, schedule->freedom, &bound), FSMOE_OK);
    assert_not_below(makespan_s, &bound, schedule->name, "step");
    assert_not_below(makespan_s, &order_bound, schedule->name, "graph");
    assert_int_equal(schedule->build(s, cluster, &again), FSMOE_OK);
    assert_int_equal(again.count, graph.count);
    assert_int_equal(again.edge_count, graph.edge_count);
    assert_memory_equal(again.edges, graph.edges, sizeof(int) * (size_t)graph.edge_count);
    for (int i = 0; i < graph.count; i++) {
        char name[128], other[128];
        fsm_task_name(&graph.tasks[i], name);
        fsm_task_name(&again.tasks[i], other);
        assert_string_equal(name, other);
        assert_true(graph.tasks[i].size == again.tasks[i].size && graph.tasks[i].resource == again.tasks[i].resource);
    }
    fsm_graph_destroy(&graph);
    fsm_graph_destroy(&again);
    return makespan_s;
}

static double slowest_allowed(const double *makespan_s, const char *schedule)
{
    for (int i = 0; fsm_schedules[i]; i++)
        if (strcmp(fsm_schedules[i]->name, schedule) == 0) return makespan_s[i] * (1 + 1e-12);
    fail_msg("no schedule %s", schedule);
    return 0;
}

/* fsmoe holds all before it, fsmoe-x holds fsmoe, and no schedule is slower than without overlap but by its pieces. */
static void check_ranking(const double *makespan_s)
{
    static const char *const slower[] = {"dsmoe", "tutel", "tutel-improved", "pipemoe-lina", "fsmoe-no-iio"};
    for (int i = 0; fsm_schedules[i]; i++) {
        if (strcmp(fsm_schedules[i]->name, "fsmoe") == 0)
            for (int k = 0; k < 5; k++) assert_true(makespan_s[i] <= slowest_allowed(makespan_s, slower[k]));
        if (strcmp(fsm_schedules[i]->name, "fsmoe-x") == 0)
            assert_true(makespan_s[i] <= slowest_allowed(makespan_s, "fsmoe"));
        if (strcmp(fsm_schedules[i]->name, "fsmoe-lanes") == 0)
            for (int k = 0; fsm_schedules[k]; k++)
                assert_true(makespan_s[i] <= slowest_allowed(makespan_s, fsm_schedules[k]->name));
    }
}

/* ---- tests ---- */

static void test_schedules_are_right_on_random_steps(void **state)
{
    (void)state;
    for (int i = 0; i < STEPS; i++) {
        fsm_step_shape s = random_shape();
        fsm_cluster cluster;
        fsm_graph plain;
        double makespan_s[MOST_SCHEDULES];
        random_cluster(&cluster);
        assert_int_equal(fsm_schedule_in_order(&s, 1, 1, &plain), FSMOE_OK);
        for (int k = 0; fsm_schedules[k]; k++) makespan_s[k] = check_schedule(&s, &cluster, fsm_schedules[k], &plain);
        check_ranking(makespan_s);
        fsm_graph_destroy(&plain);
        fsm_cluster_destroy(&cluster);
        fsm_step_shape_destroy(&s);
    }
}

static void test_schedules_have_names_and_are_found(void **state)
{
    (void)state;
    for (int i = 0; fsm_schedules[i]; i++) {
        assert_true(i < MOST_SCHEDULES);
        assert_ptr_equal(fsm_schedule_find(fsm_schedules[i]->name), fsm_schedules[i]);
        assert_true(strlen(fsm_schedules[i]->name) < 32); /* as a plan keeps it */
        assert_true(strlen(fsm_schedules[i]->description) > 0 && strlen(fsm_schedules[i]->source) > 0);
    }
    assert_null(fsm_schedule_find("fsmo"));
}

/* A cluster whose launches cost nothing wants more chunks than may be: there are never more than the most, nor than
 * rows. */
static void test_schedules_never_make_more_chunks_than_may_be(void **state)
{
    (void)state;
    fsm_step_shape s = random_shape();
    fsm_cluster cluster = {.name = "no latency"};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        cluster.op[op].cost.line[0].beta_s = op == FSM_COST_GEMM ? 1e-9 : 1e-7;
    s.num_layers = s.moe_every = s.micro_batches = 1;
    s.training = true;
    s.gradient_count = 0;
    for (int g = 0; g < FSM_GROUP_COUNT; g++) s.group_size[g] = 2;
    const int rows[] = {1, 3, FSM_MAX_CHUNKS, 4 * FSM_MAX_CHUNKS}, most[] = {0, 1, 5, FSM_MAX_CHUNKS};
    for (int i = 0; i < 16; i++) {
        fsm_graph plain;
        s.nominal_rows = rows[i / 4];
        s.max_degree = most[i % 4];
        part_micro_batches(&s);
        assert_int_equal(fsm_schedule_in_order(&s, 1, 1, &plain), FSMOE_OK);
        for (int k = 0; fsm_schedules[k]; k++) check_schedule(&s, &cluster, fsm_schedules[k], &plain);
        fsm_graph_destroy(&plain);
    }
    fsm_step_shape_destroy(&s);
}

/* ---- two threads ---- */

typedef struct planner {
    const fsm_step_shape *shape;
    const fsm_cluster *cluster;
    double makespan_s[MOST_SCHEDULES];
    int tasks[MOST_SCHEDULES];
} planner;

static void *plan_all(void *argument)
{
    planner *p = argument;
    for (int k = 0; fsm_schedules[k]; k++) {
        fsm_graph graph;
        fsm_bound bound;
        p->tasks[k] = -1;
        if (fsm_schedules[k]->build(p->shape, p->cluster, &graph) != FSMOE_OK) continue;
        p->makespan_s[k] = time_of(&graph, p->cluster, &bound);
        p->tasks[k] = graph.count;
        fsm_graph_destroy(&graph);
    }
    return NULL;
}

static void test_schedules_in_two_threads_are_as_in_one(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        fsm_step_shape shapes[2] = {random_shape(), random_shape()};
        fsm_cluster cluster;
        planner alone[2], beside[2];
        pthread_t threads[2];
        random_cluster(&cluster);
        for (int t = 0; t < 2; t++) alone[t] = beside[t] = (planner){.shape = &shapes[t], .cluster = &cluster};
        for (int t = 0; t < 2; t++) plan_all(&alone[t]);
        for (int t = 0; t < 2; t++) assert_int_equal(pthread_create(&threads[t], NULL, plan_all, &beside[t]), 0);
        for (int t = 0; t < 2; t++) assert_int_equal(pthread_join(threads[t], NULL), 0);
        for (int t = 0; t < 2; t++) {
            for (int k = 0; fsm_schedules[k]; k++) {
                assert_true(alone[t].tasks[k] > 0 && beside[t].tasks[k] == alone[t].tasks[k]);
                assert_true(beside[t].makespan_s[k] == alone[t].makespan_s[k]);
            }
            fsm_step_shape_destroy(&shapes[t]);
        }
        fsm_cluster_destroy(&cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules_are_right_on_random_steps),
        cmocka_unit_test(test_schedules_have_names_and_are_found),
        cmocka_unit_test(test_schedules_never_make_more_chunks_than_may_be),
        cmocka_unit_test(test_schedules_in_two_threads_are_as_in_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
