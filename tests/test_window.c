/* One generalised layer: its best degree, its certificate, its order.
 * Oracles: every schedule of few chunks tried (pipeline_orders.h), the cost lines written out once more, orders run
 * link by link, other degrees and other schedules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DRAW_SEED 43
#include "draws.h"
#include "pipeline_orders.h"
#include "plan/schedule/schedule.h"
#include "plan/window_sizes.h"
#include "window_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DEGREES = 8, MOST_ROWS = 2000 };

/* ---- windows ---- */

static fsm_load random_load(void)
{
    double alpha_s = draw(3) == 0 ? 0 : 0.3 * draw_uniform(), whole_s = exp(6 * draw_uniform() - 3);
    double size = 1 + (double)draw(1000);
    fsm_load load = {.launches = 1 + (int)draw(3), .size = size};
    load.cost.line[0] = (fsm_line){alpha_s, whole_s / size};
    if (draw(6) == 0) load.launches = 0;
    return load;
}

static fsm_window random_window(int most_degree)
{
    fsm_window w = {.max_degree = 1 + (int)draw(most_degree)};
    for (int i = 0; i < FSM_STAGE_COUNT; i++) w.stage[i] = random_load();
    if (draw(2)) w.stage[FSM_STAGE_WEIGHT_GRAD].launches = 0; /* as forward */
    if (draw(4) > 0) w.stage[FSM_STAGE_COMBINE] = w.stage[FSM_STAGE_DISPATCH];
    if (draw(2)) w.allreduce = random_load();
    if (draw(2)) w.dense_s = draw(2) ? exp(4 * draw_uniform() - 2) : 0.1 * draw_uniform();
    return w;
}

static fsm_freedom random_freedom(void)
{
    int64_t bits = draw(4);
    return (fsm_freedom){.split = bits & 1, .one_stream = bits & 2};
}

static double line_s(const fsm_load *load, double share)
{
    if (load->launches == 0) return 0;
    return load->launches * load->cost.line[0].alpha_s + load->cost.line[0].beta_s * load->size * share;
}

static bool splits(const fsm_window *w, fsm_freedom freedom)
{
    return freedom.split && w->stage[FSM_STAGE_WEIGHT_GRAD].launches > 0;
}

static double chunk_s(const fsm_window *w, fsm_freedom freedom, int stage, double share)
{
    double weight_s = line_s(&w->stage[FSM_STAGE_WEIGHT_GRAD], share);
    if (stage == FSM_STAGE_EXPERT && !splits(w, freedom)) return line_s(&w->stage[stage], share) + weight_s;
    return line_s(&w->stage[stage], share);
}

static orders orders_of(const fsm_window *w, fsm_freedom freedom, int degree)
{
    orders o = {.degree = degree, .split = splits(w, freedom), .one_stream = freedom.one_stream, .dense_s = w->dense_s};
    for (int i = 0; i < FSM_STAGE_COUNT; i++) o.stage_s[i] = chunk_s(w, freedom, i, 1.0 / degree);
    return o;
}

static fsm_window_plan best_of(const fsm_window *w, fsm_freedom freedom)
{
    fsm_window_plan plan;
    assert_int_equal(fsm_window_best(w, freedom, &plan), FSMOE_OK);
    return plan;
}

/* ---- checks ---- */

static void check_against_every_degree(const fsm_window *w, fsm_freedom freedom, const fsm_window_plan *best)
{
    for (int degree = 1; degree <= w->max_degree; degree++) {
        fsm_window_plan at;
        assert_int_equal(fsm_window_at(w, freedom, degree, &at), FSMOE_OK);
        assert_int_equal(at.degree, degree);
        check_plan(w, &at);
        assert_at_most(best->makespan_s, at.makespan_s);
        assert_at_most(best->bound_s, at.makespan_s);
    }
}

/* The order's end with links and compute as they are: one stream does dispatches, allgathers and the way back in
 * turn. */
static double run_order(const fsm_window *w, fsm_freedom freedom, int degree, const fsm_slot *slots, int count)
{
    static const int resource_of[FSM_STAGE_COUNT] = {0, 1, 2, 2, 1, 0};
    double free_s[3] = {0}, makespan_s = 0;
    double(*end_s)[FSM_STAGE_COUNT] = calloc((size_t)degree, sizeof *end_s);
    int done[FSM_STAGE_COUNT] = {0};
    assert_non_null(end_s);
    for (int i = 0; i < count; i++) {
        int stage = slots[i].stage, chunk = slots[i].chunk, before = orders_before[stage];
        int resource = freedom.one_stream && resource_of[stage] == 1 ? 0 : resource_of[stage];
        assert_int_equal(chunk, done[stage]++);
        assert_true(before < 0 || chunk < done[before]);
        double ready_s = before < 0 ? 0 : end_s[chunk][before];
        free_s[resource] = end_s[chunk][stage] =
            fmax(ready_s, free_s[resource]) + chunk_s(w, freedom, stage, 1.0 / degree);
        makespan_s = fmax(makespan_s, free_s[resource]);
    }
    for (int i = 0; i < FSM_STAGE_COUNT; i++)
        assert_int_equal(done[i], i == FSM_STAGE_WEIGHT_GRAD && !splits(w, freedom) ? 0 : degree);
    free(end_s);
    return makespan_s;
}

static void check_order(const fsm_window *w, fsm_freedom freedom, const fsm_window_plan *plan, bool exact)
{
    fsm_slot *slots = malloc(sizeof *slots * 6 * (size_t)plan->degree);
    int count;
    assert_non_null(slots);
    if (fsm_window_order(w, freedom, plan, slots, &count) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    double moe_s = run_order(w, freedom, plan->degree, slots, count);
    if (exact && fabs(moe_s - plan->moe_s) > CLOSE * moe_s) fail_msg("%.17g s, not %.17g s", moe_s, plan->moe_s);
    assert_at_most(moe_s, plan->moe_s); /* where the search of the degree was cut short, the order's may go further */
    for (int i = 0; freedom.one_stream && i < count; i++) {
        if (slots[i].stage == FSM_STAGE_DISPATCH) assert_int_equal(slots[i + 1].stage, FSM_STAGE_ALLGATHER);
        if (slots[i].stage == FSM_STAGE_COMBINE) assert_int_equal(slots[i - 1].stage, FSM_STAGE_REDUCESCATTER);
    }
    free(slots);
}

static void check_deterministic(const fsm_window *w, fsm_freedom freedom, const fsm_window_plan *plan)
{
    fsm_window_plan again = best_of(w, freedom);
    assert_true(again.degree == plan->degree && again.moe_s == plan->moe_s && again.makespan_s == plan->makespan_s);
    assert_true(again.bound_s == plan->bound_s && strcmp(again.binding, plan->binding) == 0);
}

/* ---- small windows ---- */

static void test_window_best_holds_up_on_random_small_windows(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++) {
        fsm_window w = random_window(4 + i % 5);
        fsm_freedom freedom = random_freedom();
        fsm_window_plan best = best_of(&w, freedom);
        check_plan(&w, &best);
        assert_at_most(best.makespan_s, best.bound_s); /* so few chunks are searched to the end */
        check_against_every_degree(&w, freedom, &best);
        check_order(&w, freedom, &best, true);
        check_deterministic(&w, freedom, &best);
    }
}

/* The least share of the all-reduce's elements that takes room_s. */
static double share_taking(const fsm_load *allreduce, double room_s)
{
    double alpha_s = allreduce->launches * allreduce->cost.line[0].alpha_s;
    double beta_s = allreduce->cost.line[0].beta_s * allreduce->size;
    return beta_s > 0 ? (room_s - alpha_s) / beta_s : 0;
}

/* The optimum of a degree over every order and every place of an all-reduce in one piece, or in two of several
 * sizes: those that just fill the dense work, or what the links have left, and any. */
static double every_placement(const fsm_window *w, fsm_freedom freedom, int degree)
{
    orders o = orders_of(w, freedom, degree);
    if (w->allreduce.launches == 0) return orders_optimum(&o);
    double alone_s = orders_optimum(&o) - w->dense_s, link_s = 2 * degree * o.stage_s[FSM_STAGE_DISPATCH];
    if (freedom.one_stream) link_s += degree * (o.stage_s[FSM_STAGE_ALLGATHER] + o.stage_s[FSM_STAGE_REDUCESCATTER]);
    const double shares[] = {1, share_taking(&w->allreduce, w->dense_s),
                             1 - share_taking(&w->allreduce, alone_s - link_s), 0.5, draw_uniform()};
    double best_s = INFINITY;
    for (int i = 0; i < 5; i++) {
        if (!(shares[i] > 0 && shares[i] <= 1)) continue;
        o.pieces = shares[i] < 1 ? 2 : 1;
        o.piece_s[0] = line_s(&w->allreduce, shares[i]);
        o.piece_s[1] = line_s(&w->allreduce, 1 - shares[i]);
        best_s = fmin(best_s, orders_optimum(&o));
    }
    return best_s;
}

static void check_against_every_placement(const fsm_window *w, fsm_freedom freedom)
{
    fsm_window_plan best = best_of(w, freedom), at;
    double best_s = INFINITY;
    for (int degree = 1; degree <= w->max_degree; degree++) {
        double tried_s = every_placement(w, freedom, degree);
        best_s = fmin(best_s, tried_s);
        assert_int_equal(fsm_window_at(w, freedom, degree, &at), FSMOE_OK);
        assert_at_most(at.bound_s, tried_s);
        assert_at_most(tried_s, at.makespan_s);
        assert_at_most(at.makespan_s, tried_s);
    }
    assert_at_most(best.makespan_s, best_s);
    assert_at_most(best_s, best.makespan_s);
    assert_at_most(best.bound_s, best_s);
}

static void test_window_best_is_the_optimum_of_every_placement(void **state)
{
    (void)state;
    for (int i = 0; i < 2500; i++) {
        fsm_window w = random_window(i % 10 == 0 ? 3 : 2);
        check_against_every_placement(&w, random_freedom());
    }
}

/* Without an all-reduce more chunks can be tried. */
static void test_window_best_is_the_optimum_of_every_order(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        fsm_window w = random_window(4);
        w.allreduce.launches = 0;
        check_against_every_placement(&w, (fsm_freedom){.split = draw(2)});
    }
}

/* A line for sizes from `from` on, which goes on from the one before or jumps up or down. */
static void follow_line(fsm_line *line, double from)
{
    line[1].beta_s = 2 * line[0].beta_s * draw_uniform();
    line[1].alpha_s = line[0].alpha_s + from * (line[0].beta_s - line[1].beta_s);
    if (line[1].alpha_s < 0 || draw(3) == 0) line[1].alpha_s = 0.3 * draw_uniform();
}

/* Costs of one line, two or three. */
static void add_lines(fsm_load *load)
{
    fsm_cost *cost = &load->cost;
    int64_t more = draw(3);
    if (more == 0) return;
    cost->large_from = load->size * draw_uniform();
    follow_line(&cost->line[0], cost->large_from);
    if (more == 1) return;
    cost->largest_from = cost->large_from + (load->size - cost->large_from) * draw_uniform();
    follow_line(&cost->line[1], cost->largest_from);
}

/* Where nothing but an all-reduce is to be done: its bound is below every way to cut it, found by trying all of whole
 * elements; and the plan takes little more than the best of them. */
static void test_window_sends_in_the_best_pieces(void **state)
{
    (void)state;
    enum { MOST_ELEMS = 200 };
    for (int i = 0; i < 3000; i++) {
        double best_s[MOST_ELEMS + 1] = {0};
        fsm_window w = {.allreduce = random_load(), .max_degree = 1};
        int elems = (int)(w.allreduce.size = (double)(1 + draw(MOST_ELEMS)));
        w.allreduce.launches = 1;
        add_lines(&w.allreduce);
        w.allreduce.cost.large_from = ceil(w.allreduce.cost.large_from);
        w.allreduce.cost.largest_from = ceil(w.allreduce.cost.largest_from);
        for (int n = 1; n <= elems; n++) {
            best_s[n] = INFINITY;
            for (int piece = 1; piece <= n; piece++)
                best_s[n] = fmin(best_s[n], fsm_cost_s(&w.allreduce.cost, 1, piece) + best_s[n - piece]);
        }
        fsm_window_plan plan = best_of(&w, (fsm_freedom){0});
        assert_at_most(plan.bound_s, best_s[elems]);
        assert_at_most(plan.bound_s, plan.makespan_s);
        bool proven = fsm_cost_line_count(&w.allreduce.cost) < 3;
        assert_at_most(plan.makespan_s, (proven ? 1 : 1.01) * best_s[elems]);
    }
}

/* ---- other schedules ---- */

static void test_window_best_never_loses_to_other_schedules(void **state)
{
    (void)state;
    for (int i = 0; i < 2000; i++) {
        fsm_window layer[2] = {random_window(16), random_window(16)};
        layer[1].max_degree = layer[0].max_degree;
        layer[0].allreduce.launches = layer[0].stage[FSM_STAGE_WEIGHT_GRAD].launches = 0;
        if (draw(2) && layer[1].allreduce.launches > 0) { /* of 10^5 to 10^8 elements, in which 30 MB are a piece */
            layer[1].allreduce.launches = 1;
            layer[1].allreduce.cost.line[0].beta_s *= layer[1].allreduce.size;
            layer[1].allreduce.size = pow(10, 5 + 3 * draw_uniform());
            layer[1].allreduce.cost.line[0].beta_s /= layer[1].allreduce.size;
            add_lines(&layer[1].allreduce);
        }
        fsm_window_plan x[2], fsmoe[2], no_iio[2];
        assert_int_equal(fsm_schedule_fsmoe_x.plan_layer(layer, x), FSMOE_OK);
        assert_int_equal(fsm_schedule_fsmoe.plan_layer(layer, fsmoe), FSMOE_OK);
        assert_int_equal(fsm_schedule_fsmoe_no_iio.plan_layer(layer, no_iio), FSMOE_OK);
        for (int s = 0; fsm_schedules[s]; s++) {
            fsm_window_plan plan[2];
            if (!fsm_schedules[s]->plan_layer) continue;
            assert_int_equal(fsm_schedules[s]->plan_layer(layer, plan), FSMOE_OK);
            double total_s = plan[0].makespan_s + plan[1].makespan_s;
            for (int phase = 0; phase < 2; phase++) {
                assert_true(plan[phase].makespan_s >= plan[phase].bound_s);
                assert_true(plan[phase].degree >= 1 && plan[phase].degree <= layer[phase].max_degree);
                assert_at_most(x[phase].makespan_s, plan[phase].makespan_s);
                if (fsm_schedules[s] != &fsm_schedule_fsmoe_x)
                    assert_at_most(fsmoe[phase].makespan_s, plan[phase].makespan_s);
            }
            if (fsm_schedules[s]->freedom.one_stream)
                assert_at_most(no_iio[0].makespan_s + no_iio[1].makespan_s, total_s);
        }
    }
}

/* ---- large windows ---- */

/* Loads over three orders of magnitude, launches as dear as the whole of a small one. */
static fsm_window large_window(void)
{
    fsm_window w = {.max_degree = 1 + (int)draw(MOST_ROWS)};
    if (draw(2)) w.rows = w.max_degree;
    for (int i = 0; i < FSM_STAGE_COUNT; i++)
        w.stage[i] = (fsm_load){.launches = 1, .size = 1, .cost.line[0] = {0.3 * draw_uniform(), 0}};
    for (int i = 0; i < FSM_STAGE_COUNT; i++) {
        w.stage[i].cost.line[0].beta_s = pow(10, 3 * draw_uniform() - 1);
        if (draw(8) == 0) w.stage[i].cost.line[0].alpha_s = 0;
    }
    if (draw(2)) w.stage[FSM_STAGE_WEIGHT_GRAD].launches = 0;
    w.stage[FSM_STAGE_COMBINE] = w.stage[FSM_STAGE_DISPATCH];
    if (draw(2)) w.allreduce = (fsm_load){.launches = 1, .size = 1, .cost.line[0] = {0.3, 100 * draw_uniform()}};
    if (draw(2)) w.dense_s = 20 * draw_uniform();
    return w;
}

static void test_window_gap_is_below_a_percent_on_large_windows(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = 0; i < 3000; i++) {
        fsm_window w = large_window();
        fsm_freedom freedom = random_freedom();
        fsm_window_plan best = best_of(&w, freedom), at;
        check_plan(&w, &best);
        check_order(&w, freedom, &best, false);
        if (w.rows == 0)
            worst = fmax(worst, best.makespan_s / best.bound_s - 1); /* whole rows are bounded with less care */
        for (int degree = 1; degree <= w.max_degree; degree += 1 + degree / 2) {
            assert_int_equal(fsm_window_at(&w, freedom, degree, &at), FSMOE_OK);
            assert_at_most(best.makespan_s, at.makespan_s);
            check_order(&w, freedom, &at, false);
        }
    }
    if (worst > 0.01) fail_msg("the worst gap is %.3g %%", 100 * worst);
}

/* ---- whole rows ---- */

/* An order's end when chunk c has rows [c T / r, (c + 1) T / r). */
static double run_whole_rows(const fsm_window *w, fsm_freedom freedom, int degree, const fsm_slot *slots, int count)
{
    static const int resource_of[FSM_STAGE_COUNT] = {0, 1, 2, 2, 1, 0};
    double free_s[3] = {0}, end_s[MOST_DEGREES * 2][FSM_STAGE_COUNT], makespan_s = 0;
    int rows = (int)w->rows;
    for (int i = 0; i < count; i++) {
        int stage = slots[i].stage, c = slots[i].chunk, before = orders_before[stage];
        int resource = freedom.one_stream && resource_of[stage] == 1 ? 0 : resource_of[stage];
        double share = (rows * (c + 1) / degree - rows * c / degree) / w->rows;
        double length_s = fsm_load_s(&w->stage[stage], share);
        if (stage == FSM_STAGE_EXPERT && !splits(w, freedom))
            length_s += fsm_load_s(&w->stage[FSM_STAGE_WEIGHT_GRAD], share);
        free_s[resource] = fmax(before < 0 ? 0 : end_s[c][before], free_s[resource]) + length_s;
        end_s[c][stage] = free_s[resource];
        makespan_s = fmax(makespan_s, free_s[resource]);
    }
    return makespan_s;
}

static void test_window_bound_holds_for_chunks_of_whole_rows(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++) {
        fsm_window w = random_window(2 * MOST_DEGREES);
        fsm_freedom freedom = random_freedom();
        fsm_slot slots[6 * 2 * MOST_DEGREES];
        int count;
        w.rows = w.max_degree;
        w.dense_s = w.allreduce.launches = 0;
        for (int stage = 0; stage < FSM_STAGE_COMBINE; stage++) add_lines(&w.stage[stage]);
        int alone =
            (int)draw(2 * FSM_STAGE_COMBINE); /* often one stage, whose load is all there is and the bound exact */
        for (int stage = 0; stage < FSM_STAGE_COMBINE && alone < FSM_STAGE_COMBINE; stage++)
            if (stage != alone) w.stage[stage].launches = 0;
        w.stage[FSM_STAGE_COMBINE] = w.stage[FSM_STAGE_DISPATCH];
        fsm_window_plan best = best_of(&w, freedom), at;
        for (int degree = 1; degree <= w.max_degree; degree++) {
            assert_int_equal(fsm_window_at(&w, freedom, degree, &at), FSMOE_OK);
            assert_int_equal(fsm_window_order(&w, freedom, &at, slots, &count), FSMOE_OK);
            double real_s = run_whole_rows(&w, freedom, degree, slots, count);
            assert_at_most(at.bound_s, real_s);
            assert_at_most(best.bound_s, real_s);
        }
    }
}

/* ---- refusals ---- */

static void test_window_costs_that_are_no_numbers_are_refused(void **state)
{
    (void)state;
    const double bad[] = {NAN, INFINITY, -INFINITY};
    fsm_window_plan plan;
    for (int i = 0; i < 3; i++)
        for (int where = 0; where < 2 * FSM_STAGE_COUNT + 3; where++) {
            fsm_window w = random_window(4);
            fsm_load *load = &w.allreduce;
            if (where < 2 * FSM_STAGE_COUNT) load = &w.stage[where / 2];
            load->launches = load->size = 1;
            if (where == 2 * FSM_STAGE_COUNT + 2) w.dense_s = bad[i];
            else if (where % 2) load->cost.line[0].alpha_s = bad[i];
            else load->cost.line[0].beta_s = bad[i];
            assert_int_equal(fsm_window_best(&w, random_freedom(), &plan), FSMOE_ERROR_NUMERIC);
            assert_int_equal(fsm_window_at(&w, random_freedom(), 1, &plan), FSMOE_ERROR_NUMERIC);
        }
}

/* What is not there costs nothing, whatever its line says. */
static void test_window_stages_without_launches_are_free(void **state)
{
    (void)state;
    fsm_window w = {.max_degree = 4};
    for (int i = 0; i < FSM_STAGE_COUNT; i++) w.stage[i] = (fsm_load){.size = 1, .cost.line[0] = {NAN, INFINITY}};
    w.dense_s = 2;
    fsm_window_plan plan = best_of(&w, (fsm_freedom){.split = true});
    assert_true(plan.makespan_s == 2 && plan.bound_s == 2 && plan.moe_s == 0);
    check_order(&w, (fsm_freedom){.split = true}, &plan, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_best_holds_up_on_random_small_windows),
        cmocka_unit_test(test_window_best_is_the_optimum_of_every_placement),
        cmocka_unit_test(test_window_best_is_the_optimum_of_every_order),
        cmocka_unit_test(test_window_sends_in_the_best_pieces),
        cmocka_unit_test(test_window_best_never_loses_to_other_schedules),
        cmocka_unit_test(test_window_gap_is_below_a_percent_on_large_windows),
        cmocka_unit_test(test_window_bound_holds_for_chunks_of_whole_rows),
        cmocka_unit_test(test_window_costs_that_are_no_numbers_are_refused),
        cmocka_unit_test(test_window_stages_without_launches_are_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
