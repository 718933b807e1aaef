/* What the all-to-alls that pass blocks on share. */
#ifndef FSM_MOE_HIERARCHY_H
#define FSM_MOE_HIERARCHY_H

#include "moe/dispatch/alltoall.h"

/* counts[0] + counts[stride] + …, n of them */
static inline int64_t fsm_blocks_sum(const int64_t *counts, int n, int stride)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += counts[i * stride];
    return sum;
}

/* Where a block of n elements began, at whose end we are. */
static inline fsm_spot fsm_spot_before(fsm_spot end, int64_t n)
{
    return (fsm_spot){end.region, end.at - n};
}

#endif
