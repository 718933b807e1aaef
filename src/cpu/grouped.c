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

/* The rows of expert i that are mine, or of its weight's gradient. */
typedef struct call {
    const fsm_ops *self;
    const fsm_runs *runs;
    const fsm_linear *linear;
    fsm_matrix from, to; /* of a gradient of weights: dy and x */
} call;

typedef void piece(const call *c, int64_t i, share mine);

/* Every thread does its pieces, cut along rows or along rows of dw. */
static void side_by_side(const call *c, bool of_weights, piece *body)
{
    const fsm_weight *w = &c->linear->weight;
    const int64_t total = fsm_runs_rows(c->runs), wider = w->out > w->in ? w->out : w->in;
#pragma omp parallel num_threads(fsm_cpu_threads(c->self, total *wider))
    for (int64_t i = 0, before = 0, n; i < c->runs->count; i++, before += n) {
        n = c->runs->end[i] - c->runs->first[i];
        share mine = my_part(of_weights && n > 0 ? w->out : n, before, n, total);
        if (mine.end > mine.begin) body(c, i, mine);
    }
}

static void forward(const call *c, int64_t i, share mine)
{
    const fsm_linear *l = &c->linear[i];
    const int64_t at = c->runs->first[i] + mine.begin, n = mine.end - mine.begin, out = l->weight.out,
                  in = l->weight.in;
    float *y = row_at(c->to, at);
    fsm_cpu_sgemm(c->self, false, true, n, out, in, 1, row_at(c->from, at), c->from.ld, l->weight.w, in, 0, y,
                  c->to.ld);
    if (l->bias) fsm_cpu_add_bias_rows(n, out, l->bias, y, c->to.ld);
}

static void backward_input(const call *c, int64_t i, share mine)
{
    const fsm_weight *w = &c->linear[i].weight;
    const int64_t at = c->runs->first[i] + mine.begin;
    fsm_cpu_sgemm(c->self, false, false, mine.end - mine.begin, w->in, w->out, 1, row_at(c->from, at), c->from.ld, w->w,
                  w->in, 0, row_at(c->to, at), c->to.ld);
}

/* An expert's sums over rows are one thread's: where experts are cut it is by rows of dw. */
static void backward_weight(const call *c, int64_t i, share mine)
{
    const fsm_linear *l = &c->linear[i];
    const int64_t first = c->runs->first[i], n = c->runs->end[i] - first, in = l->weight.in,
                  out = mine.end - mine.begin;
    const float *dy = row_at(c->from, first) + mine.begin;
    fsm_cpu_sgemm(c->self, true, false, out, in, n, 1, dy, c->from.ld, row_at(c->to, first), c->to.ld, 1,
                  l->dw + mine.begin * in, in);
    if (l->dbias) fsm_cpu_add_column_sums(n, out, dy, c->from.ld, l->dbias + mine.begin);
}

void fsm_cpu_grouped_forward(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix x,
                             fsm_matrix y)
{
    if (in_turn(self, runs)) fsm_ref_grouped_forward(self, runs, linear, x, y);
    else side_by_side(&(call){self, runs, linear, x, y}, false, forward);
}

void fsm_cpu_grouped_backward_input(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear,
                                    const fsm_joined *joined, fsm_matrix dy, fsm_matrix dx)
{
    if (in_turn(self, runs)) fsm_ref_grouped_backward_input(self, runs, linear, joined, dy, dx);
    else side_by_side(&(call){self, runs, linear, dy, dx}, false, backward_input);
}

void fsm_cpu_grouped_backward_weight(const fsm_ops *self, const fsm_runs *runs, const fsm_linear *linear, fsm_matrix dy,
                                     fsm_matrix x)
{
    if (in_turn(self, runs)) fsm_ref_grouped_backward_weight(self, runs, linear, dy, x);
    else side_by_side(&(call){self, runs, linear, dy, x}, true, backward_weight);
}
