/* Schedules held against one another on the present ranks: what each was planned to take, and what it took; or,
 * rehearsed, what it would take on another cluster.
 * In:  a configuration; all ranks of the job.
 * Out: a row a schedule. Steps of the schedules take turns, so that a slow minute of the machine is everybody's.
 */
#ifndef FSMOE_BENCH_H
#define FSMOE_BENCH_H

#include <fsmoe/config.h>
#include <fsmoe/world.h>

typedef struct fsmoe_bench_options {
    bool layer;          /* the MoE layers alone, forward and backward; else whole training steps */
    int steps;           /* of each schedule that count; 0: 7 */
    double budget_s;     /* for measuring costs; 0: 15 */
    const char *cluster; /* cluster file to plan from; NULL: costs are measured first */
    int micro_batches;   /* of a step, each of train.micro_batch samples; of `layer` it is 1; 0: 1 */
    int layers;          /* the model is cut to so many, its vocabulary in proportion; 0: it is not */
    /* cluster file to plan from and to rehearse: messages run, compute tasks sleep for what it says, nothing is
     * trained, and all times are those of that cluster; NULL: steps are measured. cluster and budget_s have no effect
     * then. */
    const char *rehearse;
    double stretch; /* of a rehearsal: times as long as on the cluster; 0: as few as leave half of the machine free */
    void (*on_message)(void *user, const char *sentence); /* on rank 0, or NULL */
    void *user;
} fsmoe_bench_options;

typedef struct fsmoe_bench_row {
    const char *schedule;                /* static */
    int lanes;                           /* passes beside one another; 1: there is none */
    int forward, backward;               /* chunks of a layer; of the first with experts */
    double step_s, fastest_s, slowest_s; /* median, and the range; of each step the slowest rank's time */
    double planned_s;                    /* what the plan expects */
    double bound_s;                      /* no plan of this schedule is faster with these costs */
    double overlap; /* communication while rank 0 computes, over its communication; NaN: there is none */
    double intra_s, inter_s, compute_s; /* busy, of rank 0, in the median step */
    double stretch;                     /* it was rehearsed, so many times as slowly; 0: measured */
} fsmoe_bench_row;

enum { FSMOE_BENCH_MOST_ROWS = 16 };

/* The schedules that `names` lists (NULL after the last; NULL: all of them). Completes the configuration in place.
 * rows [FSMOE_BENCH_MOST_ROWS] are set on all ranks. Collective over world, all ranks return the same status unless it
 * is ERROR_COMM. Errors as of fsmoe_train. */
FSMOE_API fsmoe_status fsmoe_bench_schedules(fsmoe_world *world, fsmoe_config *config, const char *const *names,
                                             const fsmoe_bench_options *options, fsmoe_bench_row *rows, int *count);

/* ---- several cases ---- */

typedef struct fsmoe_bench_case {
    const char *name;
    fsmoe_bench_row rows[FSMOE_BENCH_MOST_ROWS];
    int count;
} fsmoe_bench_case;

/* One schedule over the cases in which it ran. A case without the other schedule, bound or overlap is left out of that
 * mean; where none is left, it is NaN. */
typedef struct fsmoe_bench_summary {
    int cases;
    double over_dsmoe, over_tutel; /* how many times faster: geometric mean */
    double over_bound;             /* step over bound: geometric mean */
    double prediction_error;       /* |step / plan - 1|: median */
    double overlap;                /* median */
} fsmoe_bench_summary;

/* ERROR_CONFIG: the schedule ran in no case; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_bench_summarize(const fsmoe_bench_case *cases, int count, const char *schedule,
                                             fsmoe_bench_summary *summary);

/* One SVG: a row a case, a bar a schedule, which begins at 1 and ends at how many times faster than dsmoe it was (where
 * dsmoe did not run: than the case's first schedule); a tick where the plan expected that end; above them the geometric
 * means. Replaces the file in one step; no cases make a picture that says so. ERROR_IO; ERROR_MEMORY; ERROR_CONFIG:
 * more than FSMOE_BENCH_MOST_ROWS different schedules. */
FSMOE_API fsmoe_status fsmoe_bench_draw(const fsmoe_bench_case *cases, int count, const char *title, const char *path);

/* A table of commas: a line a row, times in ms, columns as docs/bench-schedules.md has them. Replaces the file in one
 * step. ERROR_IO; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_bench_write_csv(const fsmoe_bench_case *cases, int count, const char *path);

#endif
