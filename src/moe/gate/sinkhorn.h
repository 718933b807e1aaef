/* A balanced transport plan between tokens and experts (Sinkhorn & Knopp 1967).
 * In:  logits [tokens, E]. Out: plan [tokens, E], in logarithms: a token's row of exp(plan) sums to 1, an expert's column
 * to tokens / E, nearly.
 */
#ifndef FSM_MOE_SINKHORN_H
#define FSM_MOE_SINKHORN_H

#include <stdint.h>

void fsm_sinkhorn(int64_t tokens, int64_t num_experts, const float *logits, float *plan);

#endif
