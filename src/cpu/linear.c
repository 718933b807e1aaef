#include "cpu/gemm.h"
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

void fsm_cpu_linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *bias, const float *x,
                            int64_t ld_x, float *y, int64_t ld_y)
{
    int64_t in = weight->in, out = weight->out;
    int64_t done = ld_x == in && ld_y == out ? fsm_cpu_packed_forward(self, n, weight, x, y) : 0;
    fsm_cpu_gemm(self, false, true, n - done, out, in, 1, x + done * ld_x, ld_x, weight->w, in, 0, y + done * ld_y,
                 ld_y);
    if (!bias) return;
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *out))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(n, 1);
        add_bias(mine.count, out, bias, y + mine.begin * ld_y, ld_y);
    }
}

void fsm_cpu_linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *dy,
                                   int64_t ld_dy, float beta, float *dx, int64_t ld_dx)
{
    int64_t in = weight->in, out = weight->out;
    int64_t done =
        beta == 0 && ld_dy == out && ld_dx == in ? fsm_cpu_packed_backward_input(self, n, weight, dy, dx) : 0;
    fsm_cpu_gemm(self, false, false, n - done, in, out, 1, dy + done * ld_dy, ld_dy, weight->w, in, beta,
                 dx + done * ld_dx, ld_dx);
}

void fsm_cpu_linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *weight, int parts,
                                    const int64_t *part_rows, const int64_t *leaf_rows, const float *dy, int64_t ld_dy,
                                    float *dx, int64_t ld_dx)
{
    (void)parts, (void)part_rows, (void)leaf_rows;
    fsm_cpu_linear_backward_input(self, n, weight, dy, ld_dy, 0, dx, ld_dx);
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

void fsm_cpu_linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, const float *dy,
                                    int64_t ld_dy, const float *x, int64_t ld_x, float *dw, float *dbias)
{
    fsm_cpu_gemm(self, true, false, out, in, n, 1, dy, ld_dy, x, ld_x, 1, dw, in);
    if (!dbias) return;
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *out))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(out, 16);
        column_sums(n, mine.count, dy + mine.begin, ld_dy, dbias + mine.begin);
    }
}
