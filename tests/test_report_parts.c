/* The parts of which the report is made: log, series, numbers, axes, heat maps, ranks, charts. Oracles: known answers,
 * and what must hold for any input (a range is covered, a rank is named once, markup is well-formed).
 */
#include "report_case.h"

#include "report/axis.h"
#include "report/chart.h"
#include "report/heatmap.h"
#include "report/log.h"
#include "report/number.h"
#include "report/ranks.h"
#include "report/series.h"

static void test_log_leaves_out_a_torn_last_line(void **state)
{
    fixture *f = *state;
    write_text(f, "log.jsonl", "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}\n{\"step\":3,\"los");
    fsm_log log;
    assert_int_equal(fsm_log_read(file_path(f, "log.jsonl"), &log), FSMOE_OK);
    assert_int_equal(log.count, 2);
    assert_true(fsm_log_last(&log, FSM_LOG_LOSS) == 2);
    assert_true(isnan(fsm_log_last(&log, FSM_LOG_VAL_LOSS)));
    fsm_log_destroy(&log);
}

static void test_log_names_file_and_line_of_what_is_malformed(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"{\"step\":1}\n{\"step\":2,\n{\"step\":3}\n", "log.jsonl:2: malformed JSON"},
        {"{\"step\":1}\n\n", "log.jsonl:2: malformed JSON"},
        {"{\"step\":1}\n{\"loss\":2}\n", "log.jsonl:2: no whole number 'step'"},
        {"[1]\n", "log.jsonl:1: no whole number 'step'"},
        {"{\"step\":1,\"loss\":\"3\"}\n", "log.jsonl:1: 'loss' is not a number"},
        {"{\"step\":1,\"loss\":NaN}\n", "log.jsonl:1: malformed JSON"},
        {"{\"step\":1,\"expert_load\":{\"max\":[]}}\n", "log.jsonl:1: 'expert_load.max' is not a number"},
        {"{\"step\":1,\"expert_load_by_layer\":[[1,0]]}\n{\"step\":2,\"expert_load_by_layer\":[[1,0],[1,0]]}\n",
         "log.jsonl:2: 'expert_load_by_layer' has 2 layers, expected 1"},
        {"{\"step\":1,\"expert_load_by_layer\":[[1,0],[1]]}\n", "has 1 experts, expected 2"},
        {"{\"step\":1,\"expert_load_by_layer\":[[1,null]]}\n", "'expert_load_by_layer'[0][1] is not a number"},
        {"{\"step\":1,\"expert_load_by_layer\":3}\n", "'expert_load_by_layer' has 0 layers"},
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(f, "log.jsonl", cases[i].text);
        fsm_log log;
        assert_int_equal(fsm_log_read(file_path(f, "log.jsonl"), &log), FSMOE_ERROR_FORMAT);
        const char *error = fsmoe_last_error();
        if (!strstr(error, cases[i].error)) fail_msg("'%s' lacks '%s'", error, cases[i].error);
    }
}

static void test_log_of_a_resumed_run_counts_the_later_line(void **state)
{
    fixture *f = *state;
    write_text(f, "log.jsonl",
               "{\"step\":1,\"loss\":5}\n{\"step\":2,\"loss\":4,\"expert_load_by_layer\":[[1,0]]}\n"
               "{\"step\":3,\"loss\":3}\n{\"step\":2,\"loss\":4.5,\"expert_load_by_layer\":[[0,1]]}\n");
    fsm_log log;
    assert_int_equal(fsm_log_read(file_path(f, "log.jsonl"), &log), FSMOE_OK);
    assert_int_equal(log.count, 2);
    assert_true(log.columns[FSM_LOG_LOSS][1] == 4.5);
    assert_int_equal(log.n_loads, 1);
    assert_true(log.load[0] == 0 && log.load[1] == 1);
    fsm_log_destroy(&log);
}

static void test_series_thin_keeps_ends_and_spikes(void **state)
{
    (void)state;
    enum { N = 10000 };
    double *x = malloc(2 * N * sizeof *x), *y = x + N;
    for (int i = 0; i < N; i++) x[i] = i, y[i] = i % 3 ? 1 : NAN;
    y[5000] = 100;
    y[7000] = -100;
    y[1] = 2;
    y[9998] = 3;
    fsm_points points;
    assert_int_equal(fsm_series_thin(x, y, N, 100, &points), FSMOE_OK);
    assert_in_range(points.count, 50, 100);
    bool up = false, down = false;
    for (size_t i = 0; i < points.count; i++) {
        up |= points.x[i] == 5000 && points.y[i] == 100;
        down |= points.x[i] == 7000 && points.y[i] == -100;
        assert_true(!isnan(points.y[i]) && (i == 0 || points.x[i] > points.x[i - 1]));
    }
    assert_true(up && down);
    assert_true(points.x[0] == 1 && points.x[points.count - 1] == 9998);
    fsm_points_destroy(&points);
    free(x);
}

static void test_series_smooth_is_the_mean_of_the_window(void **state)
{
    (void)state;
    double y[] = {1, 3, 8, NAN, 5, 6, 4}, smooth[7];
    fsm_series_smooth(y, 7, 5, smooth);
    assert_true(smooth[0] == 1);
    assert_true(smooth[1] == 4);
    assert_true(smooth[2] == (1 + 3 + 8 + 5) / 4.0);
    assert_true(isnan(smooth[3]));
    assert_true(smooth[4] == (8 + 5 + 6 + 4) / 4.0);
    assert_true(smooth[6] == 5);
}

static void test_series_median_ignores_what_is_missing(void **state)
{
    (void)state;
    double odd[] = {9, NAN, 1, 4}, even[] = {4, 1, 9, 2}, none[] = {NAN}, median;
    assert_int_equal(fsm_series_median(odd, 4, &median), FSMOE_OK);
    assert_true(median == 4);
    assert_int_equal(fsm_series_median(even, 4, &median), FSMOE_OK);
    assert_true(median == 3);
    assert_int_equal(fsm_series_median(none, 1, &median), FSMOE_OK);
    assert_true(isnan(median));
}

static void test_number_reads_as_people_write(void **state)
{
    (void)state;
    char out[FSM_NUMBER_BYTES];
    assert_string_equal(fsm_number_short(out, 1.84213), "1.842");
    assert_string_equal(fsm_number_short(out, 14213), "14.2k");
    assert_string_equal(fsm_number_short(out, 9120), "9,120");
    assert_string_equal(fsm_number_short(out, 3.1e-5), "3.1e-5");
    assert_string_equal(fsm_number_short(out, -3412992), "-3.41M");
    assert_string_equal(fsm_number_short(out, 0), "0");
    assert_string_equal(fsm_number_short(out, NAN), "–");
    assert_string_equal(fsm_number_short(out, INFINITY), "–");
    assert_string_equal(fsm_number_whole(out, 12345678), "12,345,678");
    assert_string_equal(fsm_number_whole(out, 999), "999");
    assert_string_equal(fsm_number_duration(out, 0.0731), "0.073 s");
    assert_string_equal(fsm_number_duration(out, 200), "3 min 20 s");
    assert_string_equal(fsm_number_duration(out, 7500), "2 h 05 min");
    assert_string_equal(fsm_number_duration(out, 3 * 86400 + 4 * 3600), "3 d 4 h");
}

static void test_axis_covers_its_range_with_round_ticks(void **state)
{
    (void)state;
    static const double ranges[][2] = {{0, 1}, {1.28, 6.6}, {-3e-7, 2e-7}, {14000, 14200}, {5, 5}, {0, 0}, {1e9, 4e9}};
    char out[FSM_NUMBER_BYTES];
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        fsm_axis axis = fsm_axis_values(ranges[i][0], ranges[i][1], 5);
        assert_true(axis.low <= ranges[i][0] && ranges[i][1] <= axis.high && axis.low < axis.high);
        assert_in_range(axis.n_ticks, 3, 8);
        assert_true(fsm_axis_place(&axis, axis.ticks[0]) < 1e-6);
        assert_true(fsm_axis_place(&axis, axis.ticks[axis.n_ticks - 1]) > 1 - 1e-6);
    }
    fsm_axis thousands = fsm_axis_values(0, 15000, 5);
    assert_string_equal(fsm_axis_label(&thousands, 1, out), thousands.step == 5000 ? "5k" : "2.5k");
    fsm_axis steps = fsm_axis_steps(7, 7, 6);
    assert_int_equal(steps.n_ticks, 1);
    assert_string_equal(fsm_axis_label(&steps, 0, out), "7");
}

static void test_axis_logarithmic_snaps_outwards(void **state)
{
    (void)state;
    static const double ranges[][2] = {{0.17, 9.5}, {1.28, 6.6}, {3, 3}, {1e-12, 1e12}, {1, 1000}, {2e-5, 3e-5}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        fsm_axis axis = fsm_axis_logarithmic(ranges[i][0], ranges[i][1]);
        assert_true(axis.low <= ranges[i][0] * (1 + 1e-9) && ranges[i][1] <= axis.high * (1 + 1e-9));
        assert_true(axis.low < axis.high);
        assert_true(axis.n_ticks <= 12);
        for (size_t t = 1; t < axis.n_ticks; t++) assert_true(axis.ticks[t] > axis.ticks[t - 1]);
    }
    fsm_axis decade = fsm_axis_logarithmic(1, 100);
    assert_true(fabs(fsm_axis_place(&decade, 10) - 0.5) < 1e-12);
}

static void test_heatmap_colours_are_even_in_the_logarithm(void **state)
{
    (void)state;
    assert_int_equal(fsm_heatmap_colour(1), 5);
    assert_int_equal(fsm_heatmap_colour(0), 0);
    assert_int_equal(fsm_heatmap_colour(0.5), 0);
    assert_int_equal(fsm_heatmap_colour(2), 10);
    assert_int_equal(fsm_heatmap_colour(64), 10);
    for (double r = 1; r < 3; r += 0.01) assert_int_equal(fsm_heatmap_colour(r) + fsm_heatmap_colour(1 / r), 10);
}

/* 64 layers of 128 experts: thousands of rows must share. */
static void test_heatmap_of_many_experts_stays_small(void **state)
{
    (void)state;
    enum { LAYERS = 64, EXPERTS = 128, LOADS = 200 };
    fsm_log log = {.n_layers = LAYERS, .n_experts = EXPERTS, .n_loads = LOADS};
    log.load_step = malloc(LOADS * sizeof(double));
    log.load = malloc((size_t)LOADS * LAYERS * EXPERTS * sizeof(float));
    for (int i = 0; i < LOADS; i++) log.load_step[i] = 10 * i;
    for (int i = 0; i < LOADS * LAYERS * EXPERTS; i++) log.load[i] = (float)((i * 7919L % 1000) / 500.0 / EXPERTS);
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(fsm_heatmap_write(out, &log), FSMOE_OK);
    fclose(out);
    check_markup(text);
    assert_true(size < 600000);
    assert_shows(text, "of 3 neighbouring experts");
    free(text);
    fsm_log_destroy(&log);
}

/* Each pair of coordinates names one rank, and the groups have the sizes of the layout. */
static void test_ranks_indices_name_each_rank_once(void **state)
{
    (void)state;
    fsm_run run = {.ranks = 24, .mp = 2, .dp = 12, .esp = 2, .ep = 4, .edp = 3};
    bool dense[24] = {false}, expert[24] = {false};
    for (int64_t rank = 0; rank < run.ranks; rank++) {
        fsm_rank_indices at = fsm_ranks_indices(&run, rank);
        assert_true(at.mp < run.mp && at.dp < run.dp && at.esp < run.esp && at.ep < run.ep && at.edp < run.edp);
        dense[at.dp * run.mp + at.mp] = true;
        expert[(at.edp * run.ep + at.ep) * run.esp + at.esp] = true;
    }
    for (int i = 0; i < 24; i++) assert_true(dense[i] && expert[i]);
}

static void test_chart_without_a_value_draws_nothing(void **state)
{
    (void)state;
    double x[] = {1, 2}, y[] = {NAN, NAN};
    fsm_chart chart = {.id = "a",
                       .title = "A",
                       .x_name = "step",
                       .height_px = 100,
                       .even = NAN,
                       .n_series = 1,
                       .series = {{"a", FSM_CHART_LINE, 0, x, y, 2}}};
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(fsm_chart_write(out, &chart), FSMOE_OK);
    fclose(out);
    assert_int_equal(size, 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_log_leaves_out_a_torn_last_line),
        WITH_FOLDER(test_log_names_file_and_line_of_what_is_malformed),
        WITH_FOLDER(test_log_of_a_resumed_run_counts_the_later_line),
        cmocka_unit_test(test_series_thin_keeps_ends_and_spikes),
        cmocka_unit_test(test_series_smooth_is_the_mean_of_the_window),
        cmocka_unit_test(test_series_median_ignores_what_is_missing),
        cmocka_unit_test(test_number_reads_as_people_write),
        cmocka_unit_test(test_axis_covers_its_range_with_round_ticks),
        cmocka_unit_test(test_axis_logarithmic_snaps_outwards),
        cmocka_unit_test(test_heatmap_colours_are_even_in_the_logarithm),
        cmocka_unit_test(test_heatmap_of_many_experts_stays_small),
        cmocka_unit_test(test_ranks_indices_name_each_rank_once),
        cmocka_unit_test(test_chart_without_a_value_draws_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
