#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

FSM_CPU_BODY void turn_body(int64_t n, int64_t heads, int64_t half, const int32_t *position, const float *cosine,
                            const float *sine, float direction, float *x, int64_t ld)
{
    for (int64_t i = 0; i < n; i++, x += ld) {
        const float *c = cosine + position[i] * half, *s = sine + position[i] * half;
        for (int64_t h = 0; h < heads; h++) {
            float *first = x + h * 2 * half, *second = first + half;
#pragma omp simd
            for (int64_t j = 0; j < half; j++) {
                float a = first[j], b = second[j], turn = direction * s[j];
                first[j] = a * c[j] - b * turn;
                second[j] = b * c[j] + a * turn;
            }
        }
    }
}
FSM_CPU_KERNEL(turn,
               (int64_t n, int64_t heads, int64_t half, const int32_t *position, const float *cosine, const float *sine,
                float direction, float *x, int64_t ld),
               (n, heads, half, position, cosine, sine, direction, x, ld))

void fsm_cpu_rope(const fsm_ops *self, int64_t n, int64_t heads, int64_t head_dim, const int32_t *position,
                  const float *cosine, const float *sine, int direction, float *x, int64_t ld)
{
    int64_t n_elems = n * heads * head_dim;
#pragma omp parallel num_threads(fsm_cpu_threads(self, n_elems))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        turn(mine.count, heads, head_dim / 2, position + mine.begin, cosine, sine, (float)direction,
             x + mine.begin * ld, ld);
    }
}
