#include "moe/gate/unit.h"

#include <math.h>

static const float LEAST_LENGTH = 1e-12f;

typedef struct vectors {
    int64_t size, step, next;
    const float *v, *du;
    float *units, *length, *dv;
    float beta;
} vectors;

static void forward(void *context, int64_t first, int64_t count)
{
    const vectors *a = context;
    for (int64_t i = first; i < first + count; i++) {
        double sum = 0;
        int64_t begin = i * a->next, end = begin + a->size * a->step;
        for (int64_t p = begin; p < end; p += a->step) sum += (double)a->v[p] * a->v[p];
        a->length[i] = fmaxf((float)sqrt(sum), LEAST_LENGTH);
        for (int64_t p = begin; p < end; p += a->step) a->units[p] = a->v[p] / a->length[i];
    }
}

void fsm_unit_forward(const fsm_ops *ops, int64_t n, int64_t size, int64_t step, int64_t next, const float *v,
                      float *units, float *length)
{
    vectors a = {.size = size, .step = step, .next = next, .v = v, .units = units, .length = length};
    ops->for_rows(ops, n, size, forward, &a);
}

static void backward(void *context, int64_t first, int64_t count)
{
    const vectors *a = context;
    for (int64_t i = first; i < first + count; i++) {
        double along = 0;
        int64_t begin = i * a->next, end = begin + a->size * a->step;
        for (int64_t p = begin; p < end && a->length[i] > LEAST_LENGTH; p += a->step)
            along += (double)a->units[p] * a->du[p];
        for (int64_t p = begin; p < end; p += a->step) {
            float d = (a->du[p] - a->units[p] * (float)along) / a->length[i];
            a->dv[p] = a->beta == 0 ? d : a->beta * a->dv[p] + d;
        }
    }
}

void fsm_unit_backward(const fsm_ops *ops, int64_t n, int64_t size, int64_t step, int64_t next, const float *units,
                       const float *length, const float *du, float beta, float *dv)
{
    vectors a = {.size = size,
                 .step = step,
                 .next = next,
                 .units = (float *)units,
                 .length = (float *)length,
                 .du = du,
                 .dv = dv,
                 .beta = beta};
    ops->for_rows(ops, n, size, backward, &a);
}
