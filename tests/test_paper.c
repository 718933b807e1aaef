/* The paper's choices: each closed form where it must bind, against minima solved by hand and a fine scan; never
 * better than the exact search; whole steps whose gradients wait for what makes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "plan/bound.h"
#include "plan/schedule/paper.h"
#include "plan/simulate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_near(double got, double want, double band)
{
    if (fabs(got - want) <= band) return;
    print_error("%.17g is not within %g of %.17g\n", got, band, want);
    fail();
}

/* ---- windows ---- */

/* One launch that takes alpha + whole / r milliseconds. */
static fsm_load load(double alpha_ms, double whole_ms)
{
    return (fsm_load){.cost = {.line = {{1e-3 * alpha_ms, 1e-6 * whole_ms}}}, .launches = 1, .size = 1000};
}

static fsm_window window_of(fsm_load a2a, fsm_load allgather, fsm_load expert, fsm_load reducescatter, double allreduce)
{
    fsm_window w = {.max_degree = 64};
    w.stage[FSM_STAGE_DISPATCH] = w.stage[FSM_STAGE_COMBINE] = a2a;
    w.stage[FSM_STAGE_ALLGATHER] = allgather;
    w.stage[FSM_STAGE_EXPERT] = expert;
    w.stage[FSM_STAGE_REDUCESCATTER] = reducescatter;
    if (allreduce > 0) w.allreduce = load(0, allreduce);
    return w;
}

static void check_estimate(fsm_window w, fsm_paper_case bound_by, double real_degree, double real_ms)
{
    fsm_paper_estimate e;
    assert_int_equal(fsm_paper_solve(&w, &e), FSMOE_OK);
    assert_int_equal(e.bound_by, bound_by);
    check_near(e.real_s, 1e-3 * real_ms, 1e-6 * 1e-3 * real_ms);
    check_near(e.real_degree, real_degree, 1e-4 * real_degree);
    double below = fsm_paper_estimate_s(&w, floor(real_degree), NULL);
    double above = fsm_paper_estimate_s(&w, ceil(real_degree), NULL);
    assert_int_equal(e.degree, (int)(above < below ? ceil(real_degree) : floor(real_degree)));
    check_near(e.makespan_s, fmin(above, below), 0);
}

static void test_paper_degree_takes_each_case_where_it_binds(void **state)
{
    (void)state;
    /* 2 r 1 + 80 + 50 / r */
    check_estimate(window_of(load(1, 40), load(0, 25), load(0, 1), load(0, 25), 0), FSM_PAPER_ALLTOALL, 5, 100);
    /* r 1 + 200 + (20 + 10) / r */
    check_estimate(window_of(load(0, 10), load(0, 5), load(1, 200), load(0, 5), 0), FSM_PAPER_COMPUTE, sqrt(30),
                   200 + 2 * sqrt(30));
    /* the same, shorter all-to-alls than allgathers */
    check_estimate(window_of(load(0, 10), load(0, 15), load(1, 200), load(0, 15), 0), FSM_PAPER_COMPUTE, sqrt(50),
                   200 + 2 * sqrt(50));
    /* r (0.5 + 0.5) + 200 + 40 / r */
    check_estimate(window_of(load(0, 20), load(0.5, 100), load(0, 1), load(0.5, 100), 0), FSM_PAPER_INTRA, sqrt(40),
                   200 + 2 * sqrt(40));
    /* 2 r 1 + 80 + 500, whatever hides it */
    check_estimate(window_of(load(1, 40), load(0, 5), load(0, 2), load(0, 5), 500), FSM_PAPER_INTER, 1, 582);
    /* A constrained minimum: beside 40 / r of allgather and reducescatter an all-reduce of 20 is hidden up to r = 2,
     * and so 2 r 1 + 80 + max(40 / r, 20) is least there. */
    fsm_window w = window_of(load(1, 40), load(0, 20), load(0, 1), load(0, 20), 20);
    fsm_paper_estimate e;
    assert_int_equal(fsm_paper_solve(&w, &e), FSMOE_OK);
    check_near(e.real_s, 104e-3, 104e-9);
    check_near(e.real_degree, 2, 1e-4);
    assert_int_equal(e.degree, 2);
}

static void test_paper_degree_counts_weight_gradients_and_dense_work(void **state)
{
    (void)state;
    fsm_window w = window_of(load(0, 10), load(0, 5), load(0.5, 150), load(0, 5), 0);
    w.stage[FSM_STAGE_WEIGHT_GRAD] = load(0.5, 50);
    check_estimate(w, FSM_PAPER_COMPUTE, sqrt(30), 200 + 2 * sqrt(30));
    w.dense_s = 30e-3; /* hides an all-reduce of 25 altogether, and 30 of the 530 */
    w.allreduce = load(0, 25);
    check_estimate(w, FSM_PAPER_COMPUTE, sqrt(30), 230 + 2 * sqrt(30));
    w = window_of(load(1, 40), load(0, 5), load(0, 2), load(0, 5), 530);
    w.dense_s = 30e-3;
    check_estimate(w, FSM_PAPER_INTER, 1, 612);
    /* Two lines that are one: the derivative by differences finds the same. */
    w = window_of(load(1, 40), load(0, 25), load(0, 1), load(0, 25), 0);
    for (int i = 0; i < FSM_STAGE_COUNT; i++) {
        w.stage[i].cost.line[1] = w.stage[i].cost.line[0];
        w.stage[i].cost.large_from = 100;
    }
    check_estimate(w, FSM_PAPER_ALLTOALL, 5, 100);
}

/* What is left is what a greedy all-reduce may take without changing the closed form. */
static void test_paper_room_is_where_the_estimate_starts_to_grow(void **state)
{
    (void)state;
    const fsm_window windows[] = {window_of(load(1, 40), load(0, 25), load(0, 1), load(0, 25), 0),
                                  window_of(load(0, 10), load(0, 5), load(1, 200), load(0, 5), 0),
                                  window_of(load(0, 20), load(0.5, 100), load(0, 1), load(0.5, 100), 0)};
    for (int i = 0; i < 3; i++)
        for (int degree = 2; degree <= 16; degree *= 2) {
            fsm_window w = windows[i];
            double alone_s = fsm_paper_estimate_s(&w, degree, NULL), room_ms = 1e3 * fsm_paper_room_s(&w, degree);
            assert_true(room_ms > 0);
            w.allreduce = load(0, 0.999 * room_ms);
            check_near(fsm_paper_estimate_s(&w, degree, NULL), alone_s, 1e-12);
            w.allreduce = load(0, room_ms + 1);
            check_near(fsm_paper_estimate_s(&w, degree, NULL), alone_s + 1e-3, 1e-12);
        }
}

/* ---- random windows ---- */

static double uniform(uint64_t *next)
{
    return fsm_rng_uniform(41, FSM_RNG_TEST, (*next)++);
}

static fsm_load random_load(uint64_t *next)
{
    double alpha_ms = 2 * uniform(next) * uniform(next), whole_ms = 60 * uniform(next) * uniform(next);
    fsm_load l = load(alpha_ms, whole_ms);
    l.launches = uniform(next) < 0.1 ? 0 : uniform(next) < 0.2 ? 2 : 1;
    if (uniform(next) < 0.1) {
        l.cost.line[1] = l.cost.line[0];
        l.cost.line[1].beta_s *= 0.5 + uniform(next);
        l.cost.large_from = l.size * uniform(next);
        l.cost.line[2] = l.cost.line[1];
        l.cost.line[2].beta_s *= 0.5 + uniform(next);
        if (uniform(next) < 0.3) l.cost.largest_from = l.cost.large_from * (1 + uniform(next));
    }
    return l;
}

static fsm_window random_window(uint64_t *next)
{
    fsm_load a2a = random_load(next), allgather = random_load(next), expert = random_load(next);
    fsm_window w = window_of(a2a, allgather, expert, uniform(next) < 0.5 ? allgather : random_load(next), 0);
    if (uniform(next) < 0.5) w.stage[FSM_STAGE_WEIGHT_GRAD] = expert;
    if (uniform(next) < 0.6) w.allreduce = random_load(next);
    if (uniform(next) < 0.5) w.dense_s = 20e-3 * uniform(next);
    w.max_degree = 1 + (int)(uniform(next) < 0.3 ? 4 * uniform(next) : 48 * uniform(next));
    if (uniform(next) < 0.3) w.rows = w.max_degree + floor(100 * uniform(next));
    return w;
}

static bool has_one_line_each(const fsm_window *w)
{
    bool one = true;
    for (int i = 0; i < FSM_STAGE_COUNT; i++) one &= w->stage[i].cost.large_from == 0;
    return one;
}

static double scan(const fsm_window *w)
{
    double least_s = INFINITY;
    for (int i = 0; i <= 500; i++)
        least_s = fmin(least_s, fsm_paper_estimate_s(w, exp(log(w->max_degree) * i / 500), NULL));
    return least_s;
}

static void test_paper_degree_is_never_better_than_the_exact_one(void **state)
{
    (void)state;
    enum { WINDOWS = 2000 };
    uint64_t next = 0;
    double sum = 0, worst = 1, over = 0, worst_over = 1;
    int different = 0;
    for (int i = 0; i < WINDOWS; i++) {
        fsm_window w = random_window(&next);
        fsm_window_plan paper, again, best;
        fsm_paper_estimate e, e_again;
        assert_int_equal(fsm_paper_degree(&w, &paper, &e), FSMOE_OK);
        assert_int_equal(fsm_paper_degree(&w, &again, &e_again), FSMOE_OK);
        assert_int_equal(fsm_window_best(&w, (fsm_freedom){0}, &best), FSMOE_OK);
        assert_in_range(paper.degree, 1, w.max_degree);
        assert_int_equal(paper.degree, e.degree);
        assert_true(paper.makespan_s >= best.makespan_s * (1 - 1e-9));
        check_near(paper.makespan_s, again.makespan_s, 0);
        assert_memory_equal(&e.makespan_s, &e_again.makespan_s, sizeof e.makespan_s);
        check_near(e.real_degree, e_again.real_degree, 0);
        if (has_one_line_each(&w)) assert_true(e.real_s <= scan(&w) * (1 + 1e-6));
        double ratio = best.makespan_s > 0 ? paper.makespan_s / best.makespan_s : 1;
        double claimed = paper.makespan_s > 0 ? e.makespan_s / paper.makespan_s : 1;
        sum += ratio, over += claimed;
        worst = fmax(worst, ratio), worst_over = fmax(worst_over, claimed);
        different += paper.degree != best.degree;
    }
    print_message(
        "paper's degree / best: mean %.4f, worst %.4f, another degree in %d of %d; closed form / simulated: mean "
        "%.4f, worst %.4f\n",
        sum / WINDOWS, worst, different, WINDOWS, over / WINDOWS, worst_over);
}

static void check_degenerate(fsm_window w)
{
    fsm_window_plan plan;
    fsm_paper_estimate e;
    assert_int_equal(fsm_paper_degree(&w, &plan, &e), FSMOE_OK);
    assert_in_range(plan.degree, 1, w.max_degree);
    assert_true(isfinite(plan.makespan_s) && isfinite(e.makespan_s) && isfinite(e.real_s) && isfinite(e.real_degree));
    assert_true(isfinite(fsm_paper_room_s(&w, plan.degree)));
}

static void test_paper_degree_survives_degenerate_windows(void **state)
{
    (void)state;
    const fsm_load none = {0}, zero = load(0, 0), some = load(1, 20);
    const fsm_load loads[] = {none, zero, some};
    for (int i = 0; i < 81; i++)
        for (int max_degree = 1; max_degree <= 100; max_degree += 33) {
            fsm_window w = window_of(loads[i % 3], loads[i / 3 % 3], loads[i / 9 % 3], loads[i / 27], 0);
            w.max_degree = max_degree;
            w.rows = max_degree % 2 ? max_degree : 0;
            check_degenerate(w);
            w.allreduce = zero;
            check_degenerate(w);
            w.allreduce = some;
            w.dense_s = max_degree > 50 ? 1e-3 : 0;
            check_degenerate(w);
        }
    fsm_window w = window_of(some, some, load(NAN, 1), some, 0);
    fsm_window_plan plan;
    assert_int_equal(fsm_paper_degree(&w, &plan, NULL), FSMOE_ERROR_NUMERIC);
}

/* ---- whole steps ---- */

enum { LAYERS = 6, ATTENTION_ELEMS = 4 << 20, EXPERT_ELEMS = 6 << 20, GATE_ELEMS = 1 << 14 };

/* A small model on 2 nodes of 2 ranks; runs of gradients a region, the last layer first. */
static fsm_step_shape make_shape(int moe_every, int micro_batches, bool training, fsm_gradient *gradients)
{
    static const int sizes[FSM_GROUP_COUNT] = {8, 4, 2, 2, 2, 2, 4};
    static const int64_t elems[3] = {GATE_ELEMS, ATTENTION_ELEMS, EXPERT_ELEMS};
    static const fsm_task_kind after[3] = {FSM_TASK_GATE, FSM_TASK_ATTENTION, FSM_TASK_WEIGHT_GRAD};
    static const fsm_group groups[3] = {FSM_GROUP_WORLD, FSM_GROUP_DP, FSM_GROUP_EDP};
    fsm_step_shape s = {.num_layers = LAYERS,
                        .moe_every = moe_every,
                        .micro_batches = micro_batches,
                        .training = training,
                        .hidden = 1024,
                        .ffn_hidden = 4096,
                        .vocab_size = 8000,
                        .seq_len = 512,
                        .attention_width = 512,
                        .qkv_width = 1536,
                        .n_group = 1024,
                        .n_local = 512,
                        .num_experts = 4,
                        .top_k = 2,
                        .rows = 1024,
                        .nominal_rows = 5040,
                        .expert_gemms = 2,
                        .region_count = 3,
                        .gradients = gradients};
    int64_t at = 0;
    for (int r = 0; r < 3; r++) {
        s.regions[r] = (fsm_region){groups[r], at, at + LAYERS * elems[r]};
        for (int layer = LAYERS - 1; layer >= 0; layer--, at += elems[r]) {
            bool has_gate = fsm_layer_is_moe(moe_every, layer);
            fsm_task_kind kind = r == 0 && !has_gate ? FSM_TASK_FFN_NORM : after[r];
            gradients[s.gradient_count++] = (fsm_gradient){r, at, at + elems[r], layer, kind};
        }
    }
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        s.group_size[g] = sizes[g];
        s.link[g] = g == FSM_GROUP_MP || g == FSM_GROUP_ESP ? FSM_INTRA : FSM_INTER;
    }
    return s;
}

static fsm_cluster make_cluster(void)
{
    fsm_cluster cluster;
    const char *text = "{\"name\": \"small\", \"unit\": \"ms\", \"nodes\": 2, \"ranks_per_node\": 2,"
                       "\"gemm\": {\"alpha\": 0.03, \"beta\": 4e-10}, \"alltoall\": {\"alpha\": 0.08, \"beta\": 3e-6},"
                       "\"allgather\": {\"alpha\": 0.02, \"beta\": 1.2e-6},"
                       "\"reducescatter\": {\"alpha\": 0.02, \"beta\": 1.3e-6},"
                       "\"allreduce\": {\"alpha\": 0.1, \"beta\": 1.2e-6}}";
    assert_int_equal(fsm_cluster_from_json(text, "text", &cluster), FSMOE_OK);
    return cluster;
}

static double simulated_s(const fsm_graph *graph, const fsm_cluster *cluster)
{
    fsm_timeline timeline;
    double *seconds = malloc(sizeof *seconds * (size_t)graph->count);
    assert_int_equal(fsm_cost_graph(graph, cluster, seconds), FSMOE_OK);
    assert_int_equal(fsm_simulate(graph, seconds, FSM_IN_ORDER, &timeline), FSMOE_OK);
    double makespan_s = timeline.makespan_s;
    fsm_timeline_destroy(&timeline);
    free(seconds);
    return makespan_s;
}

static double time_of(const fsm_schedule *schedule, const fsm_step_shape *s, const fsm_cluster *cluster)
{
    fsm_graph graph;
    assert_int_equal(schedule->build(s, cluster, &graph), FSMOE_OK);
    double makespan_s = simulated_s(&graph, cluster);
    fsm_graph_destroy(&graph);
    return makespan_s;
}

/* Every element once, and none before the task that finishes it. Returns how many pieces there are. */
static int check_gradients(const fsm_step_shape *s, const fsm_graph *graph)
{
    int pieces = 0;
    int64_t sent = 0, last[3] = {s->regions[0].first, s->regions[1].first, s->regions[2].first};
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->kind != FSM_TASK_ALLREDUCE) continue;
        int region = 0;
        while (t->slice_first >= s->regions[region].last) region++;
        assert_int_equal(t->slice_first, last[region]);
        assert_true(t->slice_last <= s->regions[region].last);
        last[region] = t->slice_last;
        sent += t->slice_last - t->slice_first;
        pieces++;
        assert_int_equal(t->after_count, 1);
        for (int g = 0; g < s->gradient_count; g++) {
            const fsm_gradient *run = &s->gradients[g];
            if (run->first >= t->slice_last || run->last <= t->slice_first) continue;
            for (int j = 0; j < graph->count; j++) {
                const fsm_task *maker = &graph->tasks[j];
                if (maker->kind == run->after && maker->phase == FSM_BACKWARD && maker->layer == run->layer &&
                    maker->micro == s->micro_batches - 1)
                    assert_true(j <= graph->edges[t->after_first]);
            }
        }
    }
    assert_int_equal(sent, s->regions[2].last);
    return pieces;
}

static void check_step(const fsm_step_shape *s, const fsm_cluster *cluster)
{
    fsm_graph graph, again;
    fsm_bound bound;
    assert_int_equal(fsm_schedule_fsmoe_paper.build(s, cluster, &graph), FSMOE_OK);
    assert_int_equal(fsm_graph_check(&graph), FSMOE_OK);
    assert_true(check_gradients(s, &graph) > 3);
    double paper_s = simulated_s(&graph, cluster), dsmoe_s = time_of(&fsm_schedule_dsmoe, s, cluster);
    print_message("%d micro-batches, experts every %d: paper / fsmoe %.4f, paper / dsmoe %.4f\n", s->micro_batches,
                  s->moe_every, paper_s / time_of(&fsm_schedule_fsmoe, s, cluster), paper_s / dsmoe_s);
    assert_int_equal(fsm_bound_step(s, cluster, (fsm_freedom){0}, &bound), FSMOE_OK);
    assert_true(paper_s >= bound.seconds * (1 - 1e-9));
    assert_true(paper_s < dsmoe_s);
    assert_int_equal(fsm_schedule_fsmoe_paper.build(s, cluster, &again), FSMOE_OK);
    assert_int_equal(graph.count, again.count);
    assert_memory_equal(graph.edges, again.edges, sizeof *graph.edges * (size_t)graph.edge_count);
    check_near(simulated_s(&again, cluster), paper_s, 0);
    fsm_graph_destroy(&graph);
    fsm_graph_destroy(&again);
}

/* The layers' own backward degrees may make it faster than schedule fsmoe, which has one for all of them; not than the
 * bound. */
static void test_paper_step_is_whole_and_within_its_bound(void **state)
{
    (void)state;
    fsm_cluster cluster = make_cluster();
    for (int moe_every = 1; moe_every <= 2; moe_every++)
        for (int micro_batches = 1; micro_batches <= 2; micro_batches++) {
            fsm_gradient gradients[3 * LAYERS];
            fsm_step_shape s = make_shape(moe_every, micro_batches, true, gradients);
            check_step(&s, &cluster);
        }
    fsm_cluster_destroy(&cluster);
}

/* With nothing to send only degrees differ, and those of schedule fsmoe are the best. */
static void test_paper_step_without_gradients_is_no_faster_than_the_exact_one(void **state)
{
    (void)state;
    fsm_cluster cluster = make_cluster();
    for (int moe_every = 1; moe_every <= 3; moe_every++)
        for (int scale = 1; scale <= 4; scale++) {
            fsm_gradient gradients[3 * LAYERS];
            fsm_step_shape s = make_shape(moe_every, 1, true, gradients);
            s.rows *= scale;
            s.group_size[FSM_GROUP_WORLD] = s.group_size[FSM_GROUP_DP] = s.group_size[FSM_GROUP_EDP] = 1;
            double paper_s = time_of(&fsm_schedule_fsmoe_paper, &s, &cluster);
            assert_true(paper_s >= time_of(&fsm_schedule_fsmoe, &s, &cluster) * (1 - 1e-9));
        }
    fsm_cluster_destroy(&cluster);
}

static void test_paper_partition_hides_behind_dense_work_what_fits(void **state)
{
    (void)state;
    fsm_cluster cluster = make_cluster();
    const fsm_cost *allreduce = &cluster.op[FSM_COST_ALLREDUCE].cost;
    for (int moe_every = 1; moe_every <= 2; moe_every++) {
        fsm_gradient gradients[3 * LAYERS];
        fsm_step_shape s = make_shape(moe_every, 1, true, gradients);
        fsm_paper_layer layers[LAYERS];
        int beside_dense = 0;
        assert_int_equal(fsm_paper_partition(&s, &cluster, layers), FSMOE_OK);
        for (int i = 0; i < LAYERS; i++) {
            double time_s[2] = {0};
            for (int place = 0; place < 2; place++)
                for (int k = 0; k < layers[i].piece_count[place]; k++) {
                    const fsm_piece *piece = &layers[i].pieces[place][k];
                    time_s[place] += fsm_cost_s(allreduce, 1, (double)(piece->last - piece->first));
                    assert_int_equal(piece->first % 16, 0);
                    beside_dense += place;
                }
            check_near(layers[i].allreduce_s, time_s[0], 1e-12);
            double dense_s;
            assert_int_equal(fsm_step_dense_s(&s, &cluster, false, i, &dense_s), FSMOE_OK);
            assert_true(time_s[1] <= dense_s * (1 + 1e-9));
            assert_true(fsm_layer_is_moe(moe_every, i) || layers[i].piece_count[0] == 0);
        }
        assert_true(beside_dense > 0);
    }
    fsm_cluster_destroy(&cluster);
}

static void test_paper_step_without_training_or_room_is_built(void **state)
{
    (void)state;
    fsm_cluster cluster = make_cluster();
    fsm_gradient gradients[3 * LAYERS];
    for (int change = 0; change < 4; change++) {
        fsm_step_shape s = make_shape(1, 1, change != 0, gradients);
        if (change == 1) s.gradient_count = 0; /* all are finished at the end */
        if (change == 2) s.max_degree = 1;
        for (int g = 0; change == 3 && g < FSM_GROUP_COUNT; g++) s.link[g] = FSM_INTRA; /* one node: one stream */
        fsm_graph graph;
        assert_int_equal(fsm_schedule_fsmoe_paper.build(&s, &cluster, &graph), FSMOE_OK);
        assert_true(simulated_s(&graph, &cluster) > 0);
        if (change > 1) assert_true(check_gradients(&s, &graph) >= 3);
        fsm_graph_destroy(&graph);
    }
    fsm_cluster_destroy(&cluster);
}

static void test_paper_schedule_plans_a_layer_in_both_directions(void **state)
{
    (void)state;
    const fsm_window layer[2] = {window_of(load(1, 40), load(0, 25), load(0, 1), load(0, 25), 0),
                                 window_of(load(0, 10), load(0, 5), load(1, 200), load(0, 5), 3)};
    fsm_window_plan plan[2];
    assert_int_equal(fsm_schedule_fsmoe_paper.plan_layer(layer, plan), FSMOE_OK);
    assert_int_equal(plan[0].degree, 5);
    assert_in_range(plan[1].degree, 5, 6);
    for (int phase = 0; phase < 2; phase++) assert_true(plan[phase].bound_s <= plan[phase].makespan_s);
    assert_string_equal(fsm_schedule_fsmoe_paper.name, "fsmoe-paper");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paper_degree_takes_each_case_where_it_binds),
        cmocka_unit_test(test_paper_degree_counts_weight_gradients_and_dense_work),
        cmocka_unit_test(test_paper_room_is_where_the_estimate_starts_to_grow),
        cmocka_unit_test(test_paper_degree_is_never_better_than_the_exact_one),
        cmocka_unit_test(test_paper_degree_survives_degenerate_windows),
        cmocka_unit_test(test_paper_step_is_whole_and_within_its_bound),
        cmocka_unit_test(test_paper_step_without_gradients_is_no_faster_than_the_exact_one),
        cmocka_unit_test(test_paper_partition_hides_behind_dense_work_what_fits),
        cmocka_unit_test(test_paper_step_without_training_or_room_is_built),
        cmocka_unit_test(test_paper_schedule_plans_a_layer_in_both_directions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
