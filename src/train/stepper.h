/* The stepper: a model, its groups and its graphs on one rank, ready to run steps. Training, evaluation and generation
 * all go through it.
 * In:  a derived configuration, the world.
 * Out: one training step, or one forward pass, by the executor; sums and norms in the model and the optimizer.
 * tasks.c has the one table from (kind, phase) to function.
 */
#ifndef FSM_TRAIN_STEPPER_H
#define FSM_TRAIN_STEPPER_H

#include "exec/exec.h"
#include "exec/latest.h"
#include "exec/recorder.h"
#include "exec/trace.h"
#include "model/model.h"
#include "plan/schedule/schedule.h"
#include "train/backend.h"
#include "train/batches.h"
#include "train/optimizer.h"

typedef struct fsm_stepper {
    const fsmoe_config *config;
    fsm_comm *world;
    int threads;         /* compute threads of this rank */
    int64_t max_samples; /* of a micro-batch, of one data-parallel group */
    fsm_topo topo;
    fsm_comm *groups[FSM_GROUP_COUNT];
    fsm_backend backend; /* its own: threads and work memory */
    fsm_ops *ops;        /* the backend's, that compute */
    bool metered;        /* ops counts what it does (ops/meter.h), once it is turned on */
    fsm_model *model;
    fsm_optimizer optimizer; /* when training */
    fsm_graph train_graph;   /* when training */
    fsm_graph forward_graph;
    fsm_exec *exec;
    fsm_progress progress;       /* who moves communication */
    fsm_latest_step latest;      /* of train_graph */
    bool experts_only;           /* its training graph is of MoE layers alone */
    fsm_observer observer;       /* of training steps, instead of `latest`; nobody: task_ran is NULL */
    fsm_trace *trace;            /* of training steps; borrowed, or NULL */
    fsm_task_recorder *recorder; /* of train_graph's tasks; borrowed, or NULL */
    float *tree_scratch;         /* of fsm_comm_start_all_reduce_tree, with canonical sums */
    int64_t *tree_counts;
    /* the present step */
    fsm_batches *batches; /* NULL: each micro-batch is the given one */
    fsm_batch given;
    int64_t first_sample, micro_batch;
    bool training;
    int parts; /* that a micro-batch is taken in */
} fsm_stepper;

/* Discovers nodes, places the rank, makes groups, model and graphs, which must be the same on all ranks (same.h);
 * values are initialised from the seed.
 * Collective over world, which is borrowed; all ranks return the same status. The stepper must not move. */
fsmoe_status fsm_stepper_create(const fsmoe_config *config, fsm_comm *world, const fsm_model_options *options,
                                fsm_stepper *stepper);
/* The same, with operations that are metered or compute by a table of products: threads and canonical sums are the
 * configuration's. */
fsmoe_status fsm_stepper_create_by(const fsmoe_config *config, fsm_comm *world, const fsm_model_options *options,
                                   const fsm_backend_options *how, fsm_stepper *stepper);
void fsm_stepper_destroy(fsm_stepper *stepper);

/* The training step as rank 0 sees it, so that every rank plans the same. Destroy the shape. ERROR_MEMORY. */
fsmoe_status fsm_stepper_shape(const fsm_stepper *stepper, fsm_step_shape *shape);

/* Values from the seed and an optimizer that has done nothing, as after fsm_stepper_create. ERROR_MEMORY. */
fsmoe_status fsm_stepper_reset(fsm_stepper *stepper);

/* The training graph and *graph change places, with the memory that passes then take; for steps of several graphs in
 * turn. Memory that was enough for one is kept for the others. ERROR_MEMORY: they have changed places, but no step may
 * run. */
fsmoe_status fsm_stepper_swap_graph(fsm_stepper *stepper, fsm_graph *graph);

/* Runs `graph` for training from now on (it is taken over): passes are as many as its lanes, the chunks of their wires
 * follow its tasks. ERROR_MEMORY; the graph is taken over even then. */
fsmoe_status fsm_stepper_use_graph(fsm_stepper *stepper, fsm_graph graph);

/* Cuts wires into chunks as the graph's expert tasks have them, one of a lane, layer and phase; those that no task is
 * of stay as they are. */
void fsm_cut_wires(const fsm_graph *graph, fsm_wire *(*wire_of)(void *owner, const fsm_task *task), void *owner);

/* The same with the plain graph, in order, which a stepper begins with. ERROR_MEMORY. */
fsmoe_status fsm_stepper_use_order(fsm_stepper *stepper);

/* One step on samples first_sample … + global_batch - 1: forward, backward, update. No allocation after the first.
 * ERROR_NUMERIC, the same on all ranks, when loss or gradient norm is not finite; parameters are then
 * untouched, unless nothing is clipped: then an update does not wait for the norm. */
fsmoe_status fsm_stepper_train(fsm_stepper *stepper, fsm_batches *batches, int64_t first_sample);

/* The same on a batch that is given, this rank's share; each micro-batch of the step is that one. tokens: its targets
 * on all ranks. */
fsmoe_status fsm_stepper_train_batch(fsm_stepper *stepper, const fsm_batch *batch, int64_t tokens);

/* The training graph becomes that of the MoE layers alone, in order. ERROR_MEMORY. */
fsmoe_status fsm_stepper_experts_only(fsm_stepper *stepper);

/* Forward and backward of that graph: tokens are the batch's embeddings, and so is the gradient of the output. *step_s:
 * what the graph alone took on this rank, all ranks having begun together. Collective. */
fsmoe_status fsm_stepper_run_experts(fsm_stepper *stepper, const fsm_batch *batch, double *step_s);

/* Cross-entropy of n samples of `batches` from first_sample on, without noise or dropping; sums over all ranks. */
fsmoe_status fsm_stepper_evaluate(fsm_stepper *stepper, fsm_batches *batches, int64_t first_sample, int64_t n,
                                  fsm_model_sums *sums);

/* One forward pass of a given batch (this rank's share), nothing exchanged but what the layout needs; of a model that
 * trains, no more samples than evaluation takes at once (fsm_lanes_eval_samples). */
fsmoe_status fsm_stepper_forward(fsm_stepper *stepper, const fsm_batch *batch);

/* Whether the loss and the gradient norm of the latest step are numbers. */
bool fsm_stepper_is_finite(const fsm_stepper *stepper);

extern const fsm_task_table fsm_stepper_tasks;

#endif
