/* What the files of the model share: norms, and this rank's place in the group's tokens.
 * In: a model. Out: small helpers; nothing here is seen outside src/model.
 */
#ifndef FSM_MODEL_PARTS_H
#define FSM_MODEL_PARTS_H

#include "model/model.h"

/* y = norm(x), rows [n_local] */
void fsm_norm_forward(const fsm_model *model, fsm_norm *norm, const float *x, float *y);
/* dx += backward of norm at x */
void fsm_norm_backward(const fsm_model *model, fsm_norm *norm, const float *x, const float *dy, float *dx);

/* Where the layer's output goes: x1 of the next layer, or x_out. */
static inline float *fsm_layer_output(const fsm_model *model, int layer)
{
    return layer + 1 < model->config->model.num_layers ? model->layers[layer + 1].x1 : model->x_out;
}

/* This rank's rows of a [n_group, M] array. */
static inline float *fsm_own_rows(const fsm_model *model, float *full)
{
    return full + model->local_first * model->config->model.hidden;
}

/* The residual enters once the ranks' parts of a sum have been added, by the task that reads the sum next:
 * x2 += x1 + output bias;  output of a layer without experts += x2 (with experts: fsm_model_iorder_forward). */
void fsm_add_attention_residual(fsm_model *model, fsm_layer *layer);
void fsm_add_ffn_residual(fsm_model *model, int layer);

/* MP collectives on [n_group, M] arrays: local rows <-> all rows. */
fsmoe_status fsm_mp_start_allgather(fsm_model *model, fsm_comm_op *op, const float *local, float *full);
fsmoe_status fsm_mp_start_reducescatter(fsm_model *model, fsm_comm_op *op, const float *full, float *local);

/* Steps of fsm_model_create: all memory, then every parameter where it is used. */
fsmoe_status fsm_model_allocate(fsm_model *model);
size_t fsm_model_buffer_bytes(fsm_model *model); /* without parameters; what it points to is then nothing */
void fsm_model_bind(fsm_model *model);

/* Tokens that may not be parted between MP ranks: a capacity group. */
int64_t fsm_token_unit(const fsmoe_config *config);

#endif
