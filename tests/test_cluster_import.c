/* Cluster files from logs. Oracles: the constants that the synthetic logs of tests/golden/clusters were made from
 * (make_logs.py). */
#include "cluster_case.h"

/* ---- the constants of the logs ---- */

static void assert_op(const fsm_cluster *cluster, fsm_cost_op op, double alpha_us, double beta_ns, int points)
{
    const fsm_measured *m = &cluster->op[op];
    assert_line(m->cost.line[0], alpha_us, beta_ns);
    assert_true(m->cost.large_from == 0);
    assert_int_equal(m->point_count, points);
    assert_true(m->r2 > 0.999);
}

static void test_import_recovers_nccl_constants(void **state)
{
    (void)state;
    const fsmoe_cluster_log logs[] = {{LOGS "nccl-2.17.log", NULL},
                                      {LOGS "nccl-2.13.log", "alltoall"},
                                      {LOGS "nccl-session.log", NULL}};
    const fsmoe_cluster_import_options options = {
        .logs = logs, .log_count = 3, .gemm_flops = 2e12, .nodes = 6, .ranks_per_node = 8};
    fsm_cluster cluster;
    if (fsmoe_cluster_import(&options, out) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    read_made(&cluster);
    assert_op(&cluster, FSM_COST_ALLREDUCE, 32, 0.080, 28);
    assert_op(&cluster, FSM_COST_ALLTOALL, 45, 0.210, 24); /* 8 to 64 bytes over 6 ranks are rows of nothing */
    assert_op(&cluster, FSM_COST_REDUCESCATTER, 26, 0.024, 24);
    assert_op(&cluster, FSM_COST_ALLGATHER, 22, 0.023, 24);
    assert_true(cluster.op[FSM_COST_ALLREDUCE].points[0].size == 2); /* 8 bytes */
    assert_true(fabs(cluster.op[FSM_COST_ALLREDUCE].points[0].time_s - 31.92e-6) < 1e-15);
    assert_true(fabs(cluster.op[FSM_COST_GEMM].cost.line[0].beta_s - 1e-12) < 1e-27);
    assert_true(cluster.op[FSM_COST_GEMM].cost.line[0].alpha_s == 0);
    assert_string_equal(cluster.name, "made");
    assert_int_equal(cluster.nodes, 6);
    assert_int_equal(cluster.ranks_per_node, 8);
    fsm_cluster_destroy(&cluster);
}

static void test_import_recovers_osu_constants(void **state)
{
    (void)state;
    const fsmoe_cluster_log logs[] = {{LOGS "osu.log", NULL}, {LOGS "osu-full.log", NULL}};
    const fsmoe_cluster_import_options options = {.logs = logs,
                                                  .log_count = 2,
                                                  .ranks = 8,
                                                  .alltoall_ranks = 4,
                                                  .gemm_flops = 1e12,
                                                  .gemm_latency_s = 1e-5,
                                                  .name = "hand"};
    fsm_cluster cluster;
    if (fsmoe_cluster_import(&options, out) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    read_made(&cluster);
    assert_op(&cluster, FSM_COST_ALLREDUCE, 18, 0.900, 19);
    assert_op(&cluster, FSM_COST_REDUCESCATTER, 15, 0.500, 19);
    assert_op(&cluster, FSM_COST_ALLGATHER, 12, 0.450, 21);
    const fsm_cost *alltoall = &cluster.op[FSM_COST_ALLTOALL].cost;
    assert_true(alltoall->large_from == 32768);
    assert_true(fabs(alltoall->line[0].alpha_s / 40e-6 - 1) < 0.02 &&
                fabs(alltoall->line[0].beta_s / 1.1e-9 - 1) < 0.1);
    assert_line(alltoall->line[1], 150, 2.4);
    assert_true(cluster.op[FSM_COST_ALLTOALL].points[20].size == 1048576); /* 2^20 bytes to each of 4 ranks */
    assert_true(fabs(cluster.op[FSM_COST_GEMM].cost.line[0].alpha_s - 1e-5) < 1e-20);
    assert_string_equal(cluster.name, "hand");
    assert_int_equal(cluster.nodes, 0);
    fsm_cluster_destroy(&cluster);
}

/* ---- where the rest comes from ---- */

static const fsmoe_cluster_links small_links = {.name = "small",
                                                .nodes = 4,
                                                .ranks_per_node = 2,
                                                .inter_bytes_per_s = 1e9,
                                                .inter_latency_s = 1e-5,
                                                .intra_bytes_per_s = 1e10,
                                                .intra_latency_s = 1e-6,
                                                .flops = 1e12};

static void test_import_takes_from_the_base_what_logs_do_not_say(void **state)
{
    (void)state;
    char base[FSM_PATH_BYTES];
    fsm_cluster cluster;
    assert_int_equal(fsm_file_path(dir, "base.json", base), FSMOE_OK);
    assert_int_equal(fsmoe_cluster_new(&small_links, base), FSMOE_OK);
    const fsmoe_cluster_log log = {LOGS "nccl-2.17.log", NULL};
    fsmoe_cluster_import_options options = {.logs = &log, .log_count = 1, .base = base};
    if (fsmoe_cluster_import(&options, out) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    read_made(&cluster);
    assert_op(&cluster, FSM_COST_ALLREDUCE, 32, 0.080, 28);
    assert_true(fabs(cluster.op[FSM_COST_ALLTOALL].cost.line[0].alpha_s - 1e-5) < 1e-19);
    assert_true(fabs(cluster.op[FSM_COST_GEMM].cost.line[0].beta_s - 2e-12) < 1e-26);
    assert_string_equal(cluster.name, "small");
    assert_int_equal(cluster.nodes, 4);
    assert_int_equal(cluster.ranks_per_node, 2);
    fsm_cluster_destroy(&cluster);
}

static void test_import_names_the_op_that_nothing_gives(void **state)
{
    (void)state;
    const fsmoe_cluster_log logs[] = {{LOGS "nccl-2.17.log", NULL},
                                      {LOGS "nccl-2.13.log", "alltoall"},
                                      {LOGS "osu-full.log", NULL}};
    fsmoe_cluster_import_options options = {.logs = logs, .log_count = 2};
    assert_int_equal(fsmoe_cluster_import(&options, out), FSMOE_ERROR_CONFIG);
    assert_says("gemm");
    options.gemm_flops = 1e12;
    assert_int_equal(fsmoe_cluster_import(&options, out), FSMOE_ERROR_CONFIG);
    assert_says("allgather");
    options.log_count = 3;
    assert_int_equal(fsmoe_cluster_import(&options, out), FSMOE_ERROR_CONFIG);
    assert_says("--ranks");
    assert_says("osu-full.log' line 5");
    options.ranks = 6;
    assert_int_equal(fsmoe_cluster_import(&options, out), FSMOE_ERROR_CONFIG);
    assert_says("reducescatter");
    options.ranks = 4; /* the alltoall of nccl-tests ran on 6 */
    assert_int_equal(fsmoe_cluster_import(&options, out), FSMOE_ERROR_FORMAT);
    assert_says("alltoall on 4 ranks, but on 6");
}

/* ---- what is wrong with a log ---- */

static void test_import_errors_name_file_and_line(void **state)
{
    (void)state;
    static const char new[] = "nccl-2.17.log", old[] = "nccl-2.13.log", session[] = "nccl-session.log",
                      osu[] = "osu.log", full[] = "osu-full.log";
    const struct {
        const char *log, *from, *to, *op, *says;
        fsmoe_status status;
    } cases[] = {
        {new, "# Out of", NULL, NULL, "line 54: the log that begins in line 2 is cut off", FSMOE_ERROR_FORMAT},
        {new, "   32.24", NULL, NULL, "line 29: the file ends in the middle", FSMOE_ERROR_FORMAT},
        {new, "   32.24", "\n", NULL, "line 29: a row of 5 values under 13 columns", FSMOE_ERROR_FORMAT},
        {new, "32.24", "3x.24", NULL, "line 29: time is '3x.24'", FSMOE_ERROR_FORMAT},
        {new, "32.24", "-2.24", NULL, "line 29: time is '-2.24'", FSMOE_ERROR_FORMAT},
        {new, "32.24", " 0.00", NULL, "line 29: a time of 0 us", FSMOE_ERROR_FORMAT},
        {new, "32.24", "  nan", NULL, "line 29: time is 'nan'", FSMOE_ERROR_FORMAT},
        {new, " float ", " fl0at ", NULL, "line 27: unknown type 'fl0at'", FSMOE_ERROR_FORMAT},
        {new, "values : 0 OK", "values : 3 FAILED", NULL, "line 55: the collective gave wrong", FSMOE_ERROR_FORMAT},
        {new, "root     time", "root  cputime", NULL, "line 25: the times are the processor's", FSMOE_ERROR_FORMAT},
        {new, "root     time", "root     when", NULL, "line 25: the table has no column 'time'", FSMOE_ERROR_FORMAT},
        {new, "starting: all_reduce_perf", "starting: broadcast_perf", NULL, "line 3: 'broadcast_perf' is none",
         FSMOE_ERROR_UNSUPPORTED},
        {old, "# nThread", "$ mpirun -np 6 ./build/sendrecv_perf -b 8\n# nThread", "alltoall",
         "line 14: 'sendrecv_perf' is none", FSMOE_ERROR_UNSUPPORTED},
        {new, "#  Rank  1 Group  0", "#  Rank  0 Group  0", NULL,
         "line 8: rank 0 is listed twice: nccl-tests was built without MPI", FSMOE_ERROR_FORMAT},
        {new, "   0.00    0.00 ", "   0.02    0.00 ", NULL, "line 27: no bus bandwidth where algbw is 0.02",
         FSMOE_ERROR_FORMAT},
        {new, "starting: all_reduce_perf", "starting: all_gather_perf", NULL, "line 27: size is 1 times count",
         FSMOE_ERROR_FORMAT},
        {new, "# nccl", "# nccl", "alltoall", "line 3: the log measures allreduce, not alltoall", FSMOE_ERROR_FORMAT},
        {old, "# nThread", "# nThread", NULL, "line 13: the log does not say which collective", FSMOE_ERROR_FORMAT},
        {old, "# nThread", "# nThread", "allreduce", "line 19: size is 6 times count", FSMOE_ERROR_FORMAT},
        {old, "# nThread", "# nThread", "gemm", "'gemm' is none of alltoall", FSMOE_ERROR_CONFIG},
        {old, "#  Rank  5", "#  Rang  5", "alltoall", "lists 5 ranks", FSMOE_ERROR_FORMAT},
        {session, "# Avg bus bandwidth", "# xxx", NULL, "is cut off", FSMOE_ERROR_FORMAT},
        {session, "starting: ./build/reduce_scatter_perf", "starting: ./build/all_gather_perf", "reducescatter",
         "line 2: the log measures allgather, not reducescatter", FSMOE_ERROR_FORMAT},
        {osu, "2048 ", NULL, NULL, "no log measures", FSMOE_ERROR_CONFIG}, /* no foot: a shorter log */
        {osu, "4         ", NULL, NULL, "line 4: the log that begins in line 3 is cut off", FSMOE_ERROR_FORMAT},
        {full, "1000", "1000\n# OSU MPI Allreduce Latency Test v7.4", NULL, "line 7: a row before", FSMOE_ERROR_FORMAT},
        {osu, "Avg Latency(us)", "Overall(us)", NULL, "line 4: the column after Size", FSMOE_ERROR_FORMAT},
        {osu, "# Size", "# Bytes", NULL, "line 5: a row before", FSMOE_ERROR_FORMAT},
        {osu, "# OSU", "# OSU", "allgather", "line 3: the log measures allreduce, not allgather", FSMOE_ERROR_FORMAT},
        {full, "        1000", "", NULL, "line 5: a row of 4 values under 5 columns", FSMOE_ERROR_FORMAT},
        {full, "Pass", "Fail", NULL, "the collective gave wrong results", FSMOE_ERROR_FORMAT},
        {full, "1000", "1000\n8", NULL, "line 6: a row of 1 values", FSMOE_ERROR_FORMAT},
        {osu, "# synthetic", NULL, NULL, "holds no log", FSMOE_ERROR_FORMAT},
        {osu, "\n# OSU", NULL, NULL, "holds no log", FSMOE_ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fsmoe_status status = import_edited(cases[i].log, cases[i].from, cases[i].to, cases[i].op);
        if (status != cases[i].status) fail_msg("case %zu: %s: %s", i, fsmoe_status_text(status), fsmoe_last_error());
        assert_says(cases[i].says);
        if (status != FSMOE_ERROR_CONFIG) assert_says(edited);
    }
    const fsmoe_cluster_log missing = {"/nowhere/a.log", NULL};
    const fsmoe_cluster_import_options options = {.logs = &missing, .log_count = 1};
    assert_int_equal(fsmoe_cluster_import(&options, out), FSMOE_ERROR_IO);
    assert_says("/nowhere/a.log");
}

/* Every cut of a log of nccl-tests is noticed, whichever byte it ends at. */
static void test_import_notices_every_cut(void **state)
{
    (void)state;
    char *text = golden_log("nccl-2.17.log");
    const fsmoe_cluster_log log = {edited, NULL};
    const fsmoe_cluster_import_options options = {.logs = &log, .log_count = 1, .gemm_flops = 1e12};
    size_t whole = (size_t)(strstr(text, "# Avg bus bandwidth") - text) + strlen("# Avg bus bandwidth");
    for (size_t size = 0; size < whole; size += 7) {
        assert_int_equal(fsm_file_replace(edited, text, size), FSMOE_OK);
        fsmoe_status status = fsmoe_cluster_import(&options, out);
        assert_true(status == FSMOE_ERROR_FORMAT || status == FSMOE_ERROR_UNSUPPORTED); /* "all_red" is no benchmark */
        assert_says(edited);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import_recovers_nccl_constants),
        cmocka_unit_test(test_import_recovers_osu_constants),
        cmocka_unit_test(test_import_takes_from_the_base_what_logs_do_not_say),
        cmocka_unit_test(test_import_names_the_op_that_nothing_gives),
        cmocka_unit_test(test_import_errors_name_file_and_line),
        cmocka_unit_test(test_import_notices_every_cut),
    };
    return cmocka_run_group_tests_name("cluster import", tests, make_dir, remove_dir);
}
