/* Random numbers of a test, one after another, the same in every run.
 * In:  DRAW_SEED, which a test defines before it includes this. Out: the next number.
 */
#ifndef FSM_TESTS_DRAWS_H
#define FSM_TESTS_DRAWS_H

#include "base/rng.h"

static uint64_t draws; /* so far */

/* 0 … limit - 1 */
static inline int64_t draw(int64_t limit)
{
    return (int64_t)(fsm_rng_bits(DRAW_SEED, FSM_RNG_TEST, draws++) % (uint64_t)limit);
}

/* In (0, 1). */
static inline double draw_uniform(void)
{
    return fsm_rng_uniform(DRAW_SEED, FSM_RNG_TEST, draws++);
}

#endif
