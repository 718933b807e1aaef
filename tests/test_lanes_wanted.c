/* Steps in as many lanes and chunks as are wanted. Oracles: the checker of graphs; tasks, counted. */
#include "plan_case.h"

#include "plan/predict.h"

static int count_chunks(const fsm_graph *graph, fsm_phase phase, int lane)
{
    int count = 0;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        count += t->kind == FSM_TASK_EXPERT && t->phase == phase && t->layer == 0 && t->micro == 0 &&
                 fsm_task_lane(t) == lane;
    }
    return count;
}

static void test_lanes_wanted_are_what_the_graph_has(void **state)
{
    (void)state;
    static const fsm_lanes_wanted cases[] = {{1, {1, 1}}, {1, {3, 0}}, {2, {0, 2}}, {2, {1, 3}},
                                             {3, {2, 1}}, {4, {0, 0}}, {4, {1, 1}}, {0, {2, 2}}};
    fsm_cluster cluster = costs();
    fsm_step_shape shape = shape_of(&small_step);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const fsm_lanes_wanted *wanted = &cases[i];
        fsm_graph graph;
        double makespan_s;
        if (fsm_schedule_in_lanes(&shape, &cluster, wanted, &graph) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
        if (fsm_plan_check_graph(&graph, &shape) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
        assert_int_equal(fsm_predict(&graph, &cluster, &makespan_s), FSMOE_OK);
        assert_true(makespan_s > 0);
        if (wanted->lanes > 0) assert_int_equal(fsm_graph_lanes(&graph), wanted->lanes);
        for (int phase = 0; phase < 2; phase++)
            for (int lane = 0; lane < fsm_graph_lanes(&graph); lane++) {
                int chunks = count_chunks(&graph, (fsm_phase)phase, lane);
                assert_true(chunks >= 1);
                if (wanted->degree[phase] > 0) assert_int_equal(chunks, wanted->degree[phase]);
            }
        fsm_graph_destroy(&graph);
    }
    fsm_step_shape_destroy(&shape);
}

static void test_lanes_wanted_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const fsm_lanes_wanted cases[] = {{5, {0, 0}}, {0, {1000, 0}}, {2, {1, 1000}}};
    fsm_cluster cluster = costs();
    fsm_step_shape shape = shape_of(&small_step);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fsm_graph graph;
        assert_int_equal(fsm_schedule_in_lanes(&shape, &cluster, &cases[i], &graph), FSMOE_ERROR_CONFIG);
        assert_says("cannot be taken in");
        assert_int_equal(graph.count, 0);
    }
    fsm_step_shape_destroy(&shape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes_wanted_are_what_the_graph_has),
        cmocka_unit_test(test_lanes_wanted_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
