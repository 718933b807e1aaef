/* The run's report and its parts. Oracles: well-formed markup by a small checker, known answers of the number, axis and
 * series helpers, and what a made-up run must show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "exec/step_times.h"
#include "report/axis.h"
#include "report/chart.h"
#include "report/heatmap.h"
#include "report/html.h"
#include "report/log.h"
#include "report/number.h"
#include "report/ranks.h"
#include "report/series.h"

#include <fsmoe/report.h>

#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    char folder[64];
    char path[128]; /* the latest of file_path */
} fixture;

static int make_folder(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    snprintf(f->folder, sizeof f->folder, "/tmp/fsmoe-report-XXXXXX");
    *state = f;
    return mkdtemp(f->folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    fixture *f = *state;
    int failed = fsm_file_remove_tree(f->folder) != FSMOE_OK;
    free(f);
    return failed;
}

static const char *file_path(fixture *f, const char *name)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->folder, name);
    return f->path;
}

static void write_text(fixture *f, const char *name, const char *text)
{
    FILE *out = fopen(file_path(f, name), "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

/* A run with every key: 3 layers of 4 experts, expert 1 of layer 2 gets half of the tokens. */
static void write_log(fixture *f, int steps)
{
    FILE *out = fopen(file_path(f, "log.jsonl"), "w");
    assert_non_null(out);
    for (int s = 1; s <= steps; s++) {
        fprintf(out,
                "{\"step\":%d,\"loss\":%.4f,\"aux_loss\":1.02,\"z_loss\":0.001,\"lr\":%g,\"grad_norm\":%g,"
                "\"tokens_per_s\":%d,\"step_s\":0.5,\"dropped_frac\":0.031,\"expert_load\":{\"min\":0.1,\"mean\":0.25,"
                "\"max\":0.5}",
                s, 1.5 + 4 * exp(-s / 50.0) + 0.1 * sin(s), 1e-3 / s, 50.0 / s + 0.5, 9000 + s % 7);
        if (s % 50 == 0) fprintf(out, ",\"val_loss\":%.4f", 1.6 + 4 * exp(-s / 50.0));
        if (s % 5 == 1)
            fprintf(out, ",\"expert_load_by_layer\":[[0.25,0.25,0.25,0.25],[0.2,0.3,0.25,0.25],[0.1,0.5,0.2,0.2]]");
        fputs("}\n", out);
    }
    assert_int_equal(fclose(out), 0);
}

static void write_run(fixture *f)
{
    write_text(f, "config.yaml", "model:\n  family: mixtral # <script>alert(\"x\" & 'y')</script>\n");
    write_text(f, "run.json",
               "{\"command\":\"fsmoe train a.yaml\",\"version\":\"9.8.7\",\"layout\":{\"nodes\":2,\"ranks_per_node\":4,"
               "\"ranks\":8,\"dp\":4,\"mp\":2,\"ep\":2,\"esp\":2,\"edp\":2},\"threads\":3,\"cpu\":\"Some <CPU>\","
               "\"parameters\":3412992,\"active_parameters\":1315840,\"tokens_per_step\":4096,\"steps\":300,"
               "\"started\":\"2020-02-02\",\"tokenizer\":\"bytes\",\"sample\":\"It is a truth <i>universally</i>\","
               "\"val_loss\":1.2345}");
}

static char *report_text(fixture *f, size_t *size)
{
    fsmoe_status status = fsmoe_report_write(f->folder);
    if (status != FSMOE_OK) print_error("%s\n", fsmoe_last_error());
    assert_int_equal(status, FSMOE_OK);
    char *text;
    assert_int_equal(fsm_file_read(file_path(f, "report.html"), &text, size), FSMOE_OK);
    return text;
}

/* Every element closed in order, every attribute quoted; the depth of the deepest is returned. */
static size_t check_markup(const char *text)
{
    struct {
        const char *name;
        size_t length;
    } open[64];
    size_t depth = 0, deepest = 0;
    for (const char *at = strchr(text, '<'); at; at = strchr(at + 1, '<')) {
        const char *end = strchr(at, '>');
        assert_non_null(end);
        size_t quotes = 0, length = strcspn(at + 1, " />\n");
        for (const char *c = at; c < end; c++) quotes += *c == '"';
        assert_int_equal(quotes % 2, 0);
        if (at[1] == '!' || end[-1] == '/') continue;
        if (at[1] != '/') {
            assert_true(depth < 64);
            open[depth].name = at + 1;
            open[depth++].length = length;
            if (depth > deepest) deepest = depth;
            continue;
        }
        length = strcspn(at + 2, ">");
        assert_true(depth > 0);
        depth--;
        assert_int_equal(open[depth].length, length);
        assert_memory_equal(open[depth].name, at + 2, length);
    }
    assert_int_equal(depth, 0);
    return deepest;
}

/* "nan" and "inf" as numbers, not inside words. */
static bool has_word(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += length) {
        bool before = at > text && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", at[-1]);
        bool after = at[length] && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", at[length]);
        if (!before && !after) return true;
    }
    return false;
}

static void check_page(const char *text)
{
    assert_true(check_markup(text) > 5);
    assert_null(strstr(text, "http"));
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "url("));
    assert_null(strstr(text, "@import"));
    assert_false(has_word(text, "nan"));
    assert_false(has_word(text, "-nan"));
    assert_false(has_word(text, "inf"));
}

static void assert_shows(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("the page lacks '%s'", part);
}

static void test_report_shows_every_part_of_a_run(void **state)
{
    fixture *f = *state;
    write_log(f, 300);
    write_run(f);
    size_t size;
    char *text = report_text(f, &size);
    check_page(text);
    static const char *const parts[] = {"id=\"loss\"",
                                        "id=\"lr\"",
                                        "id=\"grad-norm\"",
                                        "id=\"tokens-per-s\"",
                                        "id=\"dropped\"",
                                        "id=\"aux-loss\"",
                                        "id=\"z-loss\"",
                                        "id=\"load-range\"",
                                        "id=\"expert-load\"",
                                        "id=\"layout\"",
                                        "id=\"config\"",
                                        "id=\"sample\"",
                                        "prefers-color-scheme:dark",
                                        "9.8.7",
                                        "3.41M",
                                        "1.32M active",
                                        "median of the steps",
                                        "2 min 30 s",
                                        "Some &lt;CPU&gt;",
                                        "&lt;script&gt;alert(&quot;x&quot; &amp; &#39;y&#39;)&lt;/script&gt;",
                                        "It is a truth &lt;i&gt;universally",
                                        "layer 2, expert 1: mean 2.00×",
                                        "node 1",
                                        "rank 7",
                                        "log scale",
                                        "50%"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) assert_shows(text, parts[i]);
    char command[160];
    snprintf(command, sizeof command, "mpirun -n 8 fsmoe train %s/config.yaml --resume<", f->folder);
    assert_shows(text, command);
    free(text);
}

static void test_report_needs_only_the_log(void **state)
{
    fixture *f = *state;
    write_text(f, "log.jsonl", "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2.5}\n");
    size_t size;
    char *text = report_text(f, &size);
    check_page(text);
    assert_shows(text, "id=\"loss\"");
    assert_null(strstr(text, "id=\"lr\""));
    assert_null(strstr(text, "id=\"expert-load\""));
    assert_null(strstr(text, "mpirun"));
    assert_shows(text, "fsmoe train ");
    free(text);
}

static void test_report_of_one_step_is_whole(void **state)
{
    fixture *f = *state;
    write_log(f, 1);
    write_run(f);
    size_t size;
    char *text = report_text(f, &size);
    check_page(text);
    assert_shows(text, "id=\"loss\"");
    assert_shows(text, "<circle");
    assert_shows(text, "id=\"expert-load\"");
    free(text);
}

static void test_report_of_a_hundred_thousand_steps_stays_under_a_megabyte(void **state)
{
    fixture *f = *state;
    write_log(f, 100000);
    write_run(f);
    size_t size;
    char *text = report_text(f, &size);
    check_page(text);
    assert_true(size < 1000000);
    assert_shows(text, "100,000");
    free(text);
}

static void test_report_without_a_step_says_so(void **state)
{
    fixture *f = *state;
    assert_int_equal(fsmoe_report_write(f->folder), FSMOE_ERROR_IO);
    write_text(f, "log.jsonl", "");
    assert_int_equal(fsmoe_report_write(f->folder), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), "log.jsonl' has no complete step"));
    write_text(f, "log.jsonl", "{\"step\":1,\"lo");
    assert_int_equal(fsmoe_report_write(f->folder), FSMOE_ERROR_FORMAT);
    assert_false(fsm_file_exists(file_path(f, "report.html")));
}

static void test_report_refuses_a_layout_that_does_not_fit(void **state)
{
    fixture *f = *state;
    write_log(f, 3);
    write_text(f, "run.json", "{\"layout\":{\"nodes\":1,\"ranks_per_node\":4,\"ranks\":4,\"ep\":3}}");
    assert_int_equal(fsmoe_report_write(f->folder), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), "'layout' does not fit"));
    write_text(f, "run.json", "{\"layout\":{\"nodes\":0,\"ranks\":4}}");
    assert_int_equal(fsmoe_report_write(f->folder), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), "'layout.nodes'"));
    write_text(f, "run.json", "{\"layout\":{\"ranks\":4,\"ep\":4611686018427387904,\"esp\":4}}");
    assert_int_equal(fsmoe_report_write(f->folder), FSMOE_ERROR_FORMAT);
    write_text(f, "run.json", "{\"layout\":");
    assert_int_equal(fsmoe_report_write(f->folder), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), "run.json:1"));
}

static void test_report_takes_the_final_validation_from_the_run(void **state)
{
    fixture *f = *state;
    write_log(f, 299);
    write_run(f);
    size_t size;
    char *text = report_text(f, &size);
    assert_null(strstr(text, "1.234")); /* the run is not at its end: 300 */
    free(text);
    write_text(f, "run.json", "{\"steps\":299,\"val_loss\":1.2345}");
    text = report_text(f, &size);
    assert_shows(text, "Validation loss</dt><dd><div class=\"value\">1.23");
    free(text);
}

static void test_report_writes_decimal_points_in_any_locale(void **state)
{
    fixture *f = *state;
    write_log(f, 20);
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8")) skip();
    fsmoe_status status = fsmoe_report_write(f->folder);
    assert_string_equal(localeconv()->decimal_point, ","); /* the caller's locale is as it was */
    setlocale(LC_NUMERIC, "C");
    assert_int_equal(status, FSMOE_OK);
    char *text;
    size_t size;
    assert_int_equal(fsm_file_read(file_path(f, "report.html"), &text, &size), FSMOE_OK);
    assert_shows(text, "0.5 s a step");
    free(text);
}

/* Four tasks: planned all at once, measured one after the other on the ranks, rank 1 at double time. In ms:
 * attention 0-4, dispatch inter 1-3, allgather intra 2-5, expert 5-8. */
static void write_step_times(fixture *f, int n_ranks, bool planned)
{
    enum { TASKS = 4 };
    static const fsm_task_kind kinds[TASKS] = {FSM_TASK_ATTENTION, FSM_TASK_A2A_DISPATCH, FSM_TASK_ALLGATHER,
                                               FSM_TASK_EXPERT};
    static const fsm_resource resources[TASKS] = {FSM_COMPUTE, FSM_INTER, FSM_INTRA, FSM_COMPUTE};
    double start_s[TASKS] = {0, 0.001, 0.002, 0.005}, end_s[TASKS] = {0.004, 0.003, 0.005, 0.008};
    fsm_timeline plan = {.start_s = start_s, .end_s = end_s, .makespan_s = 0.008};
    fsm_step_times times;
    fsm_graph graph = {0};
    for (int i = 0, last = -1; i < TASKS; i++)
        last = fsm_graph_add(&graph, (fsm_task){.kind = kinds[i], .resource = resources[i], .layer = 7, .size = 1},
                             &last, 1);
    assert_int_equal(fsm_step_times_create(&graph, planned ? &plan : NULL, "<fsmoe>", 40, n_ranks, &times), FSMOE_OK);
    for (int r = 0; r < n_ranks; r++) {
        double clock_s = 0, starts_s[TASKS], ends_s[TASKS];
        for (int i = 0; i < TASKS; i++) {
            starts_s[i] = clock_s;
            ends_s[i] = clock_s += (r + 1) * (end_s[i] - start_s[i]);
        }
        fsm_step_times_set(&times, r, starts_s, ends_s);
    }
    assert_int_equal(fsm_step_times_write(&times, file_path(f, FSM_STEP_TIMES_FILE)), FSMOE_OK);
    fsm_step_times_destroy(&times);
    fsm_graph_destroy(&graph);
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, word)); at += strlen(word)) count++;
    return count;
}

/* The cells of a row of the table, as "a|b|c". */
static void assert_row(const char *text, const char *name, const char *expected)
{
    char head[64], cells[256] = "";
    snprintf(head, sizeof head, "<tr><th>%s</th>", name);
    const char *at = strstr(text, head);
    if (!at) fail_msg("no row %s", name);
    const char *end = strstr(at, "</tr>");
    while ((at = strstr(at, "<td")) && at < end) {
        at = strchr(at, '>') + 1;
        snprintf(cells + strlen(cells), sizeof cells - strlen(cells), "%s%.*s", cells[0] ? "|" : "",
                 (int)strcspn(at, "<"), at);
    }
    assert_string_equal(cells, expected);
}

static void test_report_shows_a_step_planned_and_measured(void **state)
{
    fixture *f = *state;
    write_log(f, 20);
    write_step_times(f, 2, true);
    size_t size;
    char *text = report_text(f, &size);
    check_page(text);
    assert_shows(text, "<h2>One step, planned and measured</h2>");
    assert_shows(text, "Step 40 of schedule &lt;fsmoe&gt;: planned 8 ms, measured 24 ms by the slowest of 2 ranks, "
                       "rank 1, 3 times the planned.");
    assert_row(text, "planned", "8|1|7|3|2|1|66.7%|2|2|0|100.0%|4|3|1|75.0%|1|1");
    assert_row(text, "rank 0", "12|1.5|7|3|0|3|0.0%|2|0|2|0.0%|5|0|5|0.0%|0|0");
    assert_row(text, "rank 1", "24|3|14|6|0|6|0.0%|4|0|4|0.0%|10|0|10|0.0%|0|0");
    assert_int_equal(count_of(text, "class=\"gantt\""), 3);
    const char *planned = strstr(text, ">Planned: 8 ms<"), *first = strstr(text, ">Measured on rank 0: 12 ms<");
    const char *details = strstr(text, "<details><summary>the other ranks");
    const char *second = strstr(text, ">Measured on rank 1: 24 ms<");
    assert_true(planned && first && details && second);
    assert_true(planned < first && first < details && details < second);
    /* one axis of 24 ms on 1300 px: idle time ends after 8, 12 and 24 ms */
    assert_int_equal(count_of(text, "width=\"433.3\" height=\"72\""), 3);
    assert_int_equal(count_of(text, "width=\"650.0\" height=\"72\""), 3);
    assert_int_equal(count_of(text, "width=\"1300.0\" height=\"72\""), 3);
    free(text);
}

static void test_report_shows_a_step_without_a_plan(void **state)
{
    fixture *f = *state;
    write_log(f, 20);
    write_step_times(f, 1, false);
    size_t size;
    char *text = report_text(f, &size);
    check_page(text);
    assert_shows(text, "<h2>One step, measured</h2>");
    assert_shows(text, "Step 40 of schedule &lt;fsmoe&gt;: measured 12 ms.");
    assert_row(text, "rank 0", "12|7|3|0|3|0.0%|2|0|2|0.0%|5|0|5|0.0%|0|0");
    assert_int_equal(count_of(text, "class=\"gantt\""), 1);
    assert_null(strstr(text, "lanned"));
    assert_null(strstr(text, "<details><summary>the other"));
    free(text);
}

static void test_report_draws_no_more_than_sixteen_ranks(void **state)
{
    fixture *f = *state;
    write_log(f, 20);
    write_step_times(f, 20, true);
    size_t size;
    char *text = report_text(f, &size);
    check_page(text);
    assert_int_equal(count_of(text, "class=\"gantt\""), 17);
    assert_shows(text, "ranks 1 to 15 of 20");
    assert_shows(text, "<tr><th>rank 19</th>");
    free(text);
}

static void test_report_without_step_times_is_as_before(void **state)
{
    fixture *f = *state;
    write_log(f, 20);
    size_t size;
    char *before = report_text(f, &size);
    assert_null(strstr(before, "step-times"));
    assert_null(strstr(before, "gantt"));
    write_step_times(f, 1, true);
    char *with = report_text(f, &size), *section = strstr(with, "<section id=\"step-times\"");
    assert_non_null(section);
    size_t same = (size_t)(section - with);
    assert_memory_equal(with, before, same);
    assert_string_equal(strstr(section, "</section>\n") + strlen("</section>\n"), before + same);
    free(with);
    free(before);
}

static void test_report_names_a_broken_step_times_file(void **state)
{
    fixture *f = *state;
    write_log(f, 20);
    write_text(f, FSM_STEP_TIMES_FILE, "{\"format\": \"fsmoe-step-times\", \"version\": 3}");
    assert_int_equal(fsmoe_report_write(f->folder), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), "step_times.json': 'version' is not 1"));
    assert_false(fsm_file_exists(file_path(f, "report.html")));
}

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
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_report_shows_every_part_of_a_run),
        WITH_FOLDER(test_report_needs_only_the_log),
        WITH_FOLDER(test_report_of_one_step_is_whole),
        WITH_FOLDER(test_report_of_a_hundred_thousand_steps_stays_under_a_megabyte),
        WITH_FOLDER(test_report_without_a_step_says_so),
        WITH_FOLDER(test_report_refuses_a_layout_that_does_not_fit),
        WITH_FOLDER(test_report_takes_the_final_validation_from_the_run),
        WITH_FOLDER(test_report_writes_decimal_points_in_any_locale),
        WITH_FOLDER(test_report_shows_a_step_planned_and_measured),
        WITH_FOLDER(test_report_shows_a_step_without_a_plan),
        WITH_FOLDER(test_report_draws_no_more_than_sixteen_ranks),
        WITH_FOLDER(test_report_without_step_times_is_as_before),
        WITH_FOLDER(test_report_names_a_broken_step_times_file),
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
