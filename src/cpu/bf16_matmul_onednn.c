#include "cpu/bf16_matmul.h"

#include "cpu/matmul_onednn.h"
#include "cpu/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of one call of the library; n rows are cut into these, and the last are filled up with zeros. */
static const int64_t piece_rows[] = {1024, 256, 64, 16};
enum { PIECES = sizeof piece_rows / sizeof *piece_rows, LEAST_ROWS = 16, ELEMS = 2 /* rows, reals */ };

/* result [rows, out] = source [rows, in] times weights [in, out] in a layout of the library's */
typedef struct direction {
    int64_t in, out;
    dnnl_memory_desc_t packed;
    fsm_matmul pieces[ELEMS][PIECES];
} direction;

/* All that weights [out, in] have in common. */
typedef struct shape {
    int64_t out, in;
    direction forward, backward;
    fsm_matmul gradient[PIECES]; /* of the weight, by number of rows */
    char *last[2];               /* [LEAST_ROWS, wider of out and in] floats: rows of a piece that is not full */
    struct shape *next;
} shape;

struct fsm_bf16_matmul {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_data_type_t rows; /* what rows are */
    shape *shapes;
};

/* A weight's copies. */
typedef struct pack {
    const fsm_bf16_matmul *matmul;
    const shape *shape;
    dnnl_memory_t plain[2], packed[2]; /* forward, backward; plain: the weight itself, its handle set before each run */
    dnnl_primitive_t reorder[2];
    bool stale; /* the copies could not be renewed */
} pack;

static size_t row_bytes(const fsm_bf16_matmul *m)
{
    return m->rows == dnnl_bf16 ? 2 : sizeof(float);
}

bool fsm_cpu_multiplies_bf16(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

/* ---- shapes ---- */

static dnnl_status_t layout_of(const fsm_bf16_matmul *m, const direction *d, int64_t rows, fsm_elem elem,
                               fsm_matmul_layout *l)
{
    *l = (fsm_matmul_layout){.weights = d->packed};
    DNNL_TRY(fsm_matmul_describe(rows, d->in, m->rows, dnnl_ab, &l->source));
    return fsm_matmul_describe(rows, d->out, elem == FSM_ELEM_ROW ? m->rows : dnnl_f32, dnnl_ab, &l->result);
}

/* The layout that the library picks for the largest piece; the other pieces take it as it is. */
static dnnl_status_t begin_direction(const fsm_bf16_matmul *m, int64_t in, int64_t out, direction *d)
{
    fsm_matmul_layout layout;
    *d = (direction){.in = in, .out = out};
    DNNL_TRY(fsm_matmul_describe(in, out, m->rows, dnnl_format_tag_any, &d->packed));
    DNNL_TRY(layout_of(m, d, piece_rows[0], FSM_ELEM_ROW, &layout));
    return fsm_matmul_prefer(m->engine, &layout, &d->packed);
}

static dnnl_status_t create_direction(const fsm_bf16_matmul *m, int64_t in, int64_t out, direction *d)
{
    static const fsm_elem elems[ELEMS] = {FSM_ELEM_REAL, FSM_ELEM_ROW};
    DNNL_TRY(begin_direction(m, in, out, d));
    for (int e = 0; e < ELEMS; e++) {
        for (int i = 0; i < PIECES; i++) {
            fsm_matmul_layout layout;
            DNNL_TRY(layout_of(m, d, piece_rows[i], elems[e], &layout));
            DNNL_TRY(fsm_matmul_create(m->engine, &layout, &d->pieces[elems[e]][i]));
        }
    }
    return dnnl_success;
}

/* [out, in] += the rows of dy, turned, times those of x. */
static dnnl_status_t create_gradient(const fsm_bf16_matmul *m, shape *s)
{
    for (int i = 0; i < PIECES; i++) {
        fsm_matmul_layout layout = {.accumulate = true};
        DNNL_TRY(fsm_matmul_describe(s->out, piece_rows[i], m->rows, dnnl_ba, &layout.source));
        DNNL_TRY(fsm_matmul_describe(piece_rows[i], s->in, m->rows, dnnl_ab, &layout.weights));
        DNNL_TRY(fsm_matmul_describe(s->out, s->in, dnnl_f32, dnnl_ab, &layout.result));
        DNNL_TRY(fsm_matmul_create(m->engine, &layout, &s->gradient[i]));
    }
    return dnnl_success;
}

static void destroy_shape(shape *s)
{
    for (int i = 0; i < PIECES; i++) {
        for (int e = 0; e < ELEMS; e++) fsm_matmul_destroy(&s->forward.pieces[e][i]);
        for (int e = 0; e < ELEMS; e++) fsm_matmul_destroy(&s->backward.pieces[e][i]);
        fsm_matmul_destroy(&s->gradient[i]);
    }
    free(s->last[0]);
    free(s->last[1]);
    free(s);
}

static dnnl_status_t create_shape(const fsm_bf16_matmul *m, int64_t out, int64_t in, shape *s)
{
    s->out = out;
    s->in = in;
    for (int i = 0; i < 2; i++) s->last[i] = calloc((size_t)(LEAST_ROWS * (out > in ? out : in)), sizeof(float));
    if (!s->last[0] || !s->last[1]) return dnnl_out_of_memory;
    DNNL_TRY(create_direction(m, in, out, &s->forward));
    DNNL_TRY(create_direction(m, out, in, &s->backward));
    return create_gradient(m, s);
}

static const shape *find_shape(const fsm_bf16_matmul *m, int64_t out, int64_t in)
{
    const shape *s = m->shapes;
    while (s && (s->out != out || s->in != in)) s = s->next;
    return s;
}

/* dnnl_unimplemented: the library has no such products. */
static dnnl_status_t take_shape(fsm_bf16_matmul *m, int64_t out, int64_t in, const shape **taken)
{
    *taken = find_shape(m, out, in);
    if (*taken) return dnnl_success;
    shape *s = calloc(1, sizeof *s);
    if (!s) return dnnl_out_of_memory;
    dnnl_status_t status = create_shape(m, out, in, s);
    if (status != dnnl_success) {
        destroy_shape(s);
        return status;
    }
    s->next = m->shapes;
    m->shapes = s;
    *taken = s;
    return dnnl_success;
}

fsm_bf16_matmul *fsm_bf16_matmul_create(bool rows_are_float)
{
    fsm_bf16_matmul *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->rows = rows_are_float ? dnnl_f32 : dnnl_bf16;
    if (dnnl_engine_create(&m->engine, dnnl_cpu, 0) == dnnl_success &&
        dnnl_stream_create(&m->stream, m->engine, dnnl_stream_default_flags) == dnnl_success)
        return m;
    fsm_bf16_matmul_destroy(m);
    return NULL;
}

void fsm_bf16_matmul_destroy(fsm_bf16_matmul *m)
{
    if (!m) return;
    for (shape *s = m->shapes, *next; s; s = next) {
        next = s->next;
        destroy_shape(s);
    }
    dnnl_stream_destroy(m->stream);
    dnnl_engine_destroy(m->engine);
    free(m);
}

/* ---- a weight's copies ---- */

static dnnl_status_t create_copy(const fsm_bf16_matmul *m, const dnnl_memory_desc_t *plain,
                                 const dnnl_memory_desc_t *packed, int i, pack *p)
{
    dnnl_primitive_desc_t reorder;
    DNNL_TRY(dnnl_memory_create(&p->plain[i], plain, m->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&p->packed[i], packed, m->engine, DNNL_MEMORY_ALLOCATE));
    DNNL_TRY(dnnl_reorder_primitive_desc_create(&reorder, plain, m->engine, packed, m->engine, NULL));
    dnnl_status_t status = dnnl_primitive_create(&p->reorder[i], reorder);
    dnnl_primitive_desc_destroy(reorder);
    return status;
}

static dnnl_status_t create_pack(fsm_bf16_matmul *m, int64_t out, int64_t in, pack *p)
{
    dnnl_memory_desc_t turned, plain;
    p->matmul = m;
    DNNL_TRY(take_shape(m, out, in, &p->shape));
    DNNL_TRY(fsm_matmul_describe(in, out, dnnl_f32, dnnl_ba, &turned));
    DNNL_TRY(fsm_matmul_describe(out, in, dnnl_f32, dnnl_ab, &plain));
    DNNL_TRY(create_copy(m, &turned, &p->shape->forward.packed, 0, p));
    return create_copy(m, &plain, &p->shape->backward.packed, 1, p);
}

bool fsm_bf16_weight_create(const fsm_ops *self, fsm_bf16_matmul *matmul, fsm_weight *weight)
{
    weight->pack = NULL;
    if (weight->out == 0 || weight->in == 0) return true;
    pack *p = calloc(1, sizeof *p);
    if (!p) return false;
    weight->pack = p;
    int before = fsm_cpu_library_begin(self);
    dnnl_status_t status = create_pack(matmul, weight->out, weight->in, p);
    fsm_cpu_library_end(self, before);
    if (status != dnnl_success) fsm_bf16_weight_destroy(weight);
    else fsm_bf16_weight_update(self, weight);
    return status != dnnl_out_of_memory;
}

size_t fsm_bf16_weight_bytes(const fsm_bf16_matmul *m, int64_t out, int64_t in)
{
    direction forward, backward;
    if (out == 0 || in == 0 || begin_direction(m, in, out, &forward) != dnnl_success) return 0;
    if (begin_direction(m, out, in, &backward) != dnnl_success) return 0;
    return dnnl_memory_desc_get_size(&forward.packed) + dnnl_memory_desc_get_size(&backward.packed);
}

static dnnl_status_t reorder(const pack *p, int i, const float *w)
{
    DNNL_TRY(dnnl_memory_set_data_handle(p->plain[i], (void *)w));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, p->plain[i]}, {DNNL_ARG_TO, p->packed[i]}};
    return dnnl_primitive_execute(p->reorder[i], p->matmul->stream, 2, arguments);
}

void fsm_bf16_weight_update(const fsm_ops *self, fsm_weight *weight)
{
    pack *p = weight->pack;
    if (!p) return;
    int before = fsm_cpu_library_begin(self);
    p->stale = reorder(p, 0, weight->w) != dnnl_success || reorder(p, 1, weight->w) != dnnl_success ||
               dnnl_stream_wait(p->matmul->stream) != dnnl_success;
    fsm_cpu_library_end(self, before);
}

void fsm_bf16_weight_destroy(fsm_weight *weight)
{
    pack *p = weight->pack;
    weight->pack = NULL;
    if (!p) return;
    for (int i = 0; i < 2; i++) {
        dnnl_primitive_destroy(p->reorder[i]);
        dnnl_memory_destroy(p->packed[i]);
        dnnl_memory_destroy(p->plain[i]);
    }
    free(p);
}

/* ---- products ---- */

/* Rows of the next piece, of n that are left; the least piece also where n is less. */
static int piece_for(int64_t n)
{
    int i = 0;
    while (i < PIECES - 1 && piece_rows[i] > n) i++;
    return i;
}

static void fill_up(int64_t n, size_t bytes, const void *rows, char *last)
{
    memcpy(last, rows, (size_t)n * bytes);
    memset(last + (size_t)n * bytes, 0, (size_t)(LEAST_ROWS - n) * bytes);
}

static bool all_there(const fsm_matmul pieces[PIECES])
{
    for (int i = 0; i < PIECES; i++)
        if (!pieces[i].run) return false;
    return true;
}

/* One piece of n rows or fewer; returns how many. */
static dnnl_status_t multiply_piece(const pack *p, const direction *d, int copy, int64_t n, const char *source,
                                    fsm_elem elem, char *result, int64_t *done)
{
    const fsm_bf16_matmul *m = p->matmul;
    const size_t to_bytes = elem == FSM_ELEM_ROW ? row_bytes(m) : sizeof(float);
    const int i = piece_for(n);
    char *const *last = p->shape->last;
    bool full = n >= piece_rows[i];
    *done = full ? piece_rows[i] : n;
    if (!full) fill_up(n, row_bytes(m) * (size_t)d->in, source, last[0]);
    DNNL_TRY(fsm_matmul_run(&d->pieces[elem][i], m->stream, full ? source : last[0], p->packed[copy],
                            full ? result : last[1]));
    if (full) return dnnl_success;
    DNNL_TRY(dnnl_stream_wait(m->stream));
    memcpy(result, last[1], (size_t)n * to_bytes * (size_t)d->out);
    return dnnl_success;
}

static dnnl_status_t multiply_rows(const pack *p, const direction *d, int copy, int64_t n, const char *source,
                                   fsm_elem elem, char *result)
{
    const size_t from = row_bytes(p->matmul) * (size_t)d->in;
    const size_t to = (elem == FSM_ELEM_ROW ? row_bytes(p->matmul) : sizeof(float)) * (size_t)d->out;
    for (int64_t at = 0, done; at < n; at += done)
        DNNL_TRY(multiply_piece(p, d, copy, n - at, source + (size_t)at * from, elem, result + (size_t)at * to, &done));
    return dnnl_stream_wait(p->matmul->stream);
}

static bool multiply(const fsm_ops *self, const fsm_weight *weight, bool backward, int64_t n, const void *source,
                     fsm_elem elem, void *result)
{
    const pack *p = weight->pack;
    if (!p || p->stale) return false;
    const direction *d = backward ? &p->shape->backward : &p->shape->forward;
    if (!all_there(d->pieces[elem])) return false;
    int before = fsm_cpu_library_begin(self);
    dnnl_status_t status = multiply_rows(p, d, backward, n, source, elem, result);
    fsm_cpu_library_end(self, before);
    return status == dnnl_success;
}

bool fsm_bf16_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const void *x, fsm_elem elem, void *y)
{
    return multiply(self, weight, false, n, x, elem, y);
}

bool fsm_bf16_backward_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, const void *dy, fsm_elem elem,
                             void *dx)
{
    return multiply(self, weight, true, n, dy, elem, dx);
}

static dnnl_status_t add_gradient(const fsm_bf16_matmul *m, const shape *s, int64_t n, const char *dy, const char *x,
                                  float *dw)
{
    const size_t of_y = row_bytes(m) * (size_t)s->out, of_x = row_bytes(m) * (size_t)s->in;
    for (int64_t at = 0, rows; at < n; at += rows) {
        const int i = piece_for(n - at);
        const char *from_y = dy + (size_t)at * of_y, *from_x = x + (size_t)at * of_x;
        rows = piece_rows[i];
        if (n - at < rows) {
            fill_up(n - at, of_y, from_y, s->last[0]);
            fill_up(n - at, of_x, from_x, s->last[1]);
            from_y = s->last[0];
            from_x = s->last[1];
        }
        DNNL_TRY(dnnl_memory_set_data_handle(s->gradient[i].weights, (void *)from_x));
        DNNL_TRY(fsm_matmul_run(&s->gradient[i], m->stream, from_y, s->gradient[i].weights, dw));
        DNNL_TRY(dnnl_stream_wait(m->stream));
    }
    return dnnl_success;
}

bool fsm_bf16_has_shape(const fsm_bf16_matmul *matmul, int64_t out, int64_t in)
{
    const shape *s = find_shape(matmul, out, in);
    return s && all_there(s->gradient);
}

/* What has been added to cannot be taken back: an error spoils it, and ends the step as other values that are not
 * finite do. */
void fsm_bf16_backward_weight(const fsm_ops *self, fsm_bf16_matmul *matmul, int64_t n, int64_t out, int64_t in,
                              const void *dy, const void *x, float *dw)
{
    int before = fsm_cpu_library_begin(self);
    if (add_gradient(matmul, find_shape(matmul, out, in), n, dy, x, dw) != dnnl_success) dw[0] = NAN;
    fsm_cpu_library_end(self, before);
}
