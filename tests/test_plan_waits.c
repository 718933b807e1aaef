/* What the resources of a plan have to do, and wait for. Oracles: idle and busy time add up to the step; the plan of
 * dsmoe, in which one task follows another. */
#include "plan_case.h"

#include "plan/load.h"
#include "plan/waits.h"

static void assert_adds_up(const fsm_waits *waits, double step_s, double slack_s)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        const fsm_resource_waits *w = &waits->of[r];
        double idle_s = w->late_s + w->done_s;
        for (int i = 0; i < w->count; i++) {
            idle_s += w->waits[i].seconds;
            assert_true(i == 0 || w->waits[i - 1].seconds >= w->waits[i].seconds);
            assert_true(w->waits[i].longest_s <= w->waits[i].seconds && w->waits[i].times > 0);
        }
        assert_true(fabs(w->idle_s - idle_s) <= slack_s);
        assert_true(fabs(w->busy_s + w->idle_s - step_s) <= slack_s);
        assert_true(fabs(w->late_s) <= slack_s); /* what is planned begins when it can */
    }
}

static void test_plan_waits_add_up(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    for (int i = 0; fsm_schedules[i]; i++) {
        fsm_plan p = plan_of(&small_step, fsm_schedules[i], &cluster);
        for (int by_priority = 0; by_priority < 2; by_priority++) {
            fsm_timeline timeline;
            fsm_waits waits;
            assert_int_equal(fsm_simulate(&p.graph, p.seconds, by_priority ? FSM_BY_PRIORITY : FSM_IN_ORDER, &timeline),
                             FSMOE_OK);
            assert_int_equal(fsm_waits_find(&p.graph, &timeline, &waits), FSMOE_OK);
            assert_adds_up(&waits, timeline.makespan_s, 1e-9 * timeline.makespan_s);
            fsm_timeline_destroy(&timeline);
        }
        fsm_plan_destroy(&p);
    }
}

/* The plain step is dsmoe's: each resource's tasks, one after the other. */
static void test_plan_waits_loads_are_those_of_the_plain_step(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plain = plan_of(&small_step, &fsm_schedule_dsmoe, &cluster);
    double load_s[FSM_RESOURCE_COUNT], sum_s[FSM_RESOURCE_COUNT] = {0}, all_s = 0, most_s = 0;
    assert_int_equal(fsm_step_loads(&plain.shape, &cluster, load_s), FSMOE_OK);
    for (int i = 0; i < plain.graph.count; i++) sum_s[plain.graph.tasks[i].resource] += plain.seconds[i];
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        assert_true(load_s[r] > 0 && fabs(load_s[r] - sum_s[r]) <= 1e-12 * load_s[r]);
        assert_true(plain.certificate.load_s[r] == load_s[r]);
        all_s += load_s[r];
        most_s = fmax(most_s, load_s[r]);
    }
    assert_true(fabs(all_s - plain.certificate.makespan_s) <= 1e-12 * all_s);
    for (int i = 0; fsm_schedules[i]; i++) {
        fsm_plan p = plan_of(&small_step, fsm_schedules[i], &cluster);
        double step_s = p.certificate.makespan_s;
        assert_memory_equal(p.certificate.load_s, load_s, sizeof load_s);
        assert_true(step_s >= most_s && fsm_over_load(step_s, load_s) == step_s / most_s);
        fsm_plan_destroy(&p);
    }
    assert_true(fsm_over_load(6, (double[]){0, 0, 0}) == 0);
    fsm_plan_destroy(&plain);
}

/* What tasks cost more beside one another is the plan's, not the step's. */
static void test_plan_waits_loads_know_no_price_of_overlap(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_step_shape shape = shape_of(&small_step);
    double alone_s[FSM_RESOURCE_COUNT], load_s[FSM_RESOURCE_COUNT];
    assert_int_equal(fsm_step_loads(&shape, &cluster, alone_s), FSMOE_OK);
    assert_int_equal(fsm_cluster_set_overlap(&cluster, "expert.forward", 1.5), FSMOE_OK);
    assert_int_equal(fsm_cluster_set_overlap(&cluster, "allgather.backward", 2), FSMOE_OK);
    assert_int_equal(fsm_step_loads(&shape, &cluster, load_s), FSMOE_OK);
    assert_memory_equal(load_s, alone_s, sizeof load_s);
    fsm_step_shape_destroy(&shape);
    fsm_cluster_destroy(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_waits_add_up),
        cmocka_unit_test(test_plan_waits_loads_are_those_of_the_plain_step),
        cmocka_unit_test(test_plan_waits_loads_know_no_price_of_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
