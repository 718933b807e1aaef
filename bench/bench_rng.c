/* Random numbers at once and one by one: nanoseconds a number on one thread, the least of rounds in turns, and the
 * ratio. */
#include "base/clock.h"
#include "base/rng.h"

#include <stdio.h>

enum { DRAWS = 1 << 17, ROUNDS = 9, KINDS = 3 };

static float out[4 * DRAWS];

static double time_s(int kind, int at_once)
{
    double start = fsm_clock_s();
    if (at_once && kind == 0) fsm_rng_normals(1, FSM_RNG_TEST, 0, DRAWS, out);
    if (at_once && kind == 1) fsm_rng_uniforms(1, FSM_RNG_TEST, 0, DRAWS, out);
    if (at_once && kind == 2) fsm_rng_uniform_fours(1, FSM_RNG_TEST, 0, DRAWS, out);
    for (uint64_t i = 0; !at_once && i < DRAWS; i++) {
        if (kind == 0) out[i] = (float)fsm_rng_normal(1, FSM_RNG_TEST, i);
        if (kind == 1) out[i] = (float)fsm_rng_uniform(1, FSM_RNG_TEST, i);
        if (kind == 2) fsm_rng_uniform_four(1, FSM_RNG_TEST, i, out + 4 * i);
    }
    return fsm_clock_s() - start;
}

int main(void)
{
    static const char *const names[KINDS] = {"normals", "uniforms", "fours of uniforms"};
    printf("%-20s %10s %10s %8s\n", "ns each", "at once", "one by one", "faster");
    for (int kind = 0; kind < KINDS; kind++) {
        double least[2] = {1e9, 1e9};
        for (int i = 0; i < 2 * ROUNDS; i++) {
            double t = time_s(kind, i % 2);
            if (t < least[i % 2]) least[i % 2] = t;
        }
        printf("%-20s %10.2f %10.2f %8.1f\n", names[kind], 1e9 * least[1] / DRAWS, 1e9 * least[0] / DRAWS,
               least[0] / least[1]);
    }
    return 0;
}
