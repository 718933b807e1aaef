#include "moe/gate/sinkhorn.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 30 };

/* log of the sum of exp of n values, `step` apart. */
static float log_sum_exp(const float *values, int64_t n, int64_t step)
{
    float most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, values[i * step]);
    for (int64_t i = 0; i < n; i++) sum += expf(values[i * step] - most);
    return most + logf(sum);
}

void fsm_sinkhorn(int64_t tokens, int64_t num_experts, const float *logits, float *plan)
{
    float share = logf((float)tokens / (float)num_experts);
    memcpy(plan, logits, sizeof *plan * (size_t)(tokens * num_experts));
    for (int round = 0; round < ROUNDS; round++) {
        for (int64_t e = 0; e < num_experts; e++) {
            float excess = log_sum_exp(plan + e, tokens, num_experts) - share;
            for (int64_t i = 0; i < tokens; i++) plan[i * num_experts + e] -= excess;
        }
        for (int64_t i = 0; i < tokens; i++) {
            float excess = log_sum_exp(plan + i * num_experts, num_experts, 1);
            for (int64_t e = 0; e < num_experts; e++) plan[i * num_experts + e] -= excess;
        }
    }
}
