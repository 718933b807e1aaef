/* oneDNN: dnnl_sgemm for products in general, and for few rows matmul primitives whose weights were reordered once an
 * optimizer step into the layout that oneDNN prefers (memory format "any"). On AVX-512 processors that layout is
 * blocked and worth up to 2 times for 16 rows; where oneDNN prefers plain rows, weight_create packs nothing.
 * With a table of products (products.h) it is the table that says which way a product goes, and a packed copy may also
 * be the plain rows turned, so that backward sums along rows as forward does: of few rows that is faster on AVX2. */
#include "cpu/gemm.h"
#include "cpu/matmul_onednn.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Row counts that have a primitive; n rows are cut into these, the rest goes to sgemm, as do all rows of a product so
 * large that packing no longer pays (measured on AVX-512 Xeon: 162 to 140 GF/s at 128 rows, equal at 512). */
static const int64_t piece_rows[] = {256, 64, 16};
enum { PIECES = sizeof piece_rows / sizeof *piece_rows, MOST_PACKED_ROWS = 512 };

/* result [rows, out] = source [rows, in] times packed [in, out] */
typedef struct product {
    int64_t in, out;
    dnnl_memory_t plain, packed;                     /* plain: the weight itself, its handle set before each run */
    dnnl_primitive_t reorder;                        /* plain to packed */
    fsm_matmul pieces[PIECES], plain_pieces[PIECES]; /* by number of rows */
} product;

typedef struct pack {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    product forward, backward; /* by w^T, by w */
    bool blocked;              /* oneDNN prefers another layout than plain for one of them */
    bool stale;                /* the packed copies could not be renewed, and are not used until they are */
    unsigned ways;             /* bits of fsm_product_way that there are */
} pack;

/* An operation returns nothing, so what the library could not compute becomes no number: it ends the step it belongs
 * to, as other values that are not finite do. */
static void spoil(int64_t rows, int64_t columns, float *c, int64_t ldc)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) c[i * ldc + j] = NAN;
}

/* ---- operands whose rows lie a power of two apart ----
 * For small m or n oneDNN's kernels of AVX2 read A and B where they lie. Rows a multiple of 512 bytes apart fall into
 * few sets of the cache, and a product that goes down columns (of B, unless transposed, and of a transposed A) runs at
 * half its speed or less. Copied into rows a line longer it does not; which kernel runs, and so every bit, does not
 * depend on how far rows are apart (2.6's nocopy_checker_avx2 does not look at it, as that of AVX-512 does). */

enum { BAD_ELEMS = 128, LINE_ELEMS = 16, LEAST_REUSE = 128, LEAST_COLUMNS = 384 };
static const double SMALL = 0.0038, LEAST_WORK = 1 << 24; /* 1/m + 1/n from which kernels do not copy; m n k worth it */

/* A row-major matrix in memory. */
typedef struct operand {
    const float *x;
    int64_t rows, columns, ld;
} operand;

static bool reads_badly(const operand *o)
{
    return o->ld % BAD_ELEMS == 0 && o->rows > 1;
}

static int64_t spread_elems(const operand *o)
{
    return reads_badly(o) ? o->rows * (o->columns + LINE_ELEMS) : 0;
}

/* Copies this thread's share and, in all threads, makes *o the copy. */
static void spread(operand *o, float *to)
{
    if (!reads_badly(o)) return;
    const int64_t ld = o->columns + LINE_ELEMS;
    fsm_cpu_share mine = fsm_cpu_my_share(o->rows, 1);
    for (int64_t i = mine.begin; i < mine.begin + mine.count; i++)
        memcpy(to + i * ld, o->x + i * o->ld, sizeof *to * (size_t)o->columns);
}

static void use_spread(operand *o, const float *copy)
{
    if (!reads_badly(o)) return;
    *o = (operand){copy, o->rows, o->columns, o->columns + LINE_ELEMS};
}

/* Whether a product is one of those, and the instance's memory is large enough and nobody else's at the moment. What is
 * copied is read again as often as the other operand has rows or columns, so few make it a loss. */
static bool should_spread(const fsm_cpu *cpu, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                          int64_t elems)
{
    if (!cpu->spread || trans_b || omp_in_parallel()) return false;
    bool pays = m >= LEAST_REUSE && n >= (trans_a ? LEAST_REUSE : LEAST_COLUMNS) &&
                (double)m * (double)n * (double)k >= LEAST_WORK;
    return pays && 1.0 / (double)m + 1.0 / (double)n >= SMALL && elems > 0 && elems <= cpu->spread_elems;
}

static void spread_both(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, operand *a,
                        operand *b)
{
    const fsm_cpu *cpu = fsm_cpu_of(self);
    const int64_t of_a = spread_elems(a), of_b = spread_elems(b);
    if (!should_spread(cpu, trans_a, trans_b, m, n, k, of_a + of_b)) return;
#pragma omp parallel num_threads(fsm_cpu_threads(self, of_a + of_b))
    {
        spread(a, cpu->spread);
        spread(b, cpu->spread + of_a);
    }
    use_spread(a, cpu->spread);
    use_spread(b, cpu->spread + of_a);
}

/* 12 M floats: experts' products of some thousand rows. Pages that no product needs are never touched. */
void fsm_cpu_gemm_reserve(fsm_cpu *cpu)
{
#if defined(__x86_64__)
    enum { ELEMS = 12 << 20 };
    if (!__builtin_cpu_supports("avx2") || __builtin_cpu_supports("avx512f")) return;
    cpu->spread = malloc(ELEMS * sizeof *cpu->spread); /* NULL: products are as they were */
    cpu->spread_elems = ELEMS;
#else
    (void)cpu;
#endif
}

/* ---- sgemm ---- */

void fsm_cpu_sgemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m == 0 || n == 0) return;
    if (k == 0) { /* oneDNN leaves C alone then */
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
        return;
    }
    operand left = {a, trans_a ? k : m, trans_a ? m : k, lda}, right = {b, trans_b ? n : k, trans_b ? k : n, ldb};
    spread_both(self, trans_a, trans_b, m, n, k, &left, &right);
    int before = fsm_cpu_library_begin(self);
    dnnl_status_t status = dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, alpha, left.x, left.ld,
                                      right.x, right.ld, beta, c, ldc);
    fsm_cpu_library_end(self, before);
    if (status != dnnl_success) spoil(m, n, c, ldc);
}

/* ---- packed weights ---- */

static dnnl_status_t layout_of(const product *m, int64_t rows, const dnnl_memory_desc_t *weights, fsm_matmul_layout *l)
{
    *l = (fsm_matmul_layout){.weights = *weights};
    DNNL_TRY(fsm_matmul_describe(rows, m->in, dnnl_f32, dnnl_ab, &l->source));
    return fsm_matmul_describe(rows, m->out, dnnl_f32, dnnl_ab, &l->result);
}

/* The layout oneDNN picks for the weights of the largest piece; the other pieces must take it as it is. */
static dnnl_status_t prefer_layout(const pack *p, const product *m, dnnl_memory_desc_t *packed)
{
    dnnl_memory_desc_t any;
    fsm_matmul_layout layout;
    DNNL_TRY(fsm_matmul_describe(m->in, m->out, dnnl_f32, dnnl_format_tag_any, &any));
    DNNL_TRY(layout_of(m, piece_rows[0], &any, &layout));
    return fsm_matmul_prefer(p->engine, &layout, packed);
}

static dnnl_status_t create_pieces(const pack *p, const product *m, const dnnl_memory_desc_t *weights,
                                   fsm_matmul pieces[PIECES])
{
    for (int i = 0; i < PIECES; i++) {
        fsm_matmul_layout layout;
        DNNL_TRY(layout_of(m, piece_rows[i], weights, &layout));
        DNNL_TRY(fsm_matmul_create(p->engine, &layout, &pieces[i]));
    }
    return dnnl_success;
}

/* turned: where the library has no layout of its own, columns of the plain one become rows. */
static dnnl_status_t create_packed(pack *p, const dnnl_memory_desc_t *plain, bool turned, product *m)
{
    dnnl_memory_desc_t packed;
    dnnl_primitive_desc_t reorder;
    DNNL_TRY(prefer_layout(p, m, &packed));
    bool blocked = packed.format_kind != dnnl_blocked || packed.format_desc.blocking.inner_nblks > 0;
    if (blocked) p->blocked = true;
    else if (turned) DNNL_TRY(fsm_matmul_describe(m->in, m->out, dnnl_f32, dnnl_ba, &packed));
    DNNL_TRY(dnnl_memory_create(&m->packed, &packed, p->engine, DNNL_MEMORY_ALLOCATE));
    DNNL_TRY(dnnl_reorder_primitive_desc_create(&reorder, plain, p->engine, &packed, p->engine, NULL));
    dnnl_status_t status = dnnl_primitive_create(&m->reorder, reorder);
    dnnl_primitive_desc_destroy(reorder);
    return status == dnnl_success ? create_pieces(p, m, &packed, m->pieces) : status;
}

static dnnl_status_t create_product(pack *p, const dnnl_memory_desc_t *plain, bool turned, product *m)
{
    DNNL_TRY(dnnl_memory_create(&m->plain, plain, p->engine, DNNL_MEMORY_NONE));
    if (p->ways & 1U << FSM_PRODUCT_PLAIN) DNNL_TRY(create_pieces(p, m, plain, m->plain_pieces));
    return p->ways & 1U << FSM_PRODUCT_PACKED ? create_packed(p, plain, turned, m) : dnnl_success;
}

static dnnl_status_t create_pack(int64_t out, int64_t in, bool turned, pack *p)
{
    dnnl_memory_desc_t transposed, plain;
    DNNL_TRY(dnnl_engine_create(&p->engine, dnnl_cpu, 0));
    DNNL_TRY(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags));
    DNNL_TRY(fsm_matmul_describe(in, out, dnnl_f32, dnnl_ba, &transposed));
    DNNL_TRY(fsm_matmul_describe(out, in, dnnl_f32, dnnl_ab, &plain));
    p->forward.in = p->backward.out = in;
    p->forward.out = p->backward.in = out;
    DNNL_TRY(create_product(p, &transposed, turned, &p->forward));
    return create_product(p, &plain, turned, &p->backward);
}

static void destroy_product(product *m)
{
    for (int i = 0; i < PIECES; i++) fsm_matmul_destroy(&m->plain_pieces[i]);
    for (int i = 0; i < PIECES; i++) fsm_matmul_destroy(&m->pieces[i]);
    dnnl_primitive_destroy(m->reorder);
    dnnl_memory_destroy(m->packed);
    dnnl_memory_destroy(m->plain);
}

void fsm_cpu_weight_destroy(const fsm_ops *self, fsm_weight *weight)
{
    (void)self;
    pack *p = weight->pack;
    weight->pack = NULL;
    if (!p) return;
    destroy_product(&p->backward);
    destroy_product(&p->forward);
    dnnl_stream_destroy(p->stream);
    dnnl_engine_destroy(p->engine);
    free(p);
}

/* ways: bits of fsm_product_way. unless_plain: nothing where the library's best layout is the plain one. */
static bool create_weight(const fsm_ops *self, fsm_weight *weight, unsigned ways, bool unless_plain)
{
    weight->pack = NULL;
    if (weight->out == 0 || weight->in == 0 || ways == 0) return true;
    pack *p = calloc(1, sizeof *p);
    if (!p) return false;
    p->ways = ways;
    weight->pack = p;
    int before = fsm_cpu_library_begin(self);
    dnnl_status_t status = create_pack(weight->out, weight->in, !unless_plain, p);
    fsm_cpu_library_end(self, before);
    if (status != dnnl_success || (unless_plain && !p->blocked)) fsm_cpu_weight_destroy(self, weight);
    else fsm_cpu_weight_update(self, weight);
    return status != dnnl_out_of_memory;
}

bool fsm_cpu_weight_create(const fsm_ops *self, fsm_weight *weight)
{
    const fsm_products *products = fsm_cpu_of(self)->products;
    if (!products) return create_weight(self, weight, 1U << FSM_PRODUCT_PACKED, true);
    return fsm_cpu_weight_create_ways(self, weight, fsm_products_ways(products, weight->out, weight->in));
}

/* As create_pack makes them: copies for both directions. unless_plain: where the library has a layout of its own for
 * one. */
static dnnl_status_t find_packed_bytes(int64_t out, int64_t in, bool unless_plain, size_t *bytes)
{
    const product directions[2] = {{.in = in, .out = out}, {.in = out, .out = in}};
    pack p = {0};
    bool blocked = false;
    size_t both = 0;
    DNNL_TRY(dnnl_engine_create(&p.engine, dnnl_cpu, 0));
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < 2 && status == dnnl_success; i++) {
        dnnl_memory_desc_t packed;
        status = prefer_layout(&p, &directions[i], &packed);
        if (status != dnnl_success) break;
        blocked |= packed.format_kind != dnnl_blocked || packed.format_desc.blocking.inner_nblks > 0;
        both += dnnl_memory_desc_get_size(&packed);
    }
    dnnl_engine_destroy(p.engine);
    *bytes = blocked || !unless_plain ? both : 0;
    return status;
}

size_t fsm_cpu_weight_bytes(const fsm_ops *self, int64_t out, int64_t in)
{
    const fsm_products *products = fsm_cpu_of(self)->products;
    size_t bytes = 0;
    if (out == 0 || in == 0) return 0;
    if (products && !(fsm_products_ways(products, out, in) & 1U << FSM_PRODUCT_PACKED)) return 0;
    int before = fsm_cpu_library_begin(self);
    dnnl_status_t status = find_packed_bytes(out, in, !products, &bytes);
    fsm_cpu_library_end(self, before);
    return status == dnnl_success ? bytes : 0;
}

bool fsm_cpu_weight_create_ways(const fsm_ops *self, fsm_weight *weight, unsigned ways)
{
    return create_weight(self, weight, ways & ~(1U << FSM_PRODUCT_SGEMM), false);
}

bool fsm_cpu_weight_create_forced(const fsm_ops *self, fsm_weight *weight)
{
    return fsm_cpu_weight_create_ways(self, weight, 1U << FSM_PRODUCT_PACKED);
}

static dnnl_status_t reorder(const pack *p, product *m, const float *w)
{
    DNNL_TRY(dnnl_memory_set_data_handle(m->plain, (void *)w));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, m->plain}, {DNNL_ARG_TO, m->packed}};
    return dnnl_primitive_execute(m->reorder, p->stream, 2, arguments);
}

void fsm_cpu_weight_update(const fsm_ops *self, fsm_weight *weight)
{
    pack *p = weight->pack;
    if (!p || !(p->ways & 1U << FSM_PRODUCT_PACKED)) return;
    int before = fsm_cpu_library_begin(self);
    p->stale = reorder(p, &p->forward, weight->w) != dnnl_success ||
               reorder(p, &p->backward, weight->w) != dnnl_success || dnnl_stream_wait(p->stream) != dnnl_success;
    fsm_cpu_library_end(self, before);
}

/* Runs the pieces that fit into n rows; *done is how many rows those are. */
static dnnl_status_t run_pieces(int64_t n, const pack *p, const product *m, fsm_product_way way, const float *w,
                                const float *source, float *result, int64_t *done)
{
    const fsm_matmul *pieces = way == FSM_PRODUCT_PLAIN ? m->plain_pieces : m->pieces;
    dnnl_memory_t weights = way == FSM_PRODUCT_PLAIN ? m->plain : m->packed;
    dnnl_status_t status = way == FSM_PRODUCT_PLAIN ? dnnl_memory_set_data_handle(m->plain, (void *)w) : dnnl_success;
    for (int i = 0; i < PIECES; i++)
        for (; pieces[i].run && n - *done >= piece_rows[i]; *done += piece_rows[i])
            if (status == dnnl_success)
                status =
                    fsm_matmul_run(&pieces[i], p->stream, source + *done * m->in, weights, result + *done * m->out);
    if (*done > 0 && status == dnnl_success) status = dnnl_stream_wait(p->stream);
    return status;
}

int64_t fsm_cpu_multiply(const fsm_ops *self, fsm_product_way way, bool backward, int64_t n, const fsm_weight *weight,
                         const float *source, float *result)
{
    const pack *p = weight->pack;
    if (!p || way == FSM_PRODUCT_SGEMM || !(p->ways & 1U << way)) return 0;
    if (way == FSM_PRODUCT_PACKED && p->stale) return 0;
    const product *m = backward ? &p->backward : &p->forward;
    int64_t done = 0;
    int before = fsm_cpu_library_begin(self);
    dnnl_status_t status = run_pieces(n, p, m, way, weight->w, source, result, &done);
    fsm_cpu_library_end(self, before);
    if (status != dnnl_success) spoil(done, m->out, result, m->out);
    return done;
}

/* The table's, or without one the packed copies where there are any and rows are few. */
static fsm_product_way way_of(const fsm_ops *self, bool backward, int64_t n, const fsm_weight *weight)
{
    const fsm_products *products = fsm_cpu_of(self)->products;
    if (products) return fsm_products_way(products, backward, n, weight->out, weight->in);
    return n > MOST_PACKED_ROWS ? FSM_PRODUCT_SGEMM : FSM_PRODUCT_PACKED;
}

int64_t fsm_cpu_packed_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *x, float *y)
{
    return fsm_cpu_multiply(self, way_of(self, false, n, weight), false, n, weight, x, y);
}

int64_t fsm_cpu_packed_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, const float *dy,
                                      float *dx)
{
    return fsm_cpu_multiply(self, way_of(self, true, n, weight), true, n, weight, dy, dx);
}
