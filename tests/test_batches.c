/* What a step must not depend on: how its samples are cut into micro-batches; and evaluation: on noise and capacity. */
#include "model_case.h"
#include "plan/rhythm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define TINY                                                                                                     \
    "model.hidden=32", "model.ffn_hidden=48", "model.num_layers=2", "model.num_kv_heads=2", "moe.num_experts=4", \
        "data.seq_len=16", "train.global_batch=8", "model.vocab_size=256"

#define LOSSES "moe.aux_loss_coeff=0.3", "moe.z_loss_coeff=0.1"

/* A stepper on its own, with its data. */
typedef struct fixture {
    fsmoe_config *config;
    fsm_comm *self;
    fsm_stepper stepper;
    fsmoe_tokenizer *tokenizer;
    fsmoe_tokens *tokens;
    fsm_batches batches;
} fixture;

static void create(const char *const *settings, fixture *f)
{
    static const char *const text = FSMOE_SOURCE_DIR "/data/austen/persuasion.txt";
    f->config = model_case_config(settings);
    const int64_t micro = f->config->train.micro_batch;
    const fsm_model_options options = {.max_samples = micro, .training = true};
    assert_int_equal(fsm_comm_create_self(&f->self), FSMOE_OK);
    assert_int_equal(fsm_stepper_create(f->config, f->self, &options, &f->stepper), FSMOE_OK);
    model_case_randomize(&f->stepper.model->params, 0.25f, f->stepper.model->values);
    fsm_model_update_weights(f->stepper.model);
    assert_int_equal(fsmoe_tokenizer_create("bytes", &f->tokenizer), FSMOE_OK);
    assert_int_equal(fsmoe_tokens_open(&text, 1, f->tokenizer, &f->tokens), FSMOE_OK);
    assert_int_equal(fsm_batches_create(f->tokens, 16, 3, true, micro, &f->stepper.topo, &f->batches), FSMOE_OK);
}

static void destroy(fixture *f)
{
    fsm_batches_destroy(&f->batches);
    fsmoe_tokens_close(f->tokens);
    fsmoe_tokenizer_destroy(f->tokenizer);
    fsm_stepper_destroy(&f->stepper);
    fsm_comm_destroy(f->self);
    fsmoe_config_destroy(f->config);
}

static void assert_same_gradients(const fsm_model *a, const fsm_model *b)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < a->params.elems; i++) {
        worst = fmax(worst, fabs((double)a->grads[i] - b->grads[i]));
        largest = fmax(largest, fabs((double)b->grads[i]));
    }
    assert_true(largest > 0 && worst <= 1e-5 * largest);
}

/* Two micro-batches at a time. */
static void put_side_by_side(fsm_stepper *s)
{
    fsm_step_shape shape;
    fsm_graph graph;
    fsm_step_builder b;
    fsm_lane_cuts rows;
    fsm_layer_cut cuts[2][FSM_MAX_LANES];
    const fsm_lanes lanes = {.lanes = 2, .parts = 1};
    assert_int_equal(fsm_stepper_shape(s, &shape), FSMOE_OK);
    fsm_lanes_cut(&shape, lanes, (const int[]){1, 1}, rows, cuts);
    assert_int_equal(fsm_step_builder_begin(&shape, lanes, false, &graph, &b), FSMOE_OK);
    fsm_step_plain(&b, cuts);
    fsm_step_update(&b);
    assert_int_equal(fsm_step_builder_end(&b), FSMOE_OK);
    fsm_step_shape_destroy(&shape);
    assert_int_equal(fsm_stepper_use_graph(s, graph), FSMOE_OK);
}

/* Without the losses that look at a micro-batch as a whole, 4 x 2 samples give the gradients of 1 x 8. */
static void test_batches_micro_batches_add_up_to_the_step(void **state)
{
    (void)state;
    const char *const whole_settings[] = {TINY, "moe.aux_loss_coeff=0", NULL};
    const char *const parts_settings[] = {TINY, "moe.aux_loss_coeff=0", "train.micro_batch=2", NULL};
    fixture whole, parts;
    create(whole_settings, &whole);
    create(parts_settings, &parts);
    assert_int_equal(fsm_stepper_train(&whole.stepper, &whole.batches, 8), FSMOE_OK);
    assert_int_equal(fsm_stepper_train(&parts.stepper, &parts.batches, 8), FSMOE_OK);
    const fsm_model *a = parts.stepper.model, *b = whole.stepper.model;
    fsm_model_sums sa = fsm_model_loss_sums(a, a->step_sums), sb = fsm_model_loss_sums(b, b->step_sums);
    assert_true(sa.tokens == 8 * 16 && sb.tokens == sa.tokens && fabs(sa.loss - sb.loss) <= 1e-5 * sb.loss);
    assert_same_gradients(a, b);
    destroy(&whole);
    destroy(&parts);
}

/* aux and z losses of a step are the means over its micro-batches, in value and in gradient: with the same samples in
 * two micro-batches, one after the other or side by side, the step is the same as with them once. */
static void test_batches_aux_losses_are_means_over_micro_batches(void **state)
{
    (void)state;
    enum { SAMPLES = 4, TOKENS = SAMPLES * 16 };
    const char *const once_settings[] = {TINY, LOSSES, "train.global_batch=4", NULL};
    const char *const twice_settings[] = {TINY, LOSSES, "train.micro_batch=4", NULL};
    int32_t ids[2 * TOKENS];
    fixture once;
    for (int i = 0; i < 2 * TOKENS; i++) ids[i] = (int32_t)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) % 256);
    const fsm_batch batch = {.samples = SAMPLES, .seq_len = 16, .ids = ids, .targets = ids + TOKENS};
    create(once_settings, &once);
    assert_int_equal(fsm_stepper_train_batch(&once.stepper, &batch, TOKENS), FSMOE_OK);
    const fsm_model *a = once.stepper.model;
    assert_true(a->step_aux > 0 && a->step_z > 0);
    for (int lanes = 1; lanes <= 2; lanes++) {
        fixture twice;
        create(twice_settings, &twice);
        if (lanes == 2) put_side_by_side(&twice.stepper);
        assert_int_equal(fsm_stepper_train_batch(&twice.stepper, &batch, TOKENS), FSMOE_OK);
        const fsm_model *b = twice.stepper.model;
        assert_true(fabs(b->step_aux - a->step_aux) <= 1e-9 * a->step_aux);
        assert_true(fabs(b->step_z - a->step_z) <= 1e-9 * a->step_z);
        assert_same_gradients(b, a);
        destroy(&twice);
    }
    destroy(&once);
}

static double evaluated(const char *const *settings, int64_t windows)
{
    fixture f;
    fsm_model_sums sums;
    create(settings, &f);
    assert_int_equal(fsm_stepper_evaluate(&f.stepper, &f.batches, 0, windows, &sums), FSMOE_OK);
    assert_true(sums.tokens == (double)windows * 16);
    destroy(&f);
    return sums.loss;
}

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * b;
}

/* Also in training configurations evaluation has no noise and drops nothing; eleven windows are not whole batches. With
 * half the places it takes fewer samples at once, as with smaller batches: products then have other numbers of rows,
 * and round otherwise. */
static void test_batches_evaluation_ignores_noise_and_capacity(void **state)
{
    (void)state;
    const char *const plain[] = {TINY, NULL};
    const char *const capacity[] = {TINY, "moe.capacity_factor=1", NULL};
    const char *const half[] = {TINY, "moe.capacity_factor=0.5", NULL};
    const char *const small[] = {TINY, "train.micro_batch=2", NULL};
    const char *const noisy[] = {TINY, "moe.noisy=true", NULL};
    const char *const noisy_capacity[] = {TINY, "moe.noisy=true", "moe.capacity_factor=1", "train.seed=9", NULL};
    double loss = evaluated(plain, 11);
    assert_true(evaluated(capacity, 11) == loss);
    assert_true(is_near(evaluated(half, 11), loss) && is_near(evaluated(small, 11), loss));
    assert_true(evaluated(noisy, 11) == evaluated(noisy_capacity, 11)); /* the noise's seed, too, is without effect */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_micro_batches_add_up_to_the_step),
        cmocka_unit_test(test_batches_aux_losses_are_means_over_micro_batches),
        cmocka_unit_test(test_batches_evaluation_ignores_noise_and_capacity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
