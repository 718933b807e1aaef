/* Finite differences of whole two-layer models, both families: for every parameter tensor, the loss along a random
 * direction u changes by (L(p + e u) - L(p - e u)) / 2e = g.u. Forward is float32, so with steps that change the loss
 * by about 1e-2 the difference quotient is good to about 1e-3 of |g| |u|; the band is 3e-3 plus what rounding (5e-7 of
 * the loss) makes of a smaller step. The loss jumps where a token changes experts, so a step over which one does is
 * halved. */
#include "model_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLES = 3, LENGTH = 12, VOCAB = 40 };

#define TINY                                                                                                    \
    "model.hidden=24", "model.ffn_hidden=20", "model.num_layers=2", "model.num_heads=4", "model.vocab_size=40", \
        "moe.num_experts=5", "data.seq_len=12", "train.global_batch=3", "moe.aux_loss_coeff=0.3",               \
        "moe.z_loss_coeff=0.05"

typedef struct fixture {
    fsmoe_config *config;
    fsm_comm *self;
    fsm_stepper stepper;
    int32_t ids[SAMPLES * LENGTH], targets[SAMPLES * LENGTH];
    uint64_t routing; /* at the unmoved parameters */
} fixture;

static void create(const char *const *settings, fixture *f)
{
    const fsm_model_options options = {.max_samples = SAMPLES, .training = true};
    f->config = model_case_config(settings);
    assert_int_equal(fsm_comm_create_self(&f->self), FSMOE_OK);
    assert_int_equal(fsm_stepper_create(f->config, f->self, &options, &f->stepper), FSMOE_OK);
    model_case_randomize(&f->stepper.model->params, 0.3f, f->stepper.model->values);
    for (int i = 0; i < SAMPLES * LENGTH; i++) {
        f->ids[i] = (int32_t)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) % VOCAB);
        f->targets[i] = (int32_t)(fsm_rng_bits(2, FSM_RNG_TEST, (uint64_t)i) % VOCAB);
    }
}

static void destroy(fixture *f)
{
    fsm_stepper_destroy(&f->stepper);
    fsm_comm_destroy(f->self);
    fsmoe_config_destroy(f->config);
}

/* The whole objective at the present parameters; leaves its gradient in the model. A learning rate of 0 changes
 * nothing. */
static double objective(fixture *f)
{
    fsm_stepper *s = &f->stepper;
    fsm_batch batch = {.samples = SAMPLES, .seq_len = LENGTH, .ids = f->ids, .targets = f->targets};
    fsm_model_update_weights(s->model);
    s->optimizer.lr = 0;
    assert_int_equal(fsm_stepper_train_batch(s, &batch, SAMPLES * LENGTH), FSMOE_OK);
    fsm_model_sums sums = fsm_model_loss_sums(s->model, s->model->step_sums);
    return sums.loss / sums.tokens + f->config->moe.aux_loss_coeff * s->model->step_aux +
           f->config->moe.z_loss_coeff * s->model->step_z;
}

/* A number that changes when any token's choices or rows do. */
static uint64_t routing(const fixture *f)
{
    const fsm_model *m = f->stepper.model;
    uint64_t hash = 0;
    for (int i = 0; i < m->config->model.num_layers; i++) {
        const fsm_moe_pass *moe = &m->passes[0].layers[i].moe;
        int64_t choices = m->layers[i].is_moe ? m->passes[0].n_local * moe->moe->gate.choices : 0;
        for (int64_t c = 0; c < choices; c++)
            hash = hash * 1000003 + (uint64_t)(moe->gate.choice[c] * 4096 + moe->route.row[c] + 1);
    }
    return hash;
}

static void move(float *values, const float *start, const double *direction, int64_t n, double step)
{
    for (int64_t i = 0; i < n; i++) values[i] = (float)(start[i] + step * direction[i]);
}

/* One block [n] of the arrays, which starts at `at`. */
static void check_block(fixture *f, const char *name, int64_t at, int64_t n, const float *grads)
{
    float *values = f->stepper.model->values + at;
    double *u = malloc(sizeof *u * (size_t)n), norm = 0, expected = 0, length = 0;
    float *start = malloc(sizeof *start * (size_t)n);
    memcpy(start, values, sizeof *start * (size_t)n);
    for (int64_t i = 0; i < n; i++) norm += (double)grads[at + i] * grads[at + i];
    norm = sqrt(norm);
    /* half along the gradient, so that g.u is never lost in rounding; half anywhere */
    for (int64_t i = 0; i < n; i++) {
        u[i] = fsm_rng_normal(3, FSM_RNG_TEST, (uint64_t)(at + i)) / sqrt((double)n) +
               (norm > 0 ? grads[at + i] / norm : 0);
        expected += u[i] * grads[at + i];
        length += u[i] * u[i];
    }
    length = sqrt(length);
    double measured = 0, step = norm > 0 ? fmin(4e-3 / norm, 2e-3) : 2e-3;
    uint64_t base = f->routing;
    for (int halvings = 0; halvings < 8; halvings++, step /= 2) {
        move(values, start, u, n, step);
        double above = objective(f);
        bool same = routing(f) == base;
        move(values, start, u, n, -step);
        double below = objective(f);
        measured = (above - below) / (2 * step);
        if (same && routing(f) == base) break;
    }
    memcpy(values, start, sizeof *start * (size_t)n);
    free(start);
    free(u);
    if (!(fabs(measured - expected) <= 3e-3 * norm * length + 5e-7 / step))
        fail_msg("%s: differences give %g, backward %g (norm %g)", name, measured, expected, norm);
}

static void check_model(const char *const *settings)
{
    fixture f;
    create(settings, &f);
    const fsm_params *params = &f.stepper.model->params;
    float *grads = malloc(sizeof *grads * (size_t)params->elems);
    objective(&f);
    f.routing = routing(&f);
    memcpy(grads, f.stepper.model->grads, sizeof *grads * (size_t)params->elems);
    for (int i = 0; i < params->count; i++) {
        const fsm_param *p = &params->items[i];
        for (int64_t e = 0; e == 0 || e < p->experts; e++)
            check_block(&f, p->name, p->offset + e * p->expert_stride, p->rows * p->cols, grads);
    }
    free(grads);
    destroy(&f);
}

static void test_model_gradients_mixtral(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "model.num_kv_heads=2", NULL};
    check_model(settings);
}

static void test_model_gradients_mixtral_noisy_with_drops(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "moe.noisy=true", "moe.capacity_factor=1", "model.tie_embeddings=true", NULL};
    check_model(settings);
}

static void test_model_gradients_mixtral_dense_layer(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "model.moe_every=2", "moe.top_k=3", NULL};
    check_model(settings);
}

static void test_model_gradients_gpt2(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "model.family=gpt2", NULL};
    check_model(settings);
}

static void test_model_gradients_gpt2_top_1_dense_layer(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "model.family=gpt2", "moe.top_k=1", "model.moe_every=2", NULL};
    check_model(settings);
}

static void test_model_gradients_gpt2_without_biases_of_experts_dense_layer(void **state)
{
    (void)state;
    const char *const settings[] = {
        TINY, "model.family=gpt2", "moe.bias=false", "moe.activation=gelu_tanh", "model.moe_every=2", NULL};
    check_model(settings);
}

static void test_model_gradients_mixtral_geglu(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "moe.activation=geglu", NULL};
    check_model(settings);
}

/* Also where no layer has experts, whose dense blocks are made alike. */
static void test_model_gradients_activations_of_other_experts_are_refused(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "model.family=gpt2", "moe.activation=swiglu", "model.moe_every=3", NULL};
    const fsm_model_options options = {.max_samples = SAMPLES, .training = true};
    fixture f = {.config = model_case_config(settings)};
    assert_int_equal(fsm_comm_create_self(&f.self), FSMOE_OK);
    assert_int_equal(fsm_stepper_create(f.config, f.self, &options, &f.stepper), FSMOE_ERROR_CONFIG);
    assert_string_equal(fsmoe_last_error(), "--set: moe.activation: expert gpt has no activation 'swiglu'");
    fsm_comm_destroy(f.self);
    fsmoe_config_destroy(f.config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_gradients_mixtral),
        cmocka_unit_test(test_model_gradients_mixtral_noisy_with_drops),
        cmocka_unit_test(test_model_gradients_mixtral_dense_layer),
        cmocka_unit_test(test_model_gradients_gpt2),
        cmocka_unit_test(test_model_gradients_gpt2_top_1_dense_layer),
        cmocka_unit_test(test_model_gradients_gpt2_without_biases_of_experts_dense_layer),
        cmocka_unit_test(test_model_gradients_mixtral_geglu),
        cmocka_unit_test(test_model_gradients_activations_of_other_experts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
