#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/stream.h"
#include "cpu/threads.h"

FSM_CPU_BODY void embed_body(int64_t n, int64_t width, const int32_t *id, const float *token_table,
                             const int32_t *position, const float *position_table, float *y)
{
    for (int64_t i = 0; i < n; i++, y += width) {
        const float *token = token_table + id[i] * width, *place = position_table + position[i] * width;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) y[j] = token[j] + place[j];
    }
}
FSM_CPU_KERNEL(embed,
               (int64_t n, int64_t width, const int32_t *id, const float *token_table, const int32_t *position,
                const float *position_table, float *y),
               (n, width, id, token_table, position, position_table, y))

void fsm_cpu_embedding_forward(const fsm_ops *self, int64_t n, int64_t width, const int32_t *id,
                               const float *token_table, const int32_t *position, const float *position_table, float *y)
{
    if (!position_table) {
        fsm_cpu_gather_rows(self, n, width, id, token_table, y);
        return;
    }
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        embed(mine.count, width, id + mine.begin, token_table, position + mine.begin, position_table,
              y + mine.begin * width);
    }
}

FSM_CPU_BODY void scatter_add_body(int64_t n, int64_t width, int64_t columns, const int32_t *id, const float *dy,
                                   float *dtable)
{
    for (int64_t i = 0; i < n; i++, dy += width) {
        float *row = dtable + id[i] * width;
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) row[j] += dy[j];
    }
}
FSM_CPU_KERNEL(scatter_add,
               (int64_t n, int64_t width, int64_t columns, const int32_t *id, const float *dy, float *dtable),
               (n, width, columns, id, dy, dtable))

/* Threads share columns, not rows: a token may occur twice, and its gradients are added in the order of rows. */
void fsm_cpu_embedding_backward(const fsm_ops *self, int64_t n, int64_t width, const int32_t *id, const float *dy,
                                float *dtable)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(width, 16);
        scatter_add(n, width, mine.count, id, dy + mine.begin, dtable + mine.begin);
    }
}

void fsm_cpu_gather_rows(const fsm_ops *self, int64_t n, int64_t width, const int32_t *row, const float *x, float *y)
{
    size_t bytes = sizeof *y * (size_t)width;
#pragma omp parallel for schedule(static) num_threads(fsm_cpu_threads(self, n *width))
    for (int64_t i = 0; i < n; i++) {
        if (row[i] < 0) memset(y + i * width, 0, bytes);
        else memcpy(y + i * width, x + row[i] * width, bytes);
    }
}

FSM_CPU_BODY void combine_body(int64_t n, int64_t k, int64_t width, const int32_t *row, const float *weight,
                               const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++, y += width) {
        for (int64_t c = i * k; c < (i + 1) * k; c++) {
            if (row[c] < 0) continue;
            const float w = weight ? weight[c] : 1, *from = x + row[c] * width;
#pragma omp simd
            for (int64_t j = 0; j < width; j++) y[j] += w * from[j];
        }
    }
}
FSM_CPU_KERNEL(combine,
               (int64_t n, int64_t k, int64_t width, const int32_t *row, const float *weight, const float *x, float *y),
               (n, k, width, row, weight, x, y))

void fsm_cpu_combine_rows(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *row,
                          const float *weight, const float *x, float *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *k *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * k;
        combine(mine.count, k, width, row + first, weight ? weight + first : NULL, x, y + mine.begin * width);
    }
}

FSM_CPU_BODY void scale_row(int64_t width, float w, const float *x, float *y)
{
#pragma omp simd
    for (int64_t j = 0; j < width; j++) y[j] = w * x[j];
}

FSM_CPU_BODY void combine_backward_body(int64_t n, int64_t k, int64_t width, const int32_t *from, const int32_t *to,
                                        const float *weight, const float *x, const float *dy, float *dx, float *dweight,
                                        bool streams)
{
    for (int64_t i = 0; i < n; i++, dy += width) {
        for (int64_t c = i * k; c < (i + 1) * k; c++) {
            if (to[c] >= 0) {
                const float w = weight ? weight[c] : 1;
                float *out = dx + to[c] * width;
                if (streams) fsm_cpu_stream_scaled(width, w, dy, out);
                else scale_row(width, w, dy, out);
            }
            float sum = 0;
            if (from[c] >= 0) {
                const float *in = x + from[c] * width;
#pragma omp simd reduction(+ : sum)
                for (int64_t j = 0; j < width; j++) sum += dy[j] * in[j];
            }
            dweight[c] = sum;
        }
    }
}
FSM_CPU_KERNEL(combine_backward,
               (int64_t n, int64_t k, int64_t width, const int32_t *from, const int32_t *to, const float *weight,
                const float *x, const float *dy, float *dx, float *dweight, bool streams),
               (n, k, width, from, to, weight, x, dy, dx, dweight, streams))

void fsm_cpu_combine_rows_backward(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const int32_t *from,
                                   const int32_t *to, const float *weight, const float *x, const float *dy, float *dx,
                                   float *dweight)
{
    const bool streams = fsm_cpu_streams(n * k, width, dx);
#pragma omp parallel num_threads(fsm_cpu_threads(self, 2 * n * k * width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * k;
        combine_backward(mine.count, k, width, from + first, to + first, weight ? weight + first : NULL, x,
                         dy + mine.begin * width, dx, dweight + first, streams);
        if (streams) fsm_cpu_stream_end();
    }
}

/* ---- top k: a row's maximum as often as it is asked for, which pays where a row is a few vectors wide ---- */

enum { LEAST_WIDTH = 16, MOST_WIDTH = 1024, WIDTH_A_CHOICE = 4 };

/* The first element that is `value`, which is there. */
FSM_CPU_BODY int32_t first_equal(int32_t width, const float *x, float value)
{
    int32_t first = INT32_MAX;
#pragma omp simd reduction(min : first)
    for (int32_t j = 0; j < width; j++) {
        int32_t here = x[j] == value ? j : INT32_MAX;
        first = here < first ? here : first;
    }
    return first;
}

/* y = x; whether all are numbers above what takes the place of one that was chosen. */
FSM_CPU_BODY bool copy_numbers(int64_t width, const float *x, float *y)
{
    int others = 0;
#pragma omp simd reduction(| : others)
    for (int64_t j = 0; j < width; j++) {
        y[j] = x[j];
        others |= !(x[j] > -INFINITY);
    }
    return !others;
}

FSM_CPU_BODY void top_k_body(const fsm_ops *self, int64_t n, int64_t width, int64_t k, const float *x, int32_t *index,
                             float *value)
{
    float left[MOST_WIDTH];
    for (int64_t i = 0; i < n; i++, x += width, index += k, value += k) {
        if (!copy_numbers(width, x, left)) {
            fsm_ref_top_k(self, 1, width, k, x, index, value);
            continue;
        }
        for (int64_t c = 0; c < k; c++) {
            index[c] = first_equal((int32_t)width, left, fsm_cpu_max(width, left));
            value[c] = x[index[c]];
            left[index[c]] = -INFINITY;
        }
    }
}
FSM_CPU_KERNEL(top_k,
               (const fsm_ops *self, int64_t n, int64_t width, int64_t k, const float *x, int32_t *index, float *value),
               (self, n, width, k, x, index, value))

void fsm_cpu_top_k(const fsm_ops *self, int64_t n, int64_t width, int64_t k, const float *x, int32_t *index,
                   float *value)
{
    const bool by_maxima = width >= LEAST_WIDTH && width <= MOST_WIDTH && width >= WIDTH_A_CHOICE * k;
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        int64_t first = mine.begin * k;
        const float *from = x + mine.begin * width;
        if (by_maxima) top_k(self, mine.count, width, k, from, index + first, value + first);
        else fsm_ref_top_k(self, mine.count, width, k, from, index + first, value + first);
    }
}

void fsm_cpu_for_rows(const fsm_ops *self, int64_t n, int64_t width, fsm_rows_body *body, void *context)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        if (mine.count > 0) body(context, mine.begin, mine.count);
    }
}
