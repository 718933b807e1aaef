/* Every differentiable operation but those of routing against finite differences (test_ops_differences.h). */
#include "test_ops_differences.h"

enum { ROWS = 5, WIDTH = 19, OUT = 7 };

static void linear_forward(const problem *p)
{
    fsm_weight weight = {p->x[1], OUT, WIDTH, NULL};
    p->ops->linear_forward(p->ops, ROWS, &weight, p->x[2], fsm_reals(p->x[0], WIDTH), fsm_reals(p->y, OUT));
}

static void linear_backward(const problem *p)
{
    fsm_weight weight = {p->x[1], OUT, WIDTH, NULL};
    p->ops->linear_backward_input(p->ops, ROWS, &weight, fsm_reals(p->dy, OUT), 0, fsm_reals(p->dx[0], WIDTH));
    p->ops->linear_backward_weight(p->ops, ROWS, OUT, WIDTH, fsm_reals(p->dy, OUT), fsm_reals(p->x[0], WIDTH), p->dx[1],
                                   p->dx[2]);
}

static void test_ops_gradients_of_linear(void **state)
{
    check(*state, (problem){.name = "linear",
                            .forward = linear_forward,
                            .backward = linear_backward,
                            .n_inputs = {ROWS * WIDTH, OUT * WIDTH, OUT},
                            .n_out = ROWS * OUT,
                            .accumulates = {false, true, true}});
}

static void linear_backward_adding(const problem *p)
{
    fsm_weight weight = {p->x[1], OUT, WIDTH, NULL};
    p->ops->linear_backward_input(p->ops, ROWS, &weight, fsm_reals(p->dy, OUT), 1, fsm_reals(p->dx[0], WIDTH));
    p->ops->linear_backward_weight(p->ops, ROWS, OUT, WIDTH, fsm_reals(p->dy, OUT), fsm_reals(p->x[0], WIDTH), p->dx[1],
                                   p->dx[2]);
}

static void test_ops_gradients_of_linear_add_to_input_with_beta_1(void **state)
{
    check(*state, (problem){.name = "linear, beta 1",
                            .forward = linear_forward,
                            .backward = linear_backward_adding,
                            .n_inputs = {ROWS * WIDTH, OUT * WIDTH, OUT},
                            .n_out = ROWS * OUT,
                            .accumulates = {true, true, true}});
}

static void rms_forward(const problem *p)
{
    p->ops->rmsnorm_forward(p->ops, ROWS, WIDTH, 1e-5f, p->x[0], p->x[1], p->y, p->saved);
}

static void rms_backward(const problem *p)
{
    p->ops->rmsnorm_backward(p->ops, ROWS, WIDTH, p->x[0], p->x[1], p->saved, p->dy, p->dx[0], p->dx[1]);
}

static void test_ops_gradients_of_rmsnorm(void **state)
{
    check(*state,
          (problem){
              "rmsnorm", rms_forward, rms_backward, {ROWS * WIDTH, WIDTH}, ROWS * WIDTH, .accumulates = {true, true}});
}

static void layer_forward(const problem *p)
{
    p->ops->layernorm_forward(p->ops, ROWS, WIDTH, 1e-5f, p->x[0], p->x[1], p->x[2], p->y, p->saved, p->saved + ROWS);
}

static void layer_backward(const problem *p)
{
    p->ops->layernorm_backward(p->ops, ROWS, WIDTH, p->x[0], p->x[1], p->saved, p->saved + ROWS, p->dy, p->dx[0],
                               p->dx[1], p->dx[2]);
}

static void test_ops_gradients_of_layernorm(void **state)
{
    check(*state, (problem){.name = "layernorm",
                            .forward = layer_forward,
                            .backward = layer_backward,
                            .n_inputs = {ROWS * WIDTH, WIDTH, WIDTH},
                            .n_out = ROWS * WIDTH,
                            .accumulates = {true, true, true}});
}

enum { HEADS = 3, HEAD_DIM = 6, POSITIONS = 9 };

/* Turning by an angle is linear and orthogonal: its backward is turning dy back. The tables are angles' cos and sin. */
static void rope(const problem *p, int direction, float *x)
{
    static const int32_t position[ROWS] = {3, 0, 8, 8, 1};
    float cosine[POSITIONS * HEAD_DIM / 2], sine[POSITIONS * HEAD_DIM / 2];
    for (int i = 0; i < POSITIONS * HEAD_DIM / 2; i++)
        cosine[i] = cosf(0.7f * (float)i), sine[i] = sinf(0.7f * (float)i);
    p->ops->rope(p->ops, ROWS, HEADS, HEAD_DIM, position, cosine, sine, direction, x, HEADS * HEAD_DIM);
}

static void rope_forward(const problem *p)
{
    memcpy(p->y, p->x[0], sizeof(float) * ROWS * HEADS * HEAD_DIM);
    rope(p, 1, p->y);
}

static void rope_backward(const problem *p)
{
    memcpy(p->dx[0], p->dy, sizeof(float) * ROWS * HEADS * HEAD_DIM);
    rope(p, -1, p->dx[0]);
}

static void test_ops_gradients_of_rope_turn_back(void **state)
{
    check(*state, (problem){.name = "rope",
                            .forward = rope_forward,
                            .backward = rope_backward,
                            .n_inputs = {ROWS * HEADS * HEAD_DIM},
                            .n_out = ROWS * HEADS * HEAD_DIM});
}

/* Two samples, three queries at the end of five keys, two query heads a key head. */
static const fsm_attention_shape attention = {
    2, 3, 5, 4, 2, 6, .ld_q = 24, .ld_k = 12, .ld_v = 12, .ld_o = 24, .sample_k = 5, .scale = 0.4f};

static void attention_forward(const problem *p)
{
    p->ops->attention_forward(p->ops, &attention, p->x[0], p->x[1], p->x[2], p->y, p->saved);
}

static void attention_backward(const problem *p)
{
    p->ops->attention_backward(p->ops, &attention, p->x[0], p->x[1], p->x[2], p->y, p->saved, p->dy, p->dx[0], p->dx[1],
                               p->dx[2]);
}

static void test_ops_gradients_of_attention(void **state)
{
    check(*state, (problem){.name = "attention",
                            .forward = attention_forward,
                            .backward = attention_backward,
                            .n_inputs = {2 * 3 * 24, 2 * 5 * 12, 2 * 5 * 12},
                            .n_out = 2 * 3 * 24});
}

static void activation_forward(const problem *p)
{
    p->activation->forward(p->ops, ROWS, WIDTH, p->x[0], p->y);
}

static void activation_backward(const problem *p)
{
    p->activation->backward(p->ops, ROWS, WIDTH, p->x[0], p->dy, p->dx[0]);
}

/* No difference is taken across 0, where some have a bend. */
static void test_ops_gradients_of_activations(void **state)
{
    const fsm_activation *a;
    for (int i = 0; (a = fsm_activation_at(i)); i++)
        check(*state, (problem){.name = a->name,
                                .forward = activation_forward,
                                .backward = activation_backward,
                                .n_inputs = {(a->gated ? 2 : 1) * ROWS * WIDTH},
                                .n_out = ROWS * WIDTH,
                                .gap = 3 * STEP,
                                .activation = a});
}

static const int32_t token[ROWS] = {2, 0, 2, 3, 2}, place[ROWS] = {0, 1, 2, 0, 1};

static void embedding_forward(const problem *p)
{
    p->ops->embedding_forward(p->ops, ROWS, WIDTH, token, p->x[0], place, p->x[1], p->y);
}

static void embedding_backward(const problem *p)
{
    p->ops->embedding_backward(p->ops, ROWS, WIDTH, token, p->dy, p->dx[0]);
    p->ops->embedding_backward(p->ops, ROWS, WIDTH, place, p->dy, p->dx[1]);
}

static void test_ops_gradients_of_embedding(void **state)
{
    check(*state, (problem){.name = "embedding",
                            .forward = embedding_forward,
                            .backward = embedding_backward,
                            .n_inputs = {4 * WIDTH, 3 * WIDTH},
                            .n_out = ROWS * WIDTH,
                            .accumulates = {true, true}});
}

/* The loss is the output here, times the scale that the gradient carries. */
static const int32_t target[ROWS] = {0, 18, 4, 4, 11};

static void softmax_forward(const problem *p)
{
    p->ops->softmax(p->ops, ROWS, WIDTH, p->x[0], p->y, NULL);
}

static void softmax_backward(const problem *p)
{
    p->ops->softmax_backward(p->ops, ROWS, WIDTH, p->y, p->dy, 1, p->dx[0]);
}

static void softmax_backward_in_place(const problem *p)
{
    for (int i = 0; i < ROWS * WIDTH; i++) p->dx[0][i] = p->dy[i];
    p->ops->softmax_backward(p->ops, ROWS, WIDTH, p->y, p->dx[0], 0, p->dx[0]);
}

static void softmax_columns_forward(const problem *p)
{
    p->ops->softmax_columns(p->ops, ROWS, WIDTH, p->x[0], p->y);
}

static void softmax_columns_backward(const problem *p)
{
    p->ops->softmax_columns_backward(p->ops, ROWS, WIDTH, p->y, p->dy, 1, p->dx[0]);
}

static void softmax_columns_backward_in_place(const problem *p)
{
    for (int i = 0; i < ROWS * WIDTH; i++) p->dx[0][i] = p->dy[i];
    p->ops->softmax_columns_backward(p->ops, ROWS, WIDTH, p->y, p->dx[0], 0, p->dx[0]);
}

static void test_ops_gradients_of_softmax(void **state)
{
    const problem problems[] = {
        {.name = "softmax", .forward = softmax_forward, .backward = softmax_backward, .accumulates = {true}},
        {.name = "softmax, in place", .forward = softmax_forward, .backward = softmax_backward_in_place},
        {.name = "softmax_columns",
         .forward = softmax_columns_forward,
         .backward = softmax_columns_backward,
         .accumulates = {true}},
        {.name = "softmax_columns, in place",
         .forward = softmax_columns_forward,
         .backward = softmax_columns_backward_in_place},
    };
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
        problem p = problems[i];
        p.n_inputs[0] = p.n_out = ROWS * WIDTH;
        check(*state, p);
    }
}

static void cross_entropy_forward(const problem *p)
{
    double loss = 0;
    p->ops->cross_entropy(p->ops, ROWS, WIDTH, p->x[0], target, 0, false, &loss);
    p->y[0] = (float)loss;
}

static void cross_entropy_backward(const problem *p)
{
    double loss = 0;
    memcpy(p->dx[0], p->x[0], sizeof(float) * ROWS * WIDTH);
    p->ops->cross_entropy(p->ops, ROWS, WIDTH, p->dx[0], target, p->dy[0], true, &loss);
}

static void test_ops_gradients_of_cross_entropy(void **state)
{
    check(*state, (problem){.name = "cross_entropy",
                            .forward = cross_entropy_forward,
                            .backward = cross_entropy_backward,
                            .n_inputs = {ROWS * WIDTH},
                            .n_out = 1});
}

/* Rows of x are named at most once; choice 3 of six is dropped. */
enum { CHOICES = 2 };
static const int32_t chosen[3 * CHOICES] = {4, 0, 2, -1, 3, 1};

static void combine_forward(const problem *p)
{
    p->ops->zero(p->ops, p->n_out, p->y);
    p->ops->combine_rows(p->ops, 3, CHOICES, WIDTH, chosen, p->x[1], p->x[0], p->y);
}

static void combine_backward(const problem *p)
{
    p->ops->combine_rows_backward(p->ops, 3, CHOICES, WIDTH, chosen, chosen, p->x[1], p->x[0], p->dy, p->dx[0],
                                  p->dx[1]);
}

static void test_ops_gradients_of_combine_rows(void **state)
{
    check(*state, (problem){.name = "combine_rows",
                            .forward = combine_forward,
                            .backward = combine_backward,
                            .n_inputs = {5 * WIDTH, 3 * CHOICES},
                            .n_out = 3 * WIDTH});
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_arena_setup, test_arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_ops_gradients_of_linear),         TEST(test_ops_gradients_of_linear_add_to_input_with_beta_1),
        TEST(test_ops_gradients_of_rmsnorm),        TEST(test_ops_gradients_of_layernorm),
        TEST(test_ops_gradients_of_rope_turn_back), TEST(test_ops_gradients_of_attention),
        TEST(test_ops_gradients_of_activations),    TEST(test_ops_gradients_of_embedding),
        TEST(test_ops_gradients_of_softmax),        TEST(test_ops_gradients_of_cross_entropy),
        TEST(test_ops_gradients_of_combine_rows),
    };
    return cmocka_run_group_tests(tests, make_tables, destroy_tables);
}
