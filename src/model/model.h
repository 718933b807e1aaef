/* One rank's part of a transformer: parameters, gradients, activations, and the functions that a step's tasks call.
 * In:  a derived configuration, the topology and its groups, an op table, the most samples of a micro-batch.
 * Out: loss and gradients of a batch; logits when generating.
 *
 * The residual stream is split by tokens over MP (sequence split); attention and the dense feed-forward see all tokens
 * of the data-parallel group and this rank's heads or columns. Letters: n_group tokens of the group, n_local of this
 * rank. Everything is allocated by fsm_model_create; nothing in a step allocates.
 */
#ifndef FSM_MODEL_MODEL_H
#define FSM_MODEL_MODEL_H

#include "base/arena.h"
#include "comm/comm.h"
#include "model/params.h"
#include "moe/layer.h"

enum {
    FSM_HEAD_BLOCK = 512, /* tokens whose logits exist at once */
    FSM_MAX_MP = 64,
};

/* A norm's gain and bias, and what its backward needs. */
typedef struct fsm_norm {
    fsm_param_view gain, bias; /* bias.value NULL for RMSNorm */
    float *mean, *rstd;        /* [n_local] */
} fsm_norm;

typedef struct fsm_layer {
    bool is_moe;
    int index;
    fsm_norm norm1, norm2;
    fsm_weight qkv, o;               /* this rank's heads */
    fsm_param_view qkv_grad, o_grad; /* value and gradient of the same blocks */
    fsm_param_view qkv_bias, o_bias; /* value NULL without biases */
    fsm_expert_weights ffn;          /* a layer without experts */
    fsm_moe moe;                     /* a layer with experts */
    /* saved activations */
    float *x1;                /* [n_local, M] into the layer */
    float *x2;                /* [n_local, M] between attention and feed-forward */
    float *h1;                /* [n_group, M] norm1(x1), gathered */
    float *h2;                /* [n_local, M] norm2(x2); [n_group, M] gathered without experts */
    float *qkv_out;           /* [n_group, (heads + 2 kv_heads) head_dim] after rotation */
    float *attended;          /* [n_group, heads head_dim] */
    float *lse;               /* [samples, heads, L] */
    float *pre, *act;         /* dense feed-forward */
    float *cache_k, *cache_v; /* [max_seq_len, kv_heads head_dim] when generating */
} fsm_layer;

/* What a micro-batch brings; ids and targets are the group's, flattened [samples, L]. */
typedef struct fsm_batch {
    int64_t samples, seq_len;
    uint64_t first_token;   /* number in the whole run of the group's first token */
    const int32_t *ids;     /* [samples, L] */
    const int32_t *targets; /* [samples, L]; NULL when only logits are wanted */
} fsm_batch;

/* Sums of one step or evaluation over all ranks, ready after fsm_model_exchange_sums. */
typedef struct fsm_model_sums {
    double loss;   /* sum of cross-entropies, nats */
    double tokens; /* targets counted */
} fsm_model_sums;

typedef struct fsm_model_options {
    int64_t max_samples; /* of a micro-batch, of one data-parallel group */
    bool training;       /* gradients and their buffers exist */
    bool cache;          /* keys and values are kept: one sample, one process */
} fsm_model_options;

typedef struct fsm_model {
    const fsmoe_config *config;
    fsm_ops *ops;
    fsm_topo topo;
    fsm_comm *groups[FSM_GROUP_COUNT];
    fsm_model_options options;
    fsm_params params;
    float *values, *grads; /* [params.elems] */
    fsm_layer *layers;
    int moe_layers;
    int64_t nominal_rows; /* T of an MoE layer, what its chunks are counted in */
    fsm_norm final_norm;
    fsm_weight head;
    float *head_grad, *embedding, *embedding_grad, *positions, *positions_grad;
    int64_t heads, kv_heads, head_dim, qkv_width, ffn_width; /* of this rank */
    fsm_arena param_arena, arena;

    /* the present micro-batch */
    fsm_batch batch;
    bool train_step;                       /* noise, gradients */
    int64_t n_group, n_local, local_first; /* my tokens are [local_first, local_first + n_local) of the group's */
    int64_t group_elems[FSM_MAX_MP];       /* n_local M of each MP rank */
    int64_t past;                          /* tokens in the cache */
    double loss_scale;                     /* d objective / d loss of one token: 1 / tokens of the step */
    double aux_scale;                      /* weight of this micro-batch's aux losses: 1 / micro-batches */

    /* buffers that layers share */
    int32_t *position;       /* [n_group] */
    float *cosine, *sine;    /* [max_seq_len, head_dim / 2] */
    float *x_out;            /* [n_local, M] after the last layer */
    float *h_final;          /* [n_local, M] */
    float *logits;           /* [head block, V] */
    float *full;             /* [n_group, M] before a reduce-scatter, after an all-gather */
    float *dx, *dh;          /* [n_local, M] gradient of the residual stream, of a norm's output */
    float *dh_full;          /* [n_group, M] */
    float *dqkv, *dattended; /* like qkv_out, attended */
    float *dact;             /* dense feed-forward */
    fsm_moe_staging staging;
    fsm_hooks hooks;
    fsm_alltoall alltoall; /* between the ranks of EP */
    double *sums;      /* [moe layers, sums a layer] then loss, tokens; this micro-batch, all ranks after exchange */
    double *step_sums; /* the same, added over the micro-batches since fsm_model_begin_step */
    int64_t sum_count;
    double step_aux, step_z; /* aux and z losses added over layers, averaged over micro-batches, without coefficients */
    double *loss_grads;      /* [moe layers, 2, E] fsm_gate_loss_grad's share and load */
} fsm_model;

/* Builds everything. `ops` and `groups` are borrowed; attention's work memory of `ops` grows to what the model needs.
 * ERROR_CONFIG, ERROR_LAYOUT, ERROR_MEMORY. Not collective. */
fsmoe_status fsm_model_create(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                              fsm_comm *const groups[FSM_GROUP_COUNT], const fsm_model_options *options,
                              fsm_model **model);
void fsm_model_destroy(fsm_model *model);

/* What a model would take of a rank's memory; nothing is allocated. */
typedef struct fsm_model_memory {
    int64_t param_elems; /* of values, and of gradients in training */
    size_t buffer_bytes; /* activations, staging, gradients of activations, work of attention */
} fsm_model_memory;

fsmoe_status fsm_model_measure(const fsmoe_config *config, fsm_ops *ops, const fsm_topo *topo,
                               const fsm_model_options *options, fsm_model_memory *memory);

/* After `values` changed: packed copies of the weights follow. */
void fsm_model_update_weights(fsm_model *model);

/* Starts a step: zeroes gradients and step sums; micro_batches of tokens_in_step tokens in all. */
void fsm_model_begin_step(fsm_model *model, int64_t micro_batches, int64_t tokens_in_step);
/* Starts a micro-batch; `batch` is copied, its arrays are borrowed until the micro-batch ends. */
void fsm_model_begin_micro(fsm_model *model, const fsm_batch *batch, bool training);

/* Tasks of a forward pass, in this order; per layer: norm … reducescatter, then either the moe ones or the ffn ones.
 * Collective ones only begin (comm/op.h). */
void fsm_model_embedding_forward(fsm_model *model);
void fsm_model_norm_forward(fsm_model *model, int layer);                                        /* norm1 */
fsmoe_status fsm_model_start_mp_allgather_forward(fsm_model *model, int layer, fsm_comm_op *op); /* MP */
void fsm_model_attention_forward(fsm_model *model, int layer);
fsmoe_status fsm_model_start_mp_reducescatter_forward(fsm_model *model, int layer, fsm_comm_op *op); /* MP */
void fsm_model_gate_forward(fsm_model *model, int layer);     /* residual of attention; norm2, gate, rows */
void fsm_model_iorder_forward(fsm_model *model, int layer);   /* x1 of the next layer = x2 + experts' outputs */
void fsm_model_ffn_norm_forward(fsm_model *model, int layer); /* residual of attention; norm2 */
fsmoe_status fsm_model_start_ffn_allgather_forward(fsm_model *model, int layer, fsm_comm_op *op); /* MP */
void fsm_model_ffn_forward(fsm_model *model, int layer);
fsmoe_status fsm_model_start_ffn_reducescatter_forward(fsm_model *model, int layer, fsm_comm_op *op); /* MP */
/* final norm, logits, loss; in training also the gradients of head and final norm's output */
void fsm_model_head_forward(fsm_model *model);
/* sums over all ranks, and from them the losses' gradients */
fsmoe_status fsm_model_start_sums(fsm_model *model, fsm_comm_op *op); /* WORLD */
void fsm_model_take_sums(fsm_model *model);

/* Tasks of a backward pass, the mirror image. */
void fsm_model_head_backward(fsm_model *model);
void fsm_model_iorder_backward(fsm_model *model, int layer);
void fsm_model_order_backward(fsm_model *model, int layer);
void fsm_model_gate_backward(fsm_model *model, int layer); /* gate, norm2 */
fsmoe_status fsm_model_start_ffn_allgather_backward(fsm_model *model, int layer, fsm_comm_op *op);
void fsm_model_ffn_backward(fsm_model *model, int layer);
void fsm_model_ffn_weight_grad(fsm_model *model, int layer);
fsmoe_status fsm_model_start_ffn_reducescatter_backward(fsm_model *model, int layer, fsm_comm_op *op);
void fsm_model_ffn_norm_backward(fsm_model *model, int layer);
fsmoe_status fsm_model_start_mp_allgather_backward(fsm_model *model, int layer, fsm_comm_op *op);
void fsm_model_attention_backward(fsm_model *model, int layer);
fsmoe_status fsm_model_start_mp_reducescatter_backward(fsm_model *model, int layer, fsm_comm_op *op);
void fsm_model_norm_backward(fsm_model *model, int layer);
void fsm_model_embedding_backward(fsm_model *model);

/* Logits of this rank's last token, [V], after a forward pass without targets (generation: one process). */
const float *fsm_model_last_logits(fsm_model *model);

/* The sums of MoE layer `index` (0, 1, …) in an array laid out like model->sums. */
fsm_gate_sums fsm_model_gate_sums(const fsm_model *model, double *sums, int moe_index);

/* What gates change after a step besides their gradients (DeepSeek's bias): the same on all ranks, from step_sums. */
void fsm_model_after_step(fsm_model *model);

/* What the losses send back into the gate of that layer, after fsm_model_take_sums. */
fsm_gate_loss_grad fsm_model_loss_grad(const fsm_model *model, int moe_index);
fsm_model_sums fsm_model_loss_sums(const fsm_model *model, const double *sums);

#endif
