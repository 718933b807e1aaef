/* Shared experts: feed-forward blocks that every token goes through, beside the routed ones (DeepSeekMoE, Dai et al. 2024;
 * the gate of each as in Qwen2-MoE):  y += sum_s sigmoid(x . g_s) expert_s(x), without shared_gate sum_s expert_s(x).
 * Every rank holds them whole and runs them on its own tokens.
 * In:  x [n, M]. Out: y +=; dx +=, gradients of parameters +=.
 */
#ifndef FSM_MOE_SHARED_H
#define FSM_MOE_SHARED_H

#include "base/arena.h"
#include "moe/expert/expert.h"

typedef struct fsm_shared {
    const fsm_expert_kind *kind;
    const fsm_ops *ops;
    int count;
    bool gated;
    int64_t hidden, width; /* M, H */
    int64_t max_tokens;
    fsm_expert_weights *experts; /* [count] */
    fsm_param_view gate;         /* [count, M], if gated */
    float *pre, *act;            /* [count, N, H or 2H], [count, N, H] saved */
    float *out;                  /* [count, N, M] saved if gated, else one of scratch */
    float *open, *dopen;         /* [count, N] sigmoids, [N] scratch of backward, if gated */
    int32_t *row;                /* [N] i: for ops that take rows by index, if gated */
    float *dy, *dx;              /* [N, M] scratch of backward; dy if gated */
    float *dact;                 /* [N, H] likewise */
} fsm_shared;

void fsm_shared_take(fsm_arena *arena, int64_t max_tokens, fsm_shared *shared);
void fsm_shared_forward(fsm_shared *shared, int64_t n, const float *x, float *y);
void fsm_shared_backward(fsm_shared *shared, int64_t n, const float *x, const float *dy, float *dx);

#endif
