/* The gate: which experts each token goes to, and with which weight.
 * In:  x [n, M], the tokens this rank holds; parameters; the tokens' global number for noise.
 * Out: choices a token by falling score, their combine weights, and the sums that the losses need; or, of a gate that
 *      mixes, how much of each token every slot of an expert takes and gives back.
 * A gate is what a layer has: its parameters. A pass is what some tokens leave on their way through it, from forward
 * until backward. Several may be under way in one gate, with calls that take turns.
 * A kind is one file and one row of the table in gates.c; what kinds share is in router.h, the losses are in balance.h.
 */
#ifndef FSM_MOE_GATE_H
#define FSM_MOE_GATE_H

#include "moe/param.h"
#include "ops/memory.h"

#include <fsmoe/config.h>

/* Sums over tokens from which the losses and the load are made; doubles, since they are added over all ranks. */
typedef struct fsm_gate_sums {
    fsm_sum *load;       /* [E] f of the load-balancing loss (balance.h) */
    fsm_sum *share;      /* [E] and its P */
    fsm_sum *chosen;     /* [E] (token, choice) pairs that chose e, before any drop */
    fsm_sum *kept;       /* [E] those that reached e */
    fsm_sum *log_sum_sq; /* [1] sum of logsumexp(logits)^2 */
    fsm_sum *dropped;    /* [1] (token, choice) pairs that lost their place */
    fsm_sum *tokens;     /* [1] */
    fsm_sum *aux;        /* [1] ranks' own losses, where each has one of its own tokens */
} fsm_gate_sums;

/* The sums in an array of so many doubles, in this order. */
#define FSM_GATE_SUMS_COUNT(num_experts) (4 * (num_experts) + 4)
#define FSM_GATE_SUMS_KEPT(num_experts) (3 * (num_experts))
#define FSM_GATE_SUMS_DROPPED(num_experts) (4 * (num_experts) + 1)
fsm_gate_sums fsm_gate_sums_at(fsm_sum *sums, int64_t num_experts);

/* What the losses send back, per unit of the sums. */
typedef struct fsm_gate_loss_grad {
    const fsm_sum *share; /* [E] d aux / d share */
    const fsm_sum *load;  /* [E] d aux / d load, 0 where load is a count */
    const fsm_sum *z;     /* [1] 2 coeff / tokens: d z-loss / d logit_i = z lse softmax_i; NULL: 0 */
} fsm_gate_loss_grad;

/* One forward call. */
typedef struct fsm_gate_input {
    int64_t n;
    const fsm_row *x;      /* [n, M] */
    const fsm_index *ids;  /* [n] token ids; NULL: their numbers are */
    const fsm_real *noise; /* [n, E] given instead of drawn; NULL: drawn */
    bool training;         /* noise only in training */
    uint64_t seed;
    uint32_t layer;
    uint64_t first_token;    /* global number of token 0: noise does not depend on the layout */
    int64_t group, capacity; /* tokens that share a capacity, and the rows T that an expert takes of them */
} fsm_gate_input;

typedef struct fsm_gate {
    const struct fsm_gate_kind *kind;
    const struct fsm_balance *balance;
    const fsmoe_moe_config *config;
    const fsm_ops *ops;
    int64_t hidden, num_experts;
    int64_t choices; /* a token has: top_k, or E where experts choose */
    fsm_weight weights[FSM_MAX_PARAMS_A_MODULE];
    fsm_param_view params[FSM_MAX_PARAMS_A_MODULE];
} fsm_gate;

/* One pass of tokens through a gate. */
typedef struct fsm_gate_pass {
    const fsm_gate *gate;
    fsm_gate_input input;
    /* saved by forward for backward; [max_tokens, …] */
    fsm_real *logits;           /* [N, E] the logits that chose: noisy ones in noisy training */
    fsm_real *prob;             /* [N, E] softmax of logits */
    fsm_real *lse;              /* [N] logsumexp of logits */
    fsm_index *choice;          /* [N, choices] experts by falling score, -1: none */
    fsm_real *score;            /* [N, choices] what they were chosen by */
    fsm_real *weight;           /* [N, choices] combine weights, 0 where there is no choice */
    void *own;                  /* the kind's */
    struct fsm_gate_host *host; /* on_host.h; NULL: the kind computes where tensors are */
    /* of backward */
    const fsm_real *dweight; /* [n, choices] */
    fsm_gate_loss_grad loss;
    fsm_real *dlogits; /* [N, E] scratch of one call: other passes have the same */
    fsm_real *dx;      /* [n, M] += */
} fsm_gate_pass;

typedef struct fsm_gate_kind {
    const char *name, *description, *source;
    bool has_logits;      /* so a z-loss may be asked for */
    bool has_probability; /* so first_choice and all_choices may */
    bool has_weights;     /* that its logits decide, so importance_load may */
    bool experts_choose;  /* a token has up to E choices; nothing is dropped */
    bool mixes;           /* slots are mixtures of tokens: mix instead of forward, there are no choices */
    bool runs_on_host; /* all of it: its functions see arrays of the host, and `take` takes nothing else (on_host.h) */
    /* what of it runs on the host and copies its tensors there and back; NULL: nothing, under this configuration */
    const char *(*on_host)(const fsmoe_moe_config *config);
    /* how many specs were written; NULL: no parameters */
    int (*list_params)(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs);
    /* pass->own for up to max_tokens; NULL: nothing */
    void (*take)(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass);
    /* all that is saved above, of pass->input */
    void (*forward)(fsm_gate_pass *pass);
    /* pass->dx +=, gradients of parameters += */
    void (*backward)(fsm_gate_pass *pass);
    /* load [E] += how likely each expert is chosen, where noise decides; false: it does not. NULL: never */
    bool (*add_load)(const fsm_gate_pass *pass, fsm_sum *load);
    /* after a step whose batch chose each expert chosen [E] times; NULL: nothing changes */
    void (*after_step)(fsm_gate *gate, const fsm_sum *chosen);
    /* of one group of tokens x [group, M], columns slot by slot of expert by expert: dispatch [group, E S], of which a
     * slot's column sums to 1, and combine [group, E S], of which a token's row does */
    void (*mix)(fsm_gate_pass *pass, int64_t group, const fsm_row *x, fsm_real *dispatch, fsm_real *combine);
    /* dispatch, combine as mix left them; d_dispatch, d_combine may be overwritten; dx [group, M] += */
    void (*mix_backward)(fsm_gate_pass *pass, int64_t group, const fsm_row *x, const fsm_real *dispatch,
                         const fsm_real *combine, fsm_real *d_dispatch, fsm_real *d_combine, fsm_real *dx);
} fsm_gate_kind;

/* NULL when no kind has that name. */
const fsm_gate_kind *fsm_gate_find(const char *name);
const fsm_gate_kind *fsm_gate_at(int index); /* in the order of the table; NULL after the last */

extern const fsm_gate_kind fsm_gate_gshard, fsm_gate_switch, fsm_gate_sigmoid, fsm_gate_xmoe, fsm_gate_expert_choice,
    fsm_gate_soft, fsm_gate_deepseek, fsm_gate_hash, fsm_gate_balanced_test;

/* Looks up kind and loss, and refuses what the kind does not have, by name. ERROR_CONFIG. */
fsmoe_status fsm_gate_select(const fsmoe_moe_config *config, fsm_gate *gate);

/* Choices that a token has under the configuration. */
int64_t fsm_gate_choices(const fsmoe_moe_config *config);

/* What of the configured gate runs on the host, for a run to say: the kind's name, where all of it does; NULL:
 * nothing. */
const char *fsm_gate_on_host(const fsmoe_moe_config *config);

/* Takes a pass's memory for up to max_tokens (measured or real). dlogits [max_tokens, E], borrowed, serves all
 * passes of all layers. */
void fsm_gate_take(fsm_memory *memory, const fsm_gate *gate, int64_t max_tokens, fsm_real *dlogits,
                   fsm_gate_pass *pass);

/* Choices, weights and sums of pass->input; all of sums but kept and dropped, +=. */
void fsm_gate_forward(fsm_gate_pass *pass, fsm_gate_sums *sums);

/* dweight [n, choices] is changed: the loss's part is added. dx [n, M] +=, gradients of parameters +=. */
void fsm_gate_backward(fsm_gate_pass *pass, fsm_real *dweight, const fsm_gate_loss_grad *loss, fsm_real *dx);

#endif
