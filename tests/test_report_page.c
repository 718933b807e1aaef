/* The page of a run, of much or little data. Oracles: well-formed markup by a small checker, what a made-up run must
 * show, and the file and key that a refusal must name.
 */
#include "report_case.h"

#include <locale.h>

static void write_run(fixture *f)
{
    write_text(f, "config.yaml", "model:\n  family: mixtral # <script>alert(\"x\" & 'y')</script>\n");
    write_text(
        f, "run.json",
        "{\"command\":\"fsmoe train a.yaml\",\"resume_command\":\"mpirun -n 8 fsmoe train x/config.yaml --resume\","
        "\"version\":\"9.8.7\",\"layout\":{\"nodes\":2,\"ranks_per_node\":4,"
        "\"ranks\":8,\"dp\":4,\"mp\":2,\"ep\":2,\"esp\":2,\"edp\":2},\"threads\":3,\"cpu\":\"Some <CPU>\","
        "\"parameters\":3412992,\"active_parameters\":1315840,\"tokens_per_step\":4096,\"steps\":300,"
        "\"started\":\"2020-02-02\",\"tokenizer\":\"bytes\",\"sample\":\"It is a truth <i>universally</i>\","
        "\"val_loss\":1.2345}");
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
    assert_shows(text, "mpirun -n 8 fsmoe train x/config.yaml --resume<");
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
    assert_null(strstr(text, "id=\"resume\""));
    assert_null(strstr(text, "id=\"warnings\""));
    free(text);
}

/* Logs of before have neither; a run that was too short for it has no share. */
static void test_report_shows_what_the_model_computes(void **state)
{
    fixture *f = *state;
    size_t size;
    write_text(f, "log.jsonl", "{\"step\":1,\"loss\":3}\n");
    char *text = report_text(f, &size);
    assert_null(strstr(text, "GFLOP"));
    free(text);
    write_text(f, "log.jsonl", "{\"step\":1,\"loss\":3,\"flops_per_s\":4.25e10}\n");
    text = report_text(f, &size);
    assert_shows(text, "Model GFLOP/s</dt><dd><div class=\"value\">42.5</div><div class=\"more\">median of the steps<");
    free(text);
    write_text(f, "log.jsonl",
               "{\"step\":1,\"loss\":3,\"flops_per_s\":4.25e10}\n"
               "{\"step\":2,\"loss\":3,\"flops_per_s\":4.25e10,\"peak_share\":0.375}\n");
    text = report_text(f, &size);
    check_page(text);
    assert_shows(text, "42.5</div><div class=\"more\">37.5% of measured products<");
    free(text);
}

static void test_report_shows_warnings_of_the_log_as_text(void **state)
{
    fixture *f = *state;
    write_text(f, "log.jsonl",
               "{\"step\":1,\"loss\":3,\"warning\":\"an <expert>\"}\n{\"step\":2,\"loss\":2.5,\"warning\":\"b\"}\n");
    size_t size;
    char *text = report_text(f, &size);
    check_page(text);
    assert_shows(text, "step 1: an &lt;expert&gt;\nstep 2: b<");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_report_shows_every_part_of_a_run),
        WITH_FOLDER(test_report_needs_only_the_log),
        WITH_FOLDER(test_report_shows_what_the_model_computes),
        WITH_FOLDER(test_report_shows_warnings_of_the_log_as_text),
        WITH_FOLDER(test_report_of_one_step_is_whole),
        WITH_FOLDER(test_report_of_a_hundred_thousand_steps_stays_under_a_megabyte),
        WITH_FOLDER(test_report_without_a_step_says_so),
        WITH_FOLDER(test_report_refuses_a_layout_that_does_not_fit),
        WITH_FOLDER(test_report_takes_the_final_validation_from_the_run),
        WITH_FOLDER(test_report_writes_decimal_points_in_any_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
