/* A layer of the model on one rank: what it is, and what a pass of tokens saves of it from forward to backward.
 * In:  parameters, bound by fsm_model_bind; memory of a pass, laid out by fsm_pass_take.
 * Out: plain structs; the functions that work on them are the tasks of pass.h.
 */
#ifndef FSM_MODEL_LAYER_H
#define FSM_MODEL_LAYER_H

#include "moe/layer.h"

typedef struct fsm_norm {
    fsm_param_view gain, bias; /* bias.value NULL for RMSNorm */
} fsm_norm;

typedef struct fsm_layer {
    bool is_moe;
    int index;
    fsm_norm norm1, norm2;
    fsm_weight qkv, o;               /* this rank's heads */
    fsm_param_view qkv_grad, o_grad; /* value and gradient of the same blocks */
    fsm_param_view qkv_bias, o_bias; /* value NULL without biases */
    fsm_linear ffn_in, ffn_out;      /* a layer without experts */
    fsm_moe moe;                     /* a layer with experts */
    fsm_row *cache_k, *cache_v;      /* [cache_regions, cache_len, kv_heads head_dim] */
} fsm_layer;

typedef struct fsm_norm_pass {
    fsm_real *mean, *rstd; /* [n_local] */
} fsm_norm_pass;

typedef struct fsm_layer_pass {
    fsm_norm_pass norm1, norm2;
    fsm_real *x1;       /* [n_local, M] into the layer */
    fsm_real *x2;       /* [n_local, M] between attention and feed-forward */
    fsm_row *h1;        /* [n_group, M] norm1(x1), gathered */
    fsm_row *h2;        /* [n_local, M] norm2(x2); [n_group, M] gathered without experts */
    fsm_row *qkv_out;   /* [n_group, (heads + 2 kv_heads) head_dim] after rotation */
    fsm_row *attended;  /* [n_group, heads head_dim] */
    fsm_real *lse;      /* [samples, heads, L] */
    fsm_row *pre, *act; /* dense feed-forward */
    fsm_moe_pass moe;   /* of a layer with experts */
} fsm_layer_pass;

#endif
