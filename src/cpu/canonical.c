/* Sums that do not depend on the layout. Every sum that a layout of ranks may split (over tokens, over heads, over H)
 * is a balanced binary tree over fixed leaves: FSM_CANONICAL_TOKENS tokens, or LEAF_FEATURES features (a key/value head
 * for the joined Q K V). A rank that holds an aligned half, quarter … of the leaves computes a subtree; adding the
 * ranks' results in the same tree (fsm_comm_start_all_reduce_tree) gives the bits that one rank gives alone. So layouts
 * with a power of two of parts, each of whole leaves, train the same model bit for bit.
 * Products are cut into fixed tiles, each computed by one thread: the same calls whatever the shape around them.
 */
#include "cpu/cpu.h"
#include "cpu/gemm.h"
#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

#include <string.h>

enum { TILE_ROWS = 128, TILE_COLUMNS = 32, TILE = TILE_ROWS * TILE_COLUMNS, LEAF_FEATURES = 64, DEPTH = 24 };

/* ---- trees of arrays ---- */

/* Adds the next leaf (overwritten) to a tree whose levels are `n` floats apart; `count` leaves are in it already. */
FSM_CPU_BODY void add_array_body(int64_t n, const float *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] + y[i];
}
FSM_CPU_KERNEL(add_array, (int64_t n, const float *x, float *y), (n, x, y))

static void tree_push(int64_t n, float *leaf, uint64_t count, float *levels)
{
    for (; count & 1; count >>= 1, levels += n) add_array(n, levels, leaf);
    memcpy(levels, leaf, sizeof *leaf * (size_t)n);
}

/* The sum of the tree's `count` leaves into levels[0 … n-1] of the lowest full level; returns it. */
static const float *tree_root(int64_t n, uint64_t count, float *levels)
{
    float *root = NULL;
    for (; count; count >>= 1, levels += n) {
        if (!(count & 1)) continue;
        for (int64_t i = 0; root && i < n; i++) levels[i] += root[i];
        root = levels;
    }
    return root;
}

/* ---- products ---- */

/* C = op(A) op(B) [+ C], a sum over leaves; leaf i of every part p adds op(A_p) op(B_p) over leaf[p] of the k
 * dimension. */
typedef struct product {
    bool trans_a, trans_b, accumulate;
    int64_t m, n;
    int parts;
    int64_t k[FSM_MOST_JOINED], leaf[FSM_MOST_JOINED];
    const float *a[FSM_MOST_JOINED], *b[FSM_MOST_JOINED];
    int64_t lda, ldb, ldc;
    float *c;
} product;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Part of a matrix of the result. */
typedef struct area {
    int64_t row, rows, column, columns;
} area;

/* One leaf of one tile into out [rows, columns]. */
static void leaf_product(const fsm_ops *self, const product *p, const area *t, int64_t leaf, float *out)
{
    for (int i = 0; i < p->parts; i++) {
        int64_t first = leaf * p->leaf[i], k = least(p->leaf[i], p->k[i] - first);
        const float *a = p->a[i] + (p->trans_a ? first * p->lda + t->row : t->row * p->lda + first);
        const float *b = p->b[i] + (p->trans_b ? t->column * p->ldb + first : first * p->ldb + t->column);
        fsm_cpu_sgemm(self, p->trans_a, p->trans_b, t->rows, t->columns, k, 1, a, p->lda, b, p->ldb, i > 0, out,
                      t->columns);
    }
}

/* The tree of a tile's leaves: level l, where it is full, is the sum of 2^l of them. */
typedef struct tile_tree {
    float *level[DEPTH + 1]; /* one more than there can be: where the next leaf is made */
} tile_tree;

/* Nothing is copied: what is full changes places with what is free. */
static void push_leaf(const fsm_ops *self, const product *p, const area *t, int64_t i, tile_tree *tree)
{
    float *sum = tree->level[DEPTH];
    int level = 0;
    leaf_product(self, p, t, i, sum);
    for (; i >> level & 1; level++) add_array(t->rows * t->columns, tree->level[level], sum);
    tree->level[DEPTH] = tree->level[level];
    tree->level[level] = sum;
}

/* The sum of all levels that are full; NULL: there are none. */
static const float *sum_levels(int64_t n, int64_t leaves, const tile_tree *tree)
{
    float *sum = NULL;
    for (int level = 0; leaves >> level; level++) {
        if (!(leaves >> level & 1)) continue;
        if (sum) add_array(n, sum, tree->level[level]);
        sum = tree->level[level];
    }
    return sum;
}

static void tile_product(const fsm_ops *self, const product *p, int64_t row, int64_t column)
{
    float memory[(DEPTH + 1) * TILE];
    const area t = {row, least(TILE_ROWS, p->m - row), column, least(TILE_COLUMNS, p->n - column)};
    tile_tree tree;
    int64_t leaves = (p->k[0] + p->leaf[0] - 1) / p->leaf[0];
    for (int level = 0; level <= DEPTH; level++) tree.level[level] = memory + level * TILE;
    for (int64_t i = 0; i < leaves; i++) push_leaf(self, p, &t, i, &tree);
    const float *sum = sum_levels(t.rows * t.columns, leaves, &tree);
    for (int64_t r = 0; r < t.rows; r++) {
        float *c = p->c + (row + r) * p->ldc + column;
        for (int64_t j = 0; j < t.columns; j++) {
            float value = sum ? sum[r * t.columns + j] : 0;
            c[j] = p->accumulate ? c[j] + value : value;
        }
    }
}

static void run_product(const fsm_ops *self, const product *p)
{
    int64_t down = (p->m + TILE_ROWS - 1) / TILE_ROWS, across = (p->n + TILE_COLUMNS - 1) / TILE_COLUMNS;
#pragma omp parallel for schedule(static) num_threads(fsm_cpu_of(self)->threads)
    for (int64_t tile = 0; tile < down * across; tile++)
        tile_product(self, p, tile / across * TILE_ROWS, tile % across * TILE_COLUMNS);
}

static void linear_forward(const fsm_ops *self, int64_t n, const fsm_weight *w, const fsm_real *bias, fsm_matrix x,
                           fsm_matrix y)
{
    if (fsm_cpu_of(self)->row_by_row) {
        fsm_cpu_linear_forward(self, n, w, bias, x, y);
        return;
    }
    run_product(self, &(product){.trans_b = true,
                                 .m = n,
                                 .n = w->out,
                                 .parts = 1,
                                 .k = {w->in},
                                 .leaf = {LEAF_FEATURES},
                                 .a = {x.at},
                                 .b = {w->w},
                                 .lda = x.ld,
                                 .ldb = w->in,
                                 .ldc = y.ld,
                                 .c = y.at});
    for (int64_t i = 0; bias && i < n; i++) fsm_cpu_add(self, w->out, bias, (float *)y.at + i * y.ld);
}

static void linear_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *w, fsm_matrix dy, float beta,
                                  fsm_matrix dx)
{
    run_product(self, &(product){.accumulate = beta != 0,
                                 .m = n,
                                 .n = w->in,
                                 .parts = 1,
                                 .k = {w->out},
                                 .leaf = {LEAF_FEATURES},
                                 .a = {dy.at},
                                 .b = {w->w},
                                 .lda = dy.ld,
                                 .ldb = w->in,
                                 .ldc = dx.ld,
                                 .c = dx.at});
}

static void linear_backward_joined(const fsm_ops *self, int64_t n, const fsm_weight *w, const fsm_joined *joined,
                                   fsm_matrix dy, fsm_matrix dx)
{
    product p = {.m = n, .n = w->in, .parts = joined->parts, .lda = dy.ld, .ldb = w->in, .ldc = dx.ld, .c = dx.at};
    int64_t at = 0;
    for (int i = 0; i < joined->parts; at += joined->part_rows[i], i++) {
        p.k[i] = joined->part_rows[i];
        p.leaf[i] = joined->leaf_rows[i];
        p.a[i] = (const float *)dy.at + at;
        p.b[i] = w->w + at * w->in;
    }
    run_product(self, &p);
}

static void linear_backward_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy, fsm_matrix x,
                                   fsm_real *dw, fsm_real *dbias)
{
    run_product(self, &(product){.trans_a = true,
                                 .accumulate = true,
                                 .m = out,
                                 .n = in,
                                 .parts = 1,
                                 .k = {n},
                                 .leaf = {FSM_CANONICAL_TOKENS},
                                 .a = {dy.at},
                                 .b = {x.at},
                                 .lda = dy.ld,
                                 .ldb = x.ld,
                                 .ldc = in,
                                 .c = dw});
    for (int64_t i = 0; dbias && i < n; i++) fsm_cpu_add(self, out, (const float *)dy.at + i * dy.ld, dbias);
}

/* ---- sums over tokens ---- */

static void rmsnorm_backward(const fsm_ops *self, int64_t n, int64_t width, const float *x, const float *gain,
                             const float *rstd, const float *dy, float *dx, float *dgain)
{
    float leaf[width], levels[DEPTH * width];
    uint64_t leaves = 0;
    for (int64_t i = 0; i < n; i += FSM_CANONICAL_TOKENS, leaves++) {
        int64_t rows = least(FSM_CANONICAL_TOKENS, n - i), at = i * width;
        memset(leaf, 0, sizeof leaf);
        fsm_cpu_rmsnorm_backward(self, rows, width, x + at, gain, rstd + i, dy + at, dx + at, leaf);
        tree_push(width, leaf, leaves, levels);
    }
    const float *root = tree_root(width, leaves, levels);
    if (root) fsm_cpu_add(self, width, root, dgain);
}

static bool seen_before(const int32_t *id, int64_t i)
{
    for (int64_t j = 0; j < i; j++)
        if (id[j] == id[i]) return true;
    return false;
}

/* The gradient of the row that token `first` is the first to name. */
static void embedding_row(int64_t n, int64_t width, const int32_t *id, int64_t first, const float *dy, float *row)
{
    float leaf[width], levels[DEPTH * width];
    uint64_t leaves = 0;
    for (int64_t i = 0; i < n; i += FSM_CANONICAL_TOKENS, leaves++) {
        int64_t end = least(n, i + FSM_CANONICAL_TOKENS);
        memset(leaf, 0, sizeof leaf);
        for (int64_t j = i; j < end; j++)
            for (int64_t c = 0; id[j] == id[first] && c < width; c++) leaf[c] += dy[j * width + c];
        tree_push(width, leaf, leaves, levels);
    }
    const float *root = tree_root(width, leaves, levels);
    for (int64_t c = 0; c < width; c++) row[c] += root[c];
}

static void embedding_backward(const fsm_ops *self, int64_t n, int64_t width, const int32_t *id, const float *dy,
                               float *dtable)
{
#pragma omp parallel for schedule(dynamic, 16) num_threads(fsm_cpu_of(self)->threads)
    for (int64_t i = 0; i < n; i++)
        if (!seen_before(id, i)) embedding_row(n, width, id, i, dy, dtable + id[i] * width);
}

const fsm_ops fsm_cpu_canonical_table = {
    .name = "cpu-canonical",
    .row_bytes = sizeof(fsm_row),
    FSM_CPU_SHARED_SLOTS,
    .weight_create = fsm_ref_weight_create,
    .weight_bytes = fsm_ref_weight_bytes,
    .weight_update = fsm_ref_weight_update,
    .weight_destroy = fsm_ref_weight_destroy,
    .linear_forward = linear_forward,
    .linear_backward_input = linear_backward_input,
    .linear_backward_joined = linear_backward_joined,
    .linear_backward_weight = linear_backward_weight,
    .grouped = FSM_REF_GROUPED_SLOTS,
    .rmsnorm_backward = rmsnorm_backward,
    .embedding_backward = embedding_backward,
};
