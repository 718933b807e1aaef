/* Floats in vectorisable loops (base/kernel.h): bits, the exponential, maxima, the normal distribution's tail.
 * In, out: as each says; inlined into each version of a kernel.
 */
#ifndef FSM_CPU_SIMD_H
#define FSM_CPU_SIMD_H

#include "base/kernel.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

FSM_CPU_BODY float fsm_cpu_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

FSM_CPU_BODY uint32_t fsm_cpu_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* e^x for x <= 88, within 2 units in the last place; 0 below -126.5 ln 2 = -87.7 (where expf turns subnormal), NaN for
 * NaN. x = n ln 2 + r, |r| <= ln 2 / 2: a polynomial in r (Moshier, Cephes expf) times 2^n, whose bits for n = -127 are
 * those of 0. Smaller x are masked, not clamped: gcc makes a branch of a clamp to a constant, and then no vectors. */
FSM_CPU_BODY float fsm_cpu_exp(float x)
{
    const float round = 12582912; /* 1.5 * 2^23: adding it leaves the nearest whole number in the low bits */
    const uint32_t keep = -(uint32_t) !(x < -88);
    x = fsm_cpu_float_of_bits(fsm_cpu_bits_of_float(x) & keep);
    float shifted = x * 1.44269504088896341f + round, n = shifted - round;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1;
    float e = p * fsm_cpu_float_of_bits((fsm_cpu_bits_of_float(shifted) + 127) << 23);
    return fsm_cpu_float_of_bits(fsm_cpu_bits_of_float(e) & keep);
}

/* The largest of x, -infinity of nothing; a NaN is passed over. Sixteen maxima side by side, since compilers make
 * vectors of a single one only where NaNs are excluded. */
FSM_CPU_BODY float fsm_cpu_max(int64_t n, const float *x)
{
    enum { LANES = 16 };
    float lane[LANES], largest = -INFINITY;
    int64_t whole = n / LANES * LANES;
    for (int j = 0; j < LANES; j++) lane[j] = -INFINITY;
    for (int64_t i = 0; i < whole; i += LANES) {
#pragma omp simd
        for (int j = 0; j < LANES; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    }
    for (int j = 0; j < LANES; j++) largest = lane[j] > largest ? lane[j] : largest;
    for (int64_t i = whole; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

/* 1 for x > 0 and 0 for x < 0, less the `tail` of a symmetric distribution beyond |x|: its distribution function,
 * accurate on both sides and without a branch. */
FSM_CPU_BODY float fsm_cpu_distribution(float x, float tail)
{
    return 0.5f + copysignf(0.5f, x) - copysignf(tail, x);
}

/* 1 / (1 + e^-x) */
FSM_CPU_BODY float fsm_cpu_sigmoid(float x)
{
    float e = fsm_cpu_exp(-fabsf(x));
    return fsm_cpu_distribution(x, e / (1 + e));
}

/* P(Z > |x|) of the standard normal distribution, given e = exp(-x^2/2): e times a polynomial in t = 1/(1 + 0.35 |x|).
 * A minimax fit of exp(x^2/2) erfc(x/sqrt 2)/2 on [0, 13.3]: relative error 3.2e-8 before rounding (the
 * form of Abramowitz & Stegun 7.1.26, four terms longer). */
FSM_CPU_BODY float fsm_cpu_normal_tail(float x, float e)
{
    float t = 1 / (1 + 0.35f * fabsf(x));
    float p = -0.02911502f;
    p = p * t + 0.14381845f;
    p = p * t - 0.25539108f;
    p = p * t + 0.15879663f;
    p = p * t - 0.02284347f;
    p = p * t + 0.10539216f;
    p = p * t + 0.11986308f;
    p = p * t + 0.13985756f;
    p = p * t + 0.13962166f;
    return e * t * p;
}

#endif
