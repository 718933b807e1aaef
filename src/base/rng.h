/* Random numbers by counter: a number is a pure function of (seed, stream, index), so every layout of ranks,
 * every order of work and every resumed run draws the same ones. Philox4x32-10 of Random123
 * (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 * In:  seed of the run, stream (what the numbers are for), index (which one).
 * Out: uniform in (0, 1), normal N(0, 1), or a whole 64-bit word. No state.
 */
#ifndef FSM_BASE_RNG_H
#define FSM_BASE_RNG_H

#include <fsmoe/export.h>

#include <stdint.h>

/* What the numbers are for; the low 24 bits are free for a layer or tensor number. */
typedef enum fsm_rng_stream {
    FSM_RNG_INIT = 1 << 24,
    FSM_RNG_GATE_NOISE = 2 << 24,
    FSM_RNG_SHUFFLE = 3 << 24,
    FSM_RNG_SAMPLE = 4 << 24,
    FSM_RNG_TEST = 5 << 24,
    FSM_RNG_PLAN = 6 << 24,
} fsm_rng_stream;

FSMOE_API uint64_t fsm_rng_bits(uint64_t seed, uint32_t stream, uint64_t index);
FSMOE_API double fsm_rng_uniform(uint64_t seed, uint32_t stream, uint64_t index);
/* Four uniforms of 23 bits for the price of one. */
FSMOE_API void fsm_rng_uniform_four(uint64_t seed, uint32_t stream, uint64_t index, float uniform[4]);
FSMOE_API double fsm_rng_normal(uint64_t seed, uint32_t stream, uint64_t index);

/* Those of `n` consecutive indices at once, several times as fast, to the same bits (rng_batch.c):
 * out[i] = (float)fsm_rng_normal(first + i), (float)fsm_rng_uniform(first + i); out[4 i ... 4 i + 3] = the four of
 * first + i. */
FSMOE_API void fsm_rng_normals(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out);
FSMOE_API void fsm_rng_uniforms(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out);
FSMOE_API void fsm_rng_uniform_fours(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out);

#endif
