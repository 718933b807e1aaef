/* How much communication a step hid. Oracles: intervals worked out by hand; a fine grid counted cell by cell. */
#include "plan_by_hand.h"

#include "exec/overlap.h"

/* A task from start to end, whatever else runs. */
static void put_at(plan *p, fsm_resource resource, double start, double end)
{
    int i = put(p, task_of(FSM_TASK_EXPERT, FSM_FORWARD, resource, 0, 0), 0, NULL, 0);
    p->timeline.start_s[i] = start;
    p->timeline.end_s[i] = end;
}

static fsm_overlap overlap_of(const plan *p)
{
    fsm_overlap o;
    assert_int_equal(fsm_overlap_of(&p->graph, &p->timeline, &o), FSMOE_OK);
    return o;
}

static void assert_link(const fsm_link_overlap *link, double busy_s, double hidden_s)
{
    if (link->busy_s != busy_s || link->hidden_s != hidden_s || link->exposed_s != busy_s - hidden_s)
        fail_msg("busy %g, hidden %g, exposed %g; expected %g, %g", link->busy_s, link->hidden_s, link->exposed_s,
                 busy_s, hidden_s);
    if (busy_s > 0) assert_true(link->overlap == hidden_s / busy_s);
    else assert_true(isnan(link->overlap));
}

static void test_overlap_of_nothing_is_no_number(void **state)
{
    (void)state;
    plan none = {.capacity = 0}, still = {.capacity = 0};
    put_at(&still, FSM_COMPUTE, 0, 8);
    put_at(&still, FSM_INTRA, 3, 3);
    put_at(&still, FSM_INTER, 0, 0);
    const plan *plans[] = {&none, &still};
    for (int i = 0; i < 2; i++) {
        fsm_overlap o = overlap_of(plans[i]);
        assert_true(o.compute_s == 8 * i);
        assert_link(&o.intra, 0, 0);
        assert_link(&o.inter, 0, 0);
        assert_link(&o.communication, 0, 0);
        assert_true(o.both_links_s == 0 && o.all_three_s == 0);
    }
    destroy(&still);
}

/* compute 0-2, intra 2-4 and 4-5, inter 5-6 */
static void test_overlap_of_touching_intervals_is_zero(void **state)
{
    (void)state;
    plan p = {.capacity = 0};
    put_at(&p, FSM_INTRA, 2, 4);
    put_at(&p, FSM_COMPUTE, 0, 2);
    put_at(&p, FSM_INTRA, 4, 5);
    put_at(&p, FSM_INTER, 5, 6);
    fsm_overlap o = overlap_of(&p);
    assert_link(&o.intra, 3, 0);
    assert_link(&o.inter, 1, 0);
    assert_link(&o.communication, 4, 0);
    assert_true(o.both_links_s == 0 && o.all_three_s == 0 && o.compute_s == 2);
    destroy(&p);
}

/* compute  0-4     6-10      inter 1-9, a nested 2-3 and a zero-length 5
 * intra        3-7           so: both links 3-7, all three 3-4 and 6-7 */
static void test_overlap_of_nested_intervals_counts_time_once(void **state)
{
    (void)state;
    plan p = {.capacity = 0};
    put_at(&p, FSM_COMPUTE, 6, 10);
    put_at(&p, FSM_COMPUTE, 0, 4);
    put_at(&p, FSM_INTER, 1, 9);
    put_at(&p, FSM_INTER, 2, 3);
    put_at(&p, FSM_INTER, 5, 5);
    put_at(&p, FSM_INTRA, 3, 7);
    fsm_overlap o = overlap_of(&p);
    assert_true(o.compute_s == 8);
    assert_link(&o.inter, 8, 6);
    assert_link(&o.intra, 4, 2);
    assert_link(&o.communication, 8, 6);
    assert_true(o.both_links_s == 4 && o.all_three_s == 2);
    destroy(&p);
}

/* What one task at a time hides: nothing. */
static void test_overlap_of_one_task_at_a_time_is_zero(void **state)
{
    (void)state;
    plan p = make_plan(2, 1);
    double clock_s = 0, communication_s = 0;
    for (int i = 0; i < p.graph.count; i++) {
        double seconds = p.timeline.end_s[i] - p.timeline.start_s[i];
        p.timeline.start_s[i] = clock_s;
        p.timeline.end_s[i] = clock_s += seconds;
        if (p.graph.tasks[i].resource != FSM_COMPUTE) communication_s += seconds;
    }
    fsm_overlap o = overlap_of(&p);
    assert_true(o.communication.hidden_s == 0 && o.communication.overlap == 0);
    assert_true(fabs(o.communication.exposed_s - communication_s) < 1e-12);
    destroy(&p);
}

/* Random intervals on a grid of 1/4 s, whose sums are exact: every cell asks who is busy in it. */
static void test_overlap_of_random_intervals_matches_a_grid(void **state)
{
    (void)state;
    enum { CELLS = 200 };
    uint32_t seed = 12345;
    for (int round = 0; round < 300; round++) {
        static bool busy[FSM_RESOURCE_COUNT][CELLS];
        double seconds[8] = {0};
        plan p = {.capacity = 0};
        memset(busy, 0, sizeof busy);
        for (int i = 0; i < round % 60; i++) {
            int draw[3];
            for (int d = 0; d < 3; d++) draw[d] = (int)((seed = seed * 1664525u + 1013904223u) >> 8);
            int resource = draw[0] % FSM_RESOURCE_COUNT, start = draw[1] % (CELLS - 20), length = draw[2] % 20;
            put_at(&p, (fsm_resource)resource, start / 4.0, (start + length) / 4.0);
            for (int c = start; c < start + length; c++) busy[resource][c] = true;
        }
        for (int c = 0; c < CELLS; c++)
            seconds[busy[FSM_COMPUTE][c] + 2 * busy[FSM_INTRA][c] + 4 * busy[FSM_INTER][c]] += 0.25;
        fsm_overlap o = overlap_of(&p);
        const double *s = seconds;
        assert_true(o.compute_s == s[1] + s[3] + s[5] + s[7]);
        assert_link(&o.intra, s[2] + s[3] + s[6] + s[7], s[3] + s[7]);
        assert_link(&o.inter, s[4] + s[5] + s[6] + s[7], s[5] + s[7]);
        assert_link(&o.communication, s[2] + s[3] + s[4] + s[5] + s[6] + s[7], s[3] + s[5] + s[7]);
        assert_true(o.both_links_s == s[6] + s[7] && o.all_three_s == s[7]);
        destroy(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overlap_of_nothing_is_no_number),
        cmocka_unit_test(test_overlap_of_touching_intervals_is_zero),
        cmocka_unit_test(test_overlap_of_nested_intervals_counts_time_once),
        cmocka_unit_test(test_overlap_of_one_task_at_a_time_is_zero),
        cmocka_unit_test(test_overlap_of_random_intervals_matches_a_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
