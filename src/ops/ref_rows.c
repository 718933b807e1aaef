#include "ops/ref.h"

void fsm_ref_embedding_forward(const fsm_ops *self, int64_t n, int64_t width, const int32_t *id,
                               const float *token_table, const int32_t *position, const float *position_table, float *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < width; j++) {
            float at = position_table ? position_table[position[i] * width + j] : 0;
            y[i * width + j] = token_table[id[i] * width + j] + at;
        }
    }
}

void fsm_ref_embedding_backward(const fsm_ops *self, int64_t n, int64_t width, const int32_t *id, const float *dy,
                                float *dtable)
{
    (void)self;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) dtable[id[i] * width + j] += dy[i * width + j];
}

void fsm_ref_gather_rows(const fsm_ops *self, int64_t n, int64_t width, const int32_t *row, const float *x, float *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) y[i * width + j] = row[i] < 0 ? 0 : x[row[i] * width + j];
}

void fsm_ref_combine_rows(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *row,
                          const float *weight, const float *x, float *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = i * k; c < (i + 1) * k; c++) {
            if (row[c] < 0) continue;
            float w = weight ? weight[c] : 1;
            for (int64_t j = 0; j < width; j++) y[i * width + j] += w * x[row[c] * width + j];
        }
    }
}

void fsm_ref_combine_rows_backward(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *from,
                                   const int32_t *to, const float *weight, const float *x, const float *dy, float *dx,
                                   float *dweight)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = i * k; c < (i + 1) * k; c++) {
            float w = weight ? weight[c] : 1;
            for (int64_t j = 0; to[c] >= 0 && j < width; j++) dx[to[c] * width + j] = w * dy[i * width + j];
            double sum = 0;
            for (int64_t j = 0; from[c] >= 0 && j < width; j++)
                sum += (double)dy[i * width + j] * x[from[c] * width + j];
            dweight[c] = (float)sum;
        }
    }
}

void fsm_ref_for_rows(const fsm_ops *self, int64_t n, int64_t width, fsm_rows_body *body, void *context)
{
    (void)self, (void)width;
    if (n > 0) body(context, 0, n);
}
