/* One pass of tokens through the model, forward and back: what it holds on one rank, and the tasks of a step that work
 * on it.
 * In:  a batch, this rank's data-parallel group's; the model's parameters.
 * Out: sums of losses in the model, gradients of parameters += ; logits when generating.
 *
 * The residual stream is split by tokens over MP (sequence split); attention and the dense feed-forward see all tokens
 * of the data-parallel group and this rank's heads or columns. Letters: n_group tokens of the group, n_local of this
 * rank. A pass is in one layer at a time, but weights' gradients may be made later. Its memory is laid out beforehand,
 * and nothing in a step allocates.
 */
#ifndef FSM_MODEL_PASS_H
#define FSM_MODEL_PASS_H

#include "model/layer.h"

typedef struct fsm_model fsm_model;

enum { FSM_MAX_MP = 64 };

/* What a pass takes in, on the host; ids and targets are the group's, flattened [samples, L]. */
typedef struct fsm_batch {
    int64_t samples, seq_len;
    uint64_t first_token;   /* number in the whole run of the group's first token */
    const int32_t *ids;     /* [samples, L] */
    const int32_t *targets; /* [samples, L]; NULL when only logits are wanted */
    /* Of the micro-batch, samples of all data-parallel groups, of which each has its share (fsm_lanes_part), and of its
     * share this is one part. 0: what others have is not known. Alike on all ranks. */
    int64_t micro_samples;
    int parts, part;
    /* of a model with a cache, [samples]: the region of each sample, no two alike, and how many tokens are in it
     * already; L more are put behind them */
    const int64_t *region, *past;
} fsm_batch;

typedef struct fsm_pass {
    fsm_model *model;
    struct fsm_micro_sums *sums; /* of its micro-batch, which other passes may be parts of */
    fsm_layer_pass *layers;      /* [num_layers] */
    fsm_norm_pass final_norm;

    /* the present batch */
    fsm_batch batch;
    bool training;                         /* noise, gradients */
    int64_t n_group, n_local, local_first; /* my tokens are [local_first, local_first + n_local) of the group's */
    int64_t group_elems[FSM_MAX_MP];       /* n_local M of each MP rank */
    int64_t *expert_tokens;                /* [ep * esp] n_local of each rank of the expert group, where it is known */

    /* buffers that it takes from layer to layer */
    fsm_index *ids, *targets; /* [n_group] the batch's; targets are set where it has them */
    fsm_index *position;      /* [n_group] */
    fsm_index *key_first;     /* [samples] with a cache: where a sample's region begins, its row; NULL without */
    fsm_index *key_count;     /* [samples] and the tokens in it, the batch's too */
    fsm_real *x_out;          /* [n_local, M] after the last layer */
    fsm_row *h_final;         /* [n_local, M] */
    fsm_real *full;           /* [n_group, M] before a reduce-scatter, after an all-gather */
    fsm_real *dx, *dh;        /* [n_local, M] gradient of the residual stream, of a norm's output */
    fsm_real *dh_full;        /* [n_group, M] */
    fsm_moe_staging staging;
} fsm_pass;

/* The samples of one of `parts` parts (lanes.h), as a batch of their own. */
fsm_batch fsm_batch_part(const fsm_batch *batch, int parts, int part);

/* n_local of each rank of the expert group; NULL: what others have is not known. */
const int64_t *fsm_pass_expert_tokens(const fsm_pass *pass);

/* Starts on a batch, whose arrays are copied to the device. */
void fsm_pass_begin(fsm_pass *pass, const fsm_batch *batch, bool training);

/* Tasks of a forward pass, in this order; per layer: norm … reducescatter, then either the moe ones or the ffn ones.
 * Collective ones only begin (comm/op.h). */
void fsm_pass_embedding_forward(fsm_pass *pass);
void fsm_pass_norm_forward(fsm_pass *pass, int layer);                                        /* norm1 */
fsmoe_status fsm_pass_start_mp_allgather_forward(fsm_pass *pass, int layer, fsm_comm_op *op); /* MP */
void fsm_pass_attention_forward(fsm_pass *pass, int layer);
fsmoe_status fsm_pass_start_mp_reducescatter_forward(fsm_pass *pass, int layer, fsm_comm_op *op); /* MP */
void fsm_pass_gate_forward(fsm_pass *pass, int layer);     /* residual of attention; norm2, gate, rows */
void fsm_pass_iorder_forward(fsm_pass *pass, int layer);   /* x1 of the next layer = x2 + experts' outputs */
void fsm_pass_ffn_norm_forward(fsm_pass *pass, int layer); /* residual of attention; norm2 */
fsmoe_status fsm_pass_start_ffn_allgather_forward(fsm_pass *pass, int layer, fsm_comm_op *op); /* MP */
void fsm_pass_ffn_forward(fsm_pass *pass, int layer);
fsmoe_status fsm_pass_start_ffn_reducescatter_forward(fsm_pass *pass, int layer, fsm_comm_op *op); /* MP */
/* final norm, logits, loss; in training also the gradients of head and final norm's output */
void fsm_pass_head_forward(fsm_pass *pass);

/* Tasks of a backward pass, the mirror image. */
void fsm_pass_head_backward(fsm_pass *pass);
void fsm_pass_iorder_backward(fsm_pass *pass, int layer);
void fsm_pass_order_backward(fsm_pass *pass, int layer);
void fsm_pass_gate_backward(fsm_pass *pass, int layer); /* gate, norm2 */
fsmoe_status fsm_pass_start_ffn_allgather_backward(fsm_pass *pass, int layer, fsm_comm_op *op);
void fsm_pass_ffn_backward(fsm_pass *pass, int layer);
void fsm_pass_ffn_weight_grad(fsm_pass *pass, int layer);
fsmoe_status fsm_pass_start_ffn_reducescatter_backward(fsm_pass *pass, int layer, fsm_comm_op *op);
void fsm_pass_ffn_norm_backward(fsm_pass *pass, int layer);
fsmoe_status fsm_pass_start_mp_allgather_backward(fsm_pass *pass, int layer, fsm_comm_op *op);
void fsm_pass_attention_backward(fsm_pass *pass, int layer);
fsmoe_status fsm_pass_start_mp_reducescatter_backward(fsm_pass *pass, int layer, fsm_comm_op *op);
void fsm_pass_norm_backward(fsm_pass *pass, int layer);
void fsm_pass_embedding_backward(fsm_pass *pass);

/* Logits of tokens at … at + n - 1, [n, V], n up to FSM_HEAD_BLOCK, after a forward pass without targets (generation:
 * one process). They are there until the next call. */
const fsm_real *fsm_pass_logits(const fsm_pass *pass, int64_t at, int64_t n);

#endif
