/* Products with rows of bf16. Where the processor multiplies them (bf16_matmul.h), those with a weight are made of the
 * rows as they are and the weight rounded, but for routers' weights; what comes back in fp32 is rounded first. All
 * others, and all elsewhere, are made of operands widened, the result rounded once, and weights the floats they are. */
#include "cpu/bf16.h"
#include "cpu/bf16_matmul.h"
#include "cpu/slots.h"

typedef struct product {
    bool trans_a, trans_b;
    int64_t m, n, k;
    const fsm_real *alpha;
    fsm_matrix a, b, c;
    float beta;
} product;

static bool is_row(fsm_matrix x)
{
    return x.elem == FSM_ELEM_ROW;
}

/* Floats of work memory that a matrix takes. */
static int64_t elems_of(fsm_matrix x, int64_t rows, int64_t columns)
{
    return is_row(x) ? rows * columns : 0;
}

/* From that element on. */
static fsm_matrix part_of(fsm_matrix x, int64_t row, int64_t column)
{
    int64_t bytes = is_row(x) ? FSM_CPU_BF16_BYTES : FSM_REAL_BYTES;
    x.at = (char *)x.at + (row * x.ld + column) * bytes;
    return x;
}

/* The matrix in floats, dense in work memory if it was bf16; what it held comes along where `read`. *next moves on. */
static fsm_matrix in_floats(const fsm_ops *self, fsm_matrix x, int64_t rows, int64_t columns, bool read, float **next)
{
    float *to = *next;
    if (!is_row(x)) return x;
    if (read) fsm_cpu_widen_all(self, rows, columns, x.at, x.ld, to, columns);
    *next += rows * columns;
    return fsm_reals(to, columns);
}

static void round_back(const fsm_ops *self, fsm_matrix made, int64_t rows, int64_t columns, fsm_matrix to)
{
    if (is_row(to)) fsm_cpu_narrow_all(self, rows, columns, made.at, made.ld, to.at, to.ld);
}

static void multiply(const fsm_ops *self, const product *p)
{
    float *next = fsm_cpu_of(self)->wide;
    int64_t m = p->m, n = p->n, k = p->k;
    fsm_matrix a = in_floats(self, p->a, p->trans_a ? k : m, p->trans_a ? m : k, true, &next);
    fsm_matrix b = in_floats(self, p->b, p->trans_b ? n : k, p->trans_b ? k : n, true, &next);
    fsm_matrix c = in_floats(self, p->c, m, n, p->beta != 0, &next);
    fsm_cpu_gemm(self, p->trans_a, p->trans_b, m, n, k, p->alpha, a, b, p->beta, c);
    round_back(self, c, m, n, p->c);
}

/* Half of a product too large for work memory, and what is left of it. Sums are cut only where they are floats, and
 * only those over rows; otherwise whichever of m and n has more in work memory. */
static product cut(product *rest)
{
    product first = *rest, *p = rest;
    int64_t of_a = elems_of(p->a, p->m, p->k), of_b = elems_of(p->b, p->k, p->n);
    if (p->trans_a && !is_row(p->c) && p->k > 1) {
        first.k = p->k / 2;
        p->k -= first.k;
        p->beta = 1;
        p->a = part_of(p->a, first.k, 0);
        p->b = p->trans_b ? part_of(p->b, 0, first.k) : part_of(p->b, first.k, 0);
    } else if (p->n < 2 || (p->m > 1 && of_a >= of_b)) {
        first.m = p->m / 2;
        p->m -= first.m;
        p->a = p->trans_a ? part_of(p->a, 0, first.m) : part_of(p->a, first.m, 0);
        p->c = part_of(p->c, first.m, 0);
    } else {
        first.n = p->n / 2;
        p->n -= first.n;
        p->b = p->trans_b ? part_of(p->b, first.n, 0) : part_of(p->b, 0, first.n);
        p->c = part_of(p->c, 0, first.n);
    }
    return first;
}

static bool fits(const fsm_ops *self, const product *p)
{
    int64_t elems = elems_of(p->a, p->m, p->k) + elems_of(p->b, p->k, p->n) + elems_of(p->c, p->m, p->n);
    return elems <= fsm_cpu_of(self)->wide_elems || (p->m < 2 && p->n < 2);
}

static void multiply_parts(const fsm_ops *self, product p)
{
    while (!fits(self, &p)) multiply_parts(self, cut(&p));
    multiply(self, &p);
}

static void gemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                 const fsm_real *alpha, fsm_matrix a, fsm_matrix b, float beta, fsm_matrix c)
{
    multiply_parts(self, (product){trans_a, trans_b, m, n, k, alpha, a, b, c, beta});
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of a block of a weight's product, whole tiles of every kernel if they are so many. */
static int64_t rows_at_once(const fsm_ops *self, fsm_matrix x, int64_t in, fsm_matrix y, int64_t out)
{
    enum { TILE = 192 };
    int64_t rows = fsm_cpu_rows_that_fit(self, elems_of(x, 1, in) + elems_of(y, 1, out));
    return rows > TILE ? rows / TILE * TILE : rows;
}

/* ---- of bf16 as it is ---- */

static bool is_dense(fsm_matrix x, int64_t width)
{
    return x.ld == width;
}

/* With a bias the sum is rounded, not its parts: a block at a time in floats. */
static bool forward_with_bias(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias,
                              fsm_matrix x, fsm_matrix y)
{
    int64_t step = fsm_cpu_rows_that_fit(self, weight->out);
    float *made = fsm_cpu_of(self)->wide;
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        float *to = is_row(y) ? made : part_of(y, i, 0).at;
        if (!fsm_bf16_forward(self, rows, weight, part_of(x, i, 0).at, FSM_ELEM_REAL, to)) return false;
        fsm_cpu_add_bias(self, rows, weight->out, bias, to);
        round_back(self, fsm_reals(to, weight->out), rows, weight->out, part_of(y, i, 0));
    }
    return true;
}

static bool forward_as_it_is(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias,
                             fsm_matrix x, fsm_matrix y)
{
    const fsm_cpu *cpu = fsm_cpu_of(self);
    if (!cpu->bf16 || cpu->row_by_row || !is_row(x) || !is_dense(x, weight->in) || !is_dense(y, weight->out))
        return false;
    return bias ? forward_with_bias(self, n, weight, bias, x, y)
                : fsm_bf16_forward(self, n, weight, x.at, y.elem, y.at);
}

/* Rows i … i + n - 1 of dy as dense rows: as they are, or rounded into work memory, as gradients of the residual stream
 * are. */
static const void *as_rows(const fsm_ops *self, int64_t i, int64_t n, int64_t width, fsm_matrix dy)
{
    fsm_matrix from = part_of(dy, i, 0);
    fsm_row *rounded = (fsm_row *)fsm_cpu_of(self)->wide;
    if (is_row(dy)) return from.at;
    fsm_cpu_narrow_all(self, n, width, from.at, from.ld, rounded, width);
    return rounded;
}

static bool can_be_rows(fsm_matrix dy, int64_t width)
{
    return !is_row(dy) || is_dense(dy, width);
}

static bool backward_input_as_it_is(const fsm_ops *self, int64_t n, const fsm_weight *weight, fsm_matrix dy, float beta,
                                    fsm_matrix dx)
{
    const int64_t out = weight->out, step = is_row(dy) ? n : fsm_cpu_rows_that_fit(self, out);
    if (!fsm_cpu_of(self)->bf16 || !weight->pack || beta != 0) return false;
    if (!can_be_rows(dy, out) || !is_dense(dx, weight->in)) return false;
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        const void *from = as_rows(self, i, rows, out, dy);
        if (!fsm_bf16_backward_input(self, rows, weight, from, dx.elem, part_of(dx, i, 0).at)) return false;
    }
    return true;
}

/* There are such products where a weight of that shape has copies; a gradient of another weight of the same shape goes
 * the same way. */
static bool backward_weight_as_it_is(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy,
                                     fsm_matrix x, fsm_real *dw)
{
    fsm_bf16_matmul *bf16 = fsm_cpu_of(self)->bf16;
    const int64_t step = is_row(dy) ? n : fsm_cpu_rows_that_fit(self, out);
    if (!bf16 || !is_row(x) || !is_dense(x, in) || !can_be_rows(dy, out)) return false;
    if (!fsm_bf16_has_shape(bf16, out, in)) return false;
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        fsm_bf16_backward_weight(self, bf16, rows, out, in, as_rows(self, i, rows, out, dy), part_of(x, i, 0).at, dw);
    }
    return true;
}

/* Its copies are none that products of floats know. */
static fsm_weight without_copies(const fsm_ops *self, const fsm_weight *weight)
{
    fsm_weight plain = *weight;
    if (fsm_cpu_of(self)->bf16) plain.pack = NULL;
    return plain;
}

static void add_column_sums(const fsm_ops *self, int64_t n, int64_t out, fsm_matrix dy, fsm_real *dbias)
{
    int64_t step = fsm_cpu_rows_that_fit(self, out);
    for (int64_t i = 0; i < n; i += step) {
        float *next = fsm_cpu_of(self)->wide;
        fsm_matrix block = in_floats(self, part_of(dy, i, 0), least(step, n - i), out, true, &next);
        fsm_cpu_add_bias_backward(self, least(step, n - i), out, block.at, dbias);
    }
}

static bool weight_create(const fsm_ops *self, fsm_weight *weight)
{
    return fsm_bf16_weight_create(self, fsm_cpu_of(self)->bf16, weight);
}

static size_t weight_bytes(const fsm_ops *self, int64_t out, int64_t in)
{
    return fsm_bf16_weight_bytes(fsm_cpu_of(self)->bf16, out, in);
}

static void weight_destroy(const fsm_ops *self, fsm_weight *weight)
{
    (void)self;
    fsm_bf16_weight_destroy(weight);
}

/* ---- the slots ---- */

static void linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias, fsm_matrix x,
                           fsm_matrix y)
{
    if (forward_as_it_is(self, n, weight, bias, x, y)) return;
    const fsm_weight plain = without_copies(self, weight);
    int64_t in = weight->in, out = weight->out, step = rows_at_once(self, x, in, y, out);
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        float *next = fsm_cpu_of(self)->wide;
        fsm_matrix from = in_floats(self, part_of(x, i, 0), rows, in, true, &next);
        fsm_matrix to = in_floats(self, part_of(y, i, 0), rows, out, false, &next);
        fsm_cpu_linear_forward(self, rows, &plain, bias, from, to);
        round_back(self, to, rows, out, part_of(y, i, 0));
    }
}

static void linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, fsm_matrix dy, float beta,
                                  fsm_matrix dx)
{
    if (backward_input_as_it_is(self, n, weight, dy, beta, dx)) return;
    const fsm_weight plain = without_copies(self, weight);
    int64_t in = weight->in, out = weight->out, step = rows_at_once(self, dx, in, dy, out);
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        float *next = fsm_cpu_of(self)->wide;
        fsm_matrix from = in_floats(self, part_of(dy, i, 0), rows, out, true, &next);
        fsm_matrix to = in_floats(self, part_of(dx, i, 0), rows, in, beta != 0, &next);
        fsm_cpu_linear_backward_input(self, rows, &plain, from, beta, to);
        round_back(self, to, rows, in, part_of(dx, i, 0));
    }
}

static void linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_joined *joined,
                                   fsm_matrix dy, fsm_matrix dx)
{
    (void)joined;
    linear_backward_input(self, n, weight, dy, 0, dx);
}

static void linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy, fsm_matrix x,
                                   fsm_real *dw, fsm_real *dbias)
{
    if (backward_weight_as_it_is(self, n, out, in, dy, x, dw)) {
        if (dbias) add_column_sums(self, n, out, dy, dbias);
        return;
    }
    int64_t step = rows_at_once(self, x, in, dy, out);
    for (int64_t i = 0; i < n; i += step) {
        int64_t rows = least(step, n - i);
        float *next = fsm_cpu_of(self)->wide;
        fsm_matrix of_y = in_floats(self, part_of(dy, i, 0), rows, out, true, &next);
        fsm_matrix of_x = in_floats(self, part_of(x, i, 0), rows, in, true, &next);
        fsm_cpu_linear_backward_weight(self, rows, out, in, of_y, of_x, dw, dbias);
    }
}

void fsm_cpu_bf16_products(fsm_ops *ops)
{
    ops->gemm = gemm;
    ops->linear_forward = linear_forward;
    ops->linear_backward_input = linear_backward_input;
    ops->linear_backward_joined = linear_backward_joined;
    ops->linear_backward_weight = linear_backward_weight;
    ops->grouped = (fsm_grouped_ops)FSM_REF_GROUPED_SLOTS;
    if (!fsm_cpu_of(ops)->bf16) return;
    ops->weight_create = weight_create;
    ops->weight_bytes = weight_bytes;
    ops->weight_update = fsm_bf16_weight_update;
    ops->weight_destroy = weight_destroy;
}
