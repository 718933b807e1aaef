/* Schedules that merge lanes in a fixed order: whose turn it is, what gives way to what, what is left where there are
 * no lanes, and that the planner of lanes never loses to them.
 * Oracles: the checker of plans; orders written down by hand; intervals. */
#define DRAW_SEED 45
#include "draws.h"
#include "plan/merge.h"
#include "plan_case.h"

enum { ROUNDS = 60 };

static const fsm_schedule *const merged[] = {&fsm_schedule_two_batch, &fsm_schedule_megatron_overlap,
                                             &fsm_schedule_flowmoe};

static fsm_step_shape random_step(void)
{
    static const char *const families[] = {"mixtral", "gpt2"};
    static const layout layouts[] = {
        {2, 2, 2, 2, 2}, {4, 2, 4, 2, 1}, {1, 4, 2, 2, 1}, {2, 2, 4, 1, 1}, {1, 1, 1, 1, 1}};
    step s = {families[draw(2)], 1 + (int)draw(4), 1 + (int)draw(3), 1 + (int)draw(3), layouts[draw(5)]};
    fsm_step_shape shape = shape_of(&s);
    int most = (int)draw(FSM_MAX_LANES + 1);
    if (shape.most_parts > most) shape.most_parts = most;
    shape.early_update = draw(2);
    if (draw(2)) allow_all_memory(&shape); /* else two micro-batches do not stand side by side */
    return shape;
}

static fsm_cluster random_costs(void)
{
    fsm_cluster cluster = costs();
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        fsm_line *line = &cluster.op[op].cost.line[0];
        line->alpha_s *= pow(10, 2 * draw_uniform() - 1);
        line->beta_s *= pow(10, 2 * draw_uniform() - 1);
    }
    return cluster;
}

/* A plan that the checker accepts. */
typedef struct accepted {
    double makespan_s;
    bool fits;         /* it takes no more memory than fsmoe-lanes may */
    bool side_by_side; /* micro-batches are beside one another */
} accepted;

static accepted check_plan(const fsm_step_shape *shape, const fsm_schedule *schedule, const fsm_cluster *cluster)
{
    fsm_step_shape copy = copy_shape(shape);
    fsm_plan plan = plan_shape(&copy, schedule, cluster);
    if (fsm_plan_check(&plan, cluster) != FSMOE_OK) fail_msg("%s: %s", schedule->name, fsmoe_last_error());
    accepted a = {.makespan_s = plan.certificate.makespan_s,
                  .fits = fsm_step_fits(&plan.shape, &plan.graph),
                  .side_by_side = fsm_graph_lanes(&plan.graph) > fsm_graph_parts(&plan.graph)};
    fsm_plan_destroy(&plan);
    return a;
}

static void test_merge_passes_the_checker_and_never_beats_lanes(void **state)
{
    (void)state;
    int compared[3] = {0}, side_by_side = 0;
    for (int round = 0; round < ROUNDS; round++) {
        fsm_step_shape shape = random_step();
        fsm_cluster cluster = random_costs();
        accepted lanes = check_plan(&shape, &fsm_schedule_fsmoe_lanes, &cluster);
        assert_true(lanes.fits);
        for (int i = 0; i < 3; i++) {
            accepted a = check_plan(&shape, merged[i], &cluster);
            if (!a.fits) continue;
            assert_true(lanes.makespan_s <= a.makespan_s * (1 + 1e-12));
            compared[i]++;
            side_by_side += a.side_by_side;
        }
        fsm_step_shape_destroy(&shape);
    }
    for (int i = 0; i < 3; i++) assert_true(compared[i] >= ROUNDS / 2);
    assert_true(side_by_side >= ROUNDS / 8); /* of megatron-overlap, where there is memory for two micro-batches */
}

/* ---- whose turn it is ---- */

/* What an order says of one task. */
typedef struct expected {
    fsm_task_kind kind;
    fsm_phase phase;
    int layer, micro, lane;
} expected;

static bool is_of(const fsm_task *t, const fsm_task_kind *kinds, int n)
{
    bool found = false;
    for (int k = 0; k < n; k++) found |= t->kind == kinds[k];
    return found;
}

/* The next task of those kinds from *at on is the expected one. */
static void assert_next(const fsm_graph *graph, const fsm_task_kind *kinds, int n, expected e, int *at)
{
    while (*at < graph->count && !is_of(&graph->tasks[*at], kinds, n)) ++*at;
    assert_true(*at < graph->count);
    const fsm_task *t = &graph->tasks[(*at)++];
    char name[128];
    fsm_task_name(t, name);
    if (t->kind != e.kind || t->phase != e.phase || t->layer != e.layer || t->micro != e.micro || t->lane != e.lane)
        fail_msg("%s comes where layer %d, micro %d, lane %d of %s is due", name, e.layer, e.micro, e.lane,
                 fsm_task_kind_name(e.kind));
}

static void assert_no_more(const fsm_graph *graph, const fsm_task_kind *kinds, int n, int at)
{
    for (; at < graph->count; at++) assert_false(is_of(&graph->tasks[at], kinds, n));
}

static const fsm_task_kind computing[] = {FSM_TASK_ATTENTION, FSM_TASK_EXPERT},
                           computing_back[] = {FSM_TASK_EXPERT, FSM_TASK_ATTENTION},
                           exchanging[] = {FSM_TASK_A2A_DISPATCH, FSM_TASK_A2A_COMBINE};

enum { LAYERS = 3 };

static fsm_step_shape step_in_parts(int micro_batches, int most_parts)
{
    const step s = {"mixtral", LAYERS, 1, micro_batches, {2, 2, 2, 2, 2}};
    fsm_step_shape shape = shape_of(&s);
    assert_true(shape.most_parts >= most_parts);
    shape.most_parts = most_parts;
    return shape;
}

/* Both parts through the first of the kinds, then both through the second, layer after layer. */
static void check_parts_alternate(const fsm_graph *graph, int parts, const fsm_task_kind kinds[2], fsm_phase phase,
                                  int *at)
{
    for (int i = 0; i < LAYERS; i++)
        for (int k = 0; k < 2; k++)
            for (int part = 0; part < parts; part++) {
                int layer = phase == FSM_FORWARD ? i : LAYERS - 1 - i;
                assert_next(graph, kinds, 2, (expected){kinds[k], phase, layer, 0, part}, at);
            }
}

static void test_merge_parts_take_turns(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    for (int parts = 2; parts <= FSM_MAX_LANES; parts++) {
        fsm_graph graph;
        fsm_step_shape shape = step_in_parts(1, parts);
        const fsm_merge merge = fsm_merge_parts(parts);
        int computed = 0, exchanged = 0;
        assert_int_equal(fsm_merge_build(&merge, &shape, &cluster, &graph), FSMOE_OK);
        check_parts_alternate(&graph, parts, computing, FSM_FORWARD, &computed);
        check_parts_alternate(&graph, parts, computing_back, FSM_BACKWARD, &computed);
        assert_no_more(&graph, computing, 2, computed);
        check_parts_alternate(&graph, parts, exchanging, FSM_FORWARD, &exchanged);
        check_parts_alternate(&graph, parts, exchanging, FSM_BACKWARD, &exchanged);
        assert_no_more(&graph, exchanging, 2, exchanged);
        fsm_graph_destroy(&graph);
        fsm_step_shape_destroy(&shape);
    }
}

/* Forward of one layer on the communication stream, as SGLang yields: what a half's attention needs goes before the
 * all-to-alls that run beside it; the last combine of the layer before runs beside the first attention. */
static void check_halves_exchange(const fsm_graph *graph, int layer, int *at)
{
    static const fsm_task_kind kinds[] = {FSM_TASK_MP_ALLGATHER, FSM_TASK_MP_REDUCESCATTER, FSM_TASK_A2A_DISPATCH,
                                          FSM_TASK_A2A_COMBINE};
    const struct {
        fsm_task_kind kind;
        int layer, lane;
    } order[] = {
        {FSM_TASK_MP_ALLGATHER, layer, 0}, {FSM_TASK_A2A_COMBINE, layer - 1, 1}, {FSM_TASK_MP_REDUCESCATTER, layer, 0},
        {FSM_TASK_MP_ALLGATHER, layer, 1}, {FSM_TASK_A2A_DISPATCH, layer, 0},    {FSM_TASK_MP_REDUCESCATTER, layer, 1},
        {FSM_TASK_A2A_DISPATCH, layer, 1}, {FSM_TASK_A2A_COMBINE, layer, 0},
    };
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (order[i].layer >= 0)
            assert_next(graph, kinds, 4, (expected){order[i].kind, FSM_FORWARD, order[i].layer, 0, order[i].lane}, at);
}

static void test_merge_two_batch_takes_halves_in_turns(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_step_shape shape = step_in_parts(1, FSM_MAX_LANES);
    fsm_graph graph;
    int computed = 0, exchanged = 0;
    assert_int_equal(fsm_schedule_two_batch.build(&shape, &cluster, &graph), FSMOE_OK);
    assert_int_equal(fsm_graph_lanes(&graph), 2);
    check_parts_alternate(&graph, 2, computing, FSM_FORWARD, &computed);
    check_parts_alternate(&graph, 2, computing_back, FSM_BACKWARD, &computed);
    assert_no_more(&graph, computing, 2, computed);
    for (int layer = 0; layer < LAYERS; layer++) check_halves_exchange(&graph, layer, &exchanged);
    for (int i = 0; i < graph.count; i++) /* one stream */
        assert_true(graph.tasks[i].resource == FSM_COMPUTE || graph.tasks[i].resource == FSM_INTER);
    fsm_graph_destroy(&graph);
    fsm_step_shape_destroy(&shape);
}

/* One layer of the forward of a micro-batch beside one of the backward of the one before, if there are both. */
static void check_pair(const fsm_graph *graph, int layer, int forward, int backward, int *computed, int *exchanged)
{
    static const fsm_task_kind kinds[] = {FSM_TASK_ATTENTION, FSM_TASK_EXPERT, FSM_TASK_WEIGHT_GRAD};
    int below = LAYERS - 1 - layer, lane = forward % 2, other = backward % 2;
    bool both[] = {forward >= 0, backward >= 0};
    const struct {
        bool there, exchanges;
        expected task;
    } order[] = {
        {both[1], true, {FSM_TASK_A2A_DISPATCH, FSM_BACKWARD, below, backward, other}},
        {both[0], false, {FSM_TASK_ATTENTION, FSM_FORWARD, layer, forward, lane}},
        {both[1], false, {FSM_TASK_EXPERT, FSM_BACKWARD, below, backward, other}},
        {both[0], true, {FSM_TASK_A2A_DISPATCH, FSM_FORWARD, layer, forward, lane}},
        {both[1], false, {FSM_TASK_WEIGHT_GRAD, FSM_BACKWARD, below, backward, other}},
        {both[1], true, {FSM_TASK_A2A_COMBINE, FSM_BACKWARD, below, backward, other}},
        {both[0], false, {FSM_TASK_EXPERT, FSM_FORWARD, layer, forward, lane}},
        {both[0], true, {FSM_TASK_A2A_COMBINE, FSM_FORWARD, layer, forward, lane}},
        {both[1], false, {FSM_TASK_ATTENTION, FSM_BACKWARD, below, backward, other}},
    };
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        bool exchanges = order[i].exchanges;
        if (order[i].there)
            assert_next(graph, exchanges ? exchanging : kinds, exchanges ? 2 : 3, order[i].task,
                        exchanges ? exchanged : computed);
    }
}

static void test_merge_megatron_pairs_forward_with_backward(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    for (int micro_batches = 2; micro_batches <= 4; micro_batches++) {
        fsm_graph graph;
        fsm_step_shape shape = step_in_parts(micro_batches, 1);
        int computed = 0, exchanged = 0;
        assert_int_equal(fsm_schedule_megatron_overlap.build(&shape, &cluster, &graph), FSMOE_OK);
        for (int forward = 0; forward <= micro_batches; forward++)
            for (int layer = 0; layer < LAYERS; layer++)
                check_pair(&graph, layer, forward < micro_batches ? forward : -1, forward - 1, &computed, &exchanged);
        assert_no_more(&graph, computing, 2, computed);
        assert_no_more(&graph, exchanging, 2, exchanged);
        fsm_graph_destroy(&graph);
        fsm_step_shape_destroy(&shape);
    }
}

static void test_merge_megatron_pairs_halves_of_one_micro_batch(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_step_shape shape = step_in_parts(1, FSM_MAX_LANES);
    fsm_graph graph;
    int at = 0;
    assert_int_equal(fsm_schedule_megatron_overlap.build(&shape, &cluster, &graph), FSMOE_OK);
    for (int layer = 0; layer < LAYERS; layer++) {
        assert_next(&graph, computing, 2, (expected){FSM_TASK_ATTENTION, FSM_FORWARD, layer, 0, 1}, &at);
        assert_next(&graph, computing, 2, (expected){FSM_TASK_ATTENTION, FSM_FORWARD, layer, 0, 0}, &at);
        assert_next(&graph, computing, 2, (expected){FSM_TASK_EXPERT, FSM_FORWARD, layer, 0, 1}, &at);
        assert_next(&graph, computing, 2, (expected){FSM_TASK_EXPERT, FSM_FORWARD, layer, 0, 0}, &at);
    }
    fsm_graph_destroy(&graph);
    fsm_step_shape_destroy(&shape);
}

/* ---- what gives way ---- */

/* When a task could start if no gradients were sent. */
static double ready_s(const fsm_graph *graph, const fsm_timeline *timeline, int task, double free_s)
{
    const fsm_task *t = &graph->tasks[task];
    for (int e = 0; e < t->after_count; e++) free_s = fmax(free_s, timeline->end_s[graph->edges[t->after_first + e]]);
    return free_s;
}

/* Between the moment a task is ready and its start no sum begins, so that it waits for one at most; returns how many
 * sums begin before the last all-to-all. */
static int check_gives_way(const fsm_graph *graph, const fsm_timeline *timeline)
{
    double free_s[FSM_RESOURCE_COUNT] = {0};
    int sums[2] = {0}; /* so far; before the last all-to-all */
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        sums[0] += t->kind == FSM_TASK_ALLREDUCE;
        if (t->kind == FSM_TASK_ALLREDUCE) continue;
        double ready = ready_s(graph, timeline, i, free_s[t->resource]);
        for (int j = 0; j < graph->count; j++)
            if (graph->tasks[j].kind == FSM_TASK_ALLREDUCE && graph->tasks[j].resource == t->resource)
                assert_false(timeline->start_s[j] > ready + 1e-12 &&
                             timeline->start_s[j] < timeline->start_s[i] - 1e-12);
        free_s[t->resource] = timeline->end_s[i];
        if (t->kind == FSM_TASK_A2A_COMBINE) sums[1] = sums[0];
    }
    return sums[1];
}

static void test_merge_sums_of_gradients_give_way(void **state)
{
    (void)state;
    int early = 0;
    for (int round = 0; round < ROUNDS; round++) {
        fsm_step_shape shape = random_step();
        fsm_cluster cluster = random_costs();
        fsm_merge merge = fsm_merge_parts(shape.most_parts > 1 ? 2 + (int)draw(shape.most_parts - 1) : 1);
        fsm_graph graph;
        fsm_timeline timeline;
        merge.piece_elems = (int64_t)256 << draw(5);
        assert_int_equal(fsm_merge_build(&merge, &shape, &cluster, &graph), FSMOE_OK);
        assert_int_equal(fsm_plan_check_graph(&graph, &shape), FSMOE_OK);
        double *seconds = malloc(sizeof *seconds * (size_t)graph.count);
        assert_non_null(seconds);
        assert_int_equal(fsm_cost_tasks(&graph, &cluster, true, seconds), FSMOE_OK);
        assert_int_equal(fsm_simulate(&graph, seconds, FSM_IN_ORDER, &timeline), FSMOE_OK);
        early += check_gives_way(&graph, &timeline);
        free(seconds);
        fsm_timeline_destroy(&timeline);
        fsm_graph_destroy(&graph);
        fsm_step_shape_destroy(&shape);
    }
    assert_true(early > 0);
}

/* ---- without lanes ---- */

static void test_merge_without_parts_is_the_step_in_order(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_step_shape shape = step_in_parts(1, 1);
    fsm_graph graph, plain;
    assert_int_equal(fsm_schedule_in_order(&shape, 1, 1, &plain), FSMOE_OK);
    assert_int_equal(fsm_schedule_megatron_overlap.build(&shape, &cluster, &graph), FSMOE_OK);
    assert_true(fsm_graph_hash(&graph) == fsm_graph_hash(&plain));
    fsm_graph_destroy(&graph);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(merged[i]->build(&shape, &cluster, &graph), FSMOE_OK);
        assert_int_equal(fsm_graph_lanes(&graph), 1);
        fsm_graph_destroy(&graph);
    }
    fsm_graph_destroy(&plain);
    fsm_step_shape_destroy(&shape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_passes_the_checker_and_never_beats_lanes),
        cmocka_unit_test(test_merge_parts_take_turns),
        cmocka_unit_test(test_merge_two_batch_takes_halves_in_turns),
        cmocka_unit_test(test_merge_megatron_pairs_forward_with_backward),
        cmocka_unit_test(test_merge_megatron_pairs_halves_of_one_micro_batch),
        cmocka_unit_test(test_merge_sums_of_gradients_give_way),
        cmocka_unit_test(test_merge_without_parts_is_the_step_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
