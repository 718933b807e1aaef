/* Where the time of a step goes: the file, the table, the section of the page, and a run that has them.
 * Oracles: rows worked out by hand; the same run without it. */
#include "report_case.h"
#include "run_case.h"

#include "report/log.h"
#include "run/breakdown.h"

/* A step of 10 ms of two ranks. */
static const fsm_breakdown example = {
    .first_step = 2,
    .last_step = 9,
    .ranks = 2,
    .step_s = 0.010,
    .flops_per_s = 50e9,
    .bytes_per_s = 10e9,
    .model_flops_per_s = 40e9,
    .model_share = 0.4,
    .rows = 3,
    .row = {{"products <forward>", 12, 0.006, 200e6, 0, 0.0065},
            {"norms", 4, 0.001, 0, 8e6, 0.0012},
            {"places", 2, 0.0005, 0, 0, 0.0005}},
};

static void test_breakdown_is_written_and_read_back(void **state)
{
    fixture *f = *state;
    fsm_breakdown back;
    const char *path = file_path(f, FSM_BREAKDOWN_FILE);
    assert_int_equal(fsm_breakdown_write(&example, path), FSMOE_OK);
    assert_int_equal(fsm_breakdown_read(path, &back), FSMOE_OK);
    assert_memory_equal(&back, &example, sizeof back);
    assert_true(fabs(fsm_breakdown_floor_s(&back, &back.row[0]) - 0.004) < 1e-15);
    assert_true(fabs(fsm_breakdown_floor_s(&back, &back.row[1]) - 0.0008) < 1e-15);
    assert_true(fabs(fsm_breakdown_outside_s(&back) - 0.0025) < 1e-15);
}

static void test_breakdown_names_what_is_malformed(void **state)
{
    fixture *f = *state;
    fsm_breakdown b;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{}", "'format' is not"},
        {"{\"format\":\"fsmoe-breakdown\",\"version\":2}", "'version' is not 1"},
        {"{\"format\":\"fsmoe-breakdown\",\"version\":1,\"first_step\":0}", "'first_step' is no whole number"},
        {"{\"format\":\"fsmoe-breakdown\",\"version\":1,\"first_step\":1,\"last_step\":1,\"ranks\":1,\"step_s\":-1}",
         "'step_s' is no number from 0 on"},
        {"{\"format\":\"fsmoe-breakdown\",\"version\":1,\"first_step\":1,\"last_step\":1,\"ranks\":1,\"step_s\":1,"
         "\"flops_per_s\":1,\"bytes_per_s\":1,\"model_flops_per_s\":1,\"model_share\":1,\"kinds\":[{\"kind\":7}]}",
         "'kind' is no name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(f, FSM_BREAKDOWN_FILE, cases[i].text);
        assert_int_equal(fsm_breakdown_read(file_path(f, FSM_BREAKDOWN_FILE), &b), FSMOE_ERROR_FORMAT);
        if (!strstr(fsmoe_last_error(), cases[i].why)) fail_msg("%s", fsmoe_last_error());
    }
}

static void test_breakdown_prints_a_table(void **state)
{
    char text[2048] = "";
    (void)state;
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_non_null(out);
    fsm_breakdown_print(&example, out);
    fclose(out);
    static const char *const lines[] = {
        "a step, of a rank                  calls        ms   slowest   of step floor, ms    ratio\n",
        "products <forward>                    12     6.000     6.500     60.0%     4.000     1.50\n",
        "norms                                  4     1.000     1.200     10.0%     0.800     1.25\n",
        "places                                 2     0.500     0.500      5.0%     0.000        -\n",
        "outside operations                           2.500               25.0%\n",
        "step                                        10.000              100.0%\n",
        "steps 2 to 9, mean of 2 ranks; floors are FLOPs at 50 GFLOP/s, bytes at 10 GB/s\n",
        "the model needs 40 GFLOP/s on all ranks, 40.0% of what they reach\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(text, lines[i])) fail_msg("no line '%s' in\n%s", lines[i], text);
}

static void test_breakdown_is_a_section_of_the_page(void **state)
{
    fixture *f = *state;
    size_t size;
    write_log(f, 20);
    char *text = report_text(f, &size);
    assert_null(strstr(text, "id=\"breakdown\""));
    free(text);
    assert_int_equal(fsm_breakdown_write(&example, file_path(f, FSM_BREAKDOWN_FILE)), FSMOE_OK);
    text = report_text(f, &size);
    check_page(text);
    assert_shows(text, "steps 2 to 9, mean of 2 ranks.");
    assert_shows(text, "<tr><th>products &lt;forward&gt;</th><td>12</td><td>6</td><td>6.5</td><td>60.0%</td><td>4</td>"
                       "<td>1.5</td></tr>");
    assert_shows(text,
                 "<tr><th>norms</th><td>4</td><td>1</td><td>1.2</td><td>10.0%</td><td>0.8</td><td>1.25</td></tr>");
    assert_shows(text, "<td>0.5</td><td>5.0%</td><td>0</td><td>–</td></tr>");
    assert_shows(text, "<tr><th>outside operations</th><td></td><td>2.5</td><td></td><td>25.0%</td>");
    assert_shows(text, "FLOPs at 50 GFLOP/s, or bytes read and written once at 10 GB/s");
    free(text);
}

/* ---- a run ---- */

static const char *const settings[] = {SMALL_RUN, "train.steps=5", "parallel.threads=1", "data.seq_len=16", NULL};

/* Tables that on_breakdown got, and the steps' numbers. */
typedef struct seen {
    int tables, steps;
    double flops_per_s[MOST_STEPS], peak_share[MOST_STEPS];
    char text[4096];
} seen;

static void see_step(void *user, const fsmoe_train_progress *p)
{
    seen *s = user;
    s->flops_per_s[s->steps] = p->flops_per_s;
    s->peak_share[s->steps++] = p->peak_share;
}

static void see_table(void *user, const char *table)
{
    seen *s = user;
    s->tables++;
    snprintf(s->text, sizeof s->text, "%s", table);
}

static void train(const char *name, bool breakdown, seen *s)
{
    const job j = {.name = name, .settings = settings};
    const fsmoe_train_options options = {.breakdown = breakdown,
                                         .on_step = see_step,
                                         .on_breakdown = see_table,
                                         .user = s};
    fsmoe_world *world;
    fsmoe_config *config;
    assert_int_equal(fsmoe_world_create(&world), FSMOE_OK);
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    fsmoe_status status = set_all(config, &j);
    if (status == FSMOE_OK) status = fsmoe_train(world, config, &options);
    if (status != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    fsmoe_config_destroy(config);
    fsmoe_world_destroy(world);
}

static void read_log(const char *name, fsm_log *log)
{
    char path[FSM_PATH_BYTES];
    assert_int_equal(path_of(name, "log.jsonl", path), FSMOE_OK);
    assert_int_equal(fsm_log_read(path, log), FSMOE_OK);
}

static char *read_weights(const char *name, size_t *size)
{
    char path[FSM_PATH_BYTES], *bytes;
    assert_int_equal(path_of(name, "model/model.safetensors", path), FSMOE_OK);
    assert_int_equal(fsm_file_read(path, &bytes, size), FSMOE_OK);
    return bytes;
}

static void test_breakdown_changes_no_bit_of_a_run(void **state)
{
    seen with = {0}, without = {0};
    fsm_log logs[2];
    size_t sizes[2];
    (void)state;
    train("without", false, &without);
    train("with", true, &with);
    read_log("without", &logs[0]);
    read_log("with", &logs[1]);
    char *a = read_weights("without", &sizes[0]), *b = read_weights("with", &sizes[1]);
    assert_int_equal(logs[0].count, 5);
    for (int i = 0; i < 5; i++) assert_true(logs[0].columns[FSM_LOG_LOSS][i] == logs[1].columns[FSM_LOG_LOSS][i]);
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(a, b, sizes[0]);
    assert_int_equal(without.tables, 0);
    assert_int_equal(with.tables, 1);
    free(a);
    free(b);
    fsm_log_destroy(&logs[0]);
    fsm_log_destroy(&logs[1]);
}

/* What is in the log is what progress told, to its digits; a run too short to measure the machine has no share. */
static void test_breakdown_of_a_run_is_in_its_log_and_file(void **state)
{
    seen with = {0}, without = {0};
    char path[FSM_PATH_BYTES];
    fsm_breakdown b;
    fsm_log log;
    double sum_s = 0, flops = 0;
    (void)state;
    train("without", false, &without);
    train("with", true, &with);
    read_log("with", &log);
    for (int i = 0; i < 5; i++) {
        assert_true(fabs(log.columns[FSM_LOG_FLOPS_PER_S][i] / with.flops_per_s[i] - 1) < 1e-8);
        assert_true(fabs(log.columns[FSM_LOG_PEAK_SHARE][i] / with.peak_share[i] - 1) < 1e-8);
        assert_true(without.flops_per_s[i] > 0 && isnan(without.peak_share[i]));
    }
    assert_int_equal(path_of("with", FSM_BREAKDOWN_FILE, path), FSMOE_OK);
    assert_int_equal(fsm_breakdown_read(path, &b), FSMOE_OK);
    assert_true(b.first_step == 2 && b.last_step == 5 && b.ranks == 1);
    for (int i = 0; i < b.rows; i++) {
        sum_s += b.row[i].s;
        flops += b.row[i].flops;
        assert_true(i == 0 || b.row[i].s <= b.row[i - 1].s);
        assert_true(b.row[i].calls >= 1 && b.row[i].slowest_s == b.row[i].s);
    }
    assert_true(sum_s > 0 && sum_s <= b.step_s * (1 + 1e-9));
    assert_true(flops >= b.model_flops_per_s * b.step_s); /* attention's scores twice */
    assert_non_null(strstr(with.text, "products forward"));
    fsm_log_destroy(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_breakdown_is_written_and_read_back),
        WITH_FOLDER(test_breakdown_names_what_is_malformed),
        cmocka_unit_test(test_breakdown_prints_a_table),
        WITH_FOLDER(test_breakdown_is_a_section_of_the_page),
        cmocka_unit_test(test_breakdown_changes_no_bit_of_a_run),
        cmocka_unit_test(test_breakdown_of_a_run_is_in_its_log_and_file),
    };
    return cmocka_run_group_tests(tests, make_runs, remove_runs);
}
