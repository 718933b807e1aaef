/* Logs as clusters leave them: under launchers' labels, beside other benchmarks, cut off, of one rank, fitting no
 * line. */
#include "cluster_case.h"

static const fsmoe_cluster_links small_base = {.nodes = 1, .ranks_per_node = 1, .flops = 1e12};

typedef struct heard {
    int count;
    char last[512];
} heard;

static void hear(void *user, const char *sentence)
{
    heard *h = user;
    h->count++;
    snprintf(h->last, sizeof h->last, "%s", sentence);
}

/* Imports text as a file of that op; what it lacks comes from small_base. */
static fsmoe_status import_text(const char *text, const char *op, heard *h)
{
    char base[FSM_PATH_BYTES];
    const fsmoe_cluster_log log = {edited, op};
    assert_int_equal(fsm_file_path(dir, "base.json", base), FSMOE_OK);
    assert_int_equal(fsmoe_cluster_new(&small_base, base), FSMOE_OK);
    assert_int_equal(fsm_file_replace(edited, text, strlen(text)), FSMOE_OK);
    const fsmoe_cluster_import_options options = {.logs = &log,
                                                  .log_count = 1,
                                                  .base = base,
                                                  .ranks = 8,
                                                  .alltoall_ranks = 4,
                                                  .on_message = h ? hear : NULL,
                                                  .user = h};
    return fsmoe_cluster_import(&options, out);
}

static char *imported_text(const char *text, const char *op)
{
    char *made;
    size_t size;
    if (import_text(text, op, NULL) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_int_equal(fsm_file_read(out, &made, &size), FSMOE_OK);
    return made;
}

/* The printf formats of labels; %d is the rank. */
static const char *const labels[] = {
    "%d: ",
    "%2d: ",
    "%03d: ",
    "[%d] ",
    "[1,%d]<stdout>:",
    "[1,%d]<stdout>: ",
    "[prterun-host-4242@1,%d]<stdout>: ",
    "[prterun-host-4242@1,%d][node001:4711]<stdout>: ",
    "[node001:4711,%d]<stderr>: ",
    "Mon May  6 07:08:09 2024<stdout>:",
    "Mon May  6 07:08:09 2024[1,%d]<stdout>:",
    "2024-05-06T07:08:09.123456789Z ",
    "2024-05-06T07:08:09Z %d: ",
};

static const struct {
    const char *name, *op;
} plain_logs[] = {{"nccl-2.17.log", NULL},
                  {"nccl-2.13.log", "alltoall"},
                  {"nccl-session.log", NULL},
                  {"osu.log", NULL},
                  {"osu-full.log", NULL}};

/* The log with the label of rank 0 before every line; between lines another rank speaks. */
static char *labelled(const char *text, const char *label, bool interleaved)
{
    static const char *const others[] = {"node003:4242:4250 [3] NCCL INFO Channel 00/0 : 3[3] -> 0[0] via P2P/IPC",
                                         "10.0.0.3:4242:4250 [3] NCCL INFO Connected all rings", "4 of 8 ranks are up",
                                         "", "[node:mpi_rank_3][dreg_register] [Performance Impact Warning]: full"};
    char *made;
    size_t size;
    FILE *file = open_memstream(&made, &size);
    assert_non_null(file);
    for (int line = 0; *text; line++) {
        const char *end = strchr(text, '\n');
        fprintf(file, label, 0);
        fprintf(file, "%.*s\n", (int)(end - text), text);
        if (interleaved) fprintf(file, label, 1 + line % 7);
        if (interleaved) fprintf(file, "%s\n", others[line % 5]);
        text = end + 1;
    }
    assert_int_equal(fclose(file), 0);
    return made;
}

static void test_import_reads_labelled_logs_as_plain_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof plain_logs / sizeof *plain_logs; i++) {
        char *text = golden_log(plain_logs[i].name), *plain = imported_text(text, plain_logs[i].op);
        for (size_t form = 0; form < 2 * sizeof labels / sizeof *labels; form++) {
            char *with_labels = labelled(text, labels[form / 2], form % 2);
            char *made = imported_text(with_labels, plain_logs[i].op);
            if (strcmp(made, plain) != 0) fail_msg("%s under '%s'", plain_logs[i].name, labels[form / 2]);
            free(made);
            free(with_labels);
        }
        free(plain);
        free(text);
    }
}

/* "8 total processes killed" is no row, and whatever tells of a death ends the log unless that was whole. */
static void test_import_says_that_processes_were_killed(void **state)
{
    (void)state;
    const char *const ends[] = {
        "2 total processes killed (some possibly by mpirun during cleanup)",
        "mpirun noticed that process rank 3 with PID 4508 on node a exited on signal 11 (Segmentation fault).",
        "prterun noticed that process rank 1 with PID 17 on node a exited on signal 9 (Killed).",
        "srun: error: node-a: task 3: Killed",
        "slurmstepd: error: *** STEP 7.0 ON node-a CANCELLED AT 2024-05-06T07:08:09 DUE TO TIME LIMIT ***",
        "=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES",
        "Killed",
        "node-a: Test NCCL failure common.cu:961 'unhandled cuda error'",
    };
    const struct {
        const char *log, *op, *before;
    } places[] = {{"osu.log", NULL, "2048 "}, {"nccl-2.17.log", NULL, "     8388608"}, {"osu.log", NULL, "4     "}};
    for (size_t i = 0; i < 2 * 3 * sizeof ends / sizeof *ends; i++) {
        char *text = golden_log(places[i % 3].log), cut[32768];
        const char *at = strstr(text, places[i % 3].before);
        assert_non_null(at);
        snprintf(cut, sizeof cut, "%.*s%s\n", (int)(at - text), text, ends[i / 6]);
        char *made = labelled(cut, i / 3 % 2 ? "%d: " : "", true);
        assert_int_equal(import_text(made, NULL, NULL), FSMOE_ERROR_FORMAT);
        assert_says("the log is cut off: processes were killed");
        assert_says(ends[i / 6]);
        free(made);
        free(text);
    }
    char *text = golden_log("nccl-2.17.log"), whole[32768];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(whole, sizeof whole, "%s\n%s%s\n", ends[i], text, ends[i]);
        free(imported_text(whole, NULL));
    }
    free(text);
}

static void test_import_skips_other_benchmarks_by_name(void **state)
{
    (void)state;
    static const char broadcast[] = "# OSU MPI Broadcast Latency Test v7.4\n# Size  Avg Latency(us)\n1  2.5\n2  2.5\n",
                      bandwidth[] = "# OSU MPI Bandwidth Test v7.4\n# Size  Bandwidth (MB/s)\n1  2.5\n2  x\n",
                      imb[] = "# Benchmarking PingPong\n#bytes #repetitions t[usec]\n 0 1000 1.5\n 1 1000 1.5\n",
                      perftest[] = " #bytes     #iterations    BW peak[MB/sec]\n 65536      1000      9000.00\n",
                      session[] = "$ ./build/sendrecv_perf -b 8\n# nThread 1 nGpus 8\n#  Rank  0 Pid 7 on node\n"
                                  "#  size count type time algbw busbw error time algbw busbw error\n"
                                  "  8 2 float 1.0 1.0 1.0 0 1.0 1.0 1.0 0\n# Avg bus bandwidth : 1\n",
                      starting[] = "# nccl-tests version 2.17\n# Collective test starting: gather_perf\n# nThread 1\n"
                                   "#  size count type time algbw busbw\n  8 2 float 1.0 1.0 1.0\n"
                                   "# Avg bus bandwidth : 1\n# Collective test concluded: gather_perf\n",
                      killed[] = "# OSU MPI Broadcast Latency Test v7.4\n1  2.5\n2 total processes killed\n";
    const struct {
        const char *other, *says;
    } cases[] = {
        {broadcast, "'OSU MPI Broadcast Latency Test v7.4' is another benchmark"},
        {bandwidth, "'OSU MPI Bandwidth Test v7.4'"},
        {imb, "'Benchmarking PingPong'"},
        {perftest, "'bytes     #iterations"},
        {session, "'sendrecv_perf'"},
        {starting, "'gather_perf'"},
        {killed, "'OSU MPI Broadcast"},
    };
    for (size_t i = 0; i < sizeof plain_logs / sizeof *plain_logs; i++)
        for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
            char *text = golden_log(plain_logs[i].name), with_others[32768];
            char *plain = imported_text(text, plain_logs[i].op), *made;
            heard h = {0};
            size_t size;
            snprintf(with_others, sizeof with_others, "%s%s%s", cases[j].other, text, cases[j].other);
            if (import_text(with_others, plain_logs[i].op, &h) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
            assert_int_equal(fsm_file_read(out, &made, &size), FSMOE_OK);
            assert_string_equal(made, plain);
            assert_int_equal(h.count, 2);
            assert_non_null(strstr(h.last, cases[j].says));
            assert_non_null(strstr(h.last, edited));
            assert_int_equal(import_text(cases[j].other, NULL, &h), FSMOE_ERROR_UNSUPPORTED);
            free(made);
            free(plain);
            free(text);
        }
}

/* Two processes of one rank each, which mpirun started: their lines come in turns, or one after another's. */
static void test_import_refuses_nccl_tests_without_mpi(void **state)
{
    (void)state;
    static const char rank[] = "#   Rank  0 Pid   1320 on node1 device  0 [0x00] Tesla V100-SXM2-16GB\n",
                      threads[] = "# nThread 1 nGpus 1 minBytes 268435456 validation: 1\n",
                      head[] = "#  size  count  type  redop  time  algbw  busbw  error  time  algbw  busbw  error\n",
                      row[] = "  1024  256  float  sum  2.5  0.41  0.00  0e+00  0.30  3.41  0.00  0e+00\n",
                      other_row[] = "  1024  1024  int8  none  2.5  0.41  0.00  0e+00  0.30  3.41  0.00  0e+00\n",
                      foot[] = "# Out of bounds values : 0 OK\n# Avg bus bandwidth : 0\n";
    const struct {
        const char *parts[12], *says;
        const char *op;
    } cases[] = {
        {{threads, threads, rank, rank, head, head, row, row, foot, foot}, "rank 0 is listed twice", "allreduce"},
        {{threads, rank, threads, rank, head, head, row, row, foot, foot}, "rank 0 is listed twice", "allreduce"},
        {{threads, rank, head, threads, rank, head, row, row, foot, foot}, "it has one rank", "allreduce"},
        {{threads, rank, head, row, foot, threads, rank, head, row, foot}, "a log of one rank", "allreduce"},
        {{threads, rank, head, other_row, foot}, "a log of one rank", "alltoall"},
        {{threads, head, row, foot}, "no bus bandwidth", "allreduce"},
        {{threads, head, other_row, foot}, "no bus bandwidth", "allgather"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096] = "";
        for (int part = 0; cases[i].parts[part]; part++) strcat(text, cases[i].parts[part]);
        if (import_text(text, cases[i].op, NULL) != FSMOE_ERROR_FORMAT) fail_msg("case %zu is taken", i);
        assert_says(cases[i].says);
        assert_says("nccl-tests was built without MPI");
    }
}

/* Three regimes are three lines, in the table too; times that no lines meet are said. */
static void test_import_fits_a_third_line_or_says_how_badly_two_fit(void **state)
{
    (void)state;
    char text[4096] = "# OSU MPI Allreduce Latency Test v7.4\n# Size  Avg Latency(us)\n", *table;
    size_t length = strlen(text);
    heard h = {0};
    fsm_cluster cluster;
    for (int k = 2; k <= 20; k++) { /* jumps at 32 bytes and at 32 KiB */
        double us = k < 5 ? 2 : k < 15 ? 13 + ldexp(4e-4, k) : 450 + ldexp(2e-4, k);
        length += (size_t)snprintf(text + length, sizeof text - length, "%d  %.2f\n", 1 << k, us);
    }
    if (import_text(text, NULL, &h) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    read_made(&cluster);
    const fsm_cost *cost = &cluster.op[FSM_COST_ALLREDUCE].cost;
    assert_true(cost->large_from == 8 && cost->largest_from == 8192);
    assert_line(cost->line[1], 13, 1.6);
    assert_line(cost->line[2], 450, 0.8);
    assert_int_equal(h.count, 0);
    fsm_cluster_destroy(&cluster);
    assert_int_equal(fsmoe_cluster_describe(out, &table), FSMOE_OK);
    assert_non_null(strstr(table, " n >= 8 "));
    assert_non_null(strstr(table, " n >= 8192 "));
    free(table);
    length = (size_t)snprintf(text, sizeof text, "# OSU MPI Allreduce Latency Test v7.4\n# Size  Avg Latency(us)\n");
    for (int k = 2; k <= 20; k++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%d  %d\n", 1 << k, k % 2 ? 10 : 90);
    if (import_text(text, NULL, &h) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_int_equal(h.count, 1);
    assert_non_null(strstr(h.last, "allreduce: one line fits badly: r2 is "));
    assert_non_null(strstr(h.last, "elements the time is"));
}

static void test_import_takes_the_op_from_the_file_name(void **state)
{
    (void)state;
    char *text = golden_log("nccl-2.13.log"), path[FSM_PATH_BYTES];
    const char *const names[] = {"alltoall.log", "run-all_to_all.txt", "x-all-gather-or-alltoall.log",
                                 "all_reduce.log"};
    const char *const says[] = {"no log measures allgather", "no log measures allgather", "does not say which",
                                "measures no allreduce"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(fsm_file_path(dir, names[i], path), FSMOE_OK);
        assert_int_equal(fsm_file_replace(path, text, strlen(text)), FSMOE_OK);
        const fsmoe_cluster_log log = {path, NULL};
        const fsmoe_cluster_import_options options = {.logs = &log, .log_count = 1, .gemm_flops = 1e12};
        assert_int_not_equal(fsmoe_cluster_import(&options, out), FSMOE_OK);
        assert_says(says[i]);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import_reads_labelled_logs_as_plain_ones),
        cmocka_unit_test(test_import_says_that_processes_were_killed),
        cmocka_unit_test(test_import_skips_other_benchmarks_by_name),
        cmocka_unit_test(test_import_refuses_nccl_tests_without_mpi),
        cmocka_unit_test(test_import_fits_a_third_line_or_says_how_badly_two_fit),
        cmocka_unit_test(test_import_takes_the_op_from_the_file_name),
    };
    return cmocka_run_group_tests_name("cluster logs", tests, make_dir, remove_dir);
}
