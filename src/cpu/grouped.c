/* Products of experts as one call. In turn: expert after expert, each product on all threads, the bits of the single
 * calls. Side by side, where the instance's table of products says so: one parallel region in which every thread has an
 * equal share of the rows, whole experts and parts of at most two; each product is one thread's, and neither packed
 * copies nor spread operands are used. Either is deterministic for a number of threads; they may differ in the last
 * bits. */
#include "cpu/gemm.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

/* Cuts inside an expert fall on multiples of this: whole tiles of every kernel there is. */
enum { TILE = 48 };

/* This thread's part of the items of an expert. */
typedef struct share {
    int64_t begin, end;
} share;

/* Where the cut before thread `thread` falls among `length` items of an expert whose rows begin at `first` and are
 * `rows` of `total`: 0 or length if it is not in this expert. Both threads at a cut work out the same. */
static int64_t cut(int64_t length, int64_t first, int64_t rows, int64_t total, int thread, int threads)
{
    double at = (double)total * thread / threads - (double)first;
    if (thread == 0 || at <= 0) return 0;
    if (thread == threads || at >= (double)rows) return length;
    int64_t items = (int64_t)((double)length * at / (double)rows + TILE / 2.0) / TILE * TILE;
    return items < length ? items : length;
}

static share my_part(int64_t length, int64_t first, int64_t rows, int64_t total)
{
    int threads = omp_get_num_threads(), me = omp_get_thread_num();
    return (share){cut(length, first, rows, total, me, threads), cut(length, first, rows, total, me + 1, threads)};
}

static bool in_turn(const fsm_ops *self, const fsm_runs *runs)
{
    const fsm_cpu *cpu = fsm_cpu_of(self);
    return cpu->row_by_row || !cpu->products || !cpu->products->experts.side_by_side || runs->count < cpu->threads;
}

static float *row_at(fsm_matrix m, int64_t row)
{
    return (float *)m.at + row * m.ld;
}

void fsm_cpu_grouped_forward(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix x,
                             fsm_matrix y)
{
    if (in_turn(self, runs)) {
        fsm_ref_grouped_forward(self, runs, linear, x, y);
        return;
    }
    const int64_t total = fsm_runs_rows(runs), out = linear->weight.out, in = linear->weight.in;
#pragma omp parallel num_threads(fsm_cpu_threads(self, total *out))
    for (int64_t i = 0, before = 0, n; i < runs->count; i++, before += n) {
        n = runs->end[i] - runs->first[i];
        share mine = my_part(n, before, n, total);
        int64_t at = runs->first[i] + mine.begin;
        fsm_cpu_sgemm(self, false, true, mine.end - mine.begin, out, in, 1, row_at(x, at), x.ld, linear[i].weight.w, in,
                      0, row_at(y, at), y.ld);
        if (linear[i].bias) fsm_cpu_add_bias_rows(mine.end - mine.begin, out, linear[i].bias, row_at(y, at), y.ld);
    }
}

void fsm_cpu_grouped_backward_input(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear,
                                    const fsm_joined *joined, fsm_matrix dy, fsm_matrix dx)
{
    if (in_turn(self, runs)) {
        fsm_ref_grouped_backward_input(self, runs, linear, joined, dy, dx);
        return;
    }
    const int64_t total = fsm_runs_rows(runs), out = linear->weight.out, in = linear->weight.in;
#pragma omp parallel num_threads(fsm_cpu_threads(self, total *in))
    for (int64_t i = 0, before = 0, n; i < runs->count; i++, before += n) {
        n = runs->end[i] - runs->first[i];
        share mine = my_part(n, before, n, total);
        int64_t at = runs->first[i] + mine.begin;
        fsm_cpu_sgemm(self, false, false, mine.end - mine.begin, in, out, 1, row_at(dy, at), dy.ld, linear[i].weight.w,
                      in, 0, row_at(dx, at), dx.ld);
    }
}

/* An expert's sums over rows are one thread's: where experts are cut it is by rows of dw. */
void fsm_cpu_grouped_backward_weight(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix dy,
                                     fsm_matrix x)
{
    if (in_turn(self, runs)) {
        fsm_ref_grouped_backward_weight(self, runs, linear, dy, x);
        return;
    }
    const int64_t total = fsm_runs_rows(runs), out = linear->weight.out, in = linear->weight.in;
#pragma omp parallel num_threads(fsm_cpu_threads(self, total *out))
    for (int64_t i = 0, before = 0, n; i < runs->count; i++, before += n) {
        n = runs->end[i] - runs->first[i];
        share mine = my_part(n > 0 ? out : 0, before, n, total);
        const float *from = row_at(dy, runs->first[i]) + mine.begin;
        fsm_cpu_sgemm(self, true, false, mine.end - mine.begin, in, n, 1, from, dy.ld, row_at(x, runs->first[i]), x.ld,
                      1, linear[i].dw + mine.begin * in, in);
        if (linear[i].dbias)
            fsm_cpu_add_column_sums(n, mine.end - mine.begin, from, dy.ld, linear[i].dbias + mine.begin);
    }
}
