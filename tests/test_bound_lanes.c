/* The bound of a step in lanes. Oracle: the best of many random orders of every layout and degree, on steps so small
 * that random orders are good; and steps whose bound is known by hand. */
#define DRAW_SEED 43
#include "plan/bound_lanes.h"
#include "plan/check.h"
#include "plan/rhythm.h"
#include "plan/simulate.h"
#include "random_step.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { STEPS = 60, ORDERS = 60, MOST_LAYERS = 3, MOST_CUTS = 3 };

/* ---- small steps ---- */

static void add_gradient(fsm_step_shape *s, int layer, fsm_task_kind after)
{
    int64_t first = s->gradient_count > 0 ? s->gradients[s->gradient_count - 1].last : 0;
    s->gradients[s->gradient_count++] = (fsm_gradient){0, first, first + 16 * (1 + draw(2000)), layer, after};
}

static fsm_step_shape small_shape(void)
{
    fsm_step_shape s = {.num_layers = 1 + (int)draw(MOST_LAYERS),
                        .moe_every = 1 + (int)draw(2),
                        .micro_batches = 1 + (int)draw(2),
                        .training = true,
                        .early_update = draw(2),
                        .hidden = 16,
                        .ffn_hidden = 64,
                        .vocab_size = 100,
                        .seq_len = 12,
                        .attention_width = 16,
                        .qkv_width = 48,
                        .n_group = 48,
                        .n_local = 24,
                        .num_experts = 4,
                        .top_k = 2,
                        .rows = 60,
                        .nominal_rows = 12,
                        .max_degree = 3,
                        .expert_gemms = 2,
                        .region_count = 1};
    part_micro_batches(&s, 1 + (int)draw(3));
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        bool inside = g == FSM_GROUP_MP || g == FSM_GROUP_ESP;
        s.group_size[g] = 2;
        s.link[g] = inside ? FSM_INTRA : FSM_INTER;
    }
    s.gradients = calloc(16, sizeof *s.gradients);
    assert_non_null(s.gradients);
    add_gradient(&s, -1, FSM_TASK_HEAD);
    for (int layer = s.num_layers - 1; layer >= 0; layer--) {
        add_gradient(&s, layer, FSM_TASK_WEIGHT_GRAD);
        add_gradient(&s, layer, FSM_TASK_ATTENTION);
    }
    add_gradient(&s, -1, FSM_TASK_EMBEDDING);
    s.regions[0] = (fsm_region){FSM_GROUP_WORLD, 0, s.gradients[s.gradient_count - 1].last};
    return s;
}

static fsm_cluster small_cluster(void)
{
    fsm_cluster cluster = {.name = "small"};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        cluster.op[op].cost.line[0] =
            (fsm_line){1e-6 * draw_uniform(), (op == FSM_COST_GEMM ? 1e-10 : 1e-8) * pow(10, draw_uniform())};
    fsm_cost update = {.line[0] = {2e-5 * draw_uniform(), 1e-9 * draw_uniform()}};
    if (draw(2)) assert_int_equal(fsm_cluster_set_task(&cluster, "optimizer.update", update), FSMOE_OK);
    return cluster;
}

/* ---- random orders ---- */

static void string(const fsm_step_shape *s, fsm_lanes lanes, const int degree[2], int pieces, fsm_graph *graph)
{
    fsm_lane_cuts cuts;
    fsm_layer_cut passes[2][FSM_MAX_LANES];
    fsm_step_builder b;
    fsm_lanes_cut(s, lanes, degree, cuts, passes);
    assert_int_equal(fsm_step_builder_begin(s, lanes, false, graph, &b), FSMOE_OK);
    b.late_weight_grads = true;
    fsm_step_plain(&b, passes);
    for (int i = 0; i < pieces; i++) {
        int64_t elems = s->regions[0].last / 16, first = elems * i / pieces * 16, last = elems * (i + 1) / pieces * 16;
        fsm_step_send(&b, &(fsm_piece){0, first, last});
    }
    fsm_step_update(&b);
    assert_int_equal(fsm_step_builder_end(&b), FSMOE_OK);
}

typedef struct mixed_cut {
    int64_t cuts[MOST_CUTS + 1];
    fsm_layer_cut cut;
} mixed_cut;

/* Chunks as they come, of any sizes. */
static void cut_anyhow(int64_t rows, mixed_cut *m)
{
    m->cut = (fsm_layer_cut){.degree = 1 + (int)draw(MOST_CUTS), .cuts = m->cuts, .split = true};
    if (m->cut.degree > rows) m->cut.degree = (int)rows;
    m->cuts[0] = 0;
    for (int c = 1; c <= m->cut.degree; c++) {
        int64_t left = rows - m->cuts[c - 1] - (m->cut.degree - c);
        m->cuts[c] = c == m->cut.degree ? rows : m->cuts[c - 1] + 1 + draw(left);
    }
}

/* Every layer of every lane and direction is cut in its own way. */
static void string_mixed(const fsm_step_shape *s, fsm_lanes lanes, fsm_graph *graph)
{
    static mixed_cut cuts[2][FSM_MAX_LANES][MOST_LAYERS];
    fsm_step_builder b;
    int side = lanes.lanes / lanes.parts;
    for (int i = 0; i < 2 * lanes.lanes * s->num_layers; i++) {
        int lane = i / 2 % lanes.lanes;
        int64_t rows = fsm_step_part(s, lanes.parts, lane % lanes.parts).nominal_rows;
        cut_anyhow(rows, &cuts[i % 2][lane][i / 2 / lanes.lanes]);
    }
    assert_int_equal(fsm_step_builder_begin(s, lanes, false, graph, &b), FSMOE_OK);
    b.late_weight_grads = true;
    for (int first = 0; first < s->micro_batches; first += side)
        for (int phase = 0; phase < 2; phase++)
            for (int lane = 0; lane < lanes.lanes && first + lane / lanes.parts < s->micro_batches; lane++) {
                fsm_step_enter(&b, first + lane / lanes.parts, lane);
                if (phase == 0) fsm_step_begin(&b);
                else fsm_step_head_backward(&b);
                for (int i = 0; i < s->num_layers; i++) {
                    int layer = phase == 0 ? i : s->num_layers - 1 - i;
                    fsm_step_layer(&b, (fsm_phase)phase, layer, &cuts[phase][lane][layer].cut);
                }
                if (phase == 0) fsm_step_head(&b);
                else fsm_step_end(&b);
                if (phase == 0 && lane % lanes.parts == lanes.parts - 1) fsm_step_sums(&b);
            }
    fsm_step_send_pieces(&b, 16 * (1 + draw(1000)));
    fsm_step_update(&b);
    assert_int_equal(fsm_step_builder_end(&b), FSMOE_OK);
}

/* The best of random orders; each is a plan that the checker accepts. degree NULL: cut anyhow. */
static double best_of_random(const fsm_step_shape *s, const fsm_cluster *cluster, fsm_lanes lanes, const int *degree)
{
    double best_s = INFINITY;
    fsm_graph graph, ordered;
    fsm_list list;
    if (degree) string(s, lanes, degree, 1 + (int)draw(4), &graph);
    else string_mixed(s, lanes, &graph);
    double *seconds = malloc(2 * sizeof *seconds * ((size_t)graph.count + 1)), *keys = seconds + graph.count;
    assert_non_null(seconds);
    assert_int_equal(fsm_cost_tasks(&graph, cluster, true, seconds), FSMOE_OK);
    assert_int_equal(fsm_list_create(&graph, seconds, &list), FSMOE_OK);
    double weight = 2 * draw_uniform();
    for (int k = 0; k < ORDERS; k++) {
        for (int i = 0; i < graph.count; i++) keys[i] = list.way_s[i] + weight * draw_uniform() * list.way_s[0];
        fsm_list_run(&list, keys);
        best_s = fmin(best_s, list.makespan_s);
    }
    assert_int_equal(fsm_list_reorder(&list, &ordered), FSMOE_OK);
    if (fsm_plan_check_graph(&ordered, s) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    fsm_graph_destroy(&ordered);
    fsm_list_destroy(&list);
    free(seconds);
    fsm_graph_destroy(&graph);
    return best_s;
}

static double best_of_degrees(const fsm_step_shape *s, const fsm_cluster *cluster, int lanes, int parts)
{
    double best_s = INFINITY;
    for (int d = 0; d < 12; d++) {
        const fsm_lanes spread = {.lanes = lanes, .parts = parts, .spare = (int)draw(3)};
        const int degree[2] = {1 + d % 3, 1 + d / 3};
        best_s = fmin(best_s, best_of_random(s, cluster, spread, d < 9 ? degree : NULL));
    }
    return best_s;
}

static void test_bound_lanes_is_below_every_order(void **state)
{
    (void)state;
    double closest = INFINITY;
    for (int k = 0; k < STEPS; k++) {
        fsm_step_shape s = small_shape();
        fsm_cluster cluster = small_cluster();
        fsm_bound bound;
        double best_s = INFINITY;
        assert_int_equal(fsm_bound_lanes(&s, &cluster, &bound), FSMOE_OK);
        for (int lanes = 1; lanes <= FSM_MAX_LANES; lanes++)
            for (int parts = 1; parts <= s.most_parts; parts++)
                if (lanes % parts == 0 && lanes / parts <= s.micro_batches)
                    best_s = fmin(best_s, best_of_degrees(&s, &cluster, lanes, parts));
        if (best_s < bound.seconds * (1 - 1e-12))
            fail_msg("step %d takes %g s, below its bound %g s (%s)", k, best_s, bound.seconds, bound.binding);
        closest = fmin(closest, best_s / bound.seconds);
        fsm_step_shape_destroy(&s);
        fsm_cluster_destroy(&cluster);
    }
    assert_true(closest < 1.02); /* it is no bound that nothing comes near */
}

/* MoE layers alone exchange nothing between the directions, so one part goes back while another goes forward. */
static void test_bound_lanes_of_experts_alone_is_below_their_plans(void **state)
{
    (void)state;
    int parted = 0;
    for (int k = 0; k < STEPS; k++) {
        fsm_step_shape s = small_shape();
        fsm_cluster cluster = small_cluster();
        fsm_plan plan;
        fsm_step_keep_experts(&s);
        s.micro_batches = 1;
        assert_int_equal(fsm_plan_create(&s, &cluster, &fsm_schedule_fsmoe_lanes, &plan), FSMOE_OK);
        parted += fsm_graph_parts(&plan.graph) > 1;
        if (fsm_plan_check(&plan, &cluster) != FSMOE_OK) fail_msg("step %d: %s", k, fsmoe_last_error());
        fsm_plan_destroy(&plan);
        fsm_cluster_destroy(&cluster);
    }
    assert_true(parted > 0);
}

/* ---- by hand ---- */

/* Only multiply-adds cost, and a task that is cut costs no more: then lanes and chunks change nothing, and nothing
 * makes a step shorter than the sum of its tasks. Of two micro-batches, one is a half. */
static void test_bound_lanes_of_one_busy_resource_is_its_load(void **state)
{
    (void)state;
    fsm_step_shape s = small_shape();
    fsm_cluster cluster = {.name = "compute"};
    fsm_bound bound;
    s.micro_batches = 2;
    cluster.op[FSM_COST_GEMM].cost.line[0].beta_s = 1e-9;
    fsm_graph plain;
    double load_s = 0, *seconds;
    string(&s, (fsm_lanes){0}, (const int[]){1, 1}, 1, &plain);
    seconds = malloc(sizeof *seconds * (size_t)plain.count);
    assert_non_null(seconds);
    assert_int_equal(fsm_cost_tasks(&plain, &cluster, true, seconds), FSMOE_OK);
    for (int i = 0; i < plain.count; i++) load_s += seconds[i];
    assert_int_equal(fsm_bound_lanes(&s, &cluster, &bound), FSMOE_OK);
    assert_true(fabs(bound.seconds - load_s) <= 1e-12 * load_s);
    s.micro_batches = 1;
    assert_int_equal(fsm_bound_lanes(&s, &cluster, &bound), FSMOE_OK);
    assert_true(fabs(bound.seconds - load_s / 2) <= 1e-12 * load_s);
    assert_string_equal(bound.binding, "compute");
    free(seconds);
    fsm_graph_destroy(&plain);
    fsm_step_shape_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound_lanes_is_below_every_order),
        cmocka_unit_test(test_bound_lanes_of_experts_alone_is_below_their_plans),
        cmocka_unit_test(test_bound_lanes_of_one_busy_resource_is_its_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
