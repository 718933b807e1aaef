#include "tokens/sampler.h"

#include "base/rng.h"

#include <stdlib.h>

int64_t fsm_sampler_count(int64_t n_tokens, int64_t seq_len)
{
    return n_tokens > 0 ? (n_tokens - 1) / seq_len : 0;
}

fsmoe_status fsm_sampler_create(uint64_t seed, bool shuffle, int64_t n_samples, fsm_sampler *sampler)
{
    *sampler = (fsm_sampler){.seed = seed, .n_samples = n_samples, .pass = -1};
    if (n_samples <= 0)
        return fsm_fail(FSMOE_ERROR_CONFIG, "the data is shorter than one sample of data.seq_len tokens and a target");
    if (!shuffle) return FSMOE_OK;
    sampler->order = calloc((size_t)n_samples, sizeof *sampler->order);
    if (!sampler->order) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to shuffle %lld samples", (long long)n_samples);
    return FSMOE_OK;
}

void fsm_sampler_destroy(fsm_sampler *sampler)
{
    free(sampler->order);
    *sampler = (fsm_sampler){0};
}

/* Uniform in [0, n): numbers of the last, incomplete multiple of n are drawn again. */
static uint64_t draw_below(uint64_t n, uint64_t seed, uint32_t stream, uint64_t *draws)
{
    uint64_t end = UINT64_MAX - UINT64_MAX % n, bits;
    do bits = fsm_rng_bits(seed, stream, (*draws)++);
    while (bits >= end);
    return bits % n;
}

/* Fisher-Yates, inside out: order[0..i] is a uniform permutation after each i. */
static void shuffle_pass(fsm_sampler *sampler, int64_t pass)
{
    uint32_t stream = (uint32_t)FSM_RNG_SHUFFLE + ((uint32_t)pass & 0xFFFFFF);
    uint64_t draws = 0;
    for (int64_t i = 0; i < sampler->n_samples; i++) {
        int64_t j = (int64_t)draw_below((uint64_t)i + 1, sampler->seed, stream, &draws);
        sampler->order[i] = sampler->order[j];
        sampler->order[j] = i;
    }
    sampler->pass = pass;
}

int64_t fsm_sampler_sample(fsm_sampler *sampler, int64_t index)
{
    int64_t pass = index / sampler->n_samples, at = index % sampler->n_samples;
    if (!sampler->order) return at;
    if (sampler->pass != pass) shuffle_pass(sampler, pass);
    return sampler->order[at];
}
