/* Every operation of the CPU's table with rows of bf16 against the reference, whose floats are those that the rows
 * hold: what is made of floats agrees as the fast table's does, what is made of rows to half a unit in bf16's last
 * place more. The same bits twice, and with so little work memory that everything is done in parts. */
#include "base/bf16.h"
#include "cpu/instance.h"
#include "test_ops_cpu.h"

#include <stdlib.h>

enum { TIGHT = 6 * 230 * 2 }; /* of work memory: a row or two of the widest shape */

static bool tight;

/* Rows as the reference sees them and as the table does; outputs are made three times. */
typedef struct rows {
    float *want;
    uint16_t *got[2];
    int64_t n;
} rows;

static rows make_rows(fsm_arena *arena, int64_t n)
{
    rows r = {test_floats(arena, n), {FSM_ARENA_ARRAY(arena, uint16_t, n), FSM_ARENA_ARRAY(arena, uint16_t, n)}, n};
    for (int64_t i = 0; i < n; i++) {
        r.got[0][i] = r.got[1][i] = fsm_to_bf16(r.want[i]);
        r.want[i] = fsm_from_bf16(r.got[0][i]);
    }
    return r;
}

/* What run `run` of 0 (reference), 1 and 2 (table) works on. */
static fsm_row *of(rows r, int run)
{
    return run == 0 ? r.want : (fsm_row *)(void *)r.got[run - 1];
}

static fsm_matrix matrix_of(rows r, int run, int64_t ld)
{
    return fsm_rows(of(r, run), ld);
}

static void check_rows(const char *name, rows r)
{
    double largest = 0;
    for (int64_t i = 0; i < r.n; i++) largest = fmax(largest, fabs(r.want[i]));
    for (int64_t i = 0; i < r.n; i++) {
        double got = fsm_from_bf16(r.got[0][i]), band = fabs(r.want[i]) / 256 + TOLERANCE * largest;
        if (!(fabs(got - r.want[i]) <= band)) fail_msg("%s[%ld] = %.9g, want %.9g", name, (long)i, got, r.want[i]);
    }
    if (r.n > 0) assert_memory_equal(r.got[0], r.got[1], sizeof *r.got[0] * (size_t)r.n);
}

static void use_bf16(int threads)
{
    fsm_ops_destroy(fast);
    assert_int_equal(fsm_cpu_ops_create(threads, FSM_CPU_BF16, &fast), FSMOE_OK);
    if (tight) ((fsm_cpu *)fast)->wide_elems = TIGHT;
}

static void for_all(fsm_arena *arena, check_shape *check)
{
    for (int i = 0; i < 6; i++) {
        tight = i >= 3;
        use_bf16(1 + i % 3);
        for (int shape = 0; shape < SIZES * SIZES; shape++) {
            arena->used = 0;
            check(arena, row_counts[shape / SIZES], widths[shape % SIZES]);
        }
    }
}

/* ---- elements ---- */

static void check_activations(fsm_arena *arena, int64_t n, int64_t width)
{
    int64_t elems = n * width;
    for (int kind = 0; kind < 4; kind++) {
        rows x = make_rows(arena, elems), dy = make_rows(arena, elems), y = make_rows(arena, elems);
        rows dx = make_rows(arena, elems);
        for (int run = 0; run < RUNS; run++) {
            const fsm_ops *t = table_of(run);
            void (*forward[])(const fsm_ops *, int64_t, const fsm_row *,
                              fsm_row *) = {t->gelu_forward, t->gelu_tanh_forward, t->relu_forward,
                                            t->relu_squared_forward};
            void (*backward[])(const fsm_ops *, int64_t, const fsm_row *, const fsm_row *,
                               fsm_row *) = {t->gelu_backward, t->gelu_tanh_backward, t->relu_backward,
                                             t->relu_squared_backward};
            forward[kind](t, elems, of(x, run), of(y, run));
            backward[kind](t, elems, of(x, run), of(dy, run), of(dx, run));
        }
        check_rows("activation", y);
        check_rows("its backward", dx);
    }
}

static void test_activations_agree(void **state)
{
    for_all(*state, check_activations);
}

static void check_gated(fsm_arena *arena, int64_t n, int64_t width)
{
    for (int kind = 0; kind < 2; kind++) {
        rows ab = make_rows(arena, 2 * n * width), dy = make_rows(arena, n * width), y = make_rows(arena, n * width);
        for (int run = 0; run < RUNS; run++) {
            const fsm_ops *t = table_of(run);
            (kind ? t->swiglu_forward : t->geglu_forward)(t, n, width, of(ab, run), of(y, run));
            (kind ? t->swiglu_backward : t->geglu_backward)(t, n, width, of(ab, run), of(dy, run), of(ab, run));
        }
        check_rows("gated", y);
        check_rows("its backward", ab);
    }
}

static void test_gated_activations_agree(void **state)
{
    for_all(*state, check_gated);
}

static void check_norms(fsm_arena *arena, int64_t n, int64_t width)
{
    float *x = test_floats(arena, n * width), *gain = test_floats(arena, width), *bias = test_floats(arena, width);
    rows rms = make_rows(arena, n * width), layer = make_rows(arena, n * width);
    outputs rstd = test_outputs(arena, n), mean = test_outputs(arena, n), rstd2 = test_outputs(arena, n);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *t = table_of(run);
        t->rmsnorm_forward(t, n, width, 1e-5f, x, gain, of(rms, run), rstd.of[run]);
        t->layernorm_forward(t, n, width, 1e-5f, x, gain, bias, of(layer, run), mean.of[run], rstd2.of[run]);
    }
    check_rows("rmsnorm", rms);
    test_assert_agree("rmsnorm's rstd", rstd, TOLERANCE);
    if (width < 2) return; /* of one element the variance is nothing but rounding */
    check_rows("layernorm", layer);
    test_assert_agree("layernorm's mean", mean, TOLERANCE);
    test_assert_agree("layernorm's rstd", rstd2, TOLERANCE);
}

static void test_norms_agree(void **state)
{
    for_all(*state, check_norms);
}

static void check_rope(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { HEADS = 3, PLACES = 11 };
    int64_t half = width / HEADS / 2, ld = width + 5;
    rows x = make_rows(arena, n * ld);
    float *cosine = test_floats(arena, PLACES * half), *sine = test_floats(arena, PLACES * half);
    int32_t *position = test_indices(arena, n, 0, PLACES);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *t = table_of(run);
        t->rope(t, n, HEADS, 2 * half, position, cosine, sine, -1, of(x, run), ld);
    }
    check_rows("rope", x);
}

static void test_rope_agrees(void **state)
{
    for_all(*state, check_rope);
}

static void check_noise_and_units(fsm_arena *arena, int64_t n, int64_t width)
{
    const fsm_draw draw = {5, FSM_RNG_TEST, 17};
    const fsm_vectors vectors = {n, width, false};
    int64_t ld = width + 3;
    rows x = make_rows(arena, n * width), y = make_rows(arena, n * width), v = make_rows(arena, n * ld);
    outputs dx = test_outputs(arena, n * width), u = test_outputs(arena, n * ld), length = test_outputs(arena, n);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *t = table_of(run);
        t->route.jitter_forward(t, n, width, 0.3f, &draw, of(x, run), of(y, run));
        t->route.jitter_backward(t, n, width, 0.3f, &draw, of(x, run), dx.of[run]);
        t->route.unit_forward(t, &vectors, matrix_of(v, run, ld), u.of[run], length.of[run]);
    }
    check_rows("jitter", y);
    test_assert_agree("jitter's backward", dx, TOLERANCE);
    test_assert_agree("unit", u, TOLERANCE);
    test_assert_agree("length", length, TOLERANCE);
}

static void test_jitter_and_units_agree(void **state)
{
    for_all(*state, check_noise_and_units);
}

/* ---- rows ---- */

static void check_moves(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { PLACES = 40, K = 2 };
    int64_t ld = width + 3;
    rows x = make_rows(arena, PLACES * width), gathered = make_rows(arena, n * width);
    rows wide = make_rows(arena, n * ld), zero = make_rows(arena, n * width), dx = make_rows(arena, n * K * width);
    int32_t *row = test_indices(arena, n * K, -1, PLACES), *to = FSM_ARENA_ARRAY(arena, int32_t, n * K);
    float *weight = test_floats(arena, n * K), *dy = test_floats(arena, n * width);
    outputs mixed = test_outputs(arena, n * width), dweight = test_outputs(arena, n * K);
    for (int64_t i = 0; i < n * K; i++) to[i] = i % 5 == 0 ? -1 : (int32_t)(n * K - 1 - i);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *t = table_of(run);
        t->gather_rows(t, n, width, row, of(x, run), of(gathered, run));
        t->copy_rows(t, n, width, of(gathered, run), width, of(wide, run), ld);
        t->zero_rows(t, n * width, of(zero, run));
        t->combine_rows(t, n, K, width, row, weight, of(x, run), mixed.of[run]);
        t->combine_rows(t, n, K, width, row, NULL, of(x, run), mixed.of[run]);
        t->combine_rows_backward(t, n, K, width, row, to, weight, of(x, run), dy, of(dx, run), dweight.of[run]);
    }
    check_rows("gathered", gathered);
    check_rows("copied", wide);
    check_rows("zero", zero);
    check_rows("combine's dx", dx);
    test_assert_agree("combined", mixed, TOLERANCE);
    test_assert_agree("combine's dweight", dweight, TOLERANCE);
}

static void test_moved_and_mixed_rows_agree(void **state)
{
    for_all(*state, check_moves);
}

/* ---- products ---- */

static void check_linear(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { OUT = 29 };
    int64_t ld = width + 2;
    float *w = test_floats(arena, OUT * width), *bias = test_floats(arena, OUT), *real_dy = test_floats(arena, n * OUT);
    rows x = make_rows(arena, n * ld), y = make_rows(arena, n * OUT), dx = make_rows(arena, n * ld);
    outputs real_y = test_outputs(arena, n * OUT), real_dx = test_outputs(arena, n * width);
    outputs dw = test_outputs(arena, OUT * width), dbias = test_outputs(arena, OUT);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *t = table_of(run);
        fsm_weight weight = {.w = w, .out = OUT, .in = width};
        assert_true(t->weight_create(t, &weight));
        t->weight_update(t, &weight);
        t->linear_forward(t, n, &weight, NULL, matrix_of(x, run, ld), fsm_reals(real_y.of[run], OUT));
        t->linear_backward_weight(t, n, OUT, width, fsm_reals(real_dy, OUT), matrix_of(x, run, ld), dw.of[run],
                                  dbias.of[run]);
        t->linear_backward_input(t, n, &weight, fsm_reals(real_dy, OUT), 1, matrix_of(dx, run, ld));
        t->linear_backward_input(t, n, &weight, fsm_reals(real_dy, OUT), 1, fsm_reals(real_dx.of[run], width));
        t->linear_forward(t, n, &weight, bias, matrix_of(x, run, ld), matrix_of(y, run, OUT));
        t->weight_destroy(t, &weight);
    }
    check_rows("linear", y);
    check_rows("linear's dx", dx);
    test_assert_agree("linear of reals", real_y, TOLERANCE);
    test_assert_agree("linear's dx of reals", real_dx, TOLERANCE);
    test_assert_agree("linear's dw", dw, TOLERANCE);
    test_assert_agree("linear's dbias", dbias, TOLERANCE);
}

static void test_linear_agrees(void **state)
{
    for_all(*state, check_linear);
}

/* Dense rows and a weight that bf16 holds: where the processor multiplies bf16, it does (cpu/bf16_matmul.h). */
static void check_dense_linear(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { OUT = 29 };
    rows w = make_rows(arena, OUT * width), x = make_rows(arena, n * width), dy = make_rows(arena, n * OUT);
    rows y = make_rows(arena, n * OUT), plain_y = make_rows(arena, n * OUT), dx = make_rows(arena, n * width);
    const float *bias = test_floats(arena, OUT),
                *stream = dy.want; /* numbers that bf16 holds, and so what they are rounded to */
    outputs real_y = test_outputs(arena, n * OUT), real_dx = test_outputs(arena, n * width);
    outputs stream_dx = test_outputs(arena, n * width), stream_dw = test_outputs(arena, OUT * width);
    outputs dw = test_outputs(arena, OUT * width), dbias = test_outputs(arena, OUT);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *t = table_of(run);
        fsm_weight weight = {.w = w.want, .out = OUT, .in = width};
        fsm_matrix in = matrix_of(x, run, width), from = matrix_of(dy, run, OUT);
        assert_true(t->weight_create(t, &weight));
        t->linear_forward(t, n, &weight, NULL, in, matrix_of(plain_y, run, OUT));
        t->linear_forward(t, n, &weight, bias, in, matrix_of(y, run, OUT));
        t->linear_forward(t, n, &weight, bias, in, fsm_reals(real_y.of[run], OUT));
        t->linear_backward_input(t, n, &weight, from, 0, matrix_of(dx, run, width));
        t->linear_backward_input(t, n, &weight, from, 0, fsm_reals(real_dx.of[run], width));
        t->linear_backward_weight(t, n, OUT, width, from, in, dw.of[run], dbias.of[run]);
        t->linear_backward_input(t, n, &weight, fsm_reals(stream, OUT), 0, fsm_reals(stream_dx.of[run], width));
        t->linear_backward_weight(t, n, OUT, width, fsm_reals(stream, OUT), in, stream_dw.of[run], NULL);
        t->weight_destroy(t, &weight);
    }
    check_rows("dense linear", plain_y);
    check_rows("dense linear with a bias", y);
    check_rows("dense linear's dx", dx);
    test_assert_agree("dense linear of reals", real_y, TOLERANCE);
    test_assert_agree("dense linear's dx of reals", real_dx, TOLERANCE);
    test_assert_agree("dense linear's dx of the stream's", stream_dx, TOLERANCE);
    test_assert_agree("dense linear's dw of the stream's", stream_dw, TOLERANCE);
    test_assert_agree("dense linear's dw", dw, TOLERANCE);
    test_assert_agree("dense linear's dbias", dbias, TOLERANCE);
}

static void test_dense_linear_agrees(void **state)
{
    for_all(*state, check_dense_linear);
}

/* Every mixture of rows and reals, transposed and not. */
static void check_gemm(fsm_arena *arena, int64_t m, int64_t k)
{
    enum { N = 19 };
    for (int mix = 0; mix < 32; mix++) {
        arena->used = 0;
        bool trans_a = mix & 8, trans_b = mix & 16;
        int64_t ld_a = (trans_a ? m : k) + 1, ld_b = (trans_b ? k : N) + 2;
        rows a = make_rows(arena, (trans_a ? k : m) * ld_a), b = make_rows(arena, (trans_b ? N : k) * ld_b);
        rows c = make_rows(arena, m * N);
        outputs real = test_outputs(arena, m * N);
        const float alpha = 0.5f;
        for (int run = 0; run < RUNS; run++) {
            const fsm_ops *t = table_of(run);
            fsm_matrix left = mix & 1 ? matrix_of(a, run, ld_a) : fsm_reals(a.want, ld_a);
            fsm_matrix right = mix & 2 ? matrix_of(b, run, ld_b) : fsm_reals(b.want, ld_b);
            fsm_matrix result = mix & 4 ? matrix_of(c, run, N) : fsm_reals(real.of[run], N);
            t->gemm(t, trans_a, trans_b, m, N, k, &alpha, left, right, 1, result);
        }
        check_rows("gemm", c);
        test_assert_agree("gemm of reals", real, TOLERANCE);
    }
}

static void test_gemm_agrees(void **state)
{
    for_all(*state, check_gemm);
}

/* A decoded row is the same whatever rows are beside it. */
static void test_row_by_row_does_not_depend_on_company(void **state)
{
    enum { N = 9, IN = 70, OUT = 50 };
    fsm_arena *arena = *state;
    rows x = make_rows(arena, N * IN), all = make_rows(arena, N * OUT), alone = make_rows(arena, OUT);
    fsm_weight weight = {.w = test_floats(arena, OUT * IN), .out = OUT, .in = IN};
    tight = false;
    use_bf16(2);
    fast->row_by_row(fast, true);
    fast->linear_forward(fast, N, &weight, NULL, matrix_of(x, 1, IN), matrix_of(all, 1, OUT));
    for (int i = 0; i < N; i++) {
        fsm_matrix one = fsm_rows(fsm_row_at(of(x, 1), 2, i * IN), IN);
        fast->linear_forward(fast, 1, &weight, NULL, one, matrix_of(alone, 1, OUT));
        assert_memory_equal(alone.got[0], all.got[0] + i * OUT, OUT * sizeof *alone.got[0]);
    }
}

/* ---- attention ---- */

static void attend(fsm_arena *arena, fsm_attention_shape s, bool backward)
{
    int64_t n_q = s.batch * s.q_len * s.ld_q, n_k = s.batch * s.sample_k * s.ld_k;
    rows q = make_rows(arena, n_q), k = make_rows(arena, n_k), v = make_rows(arena, n_k), o = make_rows(arena, n_q);
    rows do_ = make_rows(arena, n_q), dq = make_rows(arena, n_q), dk = make_rows(arena, n_k),
         dv = make_rows(arena, n_k);
    outputs lse = test_outputs(arena, s.batch * s.heads * s.q_len);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *t = table_of(run);
        assert_true(t->attention_reserve((fsm_ops *)t, &s));
        t->attention_forward(t, &s, of(q, run), of(k, run), of(v, run), of(o, run), lse.of[run]);
    }
    check_rows("attention", o);
    test_assert_agree("attention's lse", lse, TOLERANCE);
    if (!backward) return;
    for (int64_t i = 0; i < o.n; i++)
        o.want[i] = fsm_from_bf16(o.got[0][i]); /* what backward is given is not its matter */
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *t = table_of(run);
        t->attention_backward(t, &s, of(q, run), of(k, run), of(v, run), of(o, run), lse.of[run], of(do_, run),
                              of(dq, run), of(dk, run), of(dv, run));
    }
    check_rows("attention's dq", dq);
    check_rows("attention's dk", dk);
    check_rows("attention's dv", dv);
}

static void test_attention_agrees(void **state)
{
    fsm_arena *arena = *state;
    static const int64_t lengths[][2] = {{1, 1}, {1, 40}, {7, 7}, {33, 70}, {100, 100}};
    tight = false;
    for (int i = 0; i < 3 * 5; i++) {
        enum { DIM = 10, HEADS = 4, KV = 2 };
        const int64_t *length = lengths[i / 3];
        use_bf16(1 + i % 3);
        arena->used = 0;
        fsm_attention_shape s = {2,  length[0], length[1], HEADS,         KV,   DIM,  50,
                                 25, 25,        50,        length[1] + 3, 0.3f, NULL, NULL};
        attend(arena, s, true);
        const int32_t first[] = {length[1] > 1 ? 1 : 0, (int32_t)length[1] + 2};
        const int32_t count[] = {(int32_t)length[1], (int32_t)length[0]};
        s.k_first = first, s.k_count = count;
        attend(arena, s, false);
    }
}

static int destroy_table(void **state)
{
    (void)state;
    fsm_ops_destroy(fast);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_activations_agree),
        TEST(test_gated_activations_agree),
        TEST(test_norms_agree),
        TEST(test_rope_agrees),
        TEST(test_jitter_and_units_agree),
        TEST(test_moved_and_mixed_rows_agree),
        TEST(test_linear_agrees),
        TEST(test_dense_linear_agrees),
        TEST(test_gemm_agrees),
        TEST(test_row_by_row_does_not_depend_on_company),
        TEST(test_attention_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, destroy_table);
}
