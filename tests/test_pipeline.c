/* Orders of one MoE layer's chunks: bounds, list scheduling, exact search.
 * Oracles: optima proven elsewhere (golden/pipelines.json), every schedule tried (pipeline_orders.h). All times are
 * multiples of 1/1024, so that sums are exact and nothing needs a tolerance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DRAW_SEED 41
#include "draws.h"
#include "pipeline_orders.h"
#include "reading.h"

#include <stdlib.h>
#include <string.h>

enum { EXACT_STATES = 200000, MOST_CHUNKS = 64 };

/* ---- cases ---- */

typedef struct golden {
    fsm_pipeline p;
    double allreduce_s, optimum_s;
} golden;

static golden read_case(const json_t *object)
{
    double a = number(object, "a"), w = number(object, "w");
    golden c = {.p = {.degree = (int)number(object, "r"), .split = w > 0}};
    c.p.stage_s[FSM_STAGE_DISPATCH] = c.p.stage_s[FSM_STAGE_COMBINE] = a;
    c.p.stage_s[FSM_STAGE_ALLGATHER] = number(object, "g");
    c.p.stage_s[FSM_STAGE_EXPERT] = number(object, "e");
    c.p.stage_s[FSM_STAGE_WEIGHT_GRAD] = w;
    c.p.stage_s[FSM_STAGE_REDUCESCATTER] = number(object, "s");
    c.allreduce_s = number(object, "G");
    c.optimum_s = number(object, "optimum");
    return c;
}

/* Times of one chunk: anything, few values (many ties), a stage in three missing, sizes of very different kinds. */
static fsm_pipeline random_pipeline(int degree)
{
    int family = (int)draw(4);
    fsm_pipeline p = {.degree = degree, .split = draw(2)};
    for (int i = 0; i < FSM_STAGE_COUNT; i++) {
        int64_t ticks = family == 0 ? draw(8192) : family == 3 ? (int64_t)1 << draw(16) : (1 + draw(6)) * 1024;
        p.stage_s[i] = family == 2 && draw(3) == 0 ? 0 : (double)ticks / 1024;
    }
    if (draw(4) > 0) p.stage_s[FSM_STAGE_COMBINE] = p.stage_s[FSM_STAGE_DISPATCH]; /* else each has a cost of its own */
    if (!p.split) p.stage_s[FSM_STAGE_WEIGHT_GRAD] = 0;
    return p;
}

static double optimum_of(const fsm_pipeline *p, double allreduce_s)
{
    orders layer = {.degree = p->degree, .split = p->split, .pieces = allreduce_s > 0, .piece_s = {allreduce_s}};
    memcpy(layer.stage_s, p->stage_s, sizeof layer.stage_s);
    return orders_optimum(&layer);
}

/* ---- checks ---- */

static double search(const fsm_pipeline *p, double upper_s, int max_states, bool *found, double *bound_s,
                     fsm_slot *order)
{
    double makespan_s;
    assert_int_equal(fsm_pipeline_search(p, upper_s, 0, max_states, found, &makespan_s, bound_s, order), FSMOE_OK);
    return makespan_s;
}

/* Every stage's chunks once and in order, each after its chunk's stage before; the times are as claimed. */
static void check_order(const fsm_pipeline *p, const fsm_slot *order, double makespan_s)
{
    int done[FSM_STAGE_COUNT] = {0}, slots = fsm_pipeline_slots(p);
    double scratch[6 * MOST_CHUNKS];
    assert_int_equal(slots, (p->split ? 6 : 5) * p->degree);
    for (int i = 0; i < slots; i++) {
        int before = orders_before[order[i].stage];
        assert_int_equal(order[i].chunk, done[order[i].stage]++);
        assert_true(before < 0 || done[before] > order[i].chunk);
    }
    for (int i = 0; i < FSM_STAGE_COUNT; i++)
        assert_int_equal(done[i], i == FSM_STAGE_WEIGHT_GRAD && !p->split ? 0 : p->degree);
    assert_true(fsm_pipeline_run(p, order, scratch) == makespan_s);
}

static void check_bounds(const fsm_pipeline *p, double optimum_s)
{
    double scratch[8 * MOST_CHUNKS];
    const char *binding = NULL;
    assert_true(fsm_pipeline_bound(p, &binding) <= optimum_s);
    assert_true(fsm_pipeline_bound(p, NULL) == fsm_pipeline_bound(p, &binding));
    assert_true(!strcmp(binding, "inter") || !strcmp(binding, "intra") || !strcmp(binding, "compute") ||
                !strcmp(binding, "path"));
    assert_true(fsm_pipeline_preemptive_bound(p, scratch) <= optimum_s);
}

/* Each policy's order is one, and takes as long as the policy says; the quick one is the best of those it knows. */
static void check_policies(const fsm_pipeline *p, double optimum_s)
{
    static const double patience[] = {0, 0.25, 0.5, 1};
    double scratch[2 * MOST_CHUNKS], best_s = INFINITY;
    fsm_slot order[6 * MOST_CHUNKS];
    fsm_policy policy;
    for (int first = 0; first < 2; first++)
        for (int i = 0; i < 4; i++) {
            double makespan_s = fsm_pipeline_list(p, (fsm_policy){first, patience[i]}, scratch, order);
            assert_true(makespan_s >= optimum_s);
            check_order(p, order, makespan_s);
            best_s = fmin(best_s, makespan_s);
        }
    assert_true(fsm_pipeline_quick(p, scratch, &policy) == best_s);
    assert_true(fsm_pipeline_list(p, policy, scratch, NULL) == best_s);
}

static void check_exact_search(const fsm_pipeline *p, double optimum_s)
{
    fsm_slot order[6 * MOST_CHUNKS];
    double bound_s;
    bool found;
    assert_true(search(p, INFINITY, EXACT_STATES, &found, &bound_s, order) == optimum_s);
    assert_true(found && bound_s <= optimum_s && bound_s >= optimum_s * (1 - 1e-11));
    check_order(p, order, optimum_s);
    assert_true(search(p, optimum_s, EXACT_STATES, &found, &bound_s, order) == optimum_s);
    assert_true(!found && bound_s >= optimum_s * (1 - 1e-11)); /* nothing below what is had already */
}

/* However few states: a bound below, a makespan above, and an order when one was found. */
static void check_truncated_searches(const fsm_pipeline *p, double optimum_s)
{
    static const int states[] = {1, 2, 3, 7, 20, 50, 200, 1000};
    fsm_slot order[6 * MOST_CHUNKS];
    double scratch[2 * MOST_CHUNKS], quick_s = fsm_pipeline_quick(p, scratch, NULL);
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        for (int known = 0; known < 2; known++) {
            double bound_s, upper_s = known ? quick_s : INFINITY;
            bool found;
            double makespan_s = search(p, upper_s, states[i], &found, &bound_s, order);
            assert_true(bound_s <= optimum_s && makespan_s >= optimum_s);
            if (found) check_order(p, order, makespan_s);
            else assert_true(makespan_s == upper_s);
        }
}

/* A search that may give up small wins says what it may have given up. */
static void check_tolerant_search(const fsm_pipeline *p, double optimum_s)
{
    double scratch[2 * MOST_CHUNKS], quick_s = fsm_pipeline_quick(p, scratch, NULL), makespan_s, bound_s;
    bool found;
    assert_int_equal(fsm_pipeline_search(p, quick_s, 0.05, EXACT_STATES, &found, &makespan_s, &bound_s, NULL),
                     FSMOE_OK);
    assert_true(bound_s <= optimum_s && makespan_s >= optimum_s);
    assert_true(makespan_s * (1 - 0.05 - 1e-12) <= bound_s);
}

static void check_pipeline(const fsm_pipeline *p, double optimum_s)
{
    check_bounds(p, optimum_s);
    check_policies(p, optimum_s);
    check_exact_search(p, optimum_s);
    check_truncated_searches(p, optimum_s);
    check_tolerant_search(p, optimum_s);
}

/* ---- tests ---- */

/* With an all-reduce the optimum is max(T, 2 r a + G) of the T without it. */
static void test_pipeline_search_finds_golden_optima(void **state)
{
    (void)state;
    json_error_t error;
    size_t i;
    json_t *root = json_load_file(FSMOE_TEST_DATA "/golden/pipelines.json", JSON_REJECT_DUPLICATES, &error), *object;
    if (!root) fail_msg("line %d: %s", error.line, error.text);
    assert_true(json_array_size(root) > 400);
    json_array_foreach(root, i, object)
    {
        golden c = read_case(object);
        double bound_s;
        bool found;
        double alone_s = search(&c.p, INFINITY, EXACT_STATES, &found, &bound_s, NULL);
        double link_s = 2 * c.p.degree * c.p.stage_s[FSM_STAGE_DISPATCH] + c.allreduce_s;
        if (fmax(alone_s, link_s) != c.optimum_s)
            fail_msg("case %zu: %.17g, not %.17g", i, fmax(alone_s, link_s), c.optimum_s);
        check_pipeline(&c.p, alone_s);
    }
    json_decref(root);
}

static void test_pipeline_search_is_as_good_as_every_order_tried(void **state)
{
    (void)state;
    for (int i = 0; i < 4000; i++) {
        fsm_pipeline p = random_pipeline(1 + i % 3);
        check_pipeline(&p, optimum_of(&p, 0));
    }
}

static void test_pipeline_allreduce_between_dispatches_and_combines_is_best(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        fsm_pipeline p = random_pipeline(1 + i % 3);
        double allreduce_s = (double)(1 + draw(20000)) / 1024, bound_s;
        bool found;
        double alone_s = search(&p, INFINITY, EXACT_STATES, &found, &bound_s, NULL);
        double chunk_s = p.stage_s[FSM_STAGE_DISPATCH] + p.stage_s[FSM_STAGE_COMBINE];
        double link_s = p.degree * chunk_s + allreduce_s;
        assert_true(optimum_of(&p, allreduce_s) == fmax(alone_s, link_s));
    }
}

/* Too many chunks to try every order: what is below must stay below what is above. */
static void test_pipeline_bounds_stay_below_any_order_found(void **state)
{
    (void)state;
    fsm_slot order[6 * MOST_CHUNKS];
    for (int i = 0; i < 300; i++) {
        fsm_pipeline p = random_pipeline(4 + (int)draw(MOST_CHUNKS - 3));
        double scratch[2 * MOST_CHUNKS], quick_s = fsm_pipeline_quick(&p, scratch, NULL), bound_s, again_s;
        bool found;
        double makespan_s = search(&p, quick_s, 2000, &found, &bound_s, order);
        if (found) check_order(&p, order, makespan_s);
        assert_true(bound_s <= makespan_s);
        check_bounds(&p, makespan_s);
        check_policies(&p, bound_s);
        assert_true(search(&p, quick_s, 2000, &found, &again_s, order) == makespan_s && again_s == bound_s);
    }
}

static void test_pipeline_without_times_takes_none(void **state)
{
    (void)state;
    for (int split = 0; split < 2; split++) {
        fsm_pipeline p = {.degree = 7, .split = split};
        check_pipeline(&p, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline_search_finds_golden_optima),
        cmocka_unit_test(test_pipeline_search_is_as_good_as_every_order_tried),
        cmocka_unit_test(test_pipeline_allreduce_between_dispatches_and_combines_is_best),
        cmocka_unit_test(test_pipeline_bounds_stay_below_any_order_found),
        cmocka_unit_test(test_pipeline_without_times_takes_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
