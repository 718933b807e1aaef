/* The gate: which experts each token goes to, and with which weight.
 * In:  x [n, M], the tokens this rank holds; parameters; the tokens' global number for noise.
 * Out: k choices a token by falling score, their combine weights, and the sums that the losses need.
 * A kind is one file and one row of the table in gates.c.
 */
#ifndef FSM_MOE_GATE_H
#define FSM_MOE_GATE_H

#include "base/arena.h"
#include "moe/param.h"

#include <fsmoe/config.h>

/* Sums over tokens from which the losses and the load are made, [E] each; doubles, since they are added over all ranks. */
typedef struct fsm_gate_sums {
    double *first_choices; /* [E] tokens whose first choice is e */
    double *probability;   /* [E] sum of softmax probabilities */
    double *kept;          /* [E] (token, choice) pairs that reached e */
    double *log_sum_sq;    /* [1] sum of logsumexp(logits)^2 */
    double *dropped;       /* [1] (token, choice) pairs that lost their place */
    double *tokens;        /* [1] */
} fsm_gate_sums;

typedef struct fsm_gate {
    const struct fsm_gate_kind *kind;
    const fsm_ops *ops;
    int64_t hidden, num_experts, top_k;
    bool noisy, normalize_top_k;
    fsm_weight weights[FSM_MAX_PARAMS_A_MODULE];
    fsm_param_view params[FSM_MAX_PARAMS_A_MODULE];
    /* saved by forward for backward; [max_tokens, …] */
    float *logits;   /* [N, E] the logits that chose: noisy ones in noisy training */
    float *prob;     /* [N, E] softmax of logits */
    float *lse;      /* [N] */
    float *noise;    /* [N, E] N(0,1) drawn, if noisy */
    float *spread;   /* [N, E] x Wn^T, if noisy */
    int32_t *choice; /* [N, k] experts by falling logit */
    float *score;    /* [N, k] their logits */
    float *weight;   /* [N, k] combine weights */
    float *dlogits;  /* [N, E] scratch of backward */
    float *dspread;  /* [N, E] scratch of backward, if noisy */
} fsm_gate;

/* One forward call. */
typedef struct fsm_gate_input {
    int64_t n;
    const float *x; /* [n, M] */
    bool training;  /* noise only in training */
    uint64_t seed;
    uint32_t layer;
    uint64_t first_token; /* global number of token 0: noise does not depend on the layout */
} fsm_gate_input;

/* What the losses send back into the logits, per token of this rank. */
typedef struct fsm_gate_loss_grad {
    const double *load;   /* [E] d aux / d probability sum: coeff * E * f_e / tokens */
    double log_sum_coeff; /* d z / d logit_i = log_sum_coeff * lse * p_i: 2 * coeff / tokens */
} fsm_gate_loss_grad;

typedef struct fsm_gate_kind {
    const char *name, *description, *source;
    /* how many specs were written */
    int (*list_params)(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs);
    void (*forward)(fsm_gate *gate, const fsm_gate_input *input, fsm_gate_sums *sums);
    /* dweight [n, k]; dx [n, M] += */
    void (*backward)(fsm_gate *gate, const fsm_gate_input *input, const float *dweight, const fsm_gate_loss_grad *loss,
                     float *dx);
} fsm_gate_kind;

/* NULL when no kind has that name. */
const fsm_gate_kind *fsm_gate_find(const char *name);
const fsm_gate_kind *fsm_gate_at(int index); /* in the order of the table; NULL after the last */

extern const fsm_gate_kind fsm_gate_gshard;

/* Takes the state's memory for up to max_tokens from the arena (measured or real). */
void fsm_gate_take(fsm_arena *arena, int64_t max_tokens, fsm_gate *gate);

#endif
