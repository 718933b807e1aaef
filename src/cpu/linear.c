#include "cpu/gemm.h"
#include "cpu/row_by_row.h"
#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

FSM_CPU_BODY void add_bias_body(int64_t n, int64_t out, const float *bias, float *y, int64_t ld_y)
{
    for (int64_t i = 0; i < n; i++, y += ld_y) {
#pragma omp simd
        for (int64_t j = 0; j < out; j++) y[j] += bias[j];
    }
}
FSM_CPU_KERNEL(add_bias, (int64_t n, int64_t out, const float *bias, float *y, int64_t ld_y), (n, out, bias, y, ld_y))

void fsm_cpu_add_bias_rows(int64_t n, int64_t out, const float *bias, float *y, int64_t ld_y)
{
    add_bias(n, out, bias, y, ld_y);
}

void fsm_cpu_add_bias(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *bias, fsm_real *y)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        add_bias(mine.count, width, bias, y + mine.begin * width, width);
    }
}

FSM_CPU_BODY void add_rows_body(int64_t n, int64_t columns, const float *y, int64_t ld_y, float *sum)
{
    for (int64_t i = 0; i < n; i++, y += ld_y) {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) sum[j] += y[j];
    }
}
FSM_CPU_KERNEL(add_rows, (int64_t n, int64_t columns, const float *y, int64_t ld_y, float *sum),
               (n, columns, y, ld_y, sum))

/* Threads share columns: rows are added in their order. */
void fsm_cpu_add_bias_backward(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *y, fsm_real *bias)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(width, 16);
        add_rows(n, mine.count, y + mine.begin, width, bias + mine.begin);
    }
}

void fsm_cpu_gemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                  const fsm_real *alpha, fsm_matrix a, fsm_matrix b, float beta, fsm_matrix c)
{
    const float factor = alpha ? *alpha : 1;
    if (fsm_cpu_of(self)->row_by_row && !trans_a && trans_b && beta == 0)
        fsm_cpu_multiply_rows(self, m, n, k, factor, a.at, a.ld, b.at, b.ld, c.at, c.ld);
    else fsm_cpu_sgemm(self, trans_a, trans_b, m, n, k, factor, a.at, a.ld, b.at, b.ld, beta, c.at, c.ld);
}

void fsm_cpu_linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias,
                            fsm_matrix x, fsm_matrix y)
{
    int64_t in = weight->in, out = weight->out;
    const float *from = x.at;
    float *to = y.at;
    if (fsm_cpu_of(self)->row_by_row) {
        fsm_cpu_multiply_rows(self, n, out, in, 1, from, x.ld, weight->w, in, to, y.ld);
    } else {
        int64_t done = x.ld == in && y.ld == out ? fsm_cpu_packed_forward(self, n, weight, from, to) : 0;
        fsm_cpu_sgemm(self, false, true, n - done, out, in, 1, from + done * x.ld, x.ld, weight->w, in, 0,
                      to + done * y.ld, y.ld);
    }
    if (!bias) return;
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *out))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        add_bias(mine.count, out, bias, to + mine.begin * y.ld, y.ld);
    }
}

void fsm_cpu_linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, fsm_matrix dy, float beta,
                                   fsm_matrix dx)
{
    int64_t in = weight->in, out = weight->out;
    const float *from = dy.at;
    float *to = dx.at;
    bool dense = dy.ld == out && dx.ld == in;
    int64_t done = beta == 0 && dense ? fsm_cpu_packed_backward_input(self, n, weight, from, to) : 0;
    fsm_cpu_sgemm(self, false, false, n - done, in, out, 1, from + done * dy.ld, dy.ld, weight->w, in, beta,
                  to + done * dx.ld, dx.ld);
}

void fsm_cpu_linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_joined *joined,
                                    fsm_matrix dy, fsm_matrix dx)
{
    (void)joined;
    fsm_cpu_linear_backward_input(self, n, weight, dy, 0, dx);
}

enum { ROWS = 128, COLUMNS = 64 };

FSM_CPU_BODY void add_columns(int64_t n, int64_t columns, const float *x, int64_t ld_x, float *sum)
{
    float part[COLUMNS] = {0};
    for (int64_t i = 0; i < n; i++, x += ld_x) {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) part[j] += x[j];
    }
    for (int64_t j = 0; j < columns; j++) sum[j] += part[j];
}

/* sum += column sums of x. A full tile is compiled apart: with a constant number of columns its sums stay in
 * registers. */
FSM_CPU_BODY void column_sums_body(int64_t n, int64_t columns, const float *x, int64_t ld_x, float *sum)
{
    for (int64_t i = 0; i < n; i += ROWS) {
        int64_t rows = n - i < ROWS ? n - i : ROWS, j = 0;
        for (; j + COLUMNS <= columns; j += COLUMNS) add_columns(rows, COLUMNS, x + i * ld_x + j, ld_x, sum + j);
        add_columns(rows, columns - j, x + i * ld_x + j, ld_x, sum + j);
    }
}
FSM_CPU_KERNEL(column_sums, (int64_t n, int64_t columns, const float *x, int64_t ld_x, float *sum),
               (n, columns, x, ld_x, sum))

void fsm_cpu_add_column_sums(int64_t n, int64_t columns, const float *x, int64_t ld_x, float *sum)
{
    column_sums(n, columns, x, ld_x, sum);
}

void fsm_cpu_linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy,
                                    fsm_matrix x, fsm_real *dw, fsm_real *dbias)
{
    fsm_cpu_sgemm(self, true, false, out, in, n, 1, dy.at, dy.ld, x.at, x.ld, 1, dw, in);
    if (!dbias) return;
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *out))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(out, 16);
        column_sums(n, mine.count, (const float *)dy.at + mine.begin, dy.ld, dbias + mine.begin);
    }
}
