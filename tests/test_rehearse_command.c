/* `fsmoe bench schedules --rehearse` as a user runs it: what it prints and writes, and what it refuses. Alone, and on
 * four ranks where MPI is there. */
#include "command_case.h"

/* What 8 nodes of 4 ranks take, a hundredth of it or so. */
static const char cluster[] = "{\"name\": \"far\", \"unit\": \"ms\", \"nodes\": 8, \"ranks_per_node\": 4,\n"
                              "\"gemm\": {\"alpha\": 0.1, \"beta\": 1e-6},\n"
                              "\"alltoall\": {\"alpha\": 0.2, \"beta\": 1e-3},\n"
                              "\"allgather\": {\"alpha\": 0.05, \"beta\": 2e-4},\n"
                              "\"reducescatter\": {\"alpha\": 0.05, \"beta\": 2e-4},\n"
                              "\"allreduce\": {\"alpha\": 0.1, \"beta\": 1e-4}}\n";

static int make_rehearsal(void **state)
{
    if (make_case(state) != 0) return -1;
    write_text(*state, "far.json", cluster, strlen(cluster));
    return 0;
}

#define REHEARSE "bench", "schedules", "config.yaml", "--rehearse", "far.json"

/* What stands after a line's last comma but n. */
static double field(const char *line, int n)
{
    const char *end = line + strcspn(line, "\n");
    for (; n >= 0; n--) do
            end--;
        while (*end != ',');
    return atof(end + 1);
}

/* Rows of the file, each with a step that is near its plan, but may be late on a busy machine. */
static void check_csv(const command_case *c, int rows)
{
    char *text = read_text(c, "rows.csv", NULL);
    assert_int_equal(count_text(text, "rehearsed"), rows);
    assert_int_equal(count_text(text, "measured"), 0);
    for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        double lanes = field(line, 0), stretch = field(line, 1), error = field(line, 7);
        if (!(error > -0.05 && error < 1)) fail_msg("a step is off by %g: %s", error, line);
        assert_true(stretch == 4);
        assert_true(lanes == 1); /* the schedules are of layers */
    }
    free(text);
}

static void check_words(outcome o)
{
    if (o.exit_code != 0) fail_msg("exit code %d: %s", o.exit_code, o.err);
    assert_has(o.out, "config.yaml, rehearsed 4 times as slowly");
    assert_has(o.err, "8 nodes, 4 ranks a node; they are rehearsed as they are on");
    assert_has(o.err, "4 times as slowly as on the cluster");
    assert_int_equal(count_text(o.out, "measured") + count_text(o.err, "measured"), 0);
    forget(o);
}

static void test_rehearse_one_rank(void **state)
{
    const command_case *c = *state;
    check_words(run(c, ARGS(REHEARSE, "--stretch", "4", "--steps", "2", "--schedules", "dsmoe,fsmoe", "--csv",
                            "rows.csv", "--picture", "bars.svg")));
    check_csv(c, 2);
    char *svg = read_text(c, "bars.svg", NULL);
    assert_has(svg, "bars: rehearsed");
    assert_has(svg, "rehearsed from far.json");
    assert_int_equal(count_text(svg, "measured"), 0);
    free(svg);
}

static void test_rehearse_four_ranks(void **state)
{
    const command_case *c = *state;
    if (!has_mpi(c)) skip();
    check_words(run_ranks(c, "4",
                          ARGS(REHEARSE, "--stretch", "4", "--steps", "2", "--schedules", "dsmoe,fsmoe,fsmoe-x",
                               "--csv", "rows.csv", "--set", "parallel.nodes=2", "--set", "parallel.ep_size=2", "--set",
                               "parallel.esp_size=2", "--set", "parallel.mp_size=2")));
    check_csv(c, 3);
}

/* The planned time of the only row, s. */
static double planned(const command_case *c, const char *micro_batches)
{
    forget(run(c, ARGS(REHEARSE, "--stretch", "1", "--steps", "1", "--schedules", "dsmoe", "--csv", "rows.csv",
                       "--micro-batches", micro_batches)));
    char *text = read_text(c, "rows.csv", NULL);
    double planned_s = field(strchr(text, '\n') + 1, 11);
    free(text);
    return planned_s;
}

/* All of a step but its update. */
static void test_rehearse_several_micro_batches(void **state)
{
    double one_s = planned(*state, "1"), three_s = planned(*state, "3");
    assert_true(one_s > 0 && three_s > 2 * one_s && three_s < 3 * one_s);
}

/* The layers alone, at a pace that is found. */
static void test_rehearse_layers_finds_its_pace(void **state)
{
    outcome o = run(*state, ARGS(REHEARSE, "--layer", "--steps", "1", "--schedules", "fsmoe"));
    if (o.exit_code != 0) fail_msg("exit code %d: %s", o.exit_code, o.err);
    assert_has(o.out, "rehearsed");
    forget(o);
}

static void test_rehearse_refuses_what_makes_no_sense(void **state)
{
    const command_case *c = *state;
    static const char *const missing[] = {"--rehearse", "none.json", NULL};
    static const char *const odd[] = {"1 layers", "model.moe_every", NULL};
    static const char *const many[] = {"1025 micro-batches", "between 1 and 1024", NULL};
    assert_fails(run(c, ARGS("bench", "schedules", "config.yaml", "--rehearse", "none.json")), FSMOE_ERROR_IO, missing);
    assert_fails(run(c, ARGS(REHEARSE, "--layers", "1")), FSMOE_ERROR_CONFIG, odd);
    assert_fails(run(c, ARGS(REHEARSE, "--micro-batches", "1025")), FSMOE_ERROR_CONFIG, many);
}

/* Wrong use ends with argp's code and says what is wrong. */
static void assert_misused(const command_case *c, const char *const *args, const char *part)
{
    outcome o = run(c, args);
    assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_USAGE));
    assert_has(o.err, part);
    forget(o);
}

static void test_rehearse_refuses_options_without_effect(void **state)
{
    const command_case *c = *state;
    assert_misused(c, ARGS(REHEARSE, "--budget", "1"), "no --cluster or --budget");
    assert_misused(c, ARGS(REHEARSE, "--cluster", "far.json"), "no --cluster or --budget");
    assert_misused(c, ARGS("bench", "schedules", "config.yaml", "--stretch", "2"), "--rehearse");
    assert_misused(c, ARGS(REHEARSE, "--stretch", "0.5"), "--stretch");
    assert_misused(c, ARGS(REHEARSE, "--layer", "--micro-batches", "2"), "no --micro-batches");
    assert_misused(c, ARGS(REHEARSE, "--micro-batches", "4294967298"), "--micro-batches takes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rehearse_one_rank),
        cmocka_unit_test(test_rehearse_four_ranks),
        cmocka_unit_test(test_rehearse_several_micro_batches),
        cmocka_unit_test(test_rehearse_layers_finds_its_pace),
        cmocka_unit_test(test_rehearse_refuses_what_makes_no_sense),
        cmocka_unit_test(test_rehearse_refuses_options_without_effect),
    };
    return cmocka_run_group_tests(tests, make_rehearsal, remove_case);
}
