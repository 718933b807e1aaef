/* Cluster files: what one GEMM and four collectives cost on a cluster, for planning without running there.
 * In:  logs of nccl-tests and of the OSU micro-benchmarks; or the rates of links and processors.
 * Out: a cluster file (JSON) with a line t = alpha + n beta for gemm, alltoall, allgather, reducescatter and allreduce.
 * n counts multiply-adds of a GEMM, and float32 elements: what a rank sends in an all-to-all, its own block included;
 * what it has after an all-gather; what it had before a reduce-scatter; the length of the vector that is all-reduced.
 */
#ifndef FSMOE_CLUSTER_H
#define FSMOE_CLUSTER_H

#include <fsmoe/status.h>

#include <stddef.h>

/* A text file that holds one log or several, one after another. */
typedef struct fsmoe_cluster_log {
    const char *path;
    const char *op; /* the collective that all its logs measure; NULL: they, or the file's name, say it themselves */
} fsmoe_cluster_log;

typedef struct fsmoe_cluster_import_options {
    const fsmoe_cluster_log *logs;
    size_t log_count;
    int ranks;          /* of the OSU logs, which do not say it; 0: not given */
    int alltoall_ranks; /* of the OSU logs of one collective; 0: ranks */
    int allgather_ranks;
    const char *base; /* cluster file that gives what nothing else does; may be NULL */
    const char *name; /* NULL: the base's, else the output file's name without .json */
    int nodes;        /* 0: the base's, else not given */
    int ranks_per_node;
    double gemm_flops; /* FLOP/s that GEMMs reach; 0: gemm is the base's */
    double gemm_latency_s;
    void (*on_message)(void *user, const char *sentence); /* what a person should know: benchmarks that are skipped,
                                                             lines that fit badly; may be NULL */
    void *user;
} fsmoe_cluster_import_options;

/* Reads the logs, fits each collective's times (out of place, mean of the ranks) by one line, two, or three where two
 * fit badly (r2 < 0.98, or a time more than 30 % off), and writes out_path. Labels and tags that launchers put before
 * lines are taken off, logs of other benchmarks skipped.
 * nccl-tests: all_reduce_perf, all_gather_perf, reduce_scatter_perf, alltoall_perf; its "size" is the larger of what a
 * rank sends and receives, which is n in bytes for all four. A log that does not name its collective (before version
 * 2.16.7 none did) takes it from a command line in the file, else from the file's name.
 * OSU: osu_alltoall, osu_allgather, osu_reduce_scatter, osu_allreduce, with or without -f; "Size" is one block of an
 * all-to-all and a rank's part of an all-gather, so n is that times the ranks; it is n of the other two.
 * ERROR_IO; ERROR_FORMAT: names file and line: a malformed row, a log cut off, wrong results, one rank alone
 * (nccl-tests built without MPI), logs of one collective on different numbers of ranks; ERROR_UNSUPPORTED: nothing but
 * other benchmarks; ERROR_CONFIG: ranks are not given or an op is in neither logs nor base; ERROR_NUMERIC: times that
 * make no line; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_cluster_import(const fsmoe_cluster_import_options *options, const char *out_path);

/* Rates are what one rank gets: a link that ranks share at the same time, divided by them. */
typedef struct fsmoe_cluster_links {
    const char *name;         /* NULL: the output file's name without .json */
    int nodes;                /* N */
    int ranks_per_node;       /* R */
    double inter_bytes_per_s; /* between nodes; with one node, this and the latency are not used */
    double inter_latency_s;
    double intra_bytes_per_s; /* inside a node; with one rank a node and several nodes, not used */
    double intra_latency_s;
    double flops; /* FLOP/s that GEMMs reach */
    double gemm_latency_s;
} fsmoe_cluster_links;

/* Writes the cluster file of a model of the links, n in elements of 4 bytes:
 *   alltoall       over N nodes:   t = latency + n 4 (N - 1) / N / rate, between nodes
 *   allreduce      over N nodes:   t = 2 (N - 1) latency + n 4 2 (N - 1) / N / rate, between nodes (ring)
 *   allgather, reducescatter over the R ranks of a node:
 *                                  t = (R - 1) latency + n 4 (R - 1) / R / rate, inside a node (ring)
 *   gemm           of n multiply-adds: t = latency + 2 n / flops
 * With one node, alltoall and allreduce are over its R ranks at the rate inside it; a group of one rank costs nothing.
 * ERROR_CONFIG: a count below 1, a rate that is used and not positive, a latency that is negative, a value not finite;
 * ERROR_IO; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_cluster_new(const fsmoe_cluster_links *links, const char *out_path);

/* A cluster file as a table for people: per op alpha, beta, the rate that beta means (GB/s of n for a collective,
 * GFLOP/s), r2, the number of points and the worst relative residual; "-" where the file does not say. *text is
 * malloc'd, the caller frees it. Errors of reading: ERROR_IO, ERROR_FORMAT; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_cluster_describe(const char *path, char **text);

/* What a number with a unit measures. */
typedef enum fsmoe_quantity {
    FSMOE_QUANTITY_RATE, /* to bytes/s: 25GB/s, 300 GiB/s, 200Gbit/s, 200Gb/s; B is a byte, b and bit a bit */
    FSMOE_QUANTITY_TIME, /* to seconds: 10us, 0.5 ms, 2s, 800ns */
    FSMOE_QUANTITY_FLOPS, /* to FLOP/s: 300T, 19.5 TFLOP/s, 1e12; k M G T P */
    FSMOE_QUANTITY_BYTES, /* to bytes: 16GiB, 500 MB, 1000000B */
} fsmoe_quantity;

/* Reads a number with its unit; only FLOP/s need none. All are positive but times, which may be 0.
 * ERROR_CONFIG names the text and shows how it should look. */
FSMOE_API fsmoe_status fsmoe_quantity_parse(const char *text, fsmoe_quantity quantity, double *value);

#endif
