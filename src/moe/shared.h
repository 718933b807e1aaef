/* Shared experts: feed-forward blocks that every token goes through, beside the routed ones (DeepSeekMoE, Dai et al.
 * 2024; the gate of each as in Qwen2-MoE):  y += sum_s sigmoid(x . g_s) expert_s(x), without shared_gate sum_s
 * expert_s(x). Every rank holds them whole and runs them on its own tokens.
 * In:  x [n, M]. Out: y +=; dx +=, gradients of parameters +=.
 */
#ifndef FSM_MOE_SHARED_H
#define FSM_MOE_SHARED_H

#include "moe/expert/expert.h"
#include "ops/memory.h"

typedef struct fsm_shared {
    const fsm_expert_kind *kind;
    const fsm_ops *ops;
    int count;
    bool gated;
    int64_t hidden, width; /* M, H */
    fsm_experts experts;   /* [count] */
    fsm_param_view gate;   /* [count, M], if gated */
} fsm_shared;

/* Scratch of one call: all passes of all layers have the same. */
typedef struct fsm_shared_scratch {
    fsm_real *out;   /* [N, M] of one block, unless gated */
    fsm_real *dopen; /* [N], if gated */
    fsm_index *row;  /* [N] i: for ops that take rows by index, if gated */
    fsm_row *dy;     /* [N, M], if gated */
    fsm_real *dx;    /* [N, M] */
    fsm_row *dact;   /* [N, H] */
} fsm_shared_scratch;

/* What a pass of tokens saves for backward. */
typedef struct fsm_shared_pass {
    const fsm_shared *shared;
    const fsm_shared_scratch *scratch;
    int64_t max_tokens;
    fsm_row *pre, *act; /* [count, N, H or 2H], [count, N, H] */
    fsm_row *out;       /* [count, N, M], if gated */
    fsm_real *open;     /* [count, N] sigmoids, if gated */
} fsm_shared_pass;

void fsm_shared_scratch_take(fsm_memory *memory, const fsm_shared *shared, int64_t max_tokens,
                             fsm_shared_scratch *scratch);
void fsm_shared_take(fsm_memory *memory, const fsm_shared *shared, int64_t max_tokens,
                     const fsm_shared_scratch *scratch, fsm_shared_pass *pass);

void fsm_shared_forward(const fsm_shared_pass *pass, int64_t n, const fsm_row *x, fsm_real *y);
void fsm_shared_backward(const fsm_shared_pass *pass, int64_t n, const fsm_row *x, const fsm_real *dy, fsm_real *dx);

#endif
