/* Many numbers from consecutive counters: the same as one by one, to the last bit, a vector of them at a time.
 * Philox is integers and exact. Box-Muller's logarithm and cosine are our own here (of Sun's fdlibm: e_log.c, k_sin.c,
 * k_cos.c), so a double may differ from libm's in its last bits; what is asked for is its float, which is the same
 * unless the double lies where two floats meet. Those few, one in millions, are drawn again by the scalar function. */
#include "base/kernel.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

enum { LANES = 64 };

/* The four words of LANES counters from `index` on. */
typedef struct words {
    uint32_t v[4][LANES];
} words;

FSM_CPU_BODY uint32_t high_half(uint32_t a, uint32_t b)
{
    return (uint32_t)((uint64_t)a * b >> 32);
}

/* One round of a counter, whose words stay in registers where the calls are inlined: a loop over rounds would not leave
 * them there. */
FSM_CPU_BODY void mix(uint32_t *c0, uint32_t *c1, uint32_t *c2, uint32_t *c3, uint32_t key0, uint32_t key1)
{
    uint32_t a = *c0, b = *c2;
    *c0 = high_half(b, 0xCD9E8D57) ^ *c1 ^ key0;
    *c1 = b * 0xCD9E8D57;
    *c2 = high_half(a, 0xD2511F53) ^ *c3 ^ key1;
    *c3 = a * 0xD2511F53;
}

#define MIX(i)                                                               \
    mix(&c0, &c1, &c2, &c3, key0 + (i)*0x9E3779B9U, key1 + (i)*0xBB67AE85U); \
    mix(&d0, &d1, &d2, &d3, key0 + (i)*0x9E3779B9U, key1 + (i)*0xBB67AE85U)

/* Two counters a time: a round waits for the one before. */
FSM_CPU_BODY void philox(uint64_t seed, uint32_t stream, uint64_t index, words *w)
{
    const uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    const uint32_t low = (uint32_t)index, high = (uint32_t)(index >> 32);
#pragma omp simd
    for (uint32_t j = 0; j < LANES / 2; j++) {
        uint32_t c0 = low + j, c1 = high + (c0 < low), c2 = stream, c3 = 0;
        uint32_t d0 = low + j + LANES / 2, d1 = high + (d0 < low), d2 = stream, d3 = 0;
        MIX(0);
        MIX(1);
        MIX(2);
        MIX(3);
        MIX(4);
        MIX(5);
        MIX(6);
        MIX(7);
        MIX(8);
        MIX(9);
        w->v[0][j] = c0, w->v[1][j] = c1, w->v[2][j] = c2, w->v[3][j] = c3;
        w->v[0][j + LANES / 2] = d0, w->v[1][j + LANES / 2] = d1, w->v[2][j + LANES / 2] = d2,
                            w->v[3][j + LANES / 2] = d3;
    }
}

FSM_CPU_BODY double double_of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

FSM_CPU_BODY uint64_t bits_of_double(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* x < 2^32 as a double: below 2^52 the bits of 2^52 + x are those of 2^52 with x in them. AVX2 has no conversion. */
FSM_CPU_BODY double small_to_double(uint64_t x)
{
    return double_of_bits(0x4330000000000000 | x) - 0x1p52;
}

/* rng.c's open_unit: the same 53 bits, put together exactly before the half is added. */
FSM_CPU_BODY double open_unit(uint32_t high, uint32_t low)
{
    return (small_to_double(high) * 0x1p21 + small_to_double(low >> 11) + 0.5) * 0x1.0p-53;
}

/* log x of a normal x > 0, within one unit in the last place. */
FSM_CPU_BODY double log_of(double x)
{
    const uint64_t half = 0x3fe6a09e667f3bcd; /* bits of sqrt(1/2): f in [sqrt(1/2), sqrt 2) */
    uint64_t bits = bits_of_double(x), up = (bits - half) >> 52 & 0xfff; /* exponent, biased by none, modulo 2^12 */
    double k = small_to_double((up + 0x400) & 0xfff) - 0x400;
    double f = double_of_bits(bits - (up << 52)) - 1, s = f / (2 + f), z = s * s, w = z * z;
    double even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    double odd = z * (6.666666666666735130e-01 +
                      w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    double square = 0.5 * f * f;
    return k * 6.93147180369123816490e-01 -
           ((square - (s * (square + (even + odd)) + k * 1.90821492927058770002e-10)) - f);
}

/* cos x, 0 <= x < 6.3: x = n pi/2 + r with r exact but for what pi/2 has beyond its first 33 bits. */
FSM_CPU_BODY double cos_of(double x)
{
    const double round = 0x1.8p52;
    double shifted = x * 6.36619772367581382433e-01 + round, n = shifted - round;
    uint64_t quadrant = bits_of_double(shifted);
    double r = (x - n * 1.57079632673412561417e+00) - n * 6.07710050650619224932e-11, z = r * r;
    double sine =
        8.33333333332248946124e-03 +
        z * (-1.98412698298579493134e-04 +
             z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)));
    sine = r + z * r * (-1.66666666666666324348e-01 + z * sine);
    double cosine = z * (4.16666666666666019037e-02 +
                         z * (-1.38888888888741095749e-03 +
                              z * (2.48015872894767294178e-05 +
                                   z * (-2.75573143513906633035e-07 +
                                        z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)))));
    cosine = 1 - (0.5 * z - z * cosine);
    /* cos, -sin, -cos, sin of r for n = 0, 1, 2, 3 modulo 4 */
    uint64_t odd = -(quadrant & 1), sign = ((quadrant + 1) & 2) << 62;
    return double_of_bits(((bits_of_double(sine) & odd) | (bits_of_double(cosine) & ~odd)) ^ sign);
}

/* LANES normals as doubles. */
FSM_CPU_BODY void box_muller(const words *w, double *normal)
{
#pragma omp simd
    for (int j = 0; j < LANES; j++) {
        double radius = sqrt(-2.0 * log_of(open_unit(w->v[0][j], w->v[1][j])));
        normal[j] = radius * cos_of(2.0 * 3.14159265358979323846 * open_unit(w->v[2][j], w->v[3][j]));
    }
}

/* Far more than both this and the scalar function err by: some 3 units in the last place, 2^-53 each; where r is small,
 * 2.7e-26 / r more, which LEAST keeps below 2^-54. */
static const double ERROR = 0x1p-48, LEAST = 1e-8;

/* The floats of `normal`; returns whether some are not sure. */
FSM_CPU_BODY int round_normals(const double *normal, float *out, int *unsure)
{
    int some = 0;
#pragma omp simd reduction(| : some)
    for (int j = 0; j < LANES; j++) {
        double x = normal[j], margin = ERROR * x;
        float low = (float)(x - margin), high = (float)(x + margin);
        unsure[j] = (low != high) | (fabs(x) < LEAST);
        some |= unsure[j];
        out[j] = (float)x;
    }
    return some;
}

FSM_CPU_BODY void normals_body(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i += LANES) {
        words w;
        double normal[LANES];
        float block[LANES];
        int unsure[LANES];
        int64_t count = n - i < LANES ? n - i : LANES;
        philox(seed, stream, first + (uint64_t)i, &w);
        box_muller(&w, normal);
        if (round_normals(normal, block, unsure))
            for (int j = 0; j < count; j++)
                if (unsure[j]) block[j] = (float)fsm_rng_normal(seed, stream, first + (uint64_t)(i + j));
        memcpy(out + i, block, sizeof *out * (size_t)count);
    }
}
FSM_CPU_KERNEL(normals, (uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out),
               (seed, stream, first, n, out))

FSM_CPU_BODY void uniforms_body(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i += LANES) {
        words w;
        float block[LANES];
        philox(seed, stream, first + (uint64_t)i, &w);
#pragma omp simd
        for (int j = 0; j < LANES; j++) block[j] = (float)open_unit(w.v[0][j], w.v[1][j]);
        memcpy(out + i, block, sizeof *out * (size_t)(n - i < LANES ? n - i : LANES));
    }
}
FSM_CPU_KERNEL(uniforms, (uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out),
               (seed, stream, first, n, out))

FSM_CPU_BODY void fours_body(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i += LANES) {
        words w;
        float block[4 * LANES];
        philox(seed, stream, first + (uint64_t)i, &w);
        for (int word = 0; word < 4; word++) {
#pragma omp simd
            for (int j = 0; j < LANES; j++)
                block[4 * j + word] = ((float)(int32_t)(w.v[word][j] >> 9) + 0.5f) * 0x1.0p-23f;
        }
        memcpy(out + 4 * i, block, 4 * sizeof *out * (size_t)(n - i < LANES ? n - i : LANES));
    }
}
FSM_CPU_KERNEL(fours, (uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out),
               (seed, stream, first, n, out))

void fsm_rng_normals(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out)
{
    normals(seed, stream, first, n, out);
}

void fsm_rng_uniforms(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out)
{
    uniforms(seed, stream, first, n, out);
}

void fsm_rng_uniform_fours(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, float *out)
{
    fours(seed, stream, first, n, out);
}
