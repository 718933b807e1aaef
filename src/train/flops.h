/* What training a model has to compute, by its configuration alone: FLOPs a token, forward and backward.
 * In:  the table of parameters, the configuration. Out: two numbers, the same on every layout.
 * As PaLM's appendix B counts them (Chowdhery et al. 2022): a matrix that a token is multiplied with costs 2 FLOPs an
 * element forward and 4 backward; attention is two products of queries and keys forward, four backward. So, a token,
 *   6 N + 12 sum over layers of (heads * head_dim) * (L + 1) / 2
 * N: the active elements of matrices, top_k experts of each MoE layer, the head but not the lookup of embeddings;
 * causal: a token sees (L + 1) / 2 of L keys, where PaLM takes all L. Padding, places that stay empty and scores that
 * backward works out again are not counted: they are no use to the model. Tokens that are dropped count as if they were
 * not, since how many are is not the configuration's.
 * Where experts choose, each takes capacity_factor top_k n / E of n tokens: capacity_factor top_k experts a token.
 * SoftMoE's experts run on E S slots a sample of L tokens, and mixing to and from slots costs as much as Phi does,
 * twice.
 */
#ifndef FSM_TRAIN_FLOPS_H
#define FSM_TRAIN_FLOPS_H

#include "model/params.h"

typedef struct fsm_model_flops {
    double products, attention;
} fsm_model_flops;

/* Of a derived configuration. */
fsm_model_flops fsm_flops_a_token(const fsm_params *params, const fsmoe_config *config);

#endif
