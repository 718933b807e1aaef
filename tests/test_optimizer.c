/* The optimizer: learning rate, gradient norm, clipping, AdamW.
 * Oracles: the schedule's formula at the places where it is known by heart; AdamW written out in double over ten steps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "ops/ops.h"
#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void assert_near(double got, double want, double relative)
{
    if (!(fabs(got - want) <= relative * fabs(want) + 1e-30)) fail_msg("%.17g is not %.17g", got, want);
}

/* ---- learning rate ---- */

static const fsmoe_train_config schedule = {.lr = 3e-4, .min_lr = 3e-5, .warmup_steps = 10, .steps = 110};

static void find_norm(fsm_optimizer *optimizer, fsm_comm *world, const float *grads)
{
    fsm_comm_op op = {0};
    fsm_optimizer_add_squares(optimizer, grads);
    assert_int_equal(fsm_optimizer_start_norm(optimizer, world, &op), FSMOE_OK);
    assert_int_equal(fsm_comm_finish(&op), FSMOE_OK);
    fsm_optimizer_take_norm(optimizer);
}

static void test_optimizer_learning_rate_rises_linearly_to_its_peak(void **state)
{
    (void)state;
    assert_near(fsm_learning_rate(&schedule, 0), 3e-5, 1e-12);
    assert_near(fsm_learning_rate(&schedule, 4), 1.5e-4, 1e-12);
    assert_near(fsm_learning_rate(&schedule, 9), 3e-4, 1e-12);
    assert_near(fsm_learning_rate(&schedule, 10), 3e-4, 1e-12); /* the cosine starts where warm-up ends */
    fsmoe_train_config cold = schedule;
    cold.warmup_steps = 0;
    assert_near(fsm_learning_rate(&cold, 0), 3e-4, 1e-12);
}

static void test_optimizer_learning_rate_falls_as_a_cosine(void **state)
{
    (void)state;
    assert_near(fsm_learning_rate(&schedule, 60), (3e-4 + 3e-5) / 2, 1e-12);
    assert_near(fsm_learning_rate(&schedule, 35), 3e-5 + 2.7e-4 * (1 + sqrt(0.5)) / 2, 1e-12);
    assert_near(fsm_learning_rate(&schedule, 109), 3e-5 + 2.7e-4 * 0.5 * (1 + cos(acos(-1) * 0.99)), 1e-12);
    for (int64_t step = 11; step < 110; step++)
        assert_true(fsm_learning_rate(&schedule, step) < fsm_learning_rate(&schedule, step - 1));
    assert_near(fsm_learning_rate(&schedule, 110), 3e-5, 1e-12);
    assert_near(fsm_learning_rate(&schedule, 100000), 3e-5, 1e-12);
}

static void test_optimizer_learning_rate_bears_warm_up_to_the_end(void **state)
{
    (void)state;
    fsmoe_train_config all_warm = schedule;
    all_warm.warmup_steps = all_warm.steps;
    assert_near(fsm_learning_rate(&all_warm, 109), 3e-4, 1e-12);
    assert_near(fsm_learning_rate(&all_warm, 110), 3e-5, 1e-12);
}

/* ---- a table of parameters by hand ---- */

enum { MATRIX, VECTOR, EXPERTS, FOREIGN, PARAMS, ELEMS = 160 };

/* A matrix, a vector, two experts 20 apart with a hole in between, and a matrix that another rank owns. */
static fsm_param items[PARAMS] = {
    [MATRIX] = {.spec = {.rank = 2, .decay = true}, .owned = true, .rows = 3, .cols = 10, .offset = 0},
    [VECTOR] = {.spec = {.rank = 1, .decay = false}, .owned = true, .rows = 1, .cols = 16, .offset = 32},
    [EXPERTS] = {.spec = {.rank = 2, .decay = true},
                 .owned = true,
                 .rows = 2,
                 .cols = 8,
                 .offset = 48,
                 .experts = 2,
                 .expert_stride = 20},
    [FOREIGN] = {.spec = {.rank = 2, .decay = true}, .owned = false, .rows = 2, .cols = 8, .offset = 96},
};

static const fsm_params params = {.items = items, .count = PARAMS, .elems = ELEMS};

static const fsm_param *param_at(int64_t at)
{
    for (int i = 0; i < PARAMS; i++) {
        const fsm_param *p = &items[i];
        for (int64_t e = 0; e == 0 || e < p->experts; e++) {
            int64_t first = p->offset + e * p->expert_stride;
            if (at >= first && at < first + p->rows * p->cols) return p;
        }
    }
    return NULL;
}

static fsmoe_train_config make_config(double clip_grad)
{
    return (fsmoe_train_config){.steps = 10,
                                .lr = 1e-2,
                                .min_lr = 1e-3,
                                .warmup_steps = 3,
                                .weight_decay = 0.1,
                                .beta1 = 0.9,
                                .beta2 = 0.95,
                                .adam_eps = 1e-8,
                                .clip_grad = clip_grad};
}

static void draw_values(uint64_t first, double scale, float *values)
{
    for (int i = 0; i < ELEMS; i++) values[i] = (float)(scale * fsm_rng_normal(8, FSM_RNG_TEST, first + (uint64_t)i));
}

/* ---- norm and clipping ---- */

static double owned_norm(const float *grads)
{
    double squares = 0;
    for (int64_t i = 0; i < ELEMS; i++)
        if (param_at(i) && param_at(i)->owned) squares += (double)grads[i] * grads[i];
    return sqrt(squares);
}

static void test_optimizer_gradient_norm_counts_owned_parameters_once(void **state)
{
    (void)state;
    fsmoe_train_config config = make_config(0);
    fsm_optimizer optimizer;
    fsm_comm *self;
    float grads[ELEMS];
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_int_equal(fsm_optimizer_create(&params, &fsm_ops_reference, &config, &optimizer), FSMOE_OK);
    draw_values(0, 3, grads);
    find_norm(&optimizer, self, grads);
    assert_near(optimizer.grad_norm, owned_norm(grads), 1e-12);
    memset(grads, 0, sizeof grads);
    find_norm(&optimizer, self, grads);
    assert_true(optimizer.grad_norm == 0);
    fsm_optimizer_destroy(&optimizer);
    fsm_comm_destroy(self);
}

/* ---- AdamW in double ---- */

typedef struct twin {
    double value[ELEMS], m[ELEMS], v[ELEMS];
} twin;

/* Step t = 1, 2, … of Loshchilov & Hutter's algorithm, with torch's clip_grad_norm_ before it. */
static void step_twin(const fsmoe_train_config *c, int t, const float *grads, twin *w)
{
    double norm = owned_norm(grads), scale = c->clip_grad > 0 && norm > c->clip_grad ? c->clip_grad / (norm + 1e-6) : 1;
    for (int64_t i = 0; i < ELEMS; i++) {
        const fsm_param *p = param_at(i);
        if (!p) continue;
        double g = scale * grads[i], decay = p->spec.rank > 1 ? c->weight_decay : 0;
        w->m[i] = c->beta1 * w->m[i] + (1 - c->beta1) * g;
        w->v[i] = c->beta2 * w->v[i] + (1 - c->beta2) * g * g;
        double m_hat = w->m[i] / (1 - pow(c->beta1, t)), v_hat = w->v[i] / (1 - pow(c->beta2, t));
        w->value[i] -= fsm_learning_rate(c, t - 1) * (m_hat / (sqrt(v_hat) + c->adam_eps) + decay * w->value[i]);
    }
}

/* Ten steps in two slices against the twin; in between, elements of no parameter stay what they were. */
static void check_ten_steps(double clip_grad)
{
    fsmoe_train_config config = make_config(clip_grad);
    fsm_optimizer optimizer;
    fsm_comm *self;
    float values[ELEMS], grads[ELEMS], start[ELEMS];
    twin w = {0};
    bool clipped = false;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_int_equal(fsm_optimizer_create(&params, &fsm_ops_reference, &config, &optimizer), FSMOE_OK);
    draw_values(1000, 1, values);
    memcpy(start, values, sizeof start);
    for (int i = 0; i < ELEMS; i++) w.value[i] = values[i];
    for (int t = 1; t <= 10; t++) {
        draw_values(2000 * (uint64_t)t, t % 2 ? 0.01 : 2, grads);
        assert_int_equal(optimizer.step, t - 1);
        find_norm(&optimizer, self, grads);
        clipped |= clip_grad > 0 && optimizer.grad_norm > clip_grad;
        fsm_optimizer_begin(&optimizer);
        fsm_optimizer_update(&optimizer, 48, ELEMS, grads, NULL, values);
        fsm_optimizer_update(&optimizer, 0, 48, grads, NULL, values);
        fsm_optimizer_finish(&optimizer);
        step_twin(&config, t, grads, &w);
        /* a wrong scale of all gradients hardly moves AdamW's values, but it moves its moments */
        for (int i = 0; i < ELEMS; i++) assert_true(fabs(optimizer.m[i] - w.m[i]) <= 2e-6 * fabs(w.m[i]) + 1e-7);
        for (int i = 0; i < ELEMS; i++)
            if (fabs(values[i] - w.value[i]) > 2e-6)
                fail_msg("step %d element %d: %.9g, not %.9g", t, i, values[i], w.value[i]);
    }
    for (int i = 0; i < ELEMS; i++) assert_true(param_at(i) ? values[i] != start[i] : values[i] == start[i]);
    assert_int_equal(clipped, clip_grad > 0);
    fsm_optimizer_destroy(&optimizer);
    fsm_comm_destroy(self);
}

static void test_optimizer_ten_steps_match_adamw_in_double(void **state)
{
    (void)state;
    check_ten_steps(0);
}

static void test_optimizer_ten_clipped_steps_match_adamw_in_double(void **state)
{
    (void)state;
    check_ten_steps(1);
}

/* With no gradient only decay moves a parameter, by lr * decay of itself; vectors stay. */
static void test_optimizer_decays_matrices_and_not_vectors(void **state)
{
    (void)state;
    fsmoe_train_config config = make_config(0);
    fsm_optimizer optimizer;
    float values[ELEMS], grads[ELEMS] = {0};
    assert_int_equal(fsm_optimizer_create(&params, &fsm_ops_reference, &config, &optimizer), FSMOE_OK);
    for (int i = 0; i < ELEMS; i++) values[i] = 2;
    fsm_optimizer_begin(&optimizer);
    fsm_optimizer_update(&optimizer, 0, ELEMS, grads, NULL, values);
    for (int i = 0; i < ELEMS; i++) {
        const fsm_param *p = param_at(i);
        assert_near(values[i], p && p != &items[VECTOR] ? 2 * (1 - fsm_learning_rate(&config, 0) * 0.1) : 2, 1e-7);
    }
    fsm_optimizer_destroy(&optimizer);
}

static void test_optimizer_slice_leaves_the_rest_alone(void **state)
{
    (void)state;
    fsmoe_train_config config = make_config(0);
    fsm_optimizer optimizer;
    float values[ELEMS], grads[ELEMS], start[ELEMS];
    assert_int_equal(fsm_optimizer_create(&params, &fsm_ops_reference, &config, &optimizer), FSMOE_OK);
    draw_values(0, 1, values);
    draw_values(500, 1, grads);
    memcpy(start, values, sizeof start);
    fsm_optimizer_begin(&optimizer);
    fsm_optimizer_update(&optimizer, 32, 48, grads, NULL, values);
    for (int i = 0; i < ELEMS; i++) assert_int_equal(values[i] != start[i], i >= 32 && i < 48);
    fsm_optimizer_destroy(&optimizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimizer_learning_rate_rises_linearly_to_its_peak),
        cmocka_unit_test(test_optimizer_learning_rate_falls_as_a_cosine),
        cmocka_unit_test(test_optimizer_learning_rate_bears_warm_up_to_the_end),
        cmocka_unit_test(test_optimizer_gradient_norm_counts_owned_parameters_once),
        cmocka_unit_test(test_optimizer_ten_steps_match_adamw_in_double),
        cmocka_unit_test(test_optimizer_ten_clipped_steps_match_adamw_in_double),
        cmocka_unit_test(test_optimizer_decays_matrices_and_not_vectors),
        cmocka_unit_test(test_optimizer_slice_leaves_the_rest_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
