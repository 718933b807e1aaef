/* What resources wait for. Oracle: steps worked out by hand. */
#include "plan_by_hand.h"

#include "base/rng.h"
#include "plan/waits.h"

static fsm_waits waits_of(const plan *p)
{
    fsm_waits waits;
    assert_int_equal(fsm_waits_find(&p->graph, &p->timeline, &waits), FSMOE_OK);
    return waits;
}

static void assert_wait(const fsm_resource_waits *r, int place, fsm_task_kind kind, double seconds, int longest)
{
    assert_true(place < r->count);
    const fsm_wait *w = &r->waits[place];
    if (w->kind != kind || w->seconds != seconds || w->longest != longest)
        fail_msg("%s %g s, task %d; expected %s %g s, task %d", fsm_task_kind_name(w->kind), w->seconds, w->longest,
                 fsm_task_kind_name(kind), seconds, longest);
}

static void assert_times(const fsm_resource_waits *r, double busy_s, double idle_s, double late_s, double done_s)
{
    if (r->busy_s != busy_s || r->idle_s != idle_s || r->late_s != late_s || r->done_s != done_s)
        fail_msg("busy %g, idle %g, late %g, done %g; expected %g, %g, %g, %g", r->busy_s, r->idle_s, r->late_s,
                 r->done_s, busy_s, idle_s, late_s, done_s);
}

/* One after the other: attention 0-2, dispatch 2-5, allgather 5-6, expert 6-10, combine 10-13. */
static plan make_chain(void)
{
    plan p = {.capacity = 0};
    int last = -1;
    last = put(&p, task_of(FSM_TASK_ATTENTION, FSM_FORWARD, FSM_COMPUTE, 0, 0), 2, &last, 1);
    last = put(&p, task_of(FSM_TASK_A2A_DISPATCH, FSM_FORWARD, FSM_INTER, 0, 0), 3, &last, 1);
    last = put(&p, task_of(FSM_TASK_ALLGATHER, FSM_FORWARD, FSM_INTRA, 0, 0), 1, &last, 1);
    last = put(&p, task_of(FSM_TASK_EXPERT, FSM_FORWARD, FSM_COMPUTE, 0, 0), 4, &last, 1);
    put(&p, task_of(FSM_TASK_A2A_COMBINE, FSM_FORWARD, FSM_INTER, 0, 0), 3, &last, 1);
    return p;
}

static void test_waits_go_back_to_where_the_resource_was_busy(void **state)
{
    (void)state;
    plan p = make_chain();
    fsm_waits waits = waits_of(&p);
    const fsm_resource_waits *compute = &waits.of[FSM_COMPUTE], *intra = &waits.of[FSM_INTRA];
    assert_times(compute, 6, 7, 0, 3);
    assert_int_equal(compute->count, 2);
    assert_wait(compute, 0, FSM_TASK_A2A_DISPATCH, 3, 1);
    assert_wait(compute, 1, FSM_TASK_ALLGATHER, 1, 2);
    assert_times(intra, 1, 12, 0, 7);
    assert_int_equal(intra->count, 2);
    assert_wait(intra, 0, FSM_TASK_A2A_DISPATCH, 3, 1);
    assert_wait(intra, 1, FSM_TASK_ATTENTION, 2, 0);
    assert_times(&waits.of[FSM_INTER], 6, 7, 0, 0);
    assert_wait(&waits.of[FSM_INTER], 0, FSM_TASK_EXPERT, 4, 3);
    assert_wait(&waits.of[FSM_INTER], 1, FSM_TASK_ATTENTION, 2, 0);
    assert_wait(&waits.of[FSM_INTER], 2, FSM_TASK_ALLGATHER, 1, 2);
    destroy(&p);
}

/* order takes no time: what waits for it waits for the gate. Its own resource is not busy with it either. */
static void test_waits_are_handed_on_by_tasks_that_take_no_time(void **state)
{
    (void)state;
    plan p = {.capacity = 0};
    int last = put(&p, task_of(FSM_TASK_GATE, FSM_FORWARD, FSM_COMPUTE, 0, 0), 2, NULL, 0);
    last = put(&p, task_of(FSM_TASK_ORDER, FSM_FORWARD, FSM_COMPUTE, 0, 0), 0, &last, 1);
    last = put(&p, task_of(FSM_TASK_A2A_DISPATCH, FSM_FORWARD, FSM_INTER, 0, 0), 3, &last, 1);
    last = put(&p, task_of(FSM_TASK_IORDER, FSM_FORWARD, FSM_COMPUTE, 0, 0), 0, &last, 1);
    put(&p, task_of(FSM_TASK_HEAD, FSM_FORWARD, FSM_COMPUTE, -1, 0), 1, &last, 1);
    fsm_waits waits = waits_of(&p);
    assert_int_equal(waits.of[FSM_INTER].count, 1);
    assert_wait(&waits.of[FSM_INTER], 0, FSM_TASK_GATE, 2, 0);
    assert_int_equal(waits.of[FSM_COMPUTE].count, 1);
    assert_wait(&waits.of[FSM_COMPUTE], 0, FSM_TASK_A2A_DISPATCH, 3, 2);
    assert_times(&waits.of[FSM_COMPUTE], 3, 3, 0, 0);
    assert_times(&waits.of[FSM_INTRA], 0, 6, 0, 6);
    destroy(&p);
}

/* Two lanes dispatch at once: the second one's expert waits for both, since they take turns. */
static void test_waits_are_for_other_lanes_too(void **state)
{
    (void)state;
    plan p = {.capacity = 0};
    int gates[2], dispatches[2];
    for (int lane = 0; lane < 2; lane++) {
        fsm_task gate = task_of(FSM_TASK_GATE, FSM_FORWARD, FSM_COMPUTE, 3, 0);
        gate.lane = lane;
        gates[lane] = put(&p, gate, 1, NULL, 0);
    }
    for (int lane = 0; lane < 2; lane++) {
        fsm_task dispatch = task_of(FSM_TASK_A2A_DISPATCH, FSM_FORWARD, FSM_INTER, 3, 0);
        dispatch.lane = lane;
        dispatches[lane] = put(&p, dispatch, 3 + lane, &gates[lane], 1);
    }
    put(&p, task_of(FSM_TASK_EXPERT, FSM_FORWARD, FSM_COMPUTE, 3, 0), 1, &dispatches[1], 1);
    fsm_waits waits = waits_of(&p);
    const fsm_resource_waits *compute = &waits.of[FSM_COMPUTE]; /* busy 0-2 and 8-9; the link is from 1 to 4 to 8 */
    assert_times(compute, 3, 6, 0, 0);
    assert_int_equal(compute->count, 1);
    assert_wait(compute, 0, FSM_TASK_A2A_DISPATCH, 6, dispatches[1]);
    assert_int_equal(compute->waits[0].times, 2);
    assert_true(compute->waits[0].longest_s == 4);
    destroy(&p);
}

/* What begins later than it could waits for nothing meanwhile; a task that did not run is none. */
static void test_waits_of_measured_steps_know_late_beginnings(void **state)
{
    (void)state;
    plan p = make_chain();
    static const double shift_s[] = {0.5, 1, 1, 3, 3.25};
    for (int i = 0; i < p.graph.count; i++) p.timeline.start_s[i] += shift_s[i], p.timeline.end_s[i] += shift_s[i];
    p.timeline.makespan_s += 3.25;
    put(&p, task_of(FSM_TASK_HEAD, FSM_FORWARD, FSM_COMPUTE, -1, 0), 0, NULL, 0);
    p.timeline.start_s[5] = p.timeline.end_s[5] = 0;
    fsm_waits waits = waits_of(&p);
    /* attention 0.5-2.5, dispatch 3-6, allgather 6-7, expert 9-13, combine 13.25-16.25 */
    assert_times(&waits.of[FSM_COMPUTE], 6, 10.25, 0.5 + 0.5 + 2, 3.25);
    assert_wait(&waits.of[FSM_COMPUTE], 0, FSM_TASK_A2A_DISPATCH, 3, 1);
    assert_times(&waits.of[FSM_INTER], 6, 10.25, 0.5 + 0.5 + 2 + 0.25, 0);
    destroy(&p);
}

/* Times from a file may be anything. */
static void test_waits_of_any_times_come_to_an_end(void **state)
{
    (void)state;
    uint64_t drawn = 0;
    for (int round = 0; round < 200; round++) {
        plan p = make_plan(3, 1);
        p.timeline.makespan_s = 0;
        for (int i = 0; i < p.graph.count; i++) {
            p.timeline.start_s[i] = (double)(fsm_rng_bits(5, FSM_RNG_TEST, drawn++) % 8);
            p.timeline.end_s[i] = p.timeline.start_s[i] + (double)(fsm_rng_bits(5, FSM_RNG_TEST, drawn++) % 3);
            p.timeline.makespan_s = fmax(p.timeline.makespan_s, p.timeline.end_s[i]);
        }
        fsm_waits waits = waits_of(&p);
        for (int r = 0; r < FSM_RESOURCE_COUNT; r++) assert_true(waits.of[r].late_s >= 0);
        destroy(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_go_back_to_where_the_resource_was_busy),
        cmocka_unit_test(test_waits_are_handed_on_by_tasks_that_take_no_time),
        cmocka_unit_test(test_waits_are_for_other_lanes_too),
        cmocka_unit_test(test_waits_of_measured_steps_know_late_beginnings),
        cmocka_unit_test(test_waits_of_any_times_come_to_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
