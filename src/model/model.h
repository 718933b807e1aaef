/* One rank's part of a transformer: parameters, gradients, sums of losses, and the passes that tokens make through it.
 * In:  a derived configuration, the topology and its groups, an op table, the most samples of a micro-batch.
 * Out: loss and gradients of a batch. What a pass does is in pass.h, what all passes share is here.
 * Everything is allocated by fsm_model_create, and again what passes hold by fsm_model_use_lanes; nothing in a step
 * allocates.
 */
#ifndef FSM_MODEL_MODEL_H
#define FSM_MODEL_MODEL_H

#include "comm/comm.h"
#include "model/lanes.h"
#include "model/params.h"
#include "model/pass.h"
#include "ops/memory.h"

enum { FSM_HEAD_BLOCK = 512 }; /* tokens whose logits exist at once */

/* Sums over the tokens of one micro-batch, which all its passes add to, and what its losses send back to them. */
typedef struct fsm_micro_sums {
    fsm_sum *sums;       /* [moe layers, sums a layer] then loss, tokens; zeros again once they are taken */
    fsm_sum *loss_grads; /* [moe layers, 2, E] fsm_gate_loss_grad's share and load */
    fsm_sum *z_coeff;    /* [moe layers] and its z */
} fsm_micro_sums;

/* Sums of one step or evaluation over all ranks. */
typedef struct fsm_model_sums {
    double loss;   /* sum of cross-entropies, nats */
    double tokens; /* targets counted */
} fsm_model_sums;

typedef struct fsm_model_options {
    int64_t max_samples;     /* of a micro-batch, of one data-parallel group */
    bool training;           /* gradients and their buffers exist */
    const fsm_ops *link_ops; /* NULL: those of the model serve */
    bool values_follow;      /* whoever asks for the model sets its values: none are made of the seed */
    /* generation: keys and values are kept, in cache_regions (0: none) of cache_len positions each; one process */
    int64_t cache_regions, cache_len;
} fsm_model_options;

struct fsm_model {
    const fsmoe_config *config;
    fsm_ops *ops;
    const fsm_ops *link_ops; /* of whoever moves communication, at the same time */
    fsm_topo topo;
    fsm_comm *groups[FSM_GROUP_COUNT];
    fsm_model_options options;
    fsm_params params;
    fsm_real *values, *grads; /* [params.elems] */
    fsm_layer *layers;
    int moe_layers;
    fsm_norm final_norm;
    fsm_weight head;
    fsm_real *head_grad, *embedding, *embedding_grad, *positions, *positions_grad;
    int64_t heads, kv_heads, head_dim, qkv_width, ffn_width; /* of this rank */
    fsm_memory param_memory, memory, pass_memory;
    fsm_layer_pass *layer_passes;   /* [FSM_MAX_LANES, num_layers] of passes */
    fsm_pass passes[FSM_MAX_LANES]; /* of training's lanes; when the model is used whole, the first alone */
    int lanes, parts, spare;        /* of training: fsm_model_use_lanes */
    bool expects;                   /* only measured: with the rows that are expected, not the most (lanes.h) */
    bool whole;                     /* passes[0] lies where training's passes do, and they do not */
    double loss_scale;              /* d objective / d loss of one token: 1 / tokens of the step */
    double aux_scale;               /* weight of a micro-batch's aux losses: 1 / micro-batches */

    fsm_real *cosine, *sine; /* [max_seq_len, head_dim / 2] */
    fsm_hooks hooks;
    fsm_alltoall alltoall; /* between the ranks of EP */

    /* scratch of one task: all passes and layers have the same */
    fsm_real *logits;          /* [head block, V] */
    fsm_row *dqkv, *dattended; /* [n_group, …] as qkv_out, attended */
    fsm_row *dact;             /* [n_group, local H] dense feed-forward */
    fsm_moe_scratch moe_scratch;

    fsm_micro_sums
        micro_sums[FSM_MAX_LANES]; /* of the micro-batches that are side by side: number m's is m mod of them */
    fsm_sum *step_sums;            /* sums of all ranks, added over the micro-batches since fsm_model_begin_step */
    double *totals;                /* [sum_count] step_sums on the host: fsm_model_read_sums */
    int64_t sum_count;
    fsm_sum
        *step_losses; /* [2] aux and z losses added over layers, averaged over micro-batches, without coefficients */
    double step_aux, step_z; /* the same, read with totals */
};

/* Builds everything. `ops` and `groups` are borrowed; attention's work memory of `ops` grows to what the model needs.
 * ERROR_CONFIG, ERROR_LAYOUT, ERROR_MEMORY. Not collective. */
fsmoe_status fsm_model_create(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                              fsm_comm *const groups[FSM_GROUP_COUNT], const fsm_model_options *options,
                              fsm_model **model);
void fsm_model_destroy(fsm_model *model);

/* What a model would take of a rank's memory; nothing is allocated. */
typedef struct fsm_model_memory {
    int64_t param_elems;               /* of values, and of gradients in training */
    size_t fixed_bytes;                /* what lanes do not change: scratch, work of attention, sums */
    size_t whole_bytes;                /* a pass forward over a whole batch */
    size_t pass_bytes[FSM_MAX_LANES];  /* [parts - 1] the passes of one micro-batch together, forward and back */
    size_t spare_bytes[FSM_MAX_LANES]; /* [parts - 1] for them one more `spare` */
} fsm_model_memory;

/* More than 2^50 elements: no machine holds them, and sums of such sizes would overflow. samples: of a micro-batch, of
 * one data-parallel group. */
bool fsm_model_is_absurd(const fsmoe_config *config, int64_t samples);

/* Of what is not absurd. ops NULL: without the work of attention. */
fsmoe_status fsm_model_measure(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                               const fsm_model_options *options, fsm_model_memory *memory);

/* The same by what it is for, with so many lanes. */
typedef struct fsm_model_kinds {
    int64_t param_elems;
    size_t taken[FSM_MEMORY_KINDS];
    size_t host;   /* tables and counts */
    size_t packed; /* copies of the weights */
} fsm_model_kinds;

/* expected: of the rows that are expected where choices decide how many there are, else of the most, which is what is
 * reserved. Training's passes or a whole one, whichever are larger. Of what is not absurd; ops as of
 * fsm_model_measure. */
fsmoe_status fsm_model_measure_kinds(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                                     const fsm_model_options *options, int lanes, int parts, int spare, bool expected,
                                     fsm_model_kinds *kinds);

/* After `values` changed: packed copies of the weights follow. */
void fsm_model_update_weights(fsm_model *model);

/* Training takes `lanes` passes at once from now on, a micro-batch in `parts` of them, and keeps gradients of experts'
 * outputs of `spare` more layers (lanes.h). What passes held is lost. ERROR_MEMORY: nothing has changed. Not within a
 * step. */
fsmoe_status fsm_model_use_lanes(fsm_model *model, int lanes, int parts, int spare);

/* Before a training step, or before passes of whole batches: the two have the same memory, and what one left in it is
 * lost to the other. Nothing changes where micro-batches are not parted. */
void fsm_model_use_for_training(fsm_model *model);
void fsm_model_use_whole(fsm_model *model);

/* Starts a step: zeroes gradients and sums; micro_batches of tokens_in_step tokens in all. */
void fsm_model_begin_step(fsm_model *model, int64_t micro_batches, int64_t tokens_in_step);

/* Once all its passes have added to them: a micro-batch's sums over all ranks; what the losses send back, and the
 * step's sums. */
fsmoe_status fsm_model_start_sums(fsm_model *model, int micro, fsm_comm_op *op); /* WORLD */
void fsm_model_take_sums(fsm_model *model, int micro);

/* The sums of MoE layer `index` (0, 1, …) in an array laid out like fsm_micro_sums.sums. */
fsm_gate_sums fsm_model_gate_sums(const fsm_model *model, fsm_sum *sums, int moe_index);

/* What gates change after a step besides their gradients (DeepSeek's bias): the same on all ranks, from step_sums. */
void fsm_model_after_step(fsm_model *model);

/* What a micro-batch's losses send back into the gate of that layer, after fsm_model_take_sums. */
fsm_gate_loss_grad fsm_model_loss_grad(const fsm_model *model, const fsm_micro_sums *sums, int moe_index);

/* After a step or an evaluation: totals, and what the losses were. */
void fsm_model_read_sums(fsm_model *model);

/* What totals, or a copy of them, say: of the loss, and of the pairs of MoE layer `index`. */
fsm_model_sums fsm_model_loss_sums(const fsm_model *model, const double *totals);
typedef struct fsm_layer_load {
    const double *kept; /* [E] */
    double dropped;
} fsm_layer_load;
fsm_layer_load fsm_model_layer_load(const fsm_model *model, const double *totals, int moe_index);

#endif
