/* Every schedule on random steps: the same work, every gradient once and never early, bounds that hold, no schedule
 * slower than those it contains.
 * Oracles: the schedule without overlap (test_schedule.c counts its tasks), reachability over the graph's edges,
 * intervals. */
#define DRAW_SEED 44
#include "graph_checks.h"
#include "plan/bound.h"
#include "plan/simulate.h"
#include "random_step.h"
#include "same_graph.h"

#include <pthread.h>
#include <string.h>

enum { MOST_SCHEDULES = 16, STEPS = 60 };

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
    assert_same_graph(&again, &graph);
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
        part_micro_batches(&s, (int)draw(FSM_MAX_LANES + 1));
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
