/* Cluster files from the rates of links, numbers with units, tables, and the command. Oracles: the equations of
 * <fsmoe/cluster.h> worked out by hand. */
#include "cluster_case.h"

/* ---- links ---- */

static void assert_near(double value, double expected)
{
    assert_true(fabs(value - expected) <= 4 * DBL_EPSILON * fabs(expected));
}

static void assert_exact(const fsm_cluster *cluster, fsm_cost_op op, double alpha_s, double beta_s)
{
    assert_near(cluster->op[op].cost.line[0].alpha_s, alpha_s);
    assert_near(cluster->op[op].cost.line[0].beta_s, beta_s);
    assert_true(cluster->op[op].cost.large_from == 0 && cluster->op[op].point_count == 0);
    assert_true(isnan(cluster->op[op].r2));
}

static void test_new_follows_its_equations(void **state)
{
    (void)state;
    fsmoe_cluster_links links = {NULL, 4, 8, 25e9, 10e-6, 320e9, 5e-6, 200e12, 30e-6};
    fsm_cluster cluster;
    assert_int_equal(fsmoe_cluster_new(&links, out), FSMOE_OK);
    read_made(&cluster);
    assert_string_equal(cluster.name, "made");
    assert_exact(&cluster, FSM_COST_GEMM, 30e-6, 1e-14);
    assert_exact(&cluster, FSM_COST_ALLTOALL, 10e-6, 3 / 25e9);     /* 4 bytes, 3 of 4 leave the node */
    assert_exact(&cluster, FSM_COST_ALLREDUCE, 60e-6, 6 / 25e9);    /* 2 (4 - 1) steps, 4 bytes times 3 / 2 */
    assert_exact(&cluster, FSM_COST_ALLGATHER, 35e-6, 3.5 / 320e9); /* 7 steps, 4 bytes times 7 / 8 */
    assert_exact(&cluster, FSM_COST_REDUCESCATTER, 35e-6, 3.5 / 320e9);
    links = (fsmoe_cluster_links){
        .nodes = 1, .ranks_per_node = 2, .intra_bytes_per_s = 1e9, .intra_latency_s = 1, .flops = 2};
    assert_int_equal(fsmoe_cluster_new(&links, out), FSMOE_OK);
    read_made(&cluster);
    assert_exact(&cluster, FSM_COST_ALLTOALL, 1, 2e-9);
    assert_exact(&cluster, FSM_COST_ALLREDUCE, 2, 4e-9);
    assert_exact(&cluster, FSM_COST_ALLGATHER, 1, 2e-9);
    links = (fsmoe_cluster_links){.nodes = 2, .ranks_per_node = 1, .inter_bytes_per_s = 1e9, .flops = 2};
    assert_int_equal(fsmoe_cluster_new(&links, out), FSMOE_OK);
    read_made(&cluster);
    assert_exact(&cluster, FSM_COST_ALLTOALL, 0, 2e-9);
    assert_exact(&cluster, FSM_COST_ALLGATHER, 0, 0);
    links = (fsmoe_cluster_links){.nodes = 1, .ranks_per_node = 1, .flops = 2};
    assert_int_equal(fsmoe_cluster_new(&links, out), FSMOE_OK);
    read_made(&cluster);
    assert_exact(&cluster, FSM_COST_ALLTOALL, 0, 0);
    assert_exact(&cluster, FSM_COST_ALLREDUCE, 0, 0);
}

static void test_new_refuses_what_no_cluster_has(void **state)
{
    (void)state;
    const struct {
        fsmoe_cluster_links links;
        const char *says;
    } cases[] = {
        {{NULL, 0, 8, 1, 1, 1, 1, 1, 0}, "not 0 with 8"},
        {{NULL, 2, -1, 1, 1, 1, 1, 1, 0}, "not 2 with -1"},
        {{NULL, 2, 8, 0, 1, 1, 1, 1, 0}, "rate between nodes is 0"},
        {{NULL, 2, 8, 1, -1, 1, 1, 1, 0}, "latency between nodes is -1"},
        {{NULL, 2, 8, 1, 1, INFINITY, 1, 1, 0}, "rate inside a node is inf"},
        {{NULL, 2, 8, 1, 1, 1, NAN, 1, 0}, "latency inside a node is"},
        {{NULL, 2, 8, 1, 1, 1, 1, 0, 0}, "FLOP/s is 0"},
        {{NULL, 2, 8, 1, 1, 1, 1, 1, -1}, "latency of a GEMM is -1"},
        {{"0123456789012345678901234567890123456789012345678901234567890123", 1, 1, 1, 1, 1, 1, 1, 0}, "more than 63"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(fsmoe_cluster_new(&cases[i].links, out), FSMOE_ERROR_CONFIG);
        assert_says(cases[i].says);
    }
}

/* ---- numbers with units, the table ---- */

static void test_quantities_are_read_with_their_units(void **state)
{
    (void)state;
    const struct {
        const char *text;
        fsmoe_quantity quantity;
        double value;
    } good[] = {
        {"25GB/s", FSMOE_QUANTITY_RATE, 25e9},
        {"25 GiB/s", FSMOE_QUANTITY_RATE, 25 * 1073741824.0},
        {"200Gbit/s", FSMOE_QUANTITY_RATE, 25e9},
        {"200Gb/s", FSMOE_QUANTITY_RATE, 25e9},
        {"200Gbit", FSMOE_QUANTITY_RATE, 25e9},
        {"200Gbps", FSMOE_QUANTITY_RATE, 25e9},
        {"8Mib/s", FSMOE_QUANTITY_RATE, 1048576},
        {"3.2TB/s", FSMOE_QUANTITY_RATE, 3.2e12},
        {"1e3B/s", FSMOE_QUANTITY_RATE, 1000},
        {"8bit/s", FSMOE_QUANTITY_RATE, 1},
        {"10us", FSMOE_QUANTITY_TIME, 1e-5},
        {"10 µs", FSMOE_QUANTITY_TIME, 1e-5},
        {".5ms", FSMOE_QUANTITY_TIME, 5e-4},
        {"2s", FSMOE_QUANTITY_TIME, 2},
        {"800ns", FSMOE_QUANTITY_TIME, 8e-7},
        {"0us", FSMOE_QUANTITY_TIME, 0},
        {"300T", FSMOE_QUANTITY_FLOPS, 3e14},
        {"1.5P", FSMOE_QUANTITY_FLOPS, 1.5e15},
        {"19.5 TFLOP/s", FSMOE_QUANTITY_FLOPS, 19.5e12},
        {"1e12", FSMOE_QUANTITY_FLOPS, 1e12},
        {"7k", FSMOE_QUANTITY_FLOPS, 7000},
        {"7K", FSMOE_QUANTITY_FLOPS, 7000},
        {"5GFLOPS", FSMOE_QUANTITY_FLOPS, 5e9},
        {"4M", FSMOE_QUANTITY_FLOPS, 4e6},
        {"16GiB", FSMOE_QUANTITY_BYTES, 17179869184.0},
        {"1.5 MB", FSMOE_QUANTITY_BYTES, 1500000},
        {"7B", FSMOE_QUANTITY_BYTES, 7},
    };
    const struct {
        const char *text;
        fsmoe_quantity quantity;
    } bad[] = {
        {"25", FSMOE_QUANTITY_RATE},      {"25G", FSMOE_QUANTITY_RATE},      {"GB/s", FSMOE_QUANTITY_RATE},
        {"", FSMOE_QUANTITY_RATE},        {"0GB/s", FSMOE_QUANTITY_RATE},    {"-1GB/s", FSMOE_QUANTITY_RATE},
        {"infGB/s", FSMOE_QUANTITY_RATE}, {"25GB/s x", FSMOE_QUANTITY_RATE}, {"25gB/s", FSMOE_QUANTITY_RATE},
        {"10us", FSMOE_QUANTITY_RATE},    {"10", FSMOE_QUANTITY_TIME},       {"-1us", FSMOE_QUANTITY_TIME},
        {"nan s", FSMOE_QUANTITY_TIME},   {"1h", FSMOE_QUANTITY_TIME},       {"1e999s", FSMOE_QUANTITY_TIME},
        {"300X", FSMOE_QUANTITY_FLOPS},   {"0", FSMOE_QUANTITY_FLOPS},       {"300GB/s", FSMOE_QUANTITY_FLOPS},
        {"16", FSMOE_QUANTITY_BYTES},     {"16Gb", FSMOE_QUANTITY_BYTES},    {"0GiB", FSMOE_QUANTITY_BYTES},
        {"0.5B", FSMOE_QUANTITY_BYTES},
    };
    double value = -1;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (fsmoe_quantity_parse(good[i].text, good[i].quantity, &value) != FSMOE_OK)
            fail_msg("%s", fsmoe_last_error());
        assert_near(value, good[i].value);
    }
    value = -1;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (fsmoe_quantity_parse(bad[i].text, bad[i].quantity, &value) != FSMOE_ERROR_CONFIG)
            fail_msg("%s", bad[i].text);
        assert_says(bad[i].text);
        assert_true(value == -1);
    }
}

static void test_describe_shows_rates_and_residuals(void **state)
{
    (void)state;
    static const char json[] =
        "{\"name\": \"lab\", \"unit\": \"us\", \"nodes\": 1, \"ranks_per_node\": 2,"
        " \"gemm\": {\"alpha\": 3, \"beta\": 2e-6},"
        " \"alltoall\": {\"alpha\": 8, \"beta\": 0.002, \"r2\": 0.75, \"points\": [[1000, 10], [2000, 16]],"
        "  \"large\": {\"alpha\": 50, \"beta\": 0.004, \"from\": 65536}},"
        " \"allgather\": {\"alpha\": 0, \"beta\": 0}, \"reducescatter\": {\"alpha\": 1, \"beta\": 4},"
        " \"allreduce\": {\"alpha\": 1, \"beta\": 4}, \"tasks\": {\"gate.forward\": {\"alpha\": 12, \"beta\": 0.25}, "
        "\"head.forward\": {\"alpha\": 1, \"beta\": 2, \"overlap\": 1.25},"
        " \"a2a_combine.forward\": {\"overlap\": 2}}}";
    const char *const lines[] = {
        "lab, 1 node, 2 ranks per node\n",
        "gemm 3 0.002 1000 GFLOP/s - - -\n",
        "alltoall 8 2 2 GB/s 0.750000 2 25.0 %\n", /* 12 us of 16 */
        " n >= 65536 50 4 1 GB/s\n",
        "allgather 0 0 - - - -\n",
        "gate.forward 12 250 -\n",
        "head.forward 1 2000 1.25x\n",
        "a2a_combine.forward - - 2.00x\n",
    };
    char *text, squeezed[2048];
    size_t n = 0;
    assert_int_equal(fsm_file_replace(out, json, strlen(json)), FSMOE_OK);
    assert_int_equal(fsmoe_cluster_describe(out, &text), FSMOE_OK);
    for (const char *at = text; *at && n + 1 < sizeof squeezed; at++)
        if (*at != ' ' || at[1] != ' ') squeezed[n++] = *at;
    squeezed[n] = 0;
    free(text);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(squeezed, lines[i])) fail_msg("no '%s' in:\n%s", lines[i], squeezed);
    assert_int_equal(fsmoe_cluster_describe("/nowhere/c.json", &text), FSMOE_ERROR_IO);
    assert_null(text);
}

/* ---- the command ---- */

#define LINKS                                                                                                      \
    "--nodes", "4", "--ranks-per-node", "2", "--inter-rate", "8Gbit/s", "--inter-latency", "10us", "--intra-rate", \
        "10GB/s"

static void test_cluster_command_asks_for_what_is_not_given(void **state)
{
    const command_case *c = *state;
    static const char answers[] = "1us\n1T \n";
    write_text(c, "answers", answers, strlen(answers));
    write_text(c, "one", answers, 4);
    write_text(c, "wrong", "soon\n", 5);
    assert_works(run(c, ARGS("cluster", "new", "--out", "a.json", "--name", "x", LINKS, "--intra-latency", "1us",
                             "--flops", "1T")));
    outcome o =
        run_with(c, (streams){.in = "answers"}, ARGS("cluster", "new", "--out", "b.json", "--name", "x", LINKS));
    assert_has(o.err, "Latency inside a node");
    assert_null(strstr(o.err, "Nodes"));
    assert_works(o);
    assert_same_file(c, "a.json", "b.json");
    const char *const says[] = {"--flops is missing", "--intra-latency: 'soon' is not a time"};
    for (int i = 0; i < 2; i++) {
        o = run_with(c, (streams){.in = i ? "wrong" : "one"}, ARGS("cluster", "new", "--out", "c.json", LINKS));
        assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_USAGE));
        assert_has(o.err, says[i]);
        forget(o);
    }
    assert_false(has(c, "c.json"));
    /* Nothing crosses between nodes that are one, nothing moves inside a node of one rank. */
    assert_works(
        run(c, ARGS("cluster", "new", "--out", "d.json", "--nodes", "1", "--ranks-per-node", "1", "--flops", "1T")));
}

static void test_cluster_command_imports_and_shows(void **state)
{
    const command_case *c = *state;
    outcome made =
        run(c, ARGS("cluster", "import", "alltoall=" LOGS "nccl-2.13.log", LOGS "nccl-session.log", LOGS "osu.log",
                    LOGS "osu-full.log", "--ranks", "8", "--ranks", "alltoall=6", "--gemm-flops", "2T",
                    "--gemm-latency", "5us", "--nodes", "6", "--ranks-per-node", "8", "--out", "lab.json"));
    assert_int_equal(made.exit_code, 0);
    assert_has(made.out, "lab, 6 nodes, 8 ranks per node");
    assert_has(made.out, "2000 GFLOP/s");
    outcome shown = run(c, ARGS("cluster", "show", "lab.json"));
    assert_string_equal(made.out, shown.out);
    forget(made);
    forget(shown);
    assert_fails(run(c, ARGS("cluster", "import", LOGS "nccl-2.17.log", "--out", "x.json")), FSMOE_ERROR_CONFIG,
                 ARGS("--gemm-flops"));
    static const char mixed[] = "# OSU MPI Bandwidth Test v7.4\n1  2.5\n# OSU MPI Allreduce Latency Test v7.4\n"
                                "# Size  Avg Latency(us)\n4  1\n8  50\n16  1\n32  50\n";
    write_text(c, "mixed.log", mixed, strlen(mixed));
    made = run(c, ARGS("cluster", "import", "mixed.log", "--base", "lab.json", "--out", "x.json"));
    assert_int_equal(made.exit_code, 0);
    assert_has(made.err, "fsmoe: 'mixed.log' line 1: 'OSU MPI Bandwidth Test v7.4' is another benchmark and skipped");
    assert_has(made.err, "fsmoe: allreduce: one line fits badly: r2 is ");
    forget(made);
    assert_fails(run(c, ARGS("cluster", "show", "none.json")), FSMOE_ERROR_IO, ARGS("none.json"));
}

static void test_cluster_command_refuses_wrong_use(void **state)
{
    const command_case *c = *state;
    const struct {
        const char *args[8], *says;
    } cases[] = {
        {{"cluster"}, "import, new or show is missing"},
        {{"cluster", "make"}, "'make' is none of"},
        {{"cluster", "import", "a.log"}, "--out is missing"},
        {{"cluster", "import", "--out", "c.json"}, "FILE is missing"},
        {{"cluster", "import", "a.log", "--out", "c.json", "--ranks", "alltoall=0"}, "--ranks alltoall= takes"},
        {{"cluster", "import", "a.log", "--out", "c.json", "--gemm-flops", "3GB/s"}, "--gemm-flops: '3GB/s'"},
        {{"cluster", "import", "a.log", "--out", "c.json", "--gemm-latency", "3us"}, "goes with --gemm-flops"},
        {{"cluster", "new", "--out", "c.json", "--inter-rate", "25"}, "--inter-rate: '25' is not a rate"},
        {{"cluster", "new", "--out", "c.json", "--nodes", "0"}, "--nodes takes"},
        {{"cluster", "show"}, "CLUSTER.json is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outcome o = run(c, cases[i].args);
        assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_USAGE));
        assert_has(o.err, cases[i].says);
        forget(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_follows_its_equations),
        cmocka_unit_test(test_new_refuses_what_no_cluster_has),
        cmocka_unit_test(test_quantities_are_read_with_their_units),
        cmocka_unit_test(test_describe_shows_rates_and_residuals),
        cmocka_unit_test_setup_teardown(test_cluster_command_asks_for_what_is_not_given, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_cluster_command_imports_and_shows, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_cluster_command_refuses_wrong_use, make_case, remove_case),
    };
    return cmocka_run_group_tests_name("cluster new", tests, make_dir, remove_dir);
}
