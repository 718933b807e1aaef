/* The fast tables against the reference: products, norms, attention, activations, vectors; and against itself, since a
 * fixed number of threads must give the same bits every run. Rows and softmax: test_ops_cpu_rows.c. */
#include "test_ops_cpu.h"
#include "cpu/gemm.h"
#include "cpu/slots.h"
#include "moe/expert/activation.h"

#include <stdlib.h>

static void check_gemm(fsm_arena *arena, int64_t m, int64_t n, int64_t k, int variant)
{
    bool trans_a = variant & 1, trans_b = variant & 2;
    float beta = variant & 4 ? 0.5f : 0, alpha = variant & 4 ? -2 : 1;
    int64_t lda = (trans_a ? m : k) + 3, ldb = (trans_b ? k : n) + 1, ldc = n + 2;
    const float *a = test_floats(arena, lda * (trans_a ? k : m)), *b = test_floats(arena, ldb * (trans_b ? n : k));
    outputs c = test_outputs(arena, m * ldc);
    for (int run = 0; run < RUNS; run++)
        table_of(run)->gemm(table_of(run), trans_a, trans_b, m, n, k, &alpha, fsm_reals(a, lda), fsm_reals(b, ldb),
                            beta, fsm_reals(c.of[run], ldc));
    test_assert_agree("gemm", c, TOLERANCE);
}

static void test_ops_cpu_gemm_agrees_with_reference(void **state)
{
    static const int64_t sizes[][3] = {{0, 5, 3},   {5, 0, 3},   {5, 3, 0},     {1, 1, 1},       {2, 3, 5},
                                       {1, 64, 32}, {64, 1, 32}, {33, 65, 129}, {130, 128, 257}, {300, 96, 31}};
    for (int threads = 1; threads <= 3; threads++) {
        use_threads(threads);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            for (int variant = 0; variant < 8; variant++) {
                ((fsm_arena *)*state)->used = 0;
                check_gemm(*state, sizes[i][0], sizes[i][1], sizes[i][2], variant);
            }
        }
    }
}

static void test_ops_cpu_gemm_with_beta_0_ignores_what_c_held(void **state)
{
    float a[1] = {2}, b[1] = {3}, c[1] = {NAN}, nothing[1] = {NAN};
    (void)state;
    for (int run = 0; run < 2; run++) {
        c[0] = NAN;
        table_of(run)->gemm(table_of(run), false, false, 1, 1, 1, NULL, fsm_reals(a, 1), fsm_reals(b, 1), 0,
                            fsm_reals(c, 1));
        assert_true(c[0] == 6);
        nothing[0] = NAN;
        table_of(run)->gemm(table_of(run), false, false, 1, 1, 0, NULL, fsm_reals(a, 1), fsm_reals(b, 1), 0,
                            fsm_reals(nothing, 1));
        assert_true(nothing[0] == 0);
    }
}

/* The reference takes no pack; `make` gives the other table's weight one or none. */
static void check_linear(fsm_arena *arena, int64_t n, int64_t out, int64_t in, int64_t gap,
                         bool (*make)(const fsm_ops *, fsm_weight *))
{
    int64_t ld_x = in + gap, ld_y = out + gap;
    float *w = test_floats(arena, out * in);
    const float *bias = test_floats(arena, out), *x = test_floats(arena, n * ld_x), *dy = test_floats(arena, n * ld_y);
    outputs y = test_outputs(arena, n * ld_y), dx = test_outputs(arena, n * ld_x), more = test_outputs(arena, n * ld_x);
    outputs joined = test_outputs(arena, n * ld_x), dw = test_outputs(arena, out * in),
            dbias = test_outputs(arena, out);
    fsm_weight packed = {w, out, in, NULL}, plain = packed;
    assert_true(make(fast, &packed));
    for (int64_t i = 0; i < out * in; i++) w[i] *= 0.5f;
    fsm_cpu_weight_update(fast, &packed);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        const fsm_weight *weight = run == 0 ? &plain : &packed;
        ops->linear_forward(ops, n, weight, gap ? NULL : bias, fsm_reals(x, ld_x), fsm_reals(y.of[run], ld_y));
        ops->linear_backward_input(ops, n, weight, fsm_reals(dy, ld_y), 0, fsm_reals(dx.of[run], ld_x));
        ops->linear_backward_input(ops, n, weight, fsm_reals(dy, ld_y), 1, fsm_reals(more.of[run], ld_x));
        if (out % 2 == 0) {
            const int64_t halves[2] = {out / 2, out / 2}, leaves[2] = {7, 7};
            ops->linear_backward_joined(ops, n, weight, &(fsm_joined){2, halves, leaves}, fsm_reals(dy, ld_y),
                                        fsm_reals(joined.of[run], ld_x));
        }
        ops->linear_backward_weight(ops, n, out, in, fsm_reals(dy, ld_y), fsm_reals(x, ld_x), dw.of[run],
                                    gap ? NULL : dbias.of[run]);
    }
    fsm_cpu_weight_destroy(fast, &packed);
    test_assert_agree("linear_forward", y, TOLERANCE);
    test_assert_agree("linear_backward_input", dx, TOLERANCE);
    test_assert_agree("linear_backward_input, beta 1", more, TOLERANCE);
    test_assert_agree("linear_backward_joined", joined, TOLERANCE);
    test_assert_agree("linear_backward_weight", dw, TOLERANCE);
    test_assert_agree("linear_backward_weight: bias", dbias, TOLERANCE);
}

static void check_linears(fsm_arena *arena, bool (*make)(const fsm_ops *, fsm_weight *))
{
    static const int64_t sizes[][3] = {{0, 8, 8},    {1, 1, 1},     {15, 33, 20}, {16, 32, 48},
                                       {95, 70, 33}, {300, 48, 64}, {513, 24, 40}};
    for (int threads = 1; threads <= 3; threads++) {
        use_threads(threads);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            for (int64_t gap = 0; gap <= 3; gap += 3) {
                arena->used = 0;
                check_linear(arena, sizes[i][0], sizes[i][1], sizes[i][2], gap, make);
            }
        }
    }
}

static void test_ops_cpu_linear_agrees_with_reference(void **state)
{
    check_linears(*state, fast->weight_create);
}

/* Where plain rows are the best layout, weight_create packs nothing: the packed path is forced. */
static void test_ops_cpu_linear_with_packed_weights_agrees_with_reference(void **state)
{
    check_linears(*state, fsm_cpu_weight_create_forced);
}

static void check_rmsnorm(fsm_arena *arena, int64_t n, int64_t width)
{
    const float *x = test_floats(arena, n * width), *gain = test_floats(arena, width),
                *dy = test_floats(arena, n * width);
    outputs y = test_outputs(arena, n * width), rstd = test_outputs(arena, n), dx = test_outputs(arena, n * width),
            dgain = test_outputs(arena, width);
    for (int run = 0; run < RUNS; run++) {
        table_of(run)->rmsnorm_forward(table_of(run), n, width, 1e-5f, x, gain, y.of[run], rstd.of[run]);
        table_of(run)->rmsnorm_backward(table_of(run), n, width, x, gain, rstd.of[run], dy, dx.of[run], dgain.of[run]);
    }
    test_assert_agree("rmsnorm_forward", y, TOLERANCE);
    test_assert_agree("rmsnorm_forward: rstd", rstd, TOLERANCE);
    test_assert_agree("rmsnorm_backward: dx", dx, TOLERANCE);
    test_assert_agree("rmsnorm_backward: dgain", dgain, TOLERANCE);
}

static void test_ops_cpu_rmsnorm_agrees_with_reference(void **state)
{
    for_each_shape(*state, check_rmsnorm);
}

static void check_layernorm(fsm_arena *arena, int64_t n, int64_t width)
{
    const float *x = test_floats(arena, n * width), *gain = test_floats(arena, width),
                *bias = test_floats(arena, width);
    const float *dy = test_floats(arena, n * width);
    outputs y = test_outputs(arena, n * width), mean = test_outputs(arena, n), rstd = test_outputs(arena, n);
    outputs dx = test_outputs(arena, n * width), dgain = test_outputs(arena, width), dbias = test_outputs(arena, width);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        ops->layernorm_forward(ops, n, width, 1e-5f, x, gain, bias, y.of[run], mean.of[run], rstd.of[run]);
        ops->layernorm_backward(ops, n, width, x, gain, mean.of[run], rstd.of[run], dy, dx.of[run], dgain.of[run],
                                dbias.of[run]);
    }
    test_assert_agree("layernorm_forward", y, TOLERANCE);
    test_assert_agree("layernorm_forward: mean", mean, TOLERANCE);
    test_assert_agree("layernorm_forward: rstd", rstd, TOLERANCE);
    test_assert_agree("layernorm_backward: dx", dx, TOLERANCE);
    test_assert_agree("layernorm_backward: dgain", dgain, TOLERANCE);
    test_assert_agree("layernorm_backward: dbias", dbias, TOLERANCE);
}

static void test_ops_cpu_layernorm_agrees_with_reference(void **state)
{
    for_each_shape(*state, check_layernorm);
}

/* `width` heads of 6, rows 5 elements more apart than they need. */
static void check_rope(fsm_arena *arena, int64_t n, int64_t width)
{
    int64_t head_dim = 6, ld = width * head_dim + 5;
    const int32_t *position = test_indices(arena, n, 0, 50);
    const float *cosine = test_floats(arena, 50 * 3), *sine = test_floats(arena, 50 * 3);
    outputs x = test_outputs(arena, n * ld);
    for (int run = 0; run < RUNS; run++) {
        table_of(run)->rope(table_of(run), n, width, head_dim, position, cosine, sine, 1, x.of[run], ld);
        table_of(run)->rope(table_of(run), n, width / 2, head_dim, position, cosine, sine, -1, x.of[run], ld);
    }
    test_assert_agree("rope", x, TOLERANCE);
}

static void test_ops_cpu_rope_agrees_with_reference(void **state)
{
    for_each_shape(*state, check_rope);
}

/* A row has the same bits alone and among others, on any number of threads, and so has a product with a gemm. */
static void check_row_by_row(fsm_arena *arena, int64_t n, int64_t width)
{
    int64_t out = widths[n % SIZES] + 9, ld_x = width + 3, ld_y = out + 1;
    const fsm_weight w = {test_floats(arena, out * width), out, width, NULL};
    const float *bias = test_floats(arena, out), *x = test_floats(arena, n * ld_x), alpha = -0.5f;
    outputs y = test_outputs(arena, n * ld_y), c = test_outputs(arena, n * ld_y);
    fast->row_by_row(fast, true);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        ops->linear_forward(ops, n, &w, bias, fsm_reals(x, ld_x), fsm_reals(y.of[run], ld_y));
        ops->gemm(ops, false, true, n, out, width, &alpha, fsm_reals(x, ld_x), fsm_reals(w.w, width), 0,
                  fsm_reals(c.of[run], ld_y));
    }
    test_assert_agree("linear_forward, row by row", y, TOLERANCE);
    test_assert_agree("gemm, row by row", c, TOLERANCE);
    for (int64_t i = 0; i < n; i++) {
        float *alone = test_floats(arena, out);
        fast->linear_forward(fast, 1, &w, bias, fsm_reals(x + i * ld_x, ld_x), fsm_reals(alone, out));
        assert_memory_equal(alone, y.of[1] + i * ld_y, sizeof *alone * (size_t)out);
    }
}

static void test_ops_cpu_row_by_row_agrees_with_reference_and_knows_no_neighbours(void **state)
{
    for_each_shape(*state, check_row_by_row);
}

/* Samples with keys of their own number and place are as those samples one by one. */
static void test_ops_cpu_attention_takes_samples_of_different_lengths(void **state)
{
    enum { BATCH = 3, CAPACITY = 40, HEADS = 4, KV = 2, DIM = 8, WIDTH = HEADS * DIM, KV_WIDTH = KV * DIM };
    static const int32_t first[BATCH] = {80, 0, 40}, count[BATCH] = {7, 40, 23};
    for (int64_t q_len = 1; q_len <= 5; q_len += 4) {
        ((fsm_arena *)*state)->used = 0;
        const float *q = test_floats(*state, BATCH * q_len * WIDTH);
        const float *k = test_floats(*state, BATCH * CAPACITY * KV_WIDTH), *v = k; /* one serves for both */
        outputs o = test_outputs(*state, BATCH * q_len * WIDTH), lse = test_outputs(*state, BATCH * q_len * HEADS);
        fsm_attention_shape s = {BATCH,
                                 q_len,
                                 CAPACITY,
                                 HEADS,
                                 KV,
                                 DIM,
                                 .ld_q = WIDTH,
                                 .ld_k = KV_WIDTH,
                                 .ld_v = KV_WIDTH,
                                 .ld_o = WIDTH,
                                 .scale = 0.3f,
                                 .k_first = first,
                                 .k_count = count};
        use_threads(2);
        assert_true(fast->attention_reserve(fast, &s));
        for (int run = 0; run < RUNS; run++)
            table_of(run)->attention_forward(table_of(run), &s, q, k, v, o.of[run], lse.of[run]);
        test_assert_agree("attention_forward of lengths: o", o, TOLERANCE);
        test_assert_agree("attention_forward of lengths: lse", lse, TOLERANCE);
        for (int b = 0; b < BATCH; b++) {
            float *alone = test_floats(*state, q_len * WIDTH), *alone_lse = test_floats(*state, q_len * HEADS);
            fsm_attention_shape one = s;
            one.batch = 1, one.k_len = count[b], one.k_first = one.k_count = NULL;
            fast->attention_forward(fast, &one, q + b * q_len * WIDTH, k + first[b] * KV_WIDTH, v + first[b] * KV_WIDTH,
                                    alone, alone_lse);
            assert_memory_equal(alone, o.of[1] + b * q_len * WIDTH, sizeof *alone * (size_t)(q_len * WIDTH));
        }
    }
}

static void check_attention(fsm_arena *arena, fsm_attention_shape s)
{
    int64_t queries = s.batch * s.q_len, keys = s.batch * s.sample_k;
    const float *q = test_floats(arena, queries * s.ld_q), *k = test_floats(arena, keys * s.ld_k);
    const float *v = test_floats(arena, keys * s.ld_v), *do_ = test_floats(arena, queries * s.ld_o);
    outputs o = test_outputs(arena, queries * s.ld_o), lse = test_outputs(arena, queries * s.heads);
    outputs dq = test_outputs(arena, queries * s.ld_q), dk = test_outputs(arena, keys * s.ld_k);
    outputs dv = test_outputs(arena, keys * s.ld_v);
    assert_true(fast->attention_reserve(fast, &s));
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        ops->attention_forward(ops, &s, q, k, v, o.of[run], lse.of[run]);
        ops->attention_backward(ops, &s, q, k, v, o.of[run], lse.of[run], do_, dq.of[run], dk.of[run], dv.of[run]);
    }
    test_assert_agree("attention_forward: o", o, TOLERANCE);
    test_assert_agree("attention_forward: lse", lse, TOLERANCE);
    test_assert_agree("attention_backward: dq", dq, TOLERANCE);
    test_assert_agree("attention_backward: dk", dk, TOLERANCE);
    test_assert_agree("attention_backward: dv", dv, TOLERANCE);
}

/* Grouped queries, queries at the end of more keys (one: generation), blocks that do not fill, no queries. */
static void test_ops_cpu_attention_agrees_with_reference(void **state)
{
    static const struct {
        int64_t batch, q_len, k_len, heads, kv_heads, head_dim, gap;
    } shapes[] = {{1, 1, 1, 1, 1, 1, 0},      {2, 5, 5, 2, 2, 8, 3},    {2, 3, 70, 4, 2, 6, 0},
                  {3, 1, 40, 4, 2, 32, 5},    {1, 64, 64, 2, 1, 32, 0}, {2, 65, 65, 4, 1, 16, 1},
                  {1, 130, 200, 3, 3, 20, 2}, {0, 4, 4, 2, 2, 8, 0},    {2, 0, 7, 2, 1, 4, 1}};
    for (int threads = 1; threads <= 3; threads++) {
        use_threads(threads);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            int64_t gap = shapes[i].gap, query = shapes[i].heads * shapes[i].head_dim,
                    key = shapes[i].kv_heads * shapes[i].head_dim;
            ((fsm_arena *)*state)->used = 0;
            check_attention(*state,
                            (fsm_attention_shape){shapes[i].batch, shapes[i].q_len, shapes[i].k_len, shapes[i].heads,
                                                  shapes[i].kv_heads, shapes[i].head_dim, .ld_q = query + gap,
                                                  .ld_k = key + 2 * gap, .ld_v = key + gap, .ld_o = query + 3 * gap,
                                                  .sample_k = shapes[i].k_len + gap, .scale = 0.3f});
        }
    }
}

/* Experts put the gradient where the values were: the same bits. */
static void check_in_place(fsm_arena *arena, const fsm_activation *a, const fsm_ops *ops, int64_t n, int64_t width,
                           const float *pre, const float *dact, const float *dpre)
{
    int64_t elems = (a->gated ? 2 : 1) * n * width;
    float *both = test_floats(arena, elems);
    if (elems == 0) return;
    memcpy(both, pre, sizeof *both * (size_t)elems);
    a->backward(ops, n, width, both, dact, both);
    assert_memory_equal(both, dpre, sizeof *both * (size_t)elems);
}

static void check_activation(fsm_arena *arena, const fsm_activation *a, int64_t n, int64_t width)
{
    int64_t elems = (a->gated ? 2 : 1) * n * width;
    char name[64];
    float *pre = test_floats(arena, elems);
    const float *dact = test_floats(arena, n * width);
    outputs act = test_outputs(arena, n * width), dpre = test_outputs(arena, elems);
    for (int64_t i = 0; i < elems; i++) pre[i] *= a->gated && i % 97 == 0 ? 60 : 3;
    for (int run = 0; run < RUNS; run++) {
        a->forward(table_of(run), n, width, pre, act.of[run]);
        a->backward(table_of(run), n, width, pre, dact, dpre.of[run]);
        check_in_place(arena, a, table_of(run), n, width, pre, dact, dpre.of[run]);
    }
    snprintf(name, sizeof name, "%s_forward", a->name);
    test_assert_agree(name, act, 1e-6);
    snprintf(name, sizeof name, "%s_backward", a->name);
    test_assert_agree(name, dpre, 1e-6);
}

static void check_activations(fsm_arena *arena, int64_t n, int64_t width)
{
    for (int i = 0; fsm_activation_at(i); i++) check_activation(arena, fsm_activation_at(i), n, width);
}

static void test_ops_cpu_activations_agree_with_reference(void **state)
{
    for_each_shape(*state, check_activations);
}

/* Not only relative to the largest: every value on [-limit, limit]. */
static void check_tails(void (*want_of)(const fsm_ops *, int64_t, const float *, float *),
                        void (*got_of)(const fsm_ops *, int64_t, const float *, float *), float limit)
{
    enum { N = 4801 };
    float x[N], want[N], got[N];
    for (int i = 0; i < N; i++) x[i] = limit * (float)(i - N / 2) / (N / 2);
    want_of(&fsm_ops_reference, N, x, want);
    got_of(fast, N, x, got);
    for (int i = 0; i < N; i++)
        if (fabsf(got[i] - want[i]) > 1e-5f * fabsf(want[i])) fail_msg("f(%g) = %g, want %g", x[i], got[i], want[i]);
}

static void test_ops_cpu_gelus_keep_relative_accuracy_in_their_tails(void **state)
{
    (void)state;
    check_tails(fsm_ops_reference.gelu_forward, fast->gelu_forward, 12);
    check_tails(fsm_ops_reference.gelu_tanh_forward, fast->gelu_tanh_forward, 8);
}

/* x for large x and 0 for small, with slopes 1 and 0, also where squares and cubes of x overflow. */
static void test_ops_cpu_gelus_far_from_0_are_relu(void **state)
{
    const float x[4] = {-1e30f, -50, 50, 1e30f}, one[4] = {1, 1, 1, 1};
    float y[4], dx[4];
    (void)state;
    for (int i = 0; i < 3; i++) {
        const fsm_activation *a = fsm_activation_find((const char *[]){"gelu", "gelu_tanh", "relu"}[i]);
        a->forward(fast, 1, 4, x, y);
        a->backward(fast, 1, 4, x, one, dx);
        test_assert_close(a->name, 4, y, (const float[]){0, 0, 50, 1e30f}, 0);
        test_assert_close(a->name, 4, dx, (const float[]){0, 0, 1, 1}, 0);
    }
}

static void test_ops_cpu_activations_backward_may_write_over_dy(void **state)
{
    const float *x = test_floats(*state, 1000), *dy = test_floats(*state, 1000);
    float *dx = test_floats(*state, 1000), *apart = test_floats(*state, 1000);
    for (int i = 0; fsm_activation_at(i); i++) {
        const fsm_activation *a = fsm_activation_at(i);
        for (int run = 0; run < 2 && !a->gated; run++) {
            memcpy(dx, dy, 4000);
            a->backward(table_of(run), 1, 1000, x, dy, apart);
            a->backward(table_of(run), 1, 1000, x, dx, dx);
            assert_memory_equal(apart, dx, 4000);
        }
    }
}

static void test_ops_cpu_passes_nan_on(void **state)
{
    float x[40] = {[7] = NAN}, y[40];
    int32_t target[1] = {0};
    double loss = 0;
    (void)state;
    fast->softmax(fast, 1, 40, x, y, NULL);
    assert_true(isnan(y[0]) && isnan(y[7]));
    for (int i = 0; fsm_activation_at(i); i++) {
        fsm_activation_at(i)->forward(fast, 1, 20, x, y);
        assert_true(isnan(y[7]) && y[6] == 0);
    }
    fast->cross_entropy(fast, 1, 40, x, target, 1, true, &loss);
    assert_true(isnan(loss) && isnan(x[0]));
}

static void check_vectors(fsm_arena *arena, int64_t n, int64_t width)
{
    const float *x = test_floats(arena, n * width);
    outputs sum = test_outputs(arena, n * width), scaled = test_outputs(arena, n * width);
    outputs zero = test_outputs(arena, n * width);
    double squares[RUNS];
    for (int run = 0; run < RUNS; run++) {
        table_of(run)->add(table_of(run), n * width, x, sum.of[run]);
        table_of(run)->scale(table_of(run), n * width, -1.5f, scaled.of[run]);
        table_of(run)->zero(table_of(run), n * width, zero.of[run]);
        squares[run] = 0;
        table_of(run)->sum_squares(table_of(run), n * width, x, &squares[run]);
    }
    test_assert_agree("add", sum, 0);
    test_assert_agree("scale", scaled, 0);
    test_assert_agree("zero", zero, 0);
    assert_true(fabs(squares[1] - squares[0]) <= 1e-13 * squares[0] && squares[1] == squares[2]);
}

static void test_ops_cpu_vectors_agree_with_reference(void **state)
{
    for_each_shape(*state, check_vectors);
}

static void test_ops_cpu_sum_squares_does_not_depend_on_threads(void **state)
{
    const float *x = test_floats(*state, 100003);
    use_threads(1);
    double alone = 0, together = 0;
    fast->sum_squares(fast, 100003, x, &alone);
    use_threads(3);
    fast->sum_squares(fast, 100003, x, &together);
    assert_true(together == alone);
}

static void check_adamw(fsm_arena *arena, int64_t n, int64_t width)
{
    const double norm_squared = 1; /* clipped to 0.3 */
    const float *g = test_floats(arena, n * width);
    outputs m = test_outputs(arena, n * width), v = test_outputs(arena, n * width), p = test_outputs(arena, n * width);
    for (int run = 0; run < RUNS; run++) {
        for (int64_t i = 0; i < n * width; i++) v.of[run][i] = fabsf(v.of[run][i]);
        for (int t = 1; t <= 3; t++) {
            const float rates[FSM_ADAMW_RATES] = {1e-2f, (float)(1 - pow(0.9, t)), (float)(1 - pow(0.95, t))};
            fsm_adamw step = {rates, 0.9f, 0.95f, 1e-8f, 0.1f, 0.3, &norm_squared, NULL};
            table_of(run)->adamw(table_of(run), n * width, &step, g, m.of[run], v.of[run], p.of[run]);
        }
    }
    test_assert_agree("adamw: m", m, 1e-6);
    test_assert_agree("adamw: v", v, 1e-6);
    test_assert_agree("adamw: p", p, 1e-6);
}

static void test_ops_cpu_adamw_agrees_with_reference(void **state)
{
    for_each_shape(*state, check_adamw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ops_cpu_gemm_agrees_with_reference),
        TEST(test_ops_cpu_gemm_with_beta_0_ignores_what_c_held),
        TEST(test_ops_cpu_linear_agrees_with_reference),
        TEST(test_ops_cpu_linear_with_packed_weights_agrees_with_reference),
        TEST(test_ops_cpu_rmsnorm_agrees_with_reference),
        TEST(test_ops_cpu_layernorm_agrees_with_reference),
        TEST(test_ops_cpu_rope_agrees_with_reference),
        TEST(test_ops_cpu_attention_agrees_with_reference),
        TEST(test_ops_cpu_row_by_row_agrees_with_reference_and_knows_no_neighbours),
        TEST(test_ops_cpu_attention_takes_samples_of_different_lengths),
        TEST(test_ops_cpu_activations_agree_with_reference),
        TEST(test_ops_cpu_gelus_keep_relative_accuracy_in_their_tails),
        TEST(test_ops_cpu_gelus_far_from_0_are_relu),
        TEST(test_ops_cpu_activations_backward_may_write_over_dy),
        TEST(test_ops_cpu_passes_nan_on),
        TEST(test_ops_cpu_vectors_agree_with_reference),
        TEST(test_ops_cpu_sum_squares_does_not_depend_on_threads),
        TEST(test_ops_cpu_adamw_agrees_with_reference),
    };
    use_threads(1);
    int failed = cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
    canonical = true;
    use_threads(1);
    failed += cmocka_run_group_tests_name("cpu-canonical", tests, NULL, NULL);
    fsm_ops_destroy(fast);
    return failed;
}
