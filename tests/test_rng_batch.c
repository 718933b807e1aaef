/* Numbers drawn at once are those drawn one by one, to the bit. */
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_bits(float a, float b, uint64_t index)
{
    if (memcmp(&a, &b, sizeof a) != 0) fail_msg("%.9g is not %.9g at index %llu", a, b, (unsigned long long)index);
}

/* Every length modulo the vectors', starts on both sides of 2^32, several seeds and streams. */
static void check(uint64_t seed, uint32_t stream, uint64_t first, int64_t n)
{
    float *x = malloc(sizeof *x * (size_t)(4 * n + 1)), four[4];
    x[n] = 7;
    fsm_rng_normals(seed, stream, first, n, x);
    for (int64_t i = 0; i < n; i++)
        assert_bits(x[i], (float)fsm_rng_normal(seed, stream, first + (uint64_t)i), first + (uint64_t)i);
    assert_true(x[n] == 7);
    fsm_rng_uniforms(seed, stream, first, n, x);
    for (int64_t i = 0; i < n; i++)
        assert_bits(x[i], (float)fsm_rng_uniform(seed, stream, first + (uint64_t)i), first + (uint64_t)i);
    assert_true(x[n] == 7);
    x[4 * n] = 7;
    fsm_rng_uniform_fours(seed, stream, first, n, x);
    for (int64_t i = 0; i < n; i++) {
        fsm_rng_uniform_four(seed, stream, first + (uint64_t)i, four);
        for (int j = 0; j < 4; j++) assert_bits(x[4 * i + j], four[j], first + (uint64_t)i);
    }
    assert_true(x[4 * n] == 7);
    free(x);
}

static void test_rng_batch_has_the_bits_of_single_draws_at_any_length_and_start(void **state)
{
    const uint64_t starts[] = {0, 1, 15, 0xffffffff - 9, (1ULL << 40) - 3, UINT64_MAX - 70};
    (void)state;
    for (size_t s = 0; s < sizeof starts / sizeof *starts; s++)
        for (int64_t n = 0; n < 67; n++)
            check(0x123456789abcdefULL * (s + 1), FSM_RNG_TEST + (uint32_t)n, starts[s], n);
}

static void test_rng_batch_has_the_bits_of_four_million_single_draws(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) check(seed, FSM_RNG_GATE_NOISE, seed << 33, 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rng_batch_has_the_bits_of_single_draws_at_any_length_and_start),
        cmocka_unit_test(test_rng_batch_has_the_bits_of_four_million_single_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
