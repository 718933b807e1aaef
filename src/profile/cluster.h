/* What operations cost on a cluster, as a value: measured by `fsmoe profile`, imported, written by hand.
 * In:  a cluster file: {"name", "unit": "ms" | "us" | "s", "nodes", "ranks_per_node",
 *      "gemm": {"alpha", "beta"}, "alltoall", "allgather", "reducescatter", "allreduce": likewise}; each op may add
 *      "large": {"alpha", "beta", "from"} (a second line from that size on), "largest" likewise (a third), "r2" and
 *      "points": [[size, time], …];
 *      "tasks": {"attention.forward": {"alpha", "beta", "overlap"}, …} gives tasks of a step a cost of their own, and
 *      how many times as long they take while other streams work, or one of both. What was measured also says of what:
 *      "ep_size", "esp_size", "mp_size", the "machine", and "work", a hash of the model and the batch. "date" is for
 *      people.
 * Out: the time of n elements moved (float32, as the FSMoE paper counts) or n multiply-adds: t = alpha + n beta.
 */
#ifndef FSM_PROFILE_CLUSTER_H
#define FSM_PROFILE_CLUSTER_H

#include "base/fit.h"

#include <stdbool.h>

/* X(NAME, name in files, n counts) */
#define FSM_COST_OPS(X)                                                      \
    X(GEMM, "gemm", "multiply-adds of one GEMM")                             \
    X(ALLTOALL, "alltoall", "elements a rank sends, its own block included") \
    X(ALLGATHER, "allgather", "elements a rank has afterwards")              \
    X(REDUCESCATTER, "reducescatter", "elements a rank had before")          \
    X(ALLREDUCE, "allreduce", "elements of the vector that is summed")

typedef enum fsm_cost_op {
#define FSM_COST_OP_ENUM(name, text, counts) FSM_COST_##name,
    FSM_COST_OPS(FSM_COST_OP_ENUM)
#undef FSM_COST_OP_ENUM
        FSM_COST_OP_COUNT
} fsm_cost_op;

const char *fsm_cost_op_name(fsm_cost_op op);

/* The most that alpha, beta, and the size and seconds of a point may be, so that sums and products of them stay
 * finite. */
#define FSM_COST_MOST 1e30

enum { FSM_COST_LINES = 3 };

/* One line, two or three: line[1] holds for sizes from large_from on when that is not 0, line[2] for those from
 * largest_from > large_from on when that is not 0. */
typedef struct fsm_cost {
    fsm_line line[FSM_COST_LINES];
    double large_from, largest_from;
} fsm_cost;

/* Of 1 to FSM_COST_LINES; the size that line i > 0 holds from. */
int fsm_cost_line_count(const fsm_cost *cost);
double fsm_cost_line_from(const fsm_cost *cost, int i);

/* No size costs less than this line says, in however many operations of at least one element: the least alpha and the
 * least beta of all lines. */
fsm_line fsm_cost_least(const fsm_cost *cost);

/* All times of it multiplied. */
void fsm_cost_scale(fsm_cost *cost, double times);

/* Seconds of `launches` equal operations that together have `size`; launches below 1 count as 1. The line is chosen by
 * the size of one of them. */
double fsm_cost_s(const fsm_cost *cost, int launches, double size);

typedef struct fsm_measured {
    fsm_cost cost;
    double r2;         /* NaN: not given */
    fsm_point *points; /* owned; NULL: not given */
    int point_count;
} fsm_measured;

typedef struct fsm_task_cost {
    char task[64]; /* "kind.phase" as src/plan names tasks */
    bool own;      /* it has a cost of its own, else its op's */
    fsm_cost cost;
    double overlap; /* times as long while other streams work, > 0; 0: not given */
} fsm_task_cost;

typedef struct fsm_cluster {
    char name[64], machine[192], date[32];
    int nodes, ranks_per_node;      /* 0: not given */
    int ep_size, esp_size, mp_size; /* of the groups that collectives were measured in; 0: not given */
    char work[17];                  /* hexadecimal digits; "": not given */
    fsm_measured op[FSM_COST_OP_COUNT];
    fsm_task_cost *tasks; /* owned */
    int task_count;
} fsm_cluster;

enum { FSM_CLUSTER_LAYOUT_BYTES = 128 };

void fsm_cluster_destroy(fsm_cluster *cluster);

/* ERROR_IO; ERROR_FORMAT names the file and the key (for what is not JSON, NaN among it, the line): a missing or
 * unknown key, alpha or beta negative or not a number; ERROR_MEMORY. On failure *cluster holds nothing. */
fsmoe_status fsm_cluster_read(const char *path, fsm_cluster *cluster);
fsmoe_status fsm_cluster_from_json(const char *text, const char *source, fsm_cluster *cluster);

/* The text of a cluster file in milliseconds, malloc'd, with 17 digits: it reads back to the same values but for the
 * rounding of seconds to milliseconds and back (1 ulp). Points carry time - fit as a third number, for people. And the
 * file, replaced atomically. ERROR_FORMAT: text that is not UTF-8, a value that is not finite; ERROR_IO;
 * ERROR_MEMORY. */
fsmoe_status fsm_cluster_to_json(const fsm_cluster *cluster, char **text);
fsmoe_status fsm_cluster_write(const fsm_cluster *cluster, const char *path);

/* "2 nodes, 2 ranks a node, EP 2, ESP 2, MP 2", as far as it is given. */
void fsm_cluster_print_layout(const fsm_cluster *cluster, char text[FSM_CLUSTER_LAYOUT_BYTES]);

/* Whether no part of the layout that both give differs. */
bool fsm_cluster_same_layout(const fsm_cluster *a, const fsm_cluster *b);

/* The cost of a task by its own entry, or NULL. */
const fsm_cost *fsm_cluster_task(const fsm_cluster *cluster, const char *task);

/* How many times as long the task takes while other streams work; 1 when nothing is said of it. */
double fsm_cluster_overlap(const fsm_cluster *cluster, const char *task);

/* Replace or add. ERROR_FORMAT: a name of 64 bytes or more; ERROR_MEMORY. */
fsmoe_status fsm_cluster_set_task(fsm_cluster *cluster, const char *task, fsm_cost cost);
fsmoe_status fsm_cluster_set_overlap(fsm_cluster *cluster, const char *task, double times);

/* Fits the op's points to one line or two, or three where most_lines is 3 (fsm_fit_three_lines), and replaces what the
 * cluster knew of the op. The points (malloc'd) are the
 * cluster's from then on; on failure they are freed and the op stays as it was. Errors as fsm_fit_two_lines, with the
 * op's name. */
fsmoe_status fsm_cluster_fit(fsm_cluster *cluster, fsm_cost_op op, fsm_point *points, int n, int most_lines);

/* The largest relative distance of a measured time from the cost, and the size where that is; 0 without points. */
double fsm_measured_worst(const fsm_measured *measured, double *size);

#endif
