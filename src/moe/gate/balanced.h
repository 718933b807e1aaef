/* An assignment of tokens to experts in which every expert gets equally many (BASE layers, Lewis et al. 2021).
 *   plan = r_i softmax(logits)_ie v_e with rows that sum to 1 and columns that sum to tokens / E: Sinkhorn's iteration, as
 *   Clark et al. 2022 (Unified scaling laws for routed language models) replace BASE's auction;
 *   rounded by deferred acceptance (Gale & Shapley 1962): tokens ask experts by falling plan, an expert keeps those with
 *   the largest that ask, one a seat. Equals go to the lower expert, and to the earlier token. There are k tokens seats:
 *   floor(k tokens / E) an expert, and one more at those with the largest sums of softmax, as many as are left.
 *   Where all that is left is what a token has already (k > 1), the earliest token that can gives it its seat at the
 *   lowest expert that it has not, and moves to the lowest that has room.
 * In:  softmax and logits of the tokens of one group. Out: k different experts a token, by falling logit.
 * All arrays are the host's: one token asks after another, and what it is answered depends on those before it.
 */
#ifndef FSM_MOE_BALANCED_H
#define FSM_MOE_BALANCED_H

#include "ops/memory.h"

typedef struct fsm_balanced {
    int64_t group, num_experts, choices, most; /* tokens of a group; E; k; ceil(k group / E) */
    float *plan;                               /* [N, E] consumed: negative where a token has asked */
    float *scale;                              /* [groups, 2, E] v, and sums of columns */
    struct fsm_balanced_seat *seats;           /* [groups, E, most] heaps, the least first */
    int64_t *room;                             /* [groups, 2, E] seats of an expert; those that are taken */
    int32_t *taken;                            /* [N] choices that a token has */
} fsm_balanced;

/* Memory for max_tokens in groups of `group`; 0: all of them are one. */
void fsm_balanced_take(fsm_memory *memory, int64_t max_tokens, int64_t group, int64_t num_experts, int64_t choices,
                       fsm_balanced *balanced);

/* Group number `index`, of `tokens` <= group tokens; all arrays begin at its first: prob, logits [tokens, E], choice
 * [tokens, k]. prob may be the group's part of `plan`. Groups may be worked on at once. */
void fsm_balanced_choose(const fsm_balanced *balanced, int64_t index, int64_t tokens, const float *prob,
                         const float *logits, int32_t *choice);

#endif
