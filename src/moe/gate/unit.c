#include "moe/gate/unit.h"

#include <math.h>

static const float LEAST_LENGTH = 1e-12f;

void fsm_unit_forward(int64_t n, int64_t size, int64_t step, int64_t next, const float *v, float *units, float *length)
{
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t p = i * next; p < i * next + size * step; p += step) sum += (double)v[p] * v[p];
        length[i] = fmaxf((float)sqrt(sum), LEAST_LENGTH);
        for (int64_t p = i * next; p < i * next + size * step; p += step) units[p] = v[p] / length[i];
    }
}

void fsm_unit_backward(int64_t n, int64_t size, int64_t step, int64_t next, const float *units, const float *length,
                       const float *du, float beta, float *dv)
{
    for (int64_t i = 0; i < n; i++) {
        double along = 0;
        for (int64_t p = i * next; p < i * next + size * step && length[i] > LEAST_LENGTH; p += step)
            along += (double)units[p] * du[p];
        for (int64_t p = i * next; p < i * next + size * step; p += step) {
            float d = (du[p] - units[p] * (float)along) / length[i];
            dv[p] = beta == 0 ? d : beta * dv[p] + d;
        }
    }
}
