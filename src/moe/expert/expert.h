/* The expert: the feed-forward block that the rows of one expert go through, or this rank's shard of it.
 * In:  rows x [n, M], in runs of one expert's each; weights split over H: `H` below is the local width; moe.activation
 *      and moe.bias.
 * Out: y [n, M], this shard's part of the sum over shards; dx likewise. All experts of a rank are one call.
 * A kind is one file and one row of the table in experts.c. The input gradient and the weight gradient are separate
 * calls, so that a schedule may put the second one anywhere later: it needs x, act, dy and what has become of pre.
 */
#ifndef FSM_MOE_EXPERT_H
#define FSM_MOE_EXPERT_H

#include "moe/expert/activation.h"
#include "moe/param.h"
#include "ops/memory.h"

#include <fsmoe/config.h>
#include <fsmoe/status.h>

/* Experts of one shape, `in` and `out` [count]. */
typedef struct fsm_experts {
    const fsm_activation *activation;
    fsm_linear *in;  /* [H or 2H, M] */
    fsm_linear *out; /* [M, H]; a bias on one shard, so that the sum over shards has it once */
} fsm_experts;

/* Rows of some experts, a run each. What comes in and goes out may be rows or, of a block that the residual stream goes
 * through, fp32. */
typedef struct fsm_expert_rows {
    fsm_runs runs;
    int64_t hidden, width; /* M, local H */
    fsm_matrix x;          /* [n, M] saved */
    fsm_row *pre;          /* [n, H or 2H] before the activation, saved; from backward_input on its gradient */
    fsm_row *act;          /* [n, H] saved */
    fsm_matrix y;          /* [n, M] */
    fsm_matrix dy;         /* [n, M] kept until backward_weight; only read, others may read it too */
    fsm_row *dact;         /* [n, H] scratch */
    fsm_matrix dx;         /* [n, M] */
} fsm_expert_rows;

typedef struct fsm_expert_kind {
    const char *name, *description, *source;
    const char *activation; /* what moe.activation auto stands for; it can be any that is gated as this one */
    bool has_bias;          /* unless moe.bias is false; a kind without never has */
    bool runs_on_host;      /* looks into rows as arrays of floats: refused where they are bf16, or elsewhere */
    int pre_width;          /* columns of `pre` per unit of H: 2 when gated */
    /* specs of one expert of global width ffn_hidden, in memory order; how many */
    int (*list_params)(const fsmoe_moe_config *config, int64_t hidden, int64_t ffn_hidden, fsm_param_spec *specs);
    /* the views of list_params (values and grads may be NULL, where shapes alone count) as an expert's two maps;
     * `shard` is this rank's index among those sharing the expert */
    void (*bind)(const fsmoe_moe_config *config, const fsm_param_view *views, int shard, fsm_linear *in,
                 fsm_linear *out);
    void (*forward)(const fsm_ops *ops, const fsm_experts *experts, const fsm_expert_rows *rows);
    void (*backward_input)(const fsm_ops *ops, const fsm_experts *experts, const fsm_expert_rows *rows);
    void (*backward_weight)(const fsm_ops *ops, const fsm_experts *experts, const fsm_expert_rows *rows);
} fsm_expert_kind;

/* The expert of a configuration. ERROR_CONFIG: no such kind, or one without this activation or bias. Whoever lists or
 * binds parameters has asked before. */
fsmoe_status fsm_expert_select(const fsmoe_moe_config *config, const fsm_expert_kind **kind);

/* ERROR_CONFIG: the kind runs on the host, and tensors of these operations do not. ops NULL: not known yet. */
fsmoe_status fsm_expert_check_host(const fsm_expert_kind *kind, const fsm_ops *ops);

/* Whether the expert has biases, and its activation, NULL if there is none of that name. */
FSMOE_API bool fsm_expert_has_bias(const fsm_expert_kind *kind, const fsmoe_moe_config *config);
FSMOE_API const fsm_activation *fsm_expert_activation(const fsm_expert_kind *kind, const fsmoe_moe_config *config);

/* act from pre of all runs; the gradient of pre, in its place, from dact. */
FSMOE_API void fsm_experts_activate(const fsm_ops *ops, const fsm_activation *activation, const fsm_expert_rows *rows);
FSMOE_API void fsm_experts_activate_backward(const fsm_ops *ops, const fsm_activation *activation,
                                             const fsm_expert_rows *rows);

/* Room for `count` experts. */
fsm_experts fsm_experts_take(fsm_memory *memory, const fsm_activation *activation, int64_t count);

const fsm_expert_kind *fsm_expert_find(const char *name);
const fsm_expert_kind *fsm_expert_at(int index); /* in the order of the table; NULL after the last */
extern const fsm_expert_kind fsm_expert_gpt, fsm_expert_mixtral;

#endif
