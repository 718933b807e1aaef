/* Measuring the operations of a cluster file: a timing loop and what it times, over the comm contract and the op table.
 * In:  which group each collective runs in, an op table; sizes, repeats, a budget of time.
 * Out: points and lines of the five operations in an fsm_cluster, the same on all ranks. Needs no model.
 * All ranks start a repeat together and its time is the slowest one's, since the others wait for it in a step; a size's
 * time is the median of its repeats.
 */
#ifndef FSM_PROFILE_MEASURE_H
#define FSM_PROFILE_MEASURE_H

#include "comm/op.h"
#include "moe/dispatch/alltoall.h"
#include "ops/ops.h"
#include "profile/cluster.h"

/* ---- the timing loop ---- */

typedef struct fsm_clock {
    double (*now_s)(void *user); /* NULL: the monotonic clock */
    void *user;
} fsm_clock;

double fsm_clock_now_s(const fsm_clock *clock);

/* Does the operation once, on `n` of what its sizes count. */
typedef fsmoe_status (*fsm_timed_run)(void *object, int64_t n);

typedef struct fsm_timing {
    double time_s; /* the median */
    double fastest_s;
    int repeats;
} fsm_timing;

typedef struct fsm_timing_loop {
    fsm_comm *world;
    fsm_clock clock;
    int repeats;                                   /* most of one size; a warm-up comes before them */
    double budget_s;                               /* of all sizes together, warm-ups included */
    double (*work)(const void *object, int64_t n); /* what run's time grows with; NULL: n */
    void (*on_time)(void *user, double fraction);  /* how far it is; NULL: nobody listens */
    void *user;
} fsm_timing_loop;

enum { FSM_LEAST_SIZES = 4, FSM_MOST_SIZES = 64 };

/* Times run(object, n[i]) for the rising n[count]; timing[0 … *timed - 1] are set. Each size has a warm-up and a
 * repeat; from the fifth on, one that would overrun the budget is left out with all above it. What is then left of the
 * budget goes to more repeats, to each size an equal share of what smaller ones leave, so that the large are repeated
 * less. Collective over world. `run`'s error, ERROR_MEMORY, ERROR_COMM. */
fsmoe_status fsm_time_sizes(const fsm_timing_loop *loop, fsm_timed_run run, void *object, const int64_t *n, int count,
                            fsm_timing *timing, int *timed);

/* The middle value, or the mean of the two in the middle; sorts values[n], n > 0. */
double fsm_median(double *values, int n);

/* Sizes from min to max, growing by about the same factor, at most `points`; returns how many differ. */
int fsm_geometric_sizes(int64_t min, int64_t max, int points, int64_t sizes[FSM_MOST_SIZES]);

/* The least and the greatest of every rank's value, not negative and below 9e9, to 1e-9. Collective. ERROR_COMM. */
fsmoe_status fsm_ranks_range(fsm_comm *comm, double mine, double *least, double *greatest);

/* ---- the five operations ---- */

/* Where they run. A collective of a group of one rank is not measured and costs nothing. */
typedef struct fsm_measure_site {
    fsm_comm *world;
    fsm_comm *group[FSM_COST_OP_COUNT]; /* GEMM's is not read */
    int local_ranks;                    /* that share the memory of a machine */
    const fsm_ops *ops;
    int64_t gemm_in, gemm_out; /* GEMM: rows times a weight [out, in], like an expert's */
    /* as the step does it: the all-to-all of its group, whose memory is not used; canonical sums, or NULL */
    const fsm_alltoall *alltoall;
    float *tree_scratch;
    int64_t *tree_counts;
} fsm_measure_site;

typedef struct fsm_measure_options {
    int64_t min_elems, max_elems; /* of a collective, as its n counts; max is lowered to what memory allows */
    int points, repeats;
    int in_a_row; /* collectives are timed so many at once, fewer of large ones: what the links' buffers took in while
                        they rested must not make one look fast. 0: 1 */
    double budget_s; /* of the five operations together */
    fsm_clock clock;
    void (*on_message)(void *user, const char *sentence);
    void (*on_progress)(void *user, double fraction, const char *what);
    void *user;
} fsm_measure_options;

/* ERROR_CONFIG: sizes, points, repeats or a budget that make no sense. */
fsmoe_status fsm_measure_check(const fsm_measure_options *options);

/* Sets all of cluster->op; on failure some of them. Collective over world. fsm_measure_check's errors; ERROR_MEMORY,
 * ERROR_COMM, ERROR_NUMERIC. */
fsmoe_status fsm_measure_cluster(const fsm_measure_site *site, const fsm_measure_options *options,
                                 fsm_cluster *cluster);

#endif
