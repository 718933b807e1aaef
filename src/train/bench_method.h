/* How the steps of a bench come about: measured, as a model trains (bench_measured.c), or rehearsed, as they would run
 * on another cluster (bench_rehearsed.c).
 * In:  ranks, a configuration, options. Out: a step to plan, costs to plan it from; steps of the plans, timed.
 * All of it is collective over world; all ranks return the same status unless it is ERROR_COMM.
 */
#ifndef FSM_TRAIN_BENCH_METHOD_H
#define FSM_TRAIN_BENCH_METHOD_H

#include "comm/comm.h"
#include "exec/exec.h"
#include "plan/plan.h"

#include <fsmoe/bench.h>

typedef struct fsm_bench_method {
    int warm_up; /* rounds before those that count */
    /* *work is to be destroyed, also after an error (NULL is fine), but not after ERROR_COMM. Completes the
     * configuration; it and the options are borrowed. */
    fsmoe_status (*create)(fsm_comm *world, fsmoe_config *config, const fsmoe_bench_options *options, void **work);
    void (*destroy)(void *work);
    fsmoe_status (*shape)(void *work, fsm_step_shape *shape); /* of the step that schedules plan; not collective */
    fsmoe_status (*find_costs)(void *work, fsm_cluster *cluster);
    /* plans[count] are those that will run, the same on all ranks; borrowed, as the costs are */
    fsmoe_status (*take_plans)(void *work, const fsm_cluster *cluster, const fsm_plan *plans, int count);
    /* one step of plans[plan]; *step_s: what it took this rank, all having begun together */
    fsmoe_status (*run)(void *work, int plan, fsm_observer observer, double *step_s);
    double (*stretch)(const void *work); /* of what is rehearsed; 0: it is measured */
} fsm_bench_method;

/* Of a step; of MoE layers alone it is one. */
int fsm_bench_micro_batches(const fsmoe_bench_options *options);

extern const fsm_bench_method fsm_bench_measured, fsm_bench_rehearsed;

#endif
