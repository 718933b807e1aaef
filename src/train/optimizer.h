/* AdamW with warm-up and cosine decay, and the global gradient norm.
 * In:  parameters and gradients laid out by the table of parameters; the step's number.
 * Out: updated parameters and moments. No decay on vectors (norms, biases).
 */
#ifndef FSM_TRAIN_OPTIMIZER_H
#define FSM_TRAIN_OPTIMIZER_H

#include "comm/op.h"
#include "model/params.h"
#include "ops/memory.h"

typedef struct fsm_optimizer {
    const fsm_params *params;
    const fsm_ops *ops;
    const fsmoe_train_config *config;
    fsm_real *m, *v;  /* [params.elems] first and second moment */
    fsm_real *rates;  /* [FSM_ADAMW_RATES] of the present step */
    fsm_sum *squares; /* [1] of the present step's gradients, of this rank's parameters, then of all */
    fsm_memory memory;
    int64_t step;     /* updates done */
    double lr;        /* of the present step */
    double grad_norm; /* of the present step, before clipping */
} fsm_optimizer;

fsmoe_status fsm_optimizer_create(const fsm_params *params, const fsm_ops *ops, const fsmoe_train_config *config,
                                  fsm_optimizer *optimizer);
/* As created: no update done, moments zero. */
void fsm_optimizer_reset(fsm_optimizer *optimizer);
void fsm_optimizer_destroy(fsm_optimizer *optimizer);

/* Learning rate of update `step` (0, 1, …): rises linearly to lr over warmup_steps, then
 * min_lr + (lr - min_lr) (1 + cos(pi progress)) / 2 (Loshchilov & Hutter 2017), progress from 0 at the end of
 * warm-up towards 1, which update `steps` would have: the last one, steps - 1, stays just above min_lr. */
double fsm_learning_rate(const fsmoe_train_config *config, int64_t step);

/* grad_norm = sqrt of the sum of squares of every parameter's gradient, each counted once whatever the layout: this
 * rank's squares, their sum over the world (begun), its root once that has ended. */
void fsm_optimizer_add_squares(fsm_optimizer *optimizer, const fsm_real *grads);
fsmoe_status fsm_optimizer_start_norm(fsm_optimizer *optimizer, fsm_comm *world, fsm_comm_op *op);
void fsm_optimizer_take_norm(fsm_optimizer *optimizer);

/* Before the first update of a step: what is another every step goes to the device, in one block. */
void fsm_optimizer_begin(fsm_optimizer *optimizer);

/* Updates the parameters of elements [first, last), clipped to config->clip_grad. Call once a slice; then finish.
 * Nothing is changed where the norm that clips, or `loss` (the step's, or NULL), is not finite: all ranks have the
 * same. */
void fsm_optimizer_update(fsm_optimizer *optimizer, int64_t first, int64_t last, const fsm_real *grads,
                          const fsm_sum *loss, fsm_real *values);
void fsm_optimizer_finish(fsm_optimizer *optimizer);

#endif
