/* Every expert with every activation it has, with and without biases, whole and split over H: outputs against the
 * definition in double, gradients against central differences of the definition. */
#include "moe/expert/expert.h"

#include "cpu/cpu.h"
#include "test_ops_data.h"

enum { ROWS = 9, HIDDEN = 6, FFN = 8, ELEMS = ROWS * HIDDEN, MOST_PARAMS = 3 * FFN * HIDDEN };
static const double STEP = 1e-5, TOLERANCE = 1e-5;

static double gelu(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * pow(x, 3))));
}

static double relu(double x)
{
    return fmax(x, 0);
}

static double relu_squared(double x)
{
    return pow(fmax(x, 0), 2);
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

typedef struct definition {
    const char *activation;
    double (*of)(double x);
} definition;

static const definition definitions[] = {{"gelu", gelu},  {"gelu_tanh", gelu_tanh},       {"relu", relu},
                                         {"geglu", gelu}, {"relu_squared", relu_squared}, {"swiglu", silu}};
enum { DEFINITIONS = sizeof definitions / sizeof *definitions };

/* An expert and numbers for it; params as list_params has them. */
typedef struct problem {
    char name[64];
    fsmoe_moe_config config;
    const fsm_expert_kind *kind;
    double (*f)(double x);
    fsm_param_spec specs[FSM_MAX_PARAMS_A_MODULE];
    int spec_count;
    double x[ELEMS], dy[ELEMS], params[MOST_PARAMS];
    int param_count;
} problem;

/* What an expert makes of a problem: gradients of the loss sum dy y. */
typedef struct results {
    float y[ELEMS], dx[ELEMS], dparams[MOST_PARAMS];
} results;

static double dot(int n, const double *a, const double *b)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* y = (f(x W1^T + b1) [* x W3^T]) W2^T + b2 */
static void define(const problem *p, double *y)
{
    bool gated = p->kind->pre_width == 2, biased = p->spec_count == 4;
    const double *w1 = p->params, *w3 = w1 + FFN * HIDDEN, *b1 = w3;
    const double *w2 = gated ? w3 + FFN * HIDDEN : biased ? b1 + FFN : b1, *b2 = w2 + HIDDEN * FFN;
    for (int t = 0; t < ROWS; t++) {
        const double *x = p->x + t * HIDDEN;
        double act[FFN];
        for (int h = 0; h < FFN; h++) {
            act[h] = p->f(dot(HIDDEN, x, w1 + h * HIDDEN) + (biased ? b1[h] : 0));
            if (gated) act[h] *= dot(HIDDEN, x, w3 + h * HIDDEN);
        }
        for (int m = 0; m < HIDDEN; m++) y[t * HIDDEN + m] = dot(FFN, act, w2 + m * FFN) + (biased ? b2[m] : 0);
    }
}

static double loss_at(const problem *p, double *number, double value)
{
    double y[ELEMS], kept = *number;
    *number = value;
    define(p, y);
    *number = kept;
    return dot(ELEMS, p->dy, y);
}

static float central_difference(const problem *p, double *number)
{
    double at = *number;
    return (float)((loss_at(p, number, at + STEP) - loss_at(p, number, at - STEP)) / (2 * STEP));
}

static void define_results(problem *p, results *want)
{
    double y[ELEMS];
    define(p, y);
    for (int i = 0; i < ELEMS; i++) want->y[i] = (float)y[i];
    for (int i = 0; i < ELEMS; i++) want->dx[i] = central_difference(p, &p->x[i]);
    for (int i = 0; i < p->param_count; i++) want->dparams[i] = central_difference(p, &p->params[i]);
}

/* ---- the expert itself ---- */

/* A tensor's place in `params`, and this shard's part of it: `view`, which starts at (row0, col0). */
typedef struct part {
    int64_t at, cols, row0, col0;
    fsm_param_view view;
} part;

static void take_parts(fsm_arena *arena, const problem *p, int shards, int shard, part *parts)
{
    int64_t at = 0;
    float *values = FSM_ARENA_ARRAY(arena, float, MOST_PARAMS), *grads = FSM_ARENA_ARRAY(arena, float, MOST_PARAMS);
    for (int i = 0; i < p->spec_count; i++) {
        const fsm_param_spec *spec = &p->specs[i];
        int64_t rows = spec->rows / (spec->shard == FSM_SHARD_ROWS ? shards : 1);
        int64_t cols = spec->cols / (spec->shard == FSM_SHARD_COLS ? shards : 1);
        parts[i] = (part){at,
                          spec->cols,
                          spec->shard == FSM_SHARD_ROWS ? shard * rows : 0,
                          spec->shard == FSM_SHARD_COLS ? shard * cols : 0,
                          {values, grads, rows, cols}};
        for (int64_t j = 0; j < rows * cols; j++) {
            int64_t from = at + (parts[i].row0 + j / cols) * spec->cols + parts[i].col0 + j % cols;
            *values++ = (float)p->params[from];
            *grads++ = 1; /* is added to */
        }
        at += spec->rows * spec->cols;
    }
}

static fsm_expert_rows take_rows(fsm_arena *arena, const problem *p, int64_t width)
{
    static const int64_t first = 0, end = ROWS;
    fsm_expert_rows rows = {.runs = {1, &first, &end}, .hidden = HIDDEN, .width = width};
    rows.x = fsm_rows(FSM_ARENA_ARRAY(arena, float, ELEMS), HIDDEN);
    rows.dy = fsm_rows(FSM_ARENA_ARRAY(arena, float, ELEMS), HIDDEN);
    rows.y = fsm_rows(FSM_ARENA_ARRAY(arena, float, ELEMS), HIDDEN);
    rows.dx = fsm_rows(FSM_ARENA_ARRAY(arena, float, ELEMS), HIDDEN);
    rows.pre = FSM_ARENA_ARRAY(arena, float, ROWS *width * p->kind->pre_width);
    rows.act = FSM_ARENA_ARRAY(arena, float, ROWS *width);
    rows.dact = FSM_ARENA_ARRAY(arena, float, ROWS *width);
    for (int i = 0; i < ELEMS; i++) {
        ((float *)rows.x.at)[i] = (float)p->x[i];
        ((float *)rows.dy.at)[i] = (float)p->dy[i];
    }
    return rows;
}

/* Shards of a tensor that is split each bring their part; what is not split each works out whole, and alike. */
static void collect(const problem *p, int shard, const part *parts, const fsm_expert_rows *rows, results *got)
{
    for (int i = 0; i < ELEMS; i++) {
        got->y[i] += ((const float *)rows->y.at)[i];
        got->dx[i] += ((const float *)rows->dx.at)[i];
    }
    for (int i = 0; i < p->spec_count; i++) {
        const fsm_param_view *view = &parts[i].view;
        for (int64_t j = 0; j < view->rows * view->cols; j++) {
            int64_t row = parts[i].row0 + j / view->cols, col = parts[i].col0 + j % view->cols;
            float *gradient = &got->dparams[parts[i].at + row * parts[i].cols + col];
            if (p->specs[i].shard == FSM_SHARD_NONE && shard > 0) assert_true(*gradient == view->grad[j] - 1);
            *gradient = view->grad[j] - 1;
        }
    }
}

static void check(const problem *p, const fsm_ops *ops, int shards, const char *what, int64_t n, const float *got,
                  const float *want)
{
    char name[160];
    snprintf(name, sizeof name, "%s, %s, shards %d: %s", ops->name, p->name, shards, what);
    test_assert_close(name, n, got, want, TOLERANCE);
}

static void run(fsm_arena *arena, const problem *p, const fsm_ops *ops, int shards, const results *want)
{
    results got = {0};
    for (int shard = 0; shard < shards; shard++) {
        part parts[FSM_MAX_PARAMS_A_MODULE];
        fsm_param_view views[FSM_MAX_PARAMS_A_MODULE] = {0};
        fsm_linear in, out;
        const fsm_experts expert = {fsm_expert_activation(p->kind, &p->config), &in, &out};
        fsm_expert_rows rows = take_rows(arena, p, FFN / shards);
        take_parts(arena, p, shards, shard, parts);
        for (int i = 0; i < p->spec_count; i++) views[i] = parts[i].view;
        p->kind->bind(&p->config, views, shard, &in, &out);
        p->kind->forward(ops, &expert, &rows);
        p->kind->backward_input(ops, &expert, &rows);
        p->kind->backward_weight(ops, &expert, &rows);
        collect(p, shard, parts, &rows, &got);
    }
    check(p, ops, shards, "y", ELEMS, got.y, want->y);
    check(p, ops, shards, "dx", ELEMS, got.dx, want->dx);
    check(p, ops, shards, "gradients", p->param_count, got.dparams, want->dparams);
}

/* ---- all of them ---- */

static void fill(fsm_arena *arena, int n, double *numbers)
{
    const float *normal = test_floats(arena, n);
    for (int i = 0; i < n; i++) numbers[i] = normal[i];
}

/* False where the expert refuses. */
static bool make_problem(fsm_arena *arena, const fsm_expert_kind *kind, const definition *d, bool biased, problem *p)
{
    *p = (problem){.kind = kind, .f = d->of};
    p->config = (fsmoe_moe_config){.expert = (char *)kind->name, .activation = (char *)d->activation};
    p->config.bias = biased ? "true" : "false";
    const fsm_expert_kind *selected;
    if (fsm_expert_select(&p->config, &selected) != FSMOE_OK) return false;
    assert_ptr_equal(selected, kind);
    snprintf(p->name, sizeof p->name, "%s, %s, bias %s", kind->name, d->activation, p->config.bias);
    p->spec_count = kind->list_params(&p->config, HIDDEN, FFN, p->specs);
    for (int i = 0; i < p->spec_count; i++) p->param_count += (int)(p->specs[i].rows * p->specs[i].cols);
    assert_in_range(p->param_count, 1, MOST_PARAMS);
    fill(arena, ELEMS, p->x);
    fill(arena, ELEMS, p->dy);
    fill(arena, p->param_count, p->params);
    return true;
}

/* gpt: four activations with and without biases; mixtral: two */
enum { EXPERTS = 4 * 2 + 2 };

static void check_all(fsm_arena *arena, int shards)
{
    int checked = 0;
    fsm_ops *fast;
    assert_int_equal(fsm_cpu_ops_create(2, FSM_CPU_FP32, &fast), FSMOE_OK);
    for (int e = 0; fsm_expert_at(e); e++) {
        for (int i = 0; i < 2 * DEFINITIONS; i++) {
            problem p;
            results want;
            if (!make_problem(arena, fsm_expert_at(e), &definitions[i / 2], i % 2, &p)) continue;
            define_results(&p, &want);
            run(arena, &p, &fsm_ops_reference, shards, &want);
            run(arena, &p, fast, shards, &want);
            checked++;
        }
    }
    fsm_ops_destroy(fast);
    assert_int_equal(checked, EXPERTS);
}

static void test_experts_follow_their_definition(void **state)
{
    check_all(*state, 1);
}

/* The bias of the output, which no shard has alone, is in the sum once. */
static void test_experts_split_over_shards_sum_to_the_whole(void **state)
{
    check_all(*state, 2);
    check_all(*state, 4);
}

static void test_experts_auto_is_gelu_with_bias_and_swiglu_without(void **state)
{
    (void)state;
    static const struct {
        char *expert, *activation;
        int params;
    } cases[] = {{"gpt", "gelu", 4}, {"mixtral", "swiglu", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const fsmoe_moe_config config = {.expert = cases[i].expert, .activation = "auto", .bias = "auto"};
        const fsm_expert_kind *kind = NULL;
        fsm_param_spec specs[FSM_MAX_PARAMS_A_MODULE];
        assert_int_equal(fsm_expert_select(&config, &kind), FSMOE_OK);
        assert_int_equal(kind->list_params(&config, HIDDEN, FFN, specs), cases[i].params);
        assert_string_equal(fsm_expert_activation(kind, &config)->name, cases[i].activation);
    }
}

static void test_experts_refuse_what_they_do_not_have(void **state)
{
    (void)state;
    static const struct {
        char *expert, *activation, *bias, *message;
    } cases[] = {
        {"gpt", "swiglu", "auto", "moe.activation: expert gpt has no activation 'swiglu'"},
        {"gpt", "geglu", "auto", "moe.activation: expert gpt has no activation 'geglu'"},
        {"gpt", "tanh", "auto", "moe.activation: expert gpt has no activation 'tanh'"},
        {"gpt", "gelu", "none", "moe.bias: 'none', but expert gpt takes auto, true, false"},
        {"mixtral", "gelu", "auto", "moe.activation: expert mixtral has no activation 'gelu'"},
        {"mixtral", "gelu_tanh", "auto", "moe.activation: expert mixtral has no activation 'gelu_tanh'"},
        {"mixtral", "relu", "auto", "moe.activation: expert mixtral has no activation 'relu'"},
        {"mixtral", "relu_squared", "auto", "moe.activation: expert mixtral has no activation 'relu_squared'"},
        {"mixtral", "swiglu", "true", "moe.bias: 'true', but expert mixtral never has biases"},
        {"llama", "auto", "auto", "moe.expert: no expert is named 'llama'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const fsmoe_moe_config config = {.expert = cases[i].expert,
                                         .activation = cases[i].activation,
                                         .bias = cases[i].bias};
        const fsm_expert_kind *kind = NULL;
        assert_int_equal(fsm_expert_select(&config, &kind), FSMOE_ERROR_CONFIG);
        assert_null(kind);
        assert_string_equal(fsmoe_last_error(), cases[i].message);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_arena_setup, test_arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_experts_follow_their_definition),
        TEST(test_experts_split_over_shards_sum_to_the_whole),
        TEST(test_experts_auto_is_gelu_with_bias_and_swiglu_without),
        TEST(test_experts_refuse_what_they_do_not_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
