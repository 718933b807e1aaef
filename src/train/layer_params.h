/* The parameters of one MoE layer outside of a model: their names in files, this rank's blocks of them.
 * In:  the kinds' lists of specs, the place of the rank. Out: values read from a file; gradients as whole tensors.
 * A gate's tensor is gate.NAME; the experts' are expert.w1 and so on, [E, rows, cols]; those of shared experts
 * shared.w1, [n, rows, cols].
 */
#ifndef FSM_TRAIN_LAYER_PARAMS_H
#define FSM_TRAIN_LAYER_PARAMS_H

#include "model/safetensors.h"
#include "moe/layer.h"
#include "topo/topo.h"

typedef struct fsm_layer_param {
    char name[64];
    fsm_param_spec spec; /* of one expert, if it is an expert's */
    bool is_expert;
    int64_t stack; /* of shared experts: how many it is of; else 0 */
    int rank;      /* of the whole tensor */
    int64_t shape[3];
    int64_t rows, cols, row0, col0; /* this rank's block of one expert's */
    int64_t elems;                  /* of the block, all local experts */
    fsm_real *value, *grad;         /* [local experts or 1, rows, cols] */
} fsm_layer_param;

typedef struct fsm_layer_params {
    fsm_layer_param items[3 * FSM_MAX_PARAMS_A_MODULE + 1];
    int count, gate_count, first_shared, first_routed; /* the gate's, those of shared experts, of the others */
    int64_t first_expert, local_experts;
    int esp_index;
} fsm_layer_params;

/* Names and shapes. ERROR_LAYOUT: what does not divide over ESP. */
fsmoe_status fsm_layer_params_list(const fsmoe_config *config, const fsm_topo *topo, fsm_layer_params *params);

/* Takes value and grad of each. */
void fsm_layer_params_take(fsm_memory *memory, fsm_layer_params *params);

/* Into the layer's gate and experts. */
void fsm_layer_params_bind(const fsm_layer_params *params, const fsmoe_config *config, fsm_moe *moe);

/* Values, by `ops`. ERROR_FORMAT names the tensor, ERROR_NUMERIC also where it is not finite; ERROR_MEMORY. */
fsmoe_status fsm_layer_params_read(const fsm_safetensors *file, const fsm_ops *ops, fsm_layer_params *params);

/* whole [fsm_layer_param_elems] = this rank's part of the tensor's gradient, 0 elsewhere: the sum over all ranks is all
 * of it. */
void fsm_layer_param_place(const fsm_layer_params *params, const fsm_layer_param *param, const fsm_ops *ops,
                           float *whole);

int64_t fsm_layer_param_elems(const fsm_layer_param *param); /* of the whole tensor */

#endif
