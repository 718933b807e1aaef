/* One MoE layer on one rank, ready to run: what <fsmoe/layer.h> is made of.
 * In:  a checked configuration, this rank's part of the tokens. Out: output and gradients of these tokens; losses of
 *      all.
 */
#ifndef FSM_TRAIN_LAYER_H
#define FSM_TRAIN_LAYER_H

#include "exec/exec.h"
#include "plan/step.h"
#include "train/backend.h"
#include "train/layer_params.h"

typedef struct fsm_layer_run {
    const fsmoe_config *config;
    fsm_comm *world;
    int threads;
    fsm_backend backend; /* its own */
    fsm_ops *ops;        /* the backend's, that compute */
    fsm_ops *link_ops;   /* and those where communication is moved */
    fsm_topo topo;
    fsm_comm *groups[FSM_GROUP_COUNT];
    bool training;    /* noise */
    int64_t n, first; /* this rank's tokens among all */
    int64_t total;    /* tokens of all ranks */
    int64_t *tokens;  /* [ep * esp] n of each rank of the expert group */
    fsm_row *x;       /* [n, M] */
    fsm_real *dy;     /* [n, M] */
    fsm_real *noise;  /* [n, E]; NULL: drawn */
    fsm_real *y, *dx; /* [n, M] */
    fsm_moe moe;
    fsm_moe_scratch scratch;
    fsm_moe_staging staging;
    fsm_moe_pass pass;
    fsm_alltoall alltoall;
    fsm_hooks hooks;
    fsm_layer_params params;
    int64_t nominal_rows;
    fsm_sum *sums;       /* [sums of a layer], of all ranks after forward */
    fsm_sum *loss_grads; /* [2, E] of share and load, then of z: fsm_gate_loss_grad */
    fsm_sum *losses;     /* [2] aux and z, without coefficients */
    double aux, z;       /* the same, read when a step has ended */
    fsm_memory memory;
    fsm_exec *exec;
} fsm_layer_run;

/* Places the rank, makes groups and memory. total: tokens of all ranks, split in whole capacity groups. Collective; all
 * ranks return the same status. Destroy in any case. */
fsmoe_status fsm_layer_run_create(const fsmoe_config *config, fsm_comm *world, int64_t total, bool has_noise,
                                  fsm_layer_run *run);
void fsm_layer_run_destroy(fsm_layer_run *run);

/* Forward and backward of what x, dy, noise and params hold, with so many chunks each way, by `schedule` if that is not
 * NULL. Gradients of parameters are of this rank's tokens and are added to what params have. */
fsmoe_status fsm_layer_run_step(fsm_layer_run *run, const char *schedule, int forward_degree, int backward_degree);

fsm_gate_sums fsm_layer_run_sums(const fsm_layer_run *run);

#endif
