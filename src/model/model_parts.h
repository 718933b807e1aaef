/* What the files of the model share: norms, this rank's place in the group's tokens, the layout of memory.
 * In: a model, a pass through it. Out: small helpers; nothing here is seen outside src/model.
 */
#ifndef FSM_MODEL_PARTS_H
#define FSM_MODEL_PARTS_H

#include "model/model.h"

/* y = norm(x), rows [n_local] */
void fsm_norm_forward(const fsm_pass *pass, const fsm_norm *norm, const fsm_norm_pass *saved, const fsm_real *x,
                      fsm_row *y);
/* dx += backward of norm at x */
void fsm_norm_backward(const fsm_pass *pass, const fsm_norm *norm, const fsm_norm_pass *saved, const fsm_real *x,
                       const fsm_real *dy, fsm_real *dx);

static inline int64_t fsm_pass_hidden(const fsm_pass *pass)
{
    return pass->model->config->model.hidden;
}

/* Where the layer's output goes: x1 of the next layer, or x_out. */
static inline fsm_real *fsm_layer_output(const fsm_pass *pass, int layer)
{
    return layer + 1 < pass->model->config->model.num_layers ? pass->layers[layer + 1].x1 : pass->x_out;
}

/* A tensor of rows `n` elements further on; this rank's rows of a [n_group, M] one. */
static inline fsm_row *fsm_pass_at(const fsm_pass *pass, const fsm_row *rows, int64_t n)
{
    return fsm_row_at(rows, pass->model->ops->row_bytes, n);
}

static inline fsm_row *fsm_own_rows(const fsm_pass *pass, const fsm_row *full)
{
    return fsm_pass_at(pass, full, pass->local_first * fsm_pass_hidden(pass));
}

/* What a task leaves where MP's ranks are to add to it, or reads where they have: `local` where MP has one rank. */
static inline fsm_real *fsm_between_ranks(const fsm_pass *pass, fsm_real *full, fsm_real *local)
{
    return pass->model->topo.mp > 1 ? full : local;
}

/* The residual enters once the ranks' parts of a sum have been added, by the task that reads the sum next:
 * x2 += x1 + output bias;  output of a layer without experts += x2 (with experts: fsm_pass_iorder_forward). */
void fsm_add_attention_residual(fsm_pass *pass, int layer);
void fsm_add_ffn_residual(fsm_pass *pass, int layer);

/* MP collectives on [n_group, M] tensors: of this rank's tokens to those of all, rows or fp32; and the sum of all
 * ranks' back. */
fsmoe_status fsm_mp_start_gather_rows(const fsm_pass *pass, fsm_comm_op *op, const fsm_row *local, fsm_row *full);
fsmoe_status fsm_mp_start_allgather(const fsm_pass *pass, fsm_comm_op *op, const fsm_real *local, fsm_real *full);
fsmoe_status fsm_mp_start_reducescatter(const fsm_pass *pass, fsm_comm_op *op, const fsm_real *full, fsm_real *local);

/* Memory (measured or real). A pass over at most so many samples of the group: forward, or also back, with `spare` as
 * fsm_model_use_lanes has it; over eval_samples in evaluation, 0: it has none. The scratch that passes over at most so
 * many share. */
void fsm_pass_take(fsm_memory *memory, int64_t samples, int64_t eval_samples, bool back, int spare, fsm_pass *pass);
void fsm_pass_scratch_take(fsm_memory *memory, int64_t samples, fsm_model *model);

/* Samples of a group that a pass without backward takes at most. */
int64_t fsm_model_eval_samples(const fsm_model *model);

/* Lays the passes out anew, training's or a whole one. What they held is nothing, and wires have one chunk. */
void fsm_model_lay_out(fsm_model *model, bool whole);

/* An MoE layer of the model, which are alike; NULL: it has none. */
const fsm_moe *fsm_first_moe(const fsm_model *model);

/* Steps of fsm_model_create: all memory, then every parameter where it is used. */
fsmoe_status fsm_model_allocate(fsm_model *model);
void fsm_model_bind(fsm_model *model);

/* All of `memory` but param_elems; what the model points to is nothing afterwards. */
void fsm_model_measure_buffers(fsm_model *model, fsm_model_memory *memory);
size_t fsm_model_packed_bytes(const fsm_model *model);

/* Whether gates' weights have copies. */
bool fsm_model_packs_gates(const fsm_model *model);
void fsm_model_measure_lanes(fsm_model *model, int lanes, int parts, int spare, fsm_model_kinds *kinds);

#endif
