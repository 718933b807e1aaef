/* Routing as operations: the fast tables give the reference's bits on any number of threads, over shapes that are
 * empty, single and large; the reference gives values worked out by hand. Gradients: test_ops_route_gradients.c. */
#include "ops/ref.h"
#include "test_ops_cpu.h"

enum { LEAST_EXPERTS = 2 };

/* ---- the fast tables against the reference ---- */

static int64_t experts_of(int64_t width)
{
    return width < LEAST_EXPERTS ? LEAST_EXPERTS : width;
}

/* Different choices of each token, some left out. */
static int32_t *some_choices(fsm_arena *arena, int64_t n, int64_t experts, int64_t k, bool all)
{
    int32_t *choice = FSM_ARENA_ARRAY(arena, int32_t, n * k);
    for (int64_t at = 0; at < n * k; at++)
        choice[at] = !all && at % 5 == 3 ? -1 : (int32_t)((at / k * 7 + at % k) % experts);
    return choice;
}

static void check_sums(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { K = 2 };
    int64_t experts = experts_of(width);
    const float *x = test_floats(arena, n * experts), *weight = test_floats(arena, n * K);
    const int32_t *choice = some_choices(arena, n, experts, K, false);
    raw_outputs columns = test_sum_outputs(arena, experts), chosen = test_sum_outputs(arena, experts),
                first = test_sum_outputs(arena, experts);
    raw_outputs squares = test_sum_outputs(arena, 1);
    outputs dweight = test_outputs(arena, n * K);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        ops->route.add_columns(ops, n, experts, x, columns.of[run]);
        ops->route.add_choices(ops, n, K, K, choice, weight, 0, chosen.of[run]);
        ops->route.add_choices(ops, n, K, 1, choice, NULL, 0.5, first.of[run]);
        ops->route.add_squares(ops, n * experts, x, squares.of[run]);
        ops->route.add_share(ops, n, K, choice, columns.of[run], dweight.of[run]);
    }
    test_assert_same("add_columns", columns);
    test_assert_same("add_choices", chosen);
    test_assert_same("add_choices, the first", first);
    test_assert_same("add_squares", squares);
    test_assert_same_floats("add_share", dweight);
}

static void check_choices(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { K = 2 };
    int64_t experts = experts_of(width), group = n > 20 ? 20 : n + 1, capacity = 1 + width % 6;
    float *x = test_floats(arena, n * experts);
    for (int64_t i = 0; i < n * experts; i++) x[i] = i % 3 ? x[i] : (float)(i % 4 - 1); /* many are equal */
    const int32_t *choice = some_choices(arena, n, experts, K, false), *id = test_indices(arena, n, 0, 50000);
    const fsm_draw draw = {.seed = 3, .stream = FSM_RNG_TEST, .first = 11};
    raw_outputs taken = test_index_outputs(arena, n * experts), by_id = test_index_outputs(arena, n * K);
    raw_outputs by_number = test_index_outputs(arena, n * K), hashed = test_index_outputs(arena, n * K);
    outputs weight = test_outputs(arena, n * experts), picked = test_outputs(arena, n * K);
    outputs filled = test_outputs(arena, n);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        ops->route.choose_by_columns(ops, n, experts, group, capacity, x, taken.of[run], weight.of[run]);
        ops->route.choose_modulo(ops, n, experts, K, id, 0, 1, by_id.of[run]);
        ops->route.choose_modulo(ops, n, experts, K, NULL, 5, K, by_number.of[run]);
        ops->route.choose_hashed(ops, n, experts, K, id, &draw, hashed.of[run]);
        ops->route.pick(ops, n, experts, K, x, choice, picked.of[run]);
        ops->route.fill(ops, n, 0.25f, filled.of[run]);
    }
    test_assert_same("choose_by_columns", taken);
    test_assert_same_floats("choose_by_columns: weight", weight);
    test_assert_same("choose_modulo", by_id);
    test_assert_same("choose_modulo by number", by_number);
    test_assert_same("choose_hashed", hashed);
    test_assert_same_floats("pick", picked);
    test_assert_same_floats("fill", filled);
}

static void check_weights(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { K = 2 };
    int64_t experts = experts_of(width);
    const int32_t *choice = some_choices(arena, n, experts, K, true);
    const float *prob = test_floats(arena, n * experts), *lse = test_floats(arena, n);
    const float *weight = test_floats(arena, n * K), *dweight = test_floats(arena, n * K);
    const double *share = test_sum_outputs(arena, experts).of[0], z = 0.3;
    outputs soft = test_outputs(arena, n * experts), sigmoid = test_outputs(arena, n * experts);
    outputs one = test_outputs(arena, n * experts), chosen = test_outputs(arena, n * experts);
    outputs losses = test_outputs(arena, n * experts), none = test_outputs(arena, n * experts);
    outputs z_only = test_outputs(arena, n * experts);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        const fsm_route_ops *r = &ops->route;
        r->softmax_weights_backward(ops, n, experts, K, choice, weight, dweight, soft.of[run]);
        r->sigmoid_weights_backward(ops, n, experts, K, choice, weight, dweight, sigmoid.of[run]);
        r->prob_weights_backward(ops, n, experts, prob, choice, weight, dweight, one.of[run]);
        r->chosen_prob_backward(ops, n, experts, K, prob, choice, weight, dweight, chosen.of[run]);
        r->losses_backward(ops, n, experts, prob, lse, share, &z, losses.of[run]);
        r->losses_backward(ops, n, experts, prob, lse, NULL, NULL, none.of[run]);
        r->z_backward(ops, n, experts, prob, lse, &z, z_only.of[run]);
    }
    test_assert_same_floats("softmax_weights_backward", soft);
    test_assert_same_floats("sigmoid_weights_backward", sigmoid);
    test_assert_same_floats("prob_weights_backward", one);
    test_assert_same_floats("chosen_prob_backward", chosen);
    test_assert_same_floats("losses_backward", losses);
    test_assert_same_floats("losses_backward of none", none);
    for (int64_t i = 0; i < none.n; i++) assert_true(none.of[0][i] == 0);
    test_assert_same_floats("z_backward", z_only);
}

static void check_noise(fsm_arena *arena, int64_t n, int64_t width)
{
    const fsm_draw draw = {.seed = 5, .stream = FSM_RNG_TEST, .first = 1000};
    int64_t elems = n * width;
    const float *spread = test_floats(arena, elems), *dlogits = test_floats(arena, elems);
    const float *x = test_floats(arena, elems);
    outputs drawn = test_outputs(arena, elems), logits = test_outputs(arena, elems),
            dspread = test_outputs(arena, elems);
    outputs jittered = test_outputs(arena, elems), dx = test_outputs(arena, elems);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        ops->route.normal(ops, elems, &draw, drawn.of[run]);
        ops->route.noise_forward(ops, elems, drawn.of[run], spread, logits.of[run]);
        ops->route.noise_backward(ops, elems, drawn.of[run], spread, dlogits, dspread.of[run]);
        ops->route.jitter_forward(ops, n, width, 0.1f, &draw, x, jittered.of[run]);
        ops->route.jitter_backward(ops, n, width, 0.1f, &draw, x, dx.of[run]);
    }
    test_assert_same_floats("normal", drawn);
    test_assert_same_floats("noise_forward", logits);
    test_assert_same_floats("noise_backward", dspread);
    test_assert_same_floats("jitter_forward", jittered);
    test_assert_same_floats("jitter_backward", dx);
}

static void check_scores(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { GAP = 3 };
    int64_t elems = (n + width) * (n + width + GAP);
    const float *v = test_floats(arena, elems), *du = test_floats(arena, elems);
    outputs rows = test_outputs(arena, elems), columns = test_outputs(arena, elems), dv = test_outputs(arena, elems);
    outputs length = test_outputs(arena, n), sigmoid = test_outputs(arena, n * width),
            d = test_outputs(arena, n * width);
    const fsm_vectors as_rows = {n, width, false}, as_columns = {n, width, true};
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        ops->route.unit_forward(ops, &as_columns, fsm_reals(v, n + GAP), columns.of[run], length.of[run]);
        ops->route.unit_forward(ops, &as_rows, fsm_reals(v, width + GAP), rows.of[run], length.of[run]);
        ops->route.unit_backward(ops, &as_rows, width + GAP, rows.of[run], length.of[run], du, 1, dv.of[run]);
        ops->sigmoid(ops, n * width, v, sigmoid.of[run]);
        ops->sigmoid_backward(ops, n * width, sigmoid.of[run], du, d.of[run]);
    }
    test_assert_same_floats("unit_forward", rows);
    test_assert_same_floats("unit_forward of columns", columns);
    test_assert_same_floats("unit_forward: length", length);
    test_assert_same_floats("unit_backward", dv);
    test_assert_same_floats("sigmoid_forward", sigmoid);
    test_assert_same_floats("sigmoid_backward", d);
}

static void check_groups(fsm_arena *arena, int64_t n, int64_t width)
{
    enum { GROUPS = 3, TOP = 2, K = 2 };
    int64_t experts = GROUPS * width;
    const fsm_group_shape shape = {.n = n, .experts = experts, .groups = GROUPS, .choices = K, .scale = 2.5};
    const float *logits = test_floats(arena, n * experts), *bias = test_floats(arena, experts);
    const float *dweight = test_floats(arena, n * K);
    const int32_t *open = some_choices(arena, n, GROUPS, TOP, true), *choice = some_choices(arena, n, experts, K, true);
    const double *share = test_sum_outputs(arena, experts).of[0];
    outputs score = test_outputs(arena, n * experts), biased = test_outputs(arena, n * experts);
    outputs prob = test_outputs(arena, n * experts), best = test_outputs(arena, n * GROUPS);
    outputs weight = test_outputs(arena, n * K), dlogits = test_outputs(arena, n * experts);
    for (int run = 0; run < RUNS; run++) {
        const fsm_ops *ops = table_of(run);
        ops->route.group_scores(ops, &shape, logits, bias, score.of[run], biased.of[run], prob.of[run], best.of[run]);
        ops->route.close_groups(ops, &shape, TOP, open, biased.of[run]);
        ops->route.group_weights(ops, &shape, score.of[run], choice, weight.of[run]);
        ops->route.group_backward(ops, &shape, score.of[run], prob.of[run], choice, dweight, share, dlogits.of[run]);
        ops->route.group_backward(ops, &shape, score.of[run], prob.of[run], choice, dweight, NULL, dlogits.of[run]);
    }
    test_assert_same_floats("group_scores", score);
    test_assert_same_floats("group_scores: prob", prob);
    test_assert_same_floats("group_scores: best", best);
    test_assert_same_floats("close_groups", biased);
    test_assert_same_floats("group_weights", weight);
    test_assert_same_floats("group_backward", dlogits);
}

static void test_ops_route_gives_the_references_bits(void **state)
{
    check_shape *const checks[] = {check_sums, check_choices, check_weights, check_noise, check_scores, check_groups};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) for_each_shape(*state, checks[i]);
}

/* ---- the reference by hand ---- */

static const fsm_ops *const ref = &fsm_ops_reference;

static void test_ops_route_sums_in_order_of_tokens(void **state)
{
    const float x[] = {1, 2, 3, 4, 5, 6}, weight[] = {0.5f, 0.25f, 1, 2};
    const int32_t choice[] = {2, 0, -1, 2};
    double columns[3] = {10, 20, 30}, of_weight[3] = {0}, of_first[3] = {0}, squares = 1;
    (void)state;
    ref->route.add_columns(ref, 2, 3, x, columns);
    ref->route.add_choices(ref, 2, 2, 2, choice, weight, 0, of_weight);
    ref->route.add_choices(ref, 2, 2, 1, choice, NULL, 7, of_first);
    ref->route.add_squares(ref, 3, x, &squares);
    assert_true(columns[0] == 15 && columns[1] == 27 && columns[2] == 39);
    assert_true(of_weight[0] == 0.25 && of_weight[1] == 0 && of_weight[2] == 2.5);
    assert_true(of_first[0] == 0 && of_first[2] == 7);
    assert_true(squares == 15);
    const float order[] = {0x1p60f, 1, -0x1p60f, 0x1p-24f}; /* of which another order would keep the 1 */
    double sum = 0;
    ref->route.add_columns(ref, 4, 1, order, &sum);
    assert_true(sum == 0x1p-24);
}

/* Two groups of two tokens, one a column: a token may be taken twice or not at all; a last group is smaller. */
static void test_ops_route_experts_take_their_best_tokens(void **state)
{
    const float x[] = {0.7f, 0.3f, 0.4f, 0.6f, 0.5f, 0.5f, 0.5f, 0.5f, 0.1f, 0.9f};
    const int32_t want[] = {0, -1, 1, -1, 0, 1, -1, -1, 1, 0};
    const float want_weight[] = {0.7f, 0, 0.6f, 0, 0.5f, 0.5f, 0, 0, 0.9f, 0.1f};
    int32_t choice[10];
    float weight[10];
    (void)state;
    ref->route.choose_by_columns(ref, 5, 2, 2, 1, x, choice, weight);
    assert_memory_equal(choice, want, sizeof want);
    assert_memory_equal(weight, want_weight, sizeof want_weight);
}

static void test_ops_route_fixed_choices_follow_numbers(void **state)
{
    const int32_t id[] = {5, 2}, by_id[] = {1, 2, 2, 3}, in_turn[] = {2, 3, 0, 1};
    int32_t choice[4];
    (void)state;
    ref->route.choose_modulo(ref, 2, 4, 2, id, 99, 1, choice);
    assert_memory_equal(choice, by_id, sizeof by_id);
    ref->route.choose_modulo(ref, 2, 4, 2, NULL, 3, 2, choice);
    assert_memory_equal(choice, in_turn, sizeof in_turn);
    const fsm_draw draw = {.seed = 1, .stream = FSM_RNG_TEST, .first = 40};
    ref->route.choose_hashed(ref, 2, 4, 1, NULL, &draw, choice);
    for (int i = 0; i < 2; i++) assert_int_equal(choice[i], (fsm_rng_bits(1, FSM_RNG_TEST, 40 + (uint64_t)i) >> 1) % 4);
}

static void test_ops_route_draws_by_counter(void **state)
{
    enum { N = 3, WIDTH = 5 };
    const fsm_draw draw = {.seed = 9, .stream = FSM_RNG_TEST, .first = 4};
    float x[N * WIDTH], jittered[N * WIDTH], u[4];
    (void)state;
    ref->route.normal(ref, N, &draw, x);
    for (int i = 0; i < N; i++) assert_true(x[i] == (float)fsm_rng_normal(9, FSM_RNG_TEST, 4 + (uint64_t)i));
    for (int i = 0; i < N * WIDTH; i++) x[i] = 1;
    ref->route.jitter_forward(ref, N, WIDTH, 0.5f, &draw, x, jittered);
    for (int at = 0; at < N * WIDTH; at++) { /* two counters a token, the second for its last element */
        int m = at % WIDTH;
        fsm_rng_uniform_four(9, FSM_RNG_TEST, 2 * (4 + (uint64_t)(at / WIDTH)) + (uint64_t)(m / 4), u);
        assert_true(jittered[at] == 1 + 0.5f * (2 * u[m % 4] - 1));
    }
}

static void test_ops_route_groups_by_their_two_best(void **state)
{
    const fsm_group_shape shape = {.n = 1, .experts = 6, .groups = 2, .choices = 2, .scale = 3};
    const float logits[6] = {0, 0, 0, 0, 0, 0}, bias[] = {0.1f, 0.2f, 0.3f, 1, -1, -2};
    const int32_t open[] = {0}, choice[] = {2, 0};
    float score[6], biased[6], prob[6], best[2], weight[2];
    (void)state;
    ref->route.group_scores(ref, &shape, logits, bias, score, biased, prob, best);
    for (int e = 0; e < 6; e++) assert_true(score[e] == 0.5f && fabsf(prob[e] - 1 / 6.0f) < 1e-7f);
    assert_true(fabsf(best[0] - 1.5f) < 1e-6f && fabsf(best[1] - 1) < 1e-6f);
    ref->route.close_groups(ref, &shape, 1, open, biased);
    for (int e = 0; e < 6; e++) assert_true(e < 3 ? isfinite(biased[e]) : biased[e] == -INFINITY);
    ref->route.group_weights(ref, &shape, score, choice, weight);
    assert_true(weight[0] == 1.5f && weight[1] == 1.5f);
    const double chosen[4] = {4, 0, 2, 2};
    float moved[4] = {0};
    ref->route.move_bias(ref, 4, 0.5, chosen, moved);
    for (int e = 0; e < 4; e++) assert_true(moved[e] == (e == 0 ? -0.5f : e == 1 ? 0.5f : 0));
}

static void test_ops_route_inverse_has_a_floor(void **state)
{
    const float tau[] = {0.5f, 0.001f}, logits[] = {1, 2}, dlogits[] = {3, 4};
    float y[2], dtau = 1;
    (void)state;
    ref->route.inverse(ref, 2, 0.01f, tau, y);
    assert_true(y[0] == 2 && y[1] == 1 / 0.01f);
    ref->route.temperature_backward(ref, 2, 0.01f, &tau[0], logits, dlogits, &dtau);
    assert_true(dtau == 1 - 22);
    ref->route.temperature_backward(ref, 2, 0.01f, &tau[1], logits, dlogits, &dtau);
    assert_true(dtau == 1 - 22); /* at its floor it has none */
}

/* ---- losses: values by hand, gradients by differences ---- */

enum { EXPERTS = 4 };

typedef void loss_op(const fsm_ops *self, const fsm_balance_sums *sums);

static double loss_at(loss_op *op, const double *load, const double *share, double tokens)
{
    double loss = 0, unused[2 * EXPERTS];
    op(ref, &(fsm_balance_sums){EXPERTS, load, share, &tokens, 1, 1, &loss, unused, unused + EXPERTS});
    return loss;
}

static double slope(loss_op *op, const double *load, const double *share, double *x)
{
    double kept = *x, step = 1e-5, high, low;
    *x = kept + step;
    high = loss_at(op, load, share, 10);
    *x = kept - step;
    low = loss_at(op, load, share, 10);
    *x = kept;
    return (high - low) / (2 * step);
}

static void test_ops_route_balance_losses(void **state)
{
    double load[EXPERTS] = {2, 3, 4, 1}, share[EXPERTS] = {1.5, 2.5, 2, 4}, loss = 100, dshare[EXPERTS], dload[EXPERTS];
    const double even[EXPERTS] = {2.5, 2.5, 2.5, 2.5}, nothing[EXPERTS] = {0}, tokens = 10;
    fsm_balance_sums s = {EXPERTS, load, share, &tokens, 2, 3, &loss, dshare, dload};
    (void)state;
    assert_true(fabs(loss_at(ref->route.product_loss, even, even, 10) - 1) < 1e-12);
    assert_true(loss_at(ref->route.product_loss, nothing, nothing, 0) == 0);
    assert_true(loss_at(ref->route.variation_loss, even, even, 10) == 0);
    assert_true(loss_at(ref->route.variation_loss, nothing, nothing, 0) == 0);
    ref->route.product_loss(ref, &s);
    assert_true(fabs(loss - 100 - 2 * loss_at(ref->route.product_loss, load, share, 10)) < 1e-12);
    for (int e = 0; e < EXPERTS; e++) {
        assert_true(fabs(dshare[e] - 3 * slope(ref->route.product_loss, load, share, &share[e])) < 1e-8);
        assert_true(dload[e] == 0);
    }
    ref->route.variation_loss(ref, &s);
    for (int e = 0; e < EXPERTS; e++) {
        assert_true(fabs(dshare[e] - 3 * slope(ref->route.variation_loss, load, share, &share[e])) < 1e-8);
        assert_true(fabs(dload[e] - 3 * slope(ref->route.variation_loss, load, share, &load[e])) < 1e-8);
    }
}

static int stop_threads(void **state)
{
    (void)state;
    fsm_ops_destroy(fast);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ops_route_gives_the_references_bits),
        TEST(test_ops_route_sums_in_order_of_tokens),
        TEST(test_ops_route_experts_take_their_best_tokens),
        TEST(test_ops_route_fixed_choices_follow_numbers),
        TEST(test_ops_route_draws_by_counter),
        TEST(test_ops_route_groups_by_their_two_best),
        TEST(test_ops_route_inverse_has_a_floor),
        TEST(test_ops_route_balance_losses),
    };
    return cmocka_run_group_tests(tests, NULL, stop_threads);
}
