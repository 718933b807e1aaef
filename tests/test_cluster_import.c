/* Cluster files from logs and from the rates of links. Oracles: the constants that the synthetic logs of
 * tests/golden/clusters were made from (make_logs.py), the equations of <fsmoe/cluster.h> worked out by hand. */
#include "command_case.h"
#include "profile/cluster.h"

#include <float.h>
#include <fsmoe/cluster.h>
#include <stdbool.h>

#define LOGS FSMOE_TEST_DATA "/golden/clusters/"

static char dir[] = "/tmp/fsmoe-test-XXXXXX", out[FSM_PATH_BYTES], edited[FSM_PATH_BYTES];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir)) return -1;
    snprintf(out, sizeof out, "%s/made.json", dir);
    snprintf(edited, sizeof edited, "%s/edited.log", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return fsm_file_remove_tree(dir) == FSMOE_OK ? 0 : -1;
}

static void read_made(fsm_cluster *cluster)
{
    if (fsm_cluster_read(out, cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

static void assert_says(const char *words)
{
    if (!strstr(fsmoe_last_error(), words)) fail_msg("'%s' does not say '%s'", fsmoe_last_error(), words);
}

/* ---- the constants of the logs ---- */

static void assert_line(fsm_line line, double alpha_us, double beta_ns)
{
    if (fabs(line.alpha_s * 1e6 / alpha_us - 1) > 0.02 || fabs(line.beta_s * 1e9 / beta_ns - 1) > 0.02)
        fail_msg("%g us + n %g ns, not %g us + n %g ns", line.alpha_s * 1e6, line.beta_s * 1e9, alpha_us, beta_ns);
}

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

static char *golden_log(const char *name)
{
    char path[FSM_PATH_BYTES], *text = NULL;
    size_t size;
    assert_int_equal(fsm_file_path(FSMOE_TEST_DATA "/golden/clusters", name, path), FSMOE_OK);
    if (fsm_file_read(path, &text, &size) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    return text;
}

/* The log with the first `from` replaced by `to`, or cut there when `to` is NULL; imported as a file of that op. */
static fsmoe_status import_edited(const char *log_name, const char *from, const char *to, const char *op)
{
    char *text = golden_log(log_name), changed[32768];
    assert_non_null(strstr(text, from));
    int before = (int)(strstr(text, from) - text);
    int size = to ? snprintf(changed, sizeof changed, "%.*s%s%s", before, text, to, text + before + strlen(from))
                  : snprintf(changed, sizeof changed, "%.*s", before, text);
    free(text);
    assert_int_equal(fsm_file_replace(edited, changed, (size_t)size), FSMOE_OK);
    const fsmoe_cluster_log log = {edited, op};
    const fsmoe_cluster_import_options options = {
        .logs = &log, .log_count = 1, .gemm_flops = 1e12, .alltoall_ranks = 4, .allgather_ranks = 8};
    return fsmoe_cluster_import(&options, out);
}

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

/* ---- labels, other benchmarks, ends ---- */

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
        cmocka_unit_test(test_import_recovers_nccl_constants),
        cmocka_unit_test(test_import_recovers_osu_constants),
        cmocka_unit_test(test_import_takes_from_the_base_what_logs_do_not_say),
        cmocka_unit_test(test_import_names_the_op_that_nothing_gives),
        cmocka_unit_test(test_import_errors_name_file_and_line),
        cmocka_unit_test(test_import_notices_every_cut),
        cmocka_unit_test(test_import_reads_labelled_logs_as_plain_ones),
        cmocka_unit_test(test_import_says_that_processes_were_killed),
        cmocka_unit_test(test_import_skips_other_benchmarks_by_name),
        cmocka_unit_test(test_import_refuses_nccl_tests_without_mpi),
        cmocka_unit_test(test_import_fits_a_third_line_or_says_how_badly_two_fit),
        cmocka_unit_test(test_import_takes_the_op_from_the_file_name),
        cmocka_unit_test(test_new_follows_its_equations),
        cmocka_unit_test(test_new_refuses_what_no_cluster_has),
        cmocka_unit_test(test_quantities_are_read_with_their_units),
        cmocka_unit_test(test_describe_shows_rates_and_residuals),
        cmocka_unit_test_setup_teardown(test_cluster_command_asks_for_what_is_not_given, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_cluster_command_imports_and_shows, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_cluster_command_refuses_wrong_use, make_case, remove_case),
    };
    return cmocka_run_group_tests_name("cluster import", tests, make_dir, remove_dir);
}
