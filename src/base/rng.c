#include "base/rng.h"

#include <math.h>
#include <Random123/philox.h>

static philox4x32_ctr_t draw(uint64_t seed, uint32_t stream, uint64_t index)
{
    philox4x32_ctr_t counter = {{(uint32_t)index, (uint32_t)(index >> 32), stream, 0}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    return philox4x32(counter, key);
}

/* 53 bits into the open interval (0, 1), so that log() of it is finite. */
static double open_unit(uint32_t high, uint32_t low)
{
    uint64_t bits = ((uint64_t)high << 32 | low) >> 11;
    return ((double)bits + 0.5) * 0x1.0p-53;
}

uint64_t fsm_rng_bits(uint64_t seed, uint32_t stream, uint64_t index)
{
    philox4x32_ctr_t r = draw(seed, stream, index);
    return (uint64_t)r.v[0] << 32 | r.v[1];
}

double fsm_rng_uniform(uint64_t seed, uint32_t stream, uint64_t index)
{
    philox4x32_ctr_t r = draw(seed, stream, index);
    return open_unit(r.v[0], r.v[1]);
}

void fsm_rng_uniform_four(uint64_t seed, uint32_t stream, uint64_t index, float uniform[4])
{
    philox4x32_ctr_t r = draw(seed, stream, index);
    for (int i = 0; i < 4; i++) uniform[i] = ((float)(r.v[i] >> 9) + 0.5f) * 0x1.0p-23f;
}

/* Box-Muller on the two uniforms of one counter; the sine twin is not used, so an index needs no neighbour. */
double fsm_rng_normal(uint64_t seed, uint32_t stream, uint64_t index)
{
    philox4x32_ctr_t r = draw(seed, stream, index);
    double radius = sqrt(-2.0 * log(open_unit(r.v[0], r.v[1])));
    return radius * cos(2.0 * 3.14159265358979323846 * open_unit(r.v[2], r.v[3]));
}
