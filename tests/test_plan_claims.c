/* The checker of plans refuses what is changed about what a plan says of its graph: lanes, memory, times, bounds,
 * names. Oracle: the changes, each of which makes something untrue. */
#include "plan_changes.h"

/* ---- lanes, changed ---- */

/* So many more lanes, parts and spares than its tasks are of. */
static fsm_plan with_other_lanes(const fsm_plan *plan, fsm_lanes more, bool any_memory)
{
    fsm_plan changed = copy_plan(plan);
    changed.graph.lanes += more.lanes;
    changed.graph.parts += more.parts;
    changed.graph.spare += more.spare;
    if (any_memory) allow_all_memory(&changed.shape);
    return changed;
}

static void test_plan_claims_of_lanes_that_may_not_be_are_found(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = lanes_plan(&cluster);
    static const struct {
        fsm_lanes more;
        const char *within_memory, *of_any; /* what is said */
    } cases[] = {
        {{1, 0, 0}, "3 lanes, with micro-batches in 2 parts", "3 lanes, with micro-batches in 2 parts"},
        {{4, 0, 0}, "6 lanes, with micro-batches in 2 parts", "6 lanes, with micro-batches in 2 parts"},
        {{0, -1, 0}, "take more than the", ""}, /* halves are no micro-batches */
        {{2, 0, 0}, "take more than the", ""},  /* there are only so many tasks */
        {{-1, -1, 0}, "is no part of the step", "is no part of the step"},
        {{0, 0, -1}, "may still read", "may still read"}, /* a buffer is written that a weight gradient reads */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fsm_plan limited = with_other_lanes(&plan, cases[i].more, false);
        fsm_plan unlimited = with_other_lanes(&plan, cases[i].more, true);
        assert_refused(&limited, &cluster, cases[i].within_memory);
        assert_refused(&unlimited, &cluster, cases[i].of_any);
    }
    fsm_plan changed = with_other_lanes(&plan, (fsm_lanes){.spare = 1}, false);
    assert_refused(&changed, &cluster, "take more than the");
    changed = copy_plan(&plan);
    changed.shape.memory.most--;
    assert_refused(&changed, &cluster, "take more than the");
    changed = copy_plan(&plan);
    changed.shape.most_parts = 1;
    assert_refused(&changed, &cluster, "none that the step may have");
    changed = copy_plan(&plan);
    changed.shape.part[0][1].n_group--;
    assert_refused(&changed, &cluster, "2 parts of a micro-batch are not the whole of it");
    fsm_plan_destroy(&plan);
}

/* Fine, unless gradients are to be added micro-batch after micro-batch. */
static void test_plan_claims_of_micro_batches_beside_one_another_are_found(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_step_shape shape = shape_of(&small_step);
    allow_all_memory(&shape);
    shape.most_parts = 1;
    shape.lanes = 2;
    fsm_plan plan = plan_shape(&shape, &fsm_schedule_fsmoe_lanes, &cluster);
    if (fsm_plan_check(&plan, &cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    fsm_plan more = copy_plan(&plan);
    more.graph.lanes = 4; /* there are two micro-batches, each whole */
    assert_refused(&more, &cluster, "none that the step may have");
    plan.shape.micro_in_turn = true;
    assert_refused(&plan, &cluster, "micro-batches beside one another");
}

/* ---- claims, changed ---- */

static void check_times(const fsm_plan *plan, const fsm_cluster *cluster)
{
    double little_s = 1e-6 * plan->certificate.makespan_s;
    for (int i = 0; i < plan->graph.count; i++) {
        fsm_plan changed = copy_plan(plan);
        changed.timeline.start_s[i] -= little_s;
        changed.timeline.end_s[i] -= little_s;
        assert_refused(&changed, cluster, "starts before");
        changed = copy_plan(plan);
        changed.timeline.end_s[i] += little_s;
        assert_refused(&changed, cluster, "does not take what it costs");
        changed = copy_plan(plan);
        changed.seconds[i] += little_s;
        assert_refused(&changed, cluster, "costs");
        changed = copy_plan(plan);
        changed.timeline.start_s[i] = NAN;
        assert_refused(&changed, cluster, "task ");
    }
}

static void test_plan_claims_of_changed_times_are_found(void **state)
{
    (void)state;
    check_both(check_times);
}

static void check_numbers(const fsm_plan *plan, const fsm_cluster *cluster)
{
    for (int k = 0; k < 3; k++) {
        double factor = k == 0 ? 1 - 1e-6 : k == 1 ? 1 + 1e-6 : NAN;
        fsm_plan changed = copy_plan(plan);
        changed.certificate.makespan_s *= factor;
        assert_refused(&changed, cluster, k == 2 ? "" : "the makespan is");
        changed = copy_plan(plan);
        changed.certificate.bound.seconds *= factor;
        assert_refused(&changed, cluster, "the lower bound is");
        changed = copy_plan(plan);
        changed.certificate.order_bound.seconds *= factor;
        assert_refused(&changed, cluster, "the lower bound of the order is");
        changed = copy_plan(plan);
        changed.certificate.load_s[k] *= factor;
        assert_refused(&changed, cluster, "the load of ");
    }
}

/* A plan of that name, and with the freedom that goes with it. */
static fsm_plan renamed(const fsm_plan *plan, const char *schedule)
{
    fsm_plan changed = copy_plan(plan);
    strcpy(changed.schedule, schedule);
    changed.freedom = fsm_schedule_find(schedule)->freedom;
    return changed;
}

static void check_names(const fsm_plan *plan, const fsm_cluster *cluster)
{
    fsm_cluster cheaper = *cluster;
    fsm_plan changed = copy_plan(plan);
    changed.freedom.split = false;
    assert_refused(&changed, cluster, "'split'");
    changed = copy_plan(plan);
    changed.freedom.lanes = !changed.freedom.lanes;
    assert_refused(&changed, cluster, "'lanes'");
    changed = copy_plan(plan);
    strcpy(changed.schedule, "fsmoe");
    assert_refused(&changed, cluster, "fsmoe");
    changed = copy_plan(plan);
    strcpy(changed.schedule, "best");
    assert_refused(&changed, cluster, "no schedule is named 'best'");
    changed = renamed(plan, "two-batch");
    assert_refused(&changed, cluster, "starts beside another collective, and schedule two-batch has one stream");
    changed = copy_plan(plan);
    changed.certificate.bound.binding = "nothing";
    assert_refused(&changed, cluster, "not on 'nothing'");
    cheaper.op[FSM_COST_ALLREDUCE].cost.line[0].beta_s *= 0.5;
    changed = copy_plan(plan);
    assert_refused(&changed, &cheaper, "allreduce.update");
}

static void test_plan_claims_of_lanes_that_a_schedule_has_not_are_found(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = lanes_plan(&cluster), changed = renamed(&plan, "fsmoe-x");
    assert_refused(&changed, &cluster, "it has 2 lanes, which schedule fsmoe-x has not");
    fsm_plan_destroy(&plan);
}

static void test_plan_claims_that_are_changed_are_found(void **state)
{
    (void)state;
    check_both(check_numbers);
    check_both(check_names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_claims_of_lanes_that_may_not_be_are_found),
        cmocka_unit_test(test_plan_claims_of_micro_batches_beside_one_another_are_found),
        cmocka_unit_test(test_plan_claims_of_changed_times_are_found),
        cmocka_unit_test(test_plan_claims_that_are_changed_are_found),
        cmocka_unit_test(test_plan_claims_of_lanes_that_a_schedule_has_not_are_found),
    };
    return cmocka_run_group_tests_name("plan claims", tests, NULL, NULL);
}
