/* Straight lines through measured times. Oracles: the constants the points were made from, the normal equations
 * written out for three points, a search around the minimum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fit.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

enum { POINT_COUNT = 24 };

/* Sizes 2^10 … 2^(10 + n/2), two of each, times on the line times 1 + noise N(0, 1). */
static void make_points(fsm_line line, double noise, uint64_t seed, fsm_point *points, int n)
{
    for (int i = 0; i < n; i++) {
        double size = ldexp(1, 10 + i / 2);
        double factor = 1 + noise * fmax(-3, fmin(3, fsm_rng_normal(seed, FSM_RNG_TEST, (uint64_t)i)));
        points[i] = (fsm_point){size, fsm_line_at(line, size) * factor};
    }
}

static void test_fit_line_recovers_what_noisy_points_came_from(void **state)
{
    (void)state;
    const fsm_line truth = {2.87e-4, 2.21e-9}; /* an alltoall: equal parts at 1.3e5 elements */
    const struct {
        double noise, band, least_r2;
    } cases[] = {{0, 1e-12, 1 - 1e-12}, {0.01, 0.02, 0.99}, {0.05, 0.10, 0.9}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (uint64_t seed = 0; seed < 50; seed++) {
            fsm_point points[POINT_COUNT];
            fsm_line line;
            double r2;
            make_points(truth, cases[c].noise, seed, points, POINT_COUNT);
            assert_int_equal(fsm_fit_line(points, POINT_COUNT, &line, &r2), FSMOE_OK);
            assert_true(fabs(line.alpha_s / truth.alpha_s - 1) <= cases[c].band);
            assert_true(fabs(line.beta_s / truth.beta_s - 1) <= 2 * cases[c].band);
            assert_true(r2 >= cases[c].least_r2 && r2 <= 1);
        }
}

static double loss(const fsm_point *points, int n, fsm_line line)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += pow(fsm_line_at(line, points[i].size) / points[i].time_s - 1, 2);
    return sum;
}

/* No neighbour that is allowed is better: the minimum, also where alpha or beta is held at 0. */
static void assert_minimum(const fsm_point *points, int n, fsm_line line, double step_alpha, double step_beta)
{
    double least = loss(points, n, line);
    for (int a = -1; a <= 1; a++)
        for (int b = -1; b <= 1; b++) {
            fsm_line near = {fmax(0, line.alpha_s + a * step_alpha), fmax(0, line.beta_s + b * step_beta)};
            assert_true(loss(points, n, near) >= least * (1 - 1e-12));
        }
}

static void test_fit_line_is_the_least_of_relative_squares(void **state)
{
    (void)state;
    const fsm_point three[] = {{100, 3}, {1000, 5}, {5000, 20}};
    fsm_line line;
    double r2;
    assert_int_equal(fsm_fit_line(three, 3, &line, &r2), FSMOE_OK);
    assert_minimum(three, 3, line, 1e-4, 1e-7);
    /* d loss / d alpha = d loss / d beta = 0 */
    double by_alpha = 0, by_beta = 0, mean = 28.0 / 3, residual = 0, deviation = 0;
    for (int i = 0; i < 3; i++) {
        double error = fsm_line_at(line, three[i].size) - three[i].time_s;
        by_alpha += error / pow(three[i].time_s, 2);
        by_beta += error * three[i].size / pow(three[i].time_s, 2);
        residual += error * error;
        deviation += pow(three[i].time_s - mean, 2);
    }
    assert_true(fabs(by_alpha) < 1e-12);
    assert_true(fabs(by_beta) < 1e-9);
    assert_true(fabs(r2 - (1 - residual / deviation)) < 1e-12);
}

static void test_fit_line_holds_negative_constants_at_zero(void **state)
{
    (void)state;
    fsm_line line;
    double r2;
    const fsm_point falling[] = {{10, 4}, {20, 3}, {30, 2}}, steep[] = {{10, 1}, {20, 3}, {30, 5}};
    assert_int_equal(fsm_fit_line(falling, 3, &line, &r2), FSMOE_OK);
    assert_true(line.beta_s == 0 && line.alpha_s > 2 && line.alpha_s < 4 && r2 <= 0);
    assert_minimum(falling, 3, line, 1e-3, 1e-4);
    assert_int_equal(fsm_fit_line(steep, 3, &line, &r2), FSMOE_OK);
    assert_true(line.alpha_s == 0 && line.beta_s > 0.1 && line.beta_s < 5.0 / 30);
    assert_minimum(steep, 3, line, 1e-3, 1e-4);
}

static void test_fit_line_meets_equal_times_with_r2_1(void **state)
{
    (void)state;
    const fsm_point flat[] = {{10, 0.1}, {20, 0.1}, {30, 0.1}};
    fsm_line line;
    double r2;
    assert_int_equal(fsm_fit_line(flat, 3, &line, &r2), FSMOE_OK);
    assert_true(r2 == 1);
    assert_true(fabs(line.alpha_s - 0.1) < 1e-15 && fabs(line.beta_s) < 1e-15);
}

static void test_fit_line_keeps_its_digits_at_any_scale(void **state)
{
    (void)state;
    const fsm_line lines[] = {{1e-9, 1e-24}, {1e200, 1e190}, {1e-150, 1e-160}};
    for (int i = 0; i < 3; i++) {
        fsm_point points[POINT_COUNT];
        fsm_line line;
        double r2;
        make_points(lines[i], 0, 0, points, POINT_COUNT);
        for (int j = 0; i == 0 && j < POINT_COUNT; j++) { /* a GEMM's sizes */
            points[j].size *= 1e9;
            points[j].time_s = fsm_line_at(lines[i], points[j].size);
        }
        assert_int_equal(fsm_fit_line(points, POINT_COUNT, &line, &r2), FSMOE_OK);
        assert_true(fabs(line.alpha_s / lines[i].alpha_s - 1) < 1e-6);
        assert_true(fabs(line.beta_s / lines[i].beta_s - 1) < 1e-9);
    }
}

static void test_fit_refuses_points_that_make_no_line(void **state)
{
    (void)state;
    const struct {
        fsm_point points[3];
        int n;
        const char *says;
    } cases[] = {
        {{{1, 1}}, 0, "two different sizes"},
        {{{1, 1}}, 1, "two different sizes"},
        {{{5, 1}, {5, 2}, {5, 3}}, 3, "two different sizes"},
        {{{1, 1}, {NAN, 2}, {3, 3}}, 3, "point 2 of 3"},
        {{{1, 1}, {INFINITY, 2}, {3, 3}}, 3, "point 2 of 3"},
        {{{-1, 1}, {2, 2}, {3, 3}}, 3, "point 1 of 3"},
        {{{1, 1}, {2, 2}, {3, 0}}, 3, "point 3 of 3"},
        {{{1, 1}, {2, -2}, {3, 3}}, 3, "point 2 of 3"},
        {{{1, 1}, {2, NAN}, {3, 3}}, 3, "point 2 of 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fsm_line lines[2];
        double from, r2;
        fsm_fit three;
        assert_int_equal(fsm_fit_three_lines(cases[i].points, cases[i].n, &three), FSMOE_ERROR_NUMERIC);
        assert_non_null(strstr(fsmoe_last_error(), cases[i].says));
        assert_int_equal(fsm_fit_line(cases[i].points, cases[i].n, lines, &r2), FSMOE_ERROR_NUMERIC);
        assert_non_null(strstr(fsmoe_last_error(), cases[i].says));
        assert_int_equal(fsm_fit_two_lines(cases[i].points, cases[i].n, lines, &from, &r2), FSMOE_ERROR_NUMERIC);
        assert_non_null(strstr(fsmoe_last_error(), cases[i].says));
    }
}

/* ---- two lines ---- */

static void test_fit_two_lines_finds_where_the_slope_changes(void **state)
{
    (void)state;
    const fsm_line small = {2e-5, 1e-10}, large = {4e-4, 1e-9}; /* a change of protocol at 2^16 */
    const double noises[] = {0, 0.02}, bands[] = {1e-9, 0.1};
    for (int c = 0; c < 2; c++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            fsm_point points[POINT_COUNT], swap;
            fsm_line lines[2];
            double from, r2;
            make_points(small, noises[c], seed, points, POINT_COUNT);
            for (int i = 0; i < POINT_COUNT; i++)
                if (points[i].size >= 65536)
                    points[i].time_s *= fsm_line_at(large, points[i].size) / fsm_line_at(small, points[i].size);
            for (int i = 0; i < POINT_COUNT / 2; i += 3) { /* any order will do */
                swap = points[i];
                points[i] = points[POINT_COUNT - 1 - i];
                points[POINT_COUNT - 1 - i] = swap;
            }
            assert_int_equal(fsm_fit_two_lines(points, POINT_COUNT, lines, &from, &r2), FSMOE_OK);
            assert_true(from == 65536);
            assert_true(fabs(lines[0].alpha_s / small.alpha_s - 1) <= bands[c]);
            assert_true(fabs(lines[0].beta_s / small.beta_s - 1) <= 3 * bands[c]);
            assert_true(fabs(lines[1].alpha_s / large.alpha_s - 1) <= 2 * bands[c]);
            assert_true(fabs(lines[1].beta_s / large.beta_s - 1) <= bands[c]);
            assert_true(r2 > 0.99);
        }
}

static void test_fit_two_lines_keeps_one_line_as_one(void **state)
{
    (void)state;
    const fsm_line truth = {5e-5, 3e-10};
    const double noises[] = {0, 0.02, 0.08}; /* the last misses the 10 %, but two lines do not halve it */
    for (int c = 0; c < 3; c++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            fsm_point points[POINT_COUNT];
            fsm_line lines[2], one;
            double from, r2, r2_of_one;
            make_points(truth, noises[c], seed, points, POINT_COUNT);
            assert_int_equal(fsm_fit_two_lines(points, POINT_COUNT, lines, &from, &r2), FSMOE_OK);
            assert_int_equal(fsm_fit_line(points, POINT_COUNT, &one, &r2_of_one), FSMOE_OK);
            assert_true(from == 0);
            assert_true(lines[0].alpha_s == one.alpha_s && lines[0].beta_s == one.beta_s && r2 == r2_of_one);
            assert_true(lines[1].alpha_s == 0 && lines[1].beta_s == 0);
        }
}

/* Five points, or six of which one side would have a single size, cannot be cut, however bent they are. */
static void test_fit_two_lines_needs_three_points_and_two_sizes_a_side(void **state)
{
    (void)state;
    const fsm_point five[] = {{1, 1}, {2, 2}, {3, 30}, {4, 40}, {5, 50}};
    const fsm_point single[] = {{1, 1}, {1, 1}, {1, 1}, {3, 30}, {4, 400}, {5, 5}};
    const fsm_point six[] = {{1, 1}, {2, 2}, {3, 3}, {4, 400}, {5, 500}, {6, 600}};
    fsm_line lines[2];
    double from, r2;
    assert_int_equal(fsm_fit_two_lines(five, 5, lines, &from, &r2), FSMOE_OK);
    assert_true(from == 0);
    assert_int_equal(fsm_fit_two_lines(single, 6, lines, &from, &r2), FSMOE_OK);
    assert_true(from == 0);
    assert_int_equal(fsm_fit_two_lines(six, 6, lines, &from, &r2), FSMOE_OK);
    assert_true(from == 4);
    assert_true(fabs(lines[1].beta_s - 100) < 1e-9);
}

/* ---- three ---- */

/* Changes of protocol at 2^12 and 2^18, which two lines cannot follow. */
static void make_three(double noise, uint64_t seed, fsm_point points[POINT_COUNT], fsm_line truth[3])
{
    const fsm_line lines[] = {{2e-6, 1e-10}, {1.5e-5, 2e-10}, {5e-4, 1e-9}};
    for (int i = 0; i < 3; i++) truth[i] = lines[i];
    make_points(lines[0], noise, seed, points, POINT_COUNT);
    for (int i = 0; i < POINT_COUNT; i++) {
        double size = points[i].size;
        fsm_line line = lines[(size >= 4096) + (size >= 262144)];
        points[i].time_s *= fsm_line_at(line, size) / fsm_line_at(lines[0], size);
    }
}

static void test_fit_three_lines_finds_three_regimes(void **state)
{
    (void)state;
    const double noises[] = {0, 0.02}, bands[] = {1e-9, 0.1};
    for (int c = 0; c < 2; c++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            fsm_point points[POINT_COUNT];
            fsm_line truth[3];
            fsm_fit found;
            make_three(noises[c], seed, points, truth);
            assert_int_equal(fsm_fit_three_lines(points, POINT_COUNT, &found), FSMOE_OK);
            assert_true(found.from[0] == 4096 && found.from[1] == 262144);
            for (int i = 0; i < 3; i++) assert_true(fabs(found.line[i].alpha_s / truth[i].alpha_s - 1) <= 2 * bands[c]);
            assert_true(fabs(found.line[2].beta_s / truth[2].beta_s - 1) <= bands[c]);
            assert_true(found.r2 > 0.98 && !fsm_fit_is_bad(found.r2, 0.29) && fsm_fit_is_bad(found.r2, 0.31));
        }
}

/* What one line or two meet well is not cut further, nor what three do not meet much better. */
static void test_fit_three_lines_keeps_fewer_where_they_do(void **state)
{
    (void)state;
    const fsm_line one = {5e-5, 3e-10}, small = {2e-5, 1e-10}, large = {4e-4, 1e-9};
    const double noises[] = {0.02, 0.08, 0.3};
    for (int c = 0; c < 3; c++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            fsm_point points[POINT_COUNT];
            fsm_line two[2];
            fsm_fit found;
            double from, r2;
            make_points(c == 0 ? small : one, noises[c], seed, points, POINT_COUNT);
            for (int i = 0; c == 0 && i < POINT_COUNT; i++)
                if (points[i].size >= 65536)
                    points[i].time_s *= fsm_line_at(large, points[i].size) / fsm_line_at(small, points[i].size);
            assert_int_equal(fsm_fit_two_lines(points, POINT_COUNT, two, &from, &r2), FSMOE_OK);
            assert_int_equal(fsm_fit_three_lines(points, POINT_COUNT, &found), FSMOE_OK);
            assert_true(found.from[0] == from && found.from[1] == 0 && found.r2 == r2);
            assert_memory_equal(found.line, two, sizeof two);
            if (c == 2) assert_true(fsm_fit_is_bad(r2, 0));
        }
}

/* Thousands of sizes are cut at some of them, three points a line. */
static void test_fit_three_lines_of_many_points(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    static fsm_point points[MANY];
    const fsm_line lines[] = {{1e-3, 1e-6}, {1e-2, 1e-6}, {0.1, 1e-6}};
    fsm_fit found;
    for (int i = 0; i < MANY; i++)
        points[i] = (fsm_point){i + 1, fsm_line_at(lines[(i >= MANY / 3) + (i >= 2 * MANY / 3)], i + 1)};
    assert_int_equal(fsm_fit_three_lines(points, MANY, &found), FSMOE_OK);
    assert_true(fabs(found.from[0] - MANY / 3) <= MANY / 64 + 1 && fabs(found.from[1] - 2 * MANY / 3) <= MANY / 64 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_line_recovers_what_noisy_points_came_from),
        cmocka_unit_test(test_fit_line_is_the_least_of_relative_squares),
        cmocka_unit_test(test_fit_line_holds_negative_constants_at_zero),
        cmocka_unit_test(test_fit_line_meets_equal_times_with_r2_1),
        cmocka_unit_test(test_fit_line_keeps_its_digits_at_any_scale),
        cmocka_unit_test(test_fit_refuses_points_that_make_no_line),
        cmocka_unit_test(test_fit_two_lines_finds_where_the_slope_changes),
        cmocka_unit_test(test_fit_two_lines_keeps_one_line_as_one),
        cmocka_unit_test(test_fit_two_lines_needs_three_points_and_two_sizes_a_side),
        cmocka_unit_test(test_fit_three_lines_finds_three_regimes),
        cmocka_unit_test(test_fit_three_lines_keeps_fewer_where_they_do),
        cmocka_unit_test(test_fit_three_lines_of_many_points),
    };
    return cmocka_run_group_tests_name("fit", tests, NULL, NULL);
}
