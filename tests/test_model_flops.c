/* What a model has to compute in a step, against what its operations did compute.
 * Oracle: the meter around the table of operations; by hand for one small model. */
#include "model_case.h"

#include "ops/meter.h"
#include "train/flops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLES = 2, LENGTH = 16, TOKENS = SAMPLES * LENGTH, HIDDEN = 32, WIDTH = 48, VOCAB = 64, EXPERTS = 4 };

#define TINY                                                                                                    \
    "model.hidden=32", "model.ffn_hidden=48", "model.num_layers=2", "model.vocab_size=64", "moe.num_experts=4", \
        "data.seq_len=16", "train.global_batch=2", "train.micro_batch=2", "model.num_heads=4"
enum { MOST_SETTINGS = 16 };

/* Nothing is padded or dropped in these, and nothing else multiplies. */
static const char *const models[][MOST_SETTINGS] = {
    {TINY, "model.family=mixtral", "model.num_kv_heads=2"},
    {TINY, "model.family=gpt2", "model.moe_every=2"},
    {TINY, "model.family=mixtral", "model.tie_embeddings=true", "moe.top_k=1"},
    {TINY, "model.family=mixtral", "moe.shared_experts=2", "moe.shared_gate=true"},
    {TINY, "model.family=mixtral", "moe.gate=deepseek"},
    {TINY, "model.family=gpt2", "moe.gate=hash"},
    /* 24 of 32 tokens an expert, three experts a token */
    {TINY, "model.family=mixtral", "moe.gate=expert_choice", "moe.capacity_factor=1.5", "moe.allow_non_causal=true"},
};
enum { MODELS = sizeof models / sizeof *models, SHARED_GATE = 3 };

static double sum(const fsm_op_count *counts, const fsm_op_kind *kinds, int n)
{
    double flops = 0;
    for (int i = 0; i < n; i++) flops += counts[kinds[i]].flops;
    return flops;
}

/* One step; the model's FLOPs a token, and the counts of the step. */
static fsm_model_flops run_step(const char *const *settings, fsm_op_count counts[FSM_OP_KIND_COUNT])
{
    const fsm_model_options options = {.max_samples = SAMPLES, .training = true};
    fsmoe_config *config = model_case_config(settings);
    fsm_comm *self;
    fsm_stepper s;
    int32_t ids[TOKENS];
    for (int i = 0; i < TOKENS; i++) ids[i] = i * 7 % VOCAB;
    const fsm_batch batch = {.samples = SAMPLES, .seq_len = LENGTH, .ids = ids, .targets = ids};
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_int_equal(fsm_stepper_create_by(config, self, &options, &(fsm_backend_options){.metered = true}, &s),
                     FSMOE_OK);
    fsm_meter_turn(s.ops, true);
    assert_int_equal(fsm_stepper_train_batch(&s, &batch, TOKENS), FSMOE_OK);
    memcpy(counts, fsm_meter_counts(s.ops), FSM_OP_KIND_COUNT * sizeof *counts);
    fsm_model_flops flops = fsm_flops_a_token(&s.model->params, config);
    fsm_stepper_destroy(&s);
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
    return flops;
}

static void test_model_flops_are_what_a_step_multiplies(void **state)
{
    static const fsm_op_kind products[] = {FSM_OP_PRODUCT, FSM_OP_PRODUCT_INPUT, FSM_OP_PRODUCT_WEIGHT};
    fsm_op_count counts[FSM_OP_KIND_COUNT];
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        fsm_model_flops flops = run_step(models[i], counts);
        double done = sum(counts, products, 3);
        if (done != TOKENS * flops.products) fail_msg("model %d: %g, not %g", i, done, TOKENS * flops.products);
        if (i != SHARED_GATE) { /* whose products are all of one kind */
            assert_true(counts[FSM_OP_PRODUCT].flops == counts[FSM_OP_PRODUCT_INPUT].flops);
            assert_true(counts[FSM_OP_PRODUCT].flops == counts[FSM_OP_PRODUCT_WEIGHT].flops);
        }
        /* backward works the scores out again: seven products, of which the model needs six */
        assert_true(6 * counts[FSM_OP_ATTENTION].flops == 7 * TOKENS * flops.attention);
    }
}

static void test_model_flops_are_those_of_the_equation(void **state)
{
    fsm_op_count counts[FSM_OP_KIND_COUNT];
    (void)state;
    const double attention = HIDDEN * (2 * HIDDEN + 2 * HIDDEN / 2), experts = 2 * 3 * HIDDEN * WIDTH;
    const double layer = attention + EXPERTS * HIDDEN + experts, head = VOCAB * HIDDEN;
    fsm_model_flops flops = run_step(models[0], counts);
    assert_true(flops.products == 6 * (2 * layer + head));
    assert_true(flops.attention == 12.0 * 2 * HIDDEN * (LENGTH + 1) / 2);
}

/* Slots of SoftMoE are as many whatever tokens there are; they are mixed by two products more. */
static void test_model_flops_of_mixing_gates_count_slots(void **state)
{
    static const char *const soft[] = {
        TINY, "model.family=mixtral", "moe.gate=soft", "moe.slots_per_expert=3", "moe.allow_non_causal=true", NULL};
    static const fsm_op_kind products[] = {FSM_OP_PRODUCT, FSM_OP_PRODUCT_INPUT, FSM_OP_PRODUCT_WEIGHT};
    fsm_op_count counts[FSM_OP_KIND_COUNT];
    (void)state;
    fsm_model_flops flops = run_step(soft, counts);
    double done = sum(counts, products, 3);
    if (done != TOKENS * flops.products) fail_msg("%g, not %g", done, TOKENS * flops.products);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_flops_are_what_a_step_multiplies),
        cmocka_unit_test(test_model_flops_are_those_of_the_equation),
        cmocka_unit_test(test_model_flops_of_mixing_gates_count_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
