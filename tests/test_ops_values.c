/* Every table against values known without them: by hand, from tables of the functions, or by definition. */
#include "test_ops_tables.h"

#define FOR_EACH_TABLE(ops)         \
    const fsm_ops *ops = tables[0]; \
    for (int table_ = 0; table_ < TABLES && (ops = tables[table_]); table_++)

static void test_ops_values_every_slot_is_filled(void **state)
{
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        void (*slot)(void);
        for (size_t at = offsetof(fsm_ops, route); at < sizeof *ops; at += sizeof slot) {
            memcpy(&slot, (const char *)ops + at, sizeof slot);
            assert_non_null(slot);
        }
    }
}

static void test_ops_values_linear_is_x_times_w_transposed_plus_bias(void **state)
{
    const float w[6] = {1, 2, 3, 4, 5, 6}, bias[2] = {10, 20}, x[3] = {1, 0, -1};
    const fsm_weight weight = {w, 2, 3, NULL};
    float y[2];
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        ops->linear_forward(ops, 1, &weight, bias, fsm_reals(x, 3), fsm_reals(y, 2));
        assert_true(y[0] == 8 && y[1] == 18);
    }
}

static void test_ops_values_norms(void **state)
{
    const float x[4] = {1, 1, 7, 7}, gain[4] = {1, 2, 1, 2}, bias[4] = {0, 0, 5, 5};
    float y[4], mean, rstd;
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        ops->rmsnorm_forward(ops, 1, 4, 0, x, gain, y, &rstd); /* mean square 25 */
        test_assert_close("rmsnorm", 4, y, (const float[]){0.2f, 0.4f, 1.4f, 2.8f}, 1e-6);
        test_assert_close("rstd", 1, &rstd, (const float[]){0.2f}, 1e-6);
        ops->layernorm_forward(ops, 1, 4, 0, x, gain, bias, y, &mean, &rstd); /* mean 4, variance 9 */
        test_assert_close("layernorm", 4, y, (const float[]){-1, -2, 6, 7}, 1e-6);
        assert_true(mean == 4);
    }
}

/* Half a turn of pair 0 at position 1; pair 1 a quarter. */
static void test_ops_values_rope_pairs_halves(void **state)
{
    const float cosine[4] = {1, 1, -1, 0}, sine[4] = {0, 0, 0, 1};
    const int32_t position[2] = {0, 1};
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        float x[8] = {1, 2, 3, 4, 1, 2, 3, 4};
        ops->rope(ops, 2, 1, 4, position, cosine, sine, 1, x, 4);
        test_assert_close("rope", 8, x, (const float[]){1, 2, 3, 4, -1, -4, -3, 2}, 0);
    }
}

/* Equal scores: every query takes the mean of the values it sees, and lse is the log of their number. */
static void test_ops_values_attention_is_causal(void **state)
{
    const fsm_attention_shape shape = {1, 2, 3, 1, 1, 1, 1, 1, 1, 1, 3, .scale = 1};
    const float q[2] = {0, 0}, k[3] = {5, 6, 7}, v[3] = {3, 5, 10};
    float o[2], lse[2];
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        ops->attention_forward(ops, &shape, q, k, v, o, lse);
        test_assert_close("o", 2, o, (const float[]){4, 6}, 1e-6);
        test_assert_close("lse", 2, lse, (const float[]){logf(2), logf(3)}, 1e-6);
    }
}

static void test_ops_values_activations(void **state)
{
    const float x[3] = {0, 1, -2}, ab[4] = {0, 1, 7, 2};
    float y[3];
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        ops->gelu_forward(ops, 3, x, y); /* x Phi(x): Phi(1) = 0.8413447461, Phi(-2) = 0.0227501319 */
        test_assert_close("gelu", 3, y, (const float[]){0, 0.8413447461f, -0.0455002639f}, 2e-7);
        ops->gelu_tanh_forward(ops, 3, x,
                               y); /* tanh(0.8335619689) = 0.6823839812, tanh(-1.8811883867) = -0.9545976941 */
        test_assert_close("gelu_tanh", 3, y, (const float[]){0, 0.8411919906f, -0.0454023059f}, 2e-7);
        ops->swiglu_forward(ops, 1, 2, ab, y); /* silu(0) 7, silu(1) 2 with sigmoid(1) = 0.7310585786 */
        test_assert_close("swiglu", 2, y, (const float[]){0, 1.4621171573f}, 2e-7);
        ops->geglu_forward(ops, 1, 2, ab, y); /* gelu(0) 7, gelu(1) 2 */
        test_assert_close("geglu", 2, y, (const float[]){0, 1.6826894921f}, 2e-7);
    }
}

static void test_ops_values_relu_has_slope_0_at_0(void **state)
{
    const float x[3] = {0, 3, -2}, dy[3] = {5, 5, 5};
    float y[3];
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        ops->relu_forward(ops, 3, x, y);
        test_assert_close("relu", 3, y, (const float[]){0, 3, 0}, 0);
        ops->relu_backward(ops, 3, x, dy, y);
        test_assert_close("relu backward", 3, y, (const float[]){0, 5, 0}, 0);
        ops->relu_squared_forward(ops, 3, x, y);
        test_assert_close("relu_squared", 3, y, (const float[]){0, 9, 0}, 0);
        ops->relu_squared_backward(ops, 3, x, dy, y);
        test_assert_close("relu_squared backward", 3, y, (const float[]){0, 30, 0}, 0);
    }
}

static void test_ops_values_softmax_of_masked_and_huge_logits(void **state)
{
    const float x[8] = {0, -INFINITY, 0, 3e38f, 3e38f, -3e38f, -INFINITY, 0};
    float y[8], lse[2];
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        ops->softmax(ops, 2, 4, x, y, lse); /* rows: {0, masked, 0, huge}, {huge, -huge, masked, 0} */
        test_assert_close("softmax", 8, y, (const float[]){0, 0, 0, 1, 1, 0, 0, 0}, 0);
        ops->softmax(ops, 1, 3, x, y, lse);
        test_assert_close("softmax", 3, y, (const float[]){0.5f, 0, 0.5f}, 1e-6);
        test_assert_close("lse", 1, lse, (const float[]){logf(2)}, 1e-6);
    }
}

static void test_ops_values_cross_entropy_of_equal_logits_is_log_of_their_number(void **state)
{
    const int32_t target[1] = {2};
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        float logits[4] = {9, 9, 9, 9};
        double loss = 3;
        ops->cross_entropy(ops, 1, 4, logits, target, 8, true, &loss);
        assert_true(fabs(loss - 3 - log(4)) < 1e-7);
        test_assert_close("gradient", 4, logits, (const float[]){2, 2, -6, 2}, 1e-6);
    }
}

static void test_ops_values_top_k_falls_and_ties_go_to_the_lower_index(void **state)
{
    const float x[12] = {1, 5, 5, 2, 5, 0, -INFINITY, -INFINITY, -1, -INFINITY, -1, -INFINITY};
    const int32_t want[8] = {1, 2, 4, 3, 2, 4, 0, 1};
    float value[8];
    int32_t index[8];
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        ops->top_k(ops, 2, 6, 4, x, index, value);
        assert_memory_equal(index, want, sizeof want);
        for (int i = 0; i < 8; i++) assert_true(value[i] == x[i / 4 * 6 + index[i]]);
    }
}

static void test_ops_values_rows(void **state)
{
    const int32_t row[4] = {2, -1, 0, 2};
    const float x[6] = {1, 2, 3, 4, 5, 6}, weight[4] = {10, 99, 1, 2};
    float y[8];
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        ops->gather_rows(ops, 4, 2, row, x, y);
        test_assert_close("gather", 8, y, (const float[]){5, 6, 0, 0, 1, 2, 5, 6}, 0);
        memcpy(y, (const float[]){100, 100, 200, 200}, 16);
        ops->combine_rows(ops, 2, 2, 2, row, weight, x, y);
        test_assert_close("combine", 4, y, (const float[]){150, 160, 211, 214}, 0);
    }
}

/* First step of AdamW: with bias corrections it moves by lr times the sign, whatever the gradient, and decays. */
static void test_ops_values_first_adamw_step_has_length_lr(void **state)
{
    static const float rates[FSM_ADAMW_RATES] = {0.5f, 0.25f, 0.25f};
    const fsm_adamw step = {.rates = rates, .beta1 = 0.75f, .beta2 = 0.75f, .decay = 0.25f};
    const float g[2] = {6, -2e-4f};
    (void)state;
    FOR_EACH_TABLE(ops)
    {
        float m[2] = {0}, v[2] = {0}, p[2] = {8, 8};
        ops->adamw(ops, 2, &step, g, m, v, p);
        test_assert_close("p", 2, p, (const float[]){6.5f, 7.5f}, 1e-6);
        test_assert_close("m", 1, m, (const float[]){1.5f}, 1e-6);
        test_assert_close("v", 1, v, (const float[]){9}, 1e-6);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_arena_setup, test_arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_ops_values_every_slot_is_filled),
        TEST(test_ops_values_linear_is_x_times_w_transposed_plus_bias),
        TEST(test_ops_values_norms),
        TEST(test_ops_values_rope_pairs_halves),
        TEST(test_ops_values_attention_is_causal),
        TEST(test_ops_values_activations),
        TEST(test_ops_values_relu_has_slope_0_at_0),
        TEST(test_ops_values_softmax_of_masked_and_huge_logits),
        TEST(test_ops_values_cross_entropy_of_equal_logits_is_log_of_their_number),
        TEST(test_ops_values_top_k_falls_and_ties_go_to_the_lower_index),
        TEST(test_ops_values_rows),
        TEST(test_ops_values_first_adamw_step_has_length_lr),
    };
    return cmocka_run_group_tests(tests, make_tables, destroy_tables);
}
