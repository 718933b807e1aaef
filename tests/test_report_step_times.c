/* The page's section on one step, planned and measured. Oracles: rows and widths worked out by hand for four tasks at
 * given times, well-formed markup by a small checker, and the page without the section.
 */
#include "report_case.h"

#include "exec/step_times.h"
#include "reading.h"

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

/* What else a file may say: the plan's loads, and that the tasks are of two lanes in turn. */
static void add_loads_and_lanes(fixture *f)
{
    fsm_step_times times;
    const char *path = file_path(f, FSM_STEP_TIMES_FILE);
    assert_int_equal(fsm_step_times_read(path, &times), FSMOE_OK);
    times.load_s[FSM_COMPUTE] = 0.004, times.load_s[FSM_INTRA] = 0.0025, times.load_s[FSM_INTER] = 0.001;
    times.graph.lanes = times.graph.parts = 2;
    for (int i = 0; i < times.graph.count; i++) times.graph.tasks[i].lane = i % 2;
    assert_int_equal(fsm_step_times_write(&times, path), FSMOE_OK);
    fsm_step_times_destroy(&times);
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
    assert_int_equal(count_text(text, "class=\"gantt\""), 3);
    const char *planned = strstr(text, ">Planned: 8 ms<"), *first = strstr(text, ">Measured on rank 0: 12 ms<");
    const char *details = strstr(text, "<details><summary>the other ranks");
    const char *second = strstr(text, ">Measured on rank 1: 24 ms<");
    assert_true(planned && first && details && second);
    assert_true(planned < first && first < details && details < second);
    /* one axis of 24 ms on 1300 px: idle time ends after 8, 12 and 24 ms */
    assert_int_equal(count_text(text, "width=\"433.3\" height=\"72\""), 3);
    assert_int_equal(count_text(text, "width=\"650.0\" height=\"72\""), 3);
    assert_int_equal(count_text(text, "width=\"1300.0\" height=\"72\""), 3);
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
    assert_int_equal(count_text(text, "class=\"gantt\""), 1);
    assert_null(strstr(text, "lanned"));
    assert_null(strstr(text, "<details><summary>the other"));
    free(text);
}

static void test_report_tells_loads_lanes_and_what_waits(void **state)
{
    fixture *f = *state;
    write_log(f, 20);
    write_step_times(f, 1, true);
    add_loads_and_lanes(f);
    size_t size;
    char *text = report_text(f, &size);
    check_page(text);
    assert_shows(text,
                 "Step 40 of schedule &lt;fsmoe&gt;, in 2 lanes: planned 8 ms, measured 12 ms, 1.5 times the planned.");
    assert_shows(text, ">÷ load<");
    assert_row(text, "planned", "8|1|2|7|3|2|1|66.7%|2|2|0|100.0%|4|3|1|75.0%|1|1");
    assert_row(text, "rank 0", "12|1.5|3|7|3|0|3|0.0%|2|0|2|0.0%|5|0|5|0.0%|0|0");
    assert_shows(text, "planned to take 4 of compute, 2.5 of the intra-node link, 1 of the inter-node link;");
    assert_int_equal(count_text(text, ">load 4 ms<"), 2);
    /* planned, compute is idle from 4 to 5, measured from 4 to 9, between attention and expert */
    assert_shows(text, ">waits 1 ms for allgather.forward<");
    assert_shows(text, ">waits 3 ms for allgather.forward, 2 ms for a2a_dispatch.forward<");
    assert_int_equal(count_text(text, "<pattern id=\"gantt-h1\""), 1);
    assert_int_equal(count_text(text, "<path class=\"h1\" d=\"M"),
                     2 * 2 + 2); /* each picture's expert and dispatch; its legend */
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
    assert_int_equal(count_text(text, "class=\"gantt\""), 17);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_report_shows_a_step_planned_and_measured),
        WITH_FOLDER(test_report_shows_a_step_without_a_plan),
        WITH_FOLDER(test_report_tells_loads_lanes_and_what_waits),
        WITH_FOLDER(test_report_draws_no_more_than_sixteen_ranks),
        WITH_FOLDER(test_report_without_step_times_is_as_before),
        WITH_FOLDER(test_report_names_a_broken_step_times_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
