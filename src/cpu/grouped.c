#include "cpu/grouped.h"
#include "cpu/gemm.h"

#include "cpu/slots.h"
#include "cpu/threads.h"

/* Cuts inside an expert fall on multiples of this: whole tiles of every kernel there is. */
enum { TILE = 48 };

/* This thread's part of work that lies in a row, `unit` a row of every expert's. */
typedef struct share {
    int64_t begin, end;
} share;

static int64_t total_rows(int count, const fsm_row_range *rows)
{
    int64_t total = 0;
    for (int e = 0; e < count; e++) total += rows[e].end - rows[e].begin;
    return total;
}

/* Where the cut before thread `thread` falls among `length` items of an expert whose work begins at `first` and is `work`
 * of `total`: 0 or length if it is not in this expert. Both threads at a cut work out the same. */
static int64_t cut(int64_t length, int64_t first, int64_t work, int64_t total, int thread, int threads)
{
    double at = (double)total * thread / threads - (double)first;
    if (thread == 0 || at <= 0) return 0;
    if (thread == threads || at >= (double)work) return length;
    int64_t items = (int64_t)((double)length * at / (double)work + TILE / 2.0) / TILE * TILE;
    return items < length ? items : length;
}

/* The calling thread's part of `length` items of that expert. */
static share my_part(int64_t length, int64_t first, int64_t work, int64_t total)
{
    int threads = omp_get_num_threads(), me = omp_get_thread_num();
    return (share){cut(length, first, work, total, me, threads), cut(length, first, work, total, me + 1, threads)};
}

static int threads_for(const fsm_ops *self, int64_t rows, int64_t width)
{
    return fsm_cpu_threads(self, rows * width);
}

void fsm_cpu_linear_grouped_forward(const fsm_ops *self, fsm_grouped_way way, int count, const fsm_row_range *rows,
                                    const fsm_weight *const *weight, const float *x, int64_t ld_x, float *y,
                                    int64_t ld_y)
{
    for (int e = 0; way == FSM_GROUPED_IN_TURN && e < count; e++)
        self->linear_forward(self, rows[e].end - rows[e].begin, weight[e], NULL,
                             fsm_reals(x + rows[e].begin * ld_x, ld_x), fsm_reals(y + rows[e].begin * ld_y, ld_y));
    if (way == FSM_GROUPED_IN_TURN || count == 0) return;
    const int64_t total = total_rows(count, rows), out = weight[0]->out, in = weight[0]->in;
#pragma omp parallel num_threads(threads_for(self, total, out))
    for (int64_t e = 0, first = 0, n; e < count; e++, first += n) {
        n = rows[e].end - rows[e].begin;
        share mine = my_part(n, first, n, total);
        int64_t at = rows[e].begin + mine.begin;
        fsm_cpu_sgemm(self, false, true, mine.end - mine.begin, out, in, 1, x + at * ld_x, ld_x, weight[e]->w, in, 0,
                      y + at * ld_y, ld_y);
    }
}

void fsm_cpu_linear_grouped_backward_input(const fsm_ops *self, fsm_grouped_way way, int count,
                                           const fsm_row_range *rows, const fsm_weight *const *weight, const float *dy,
                                           int64_t ld_dy, float *dx, int64_t ld_dx)
{
    for (int e = 0; way == FSM_GROUPED_IN_TURN && e < count; e++)
        self->linear_backward_input(self, rows[e].end - rows[e].begin, weight[e],
                                    fsm_reals(dy + rows[e].begin * ld_dy, ld_dy), 0,
                                    fsm_reals(dx + rows[e].begin * ld_dx, ld_dx));
    if (way == FSM_GROUPED_IN_TURN || count == 0) return;
    const int64_t total = total_rows(count, rows), out = weight[0]->out, in = weight[0]->in;
#pragma omp parallel num_threads(threads_for(self, total, in))
    for (int64_t e = 0, first = 0, n; e < count; e++, first += n) {
        n = rows[e].end - rows[e].begin;
        share mine = my_part(n, first, n, total);
        int64_t at = rows[e].begin + mine.begin;
        fsm_cpu_sgemm(self, false, false, mine.end - mine.begin, in, out, 1, dy + at * ld_dy, ld_dy, weight[e]->w, in,
                      0, dx + at * ld_dx, ld_dx);
    }
}

/* An expert's sums over rows are one thread's: where experts are cut it is by rows of dw. */
void fsm_cpu_linear_grouped_backward_weight(const fsm_ops *self, fsm_grouped_way way, int count,
                                            const fsm_row_range *rows, int64_t out, int64_t in, const float *dy,
                                            int64_t ld_dy, const float *x, int64_t ld_x, float *const *dw)
{
    for (int e = 0; way == FSM_GROUPED_IN_TURN && e < count; e++)
        self->linear_backward_weight(self, rows[e].end - rows[e].begin, out, in,
                                     fsm_reals(dy + rows[e].begin * ld_dy, ld_dy),
                                     fsm_reals(x + rows[e].begin * ld_x, ld_x), dw[e], NULL);
    if (way == FSM_GROUPED_IN_TURN) return;
    const int64_t total = total_rows(count, rows);
#pragma omp parallel num_threads(threads_for(self, total, out))
    for (int64_t e = 0, first = 0, n; e < count; e++, first += n) {
        n = rows[e].end - rows[e].begin;
        share mine = my_part(n > 0 ? out : 0, first, n, total);
        fsm_cpu_sgemm(self, true, false, mine.end - mine.begin, in, n, 1, dy + rows[e].begin * ld_dy + mine.begin,
                      ld_dy, x + rows[e].begin * ld_x, ld_x, 1, dw[e] + mine.begin * in, in);
    }
}
