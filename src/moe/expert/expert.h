/* The expert: the feed-forward block that the rows of one expert go through, or this rank's shard of it.
 * In:  rows x [n, M]; weights split over H: `H` below is the local width.
 * Out: y [n, M], this shard's part of the sum over shards; dx likewise.
 * A kind is one file and one row of the table in experts.c. The input gradient and the weight gradient are separate
 * calls, so that a schedule may put the second one anywhere later.
 */
#ifndef FSM_MOE_EXPERT_H
#define FSM_MOE_EXPERT_H

#include "moe/param.h"

#include <fsmoe/config.h>

typedef struct fsm_expert_weights {
    fsm_weight in;         /* [H or 2H, M] */
    fsm_weight out;        /* [M, H] */
    const float *bias_in;  /* [H] or NULL */
    const float *bias_out; /* [M] or NULL */
    float *d_in, *d_out, *d_bias_in, *d_bias_out;
    bool add_bias_out; /* true on one shard, so that the sum over shards has it once */
} fsm_expert_weights;

/* Rows of one expert, all arrays starting at its first row. */
typedef struct fsm_expert_rows {
    int64_t n, hidden, width; /* M, local H */
    float *x;                 /* [n, M] saved */
    float *pre;               /* [n, H or 2H] before the activation, saved */
    float *act;               /* [n, H] saved */
    float *y;                 /* [n, M] */
    float *dy;                /* [n, M] kept until backward_weight */
    float *dact;              /* [n, H] scratch */
    float *dpre;              /* [n, H or 2H] kept until backward_weight */
    float *dx;                /* [n, M] */
} fsm_expert_rows;

typedef struct fsm_expert_kind {
    const char *name, *description, *source;
    int pre_width; /* columns of `pre` per unit of H: 2 when gated */
    /* specs of one expert of global width ffn_hidden, in memory order; how many */
    int (*list_params)(int64_t hidden, int64_t ffn_hidden, fsm_param_spec *specs);
    /* the views of list_params (grads may be NULL) as weights; `shard` is this rank's index among those sharing the expert */
    void (*bind)(const fsm_param_view *views, int shard, fsm_expert_weights *weights);
    void (*forward)(const fsm_ops *ops, const fsm_expert_weights *weights, const fsm_expert_rows *rows);
    void (*backward_input)(const fsm_ops *ops, const fsm_expert_weights *weights, const fsm_expert_rows *rows);
    void (*backward_weight)(const fsm_ops *ops, const fsm_expert_weights *weights, const fsm_expert_rows *rows);
} fsm_expert_kind;

const fsm_expert_kind *fsm_expert_find(const char *name);
const fsm_expert_kind *fsm_expert_at(int index); /* in the order of the table; NULL after the last */
extern const fsm_expert_kind fsm_expert_gpt, fsm_expert_mixtral;

#endif
