/* Which sample a training step takes: sample i of a stream is its tokens i L to i L + L, the last one only as a target.
 * In:  seed, number of samples n, and an index over the whole training: step s takes indices s B to s B + B - 1.
 * Out: a sample in [0, n). Index j belongs to pass j / n over the samples; a pass takes each of them once,
 *      in order, or shuffled by its own permutation. The answer depends on seed, n and index alone.
 */
#ifndef FSM_TOKENS_SAMPLER_H
#define FSM_TOKENS_SAMPLER_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fsm_sampler {
    uint64_t seed;
    int64_t n_samples;
    int64_t *order; /* [n_samples], the permutation of `pass`; NULL: no shuffling */
    int64_t pass;   /* -1: none yet */
} fsm_sampler;

/* Samples of seq_len tokens in a stream of n_tokens: (n_tokens - 1) / seq_len, 0 for an empty stream. */
int64_t fsm_sampler_count(int64_t n_tokens, int64_t seq_len);

/* ERROR_CONFIG: no sample at all, the stream is shorter than one; ERROR_MEMORY. */
fsmoe_status fsm_sampler_create(uint64_t seed, bool shuffle, int64_t n_samples, fsm_sampler *sampler);
void fsm_sampler_destroy(fsm_sampler *sampler);

/* The sample of index >= 0. O(1) within a pass; the first one of another pass shuffles anew, O(n). Allocates nothing.
 * Not thread-safe on one sampler. */
int64_t fsm_sampler_sample(fsm_sampler *sampler, int64_t index);

#endif
