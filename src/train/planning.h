/* The plan that a training run follows: where its costs come from, when it is made anew.
 * In:  a stepper in order, its configuration: parallel.schedule, cluster, replan_every.
 * Out: the stepper runs the planned graph; sentences that say what was chosen, changed and why.
 * Every rank plans for itself from the same costs, so all have the same graph. Nothing happens for a schedule that is
 * not planned, or on one rank, where there is nothing to overlap.
 */
#ifndef FSM_TRAIN_PLANNING_H
#define FSM_TRAIN_PLANNING_H

#include "plan/plan.h"
#include "train/stepper.h"

enum { FSM_PLANNING_BYTES = 768 };

typedef struct fsm_planning {
    fsm_cluster cluster;               /* the same bits on all ranks */
    fsm_task_recorder *recorder;       /* of the graph in use, when it is replanned */
    int degree[2];                     /* of the first layer with experts, forward and backward */
    double step_s;                     /* predicted; NaN: there is no plan */
    fsm_timeline timeline;             /* planned times of the stepper's graph */
    double load_s[FSM_RESOURCE_COUNT]; /* of the plain step (plan/load.h) */
    char message[FSM_PLANNING_BYTES];
} fsm_planning;

/* Told on every rank what may take a while before it begins. */
typedef void (*fsm_planning_announce)(void *user, const char *sentence);

/* Costs from parallel.cluster, whose layout must be the run's; else, of a resumed run, from its folder, if they are of
 * this layout, machine, model and batch; else measured: a few steps on the first samples, which are undone, and the
 * operations. Collective; all ranks return the same status unless it is ERROR_COMM. */
fsmoe_status fsm_planning_begin(fsm_stepper *stepper, fsm_batches *batches, bool resume, fsm_planning_announce announce,
                                void *user, fsm_planning *planning);

/* run.dir/cluster.json, on rank 0, so that a resumed run plans the same. */
fsmoe_status fsm_planning_save(const fsm_planning *planning, const fsmoe_config *config);

/* Between steps: measures again, plans again, and takes the new plan when it is faster under the new costs by 5 % or
 * more. `step`: done so far. Collective. */
fsmoe_status fsm_planning_renew(fsm_planning *planning, fsm_stepper *stepper, int64_t step);

void fsm_planning_end(fsm_planning *planning);

#endif
