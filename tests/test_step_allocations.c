/* After warm-up a training step, and a step that follows an evaluation, make no heap allocation. */
#include "count_allocations.h"
#include "model_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void check_steps(const char *const *settings)
{
    static const char *const text = FSMOE_SOURCE_DIR "/data/austen/persuasion.txt";
    fsmoe_config *config = model_case_config(settings);
    const fsm_model_options options = {.max_samples = config->train.micro_batch, .training = true};
    fsm_comm *self;
    fsm_stepper s;
    fsmoe_tokenizer *tokenizer;
    fsmoe_tokens *tokens;
    fsm_batches batches;
    fsm_model_sums sums;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_int_equal(fsm_stepper_create(config, self, &options, &s), FSMOE_OK);
    assert_int_equal(fsmoe_tokenizer_create("bytes", &tokenizer), FSMOE_OK);
    assert_int_equal(fsmoe_tokens_open(&text, 1, tokenizer, &tokens), FSMOE_OK);
    assert_int_equal(fsm_batches_create(tokens, config->data.seq_len, 1, true, config->train.micro_batch, &s.topo,
                                        &batches),
                     FSMOE_OK);
    assert_int_equal(fsm_stepper_train(&s, &batches, 0), FSMOE_OK);
    assert_int_equal(fsm_stepper_evaluate(&s, &batches, 0, 5, &sums), FSMOE_OK);
    long before = n_allocations;
    for (int step = 1; step < 6; step++)
        assert_int_equal(fsm_stepper_train(&s, &batches, step * config->train.global_batch), FSMOE_OK);
    long made = n_allocations - before;
    fsm_batches_destroy(&batches);
    fsmoe_tokens_close(tokens);
    fsmoe_tokenizer_destroy(tokenizer);
    fsm_stepper_destroy(&s);
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
    assert_int_equal(made, 0);
}

#define TINY                                                                                                     \
    "model.hidden=32", "model.ffn_hidden=48", "model.num_layers=2", "model.vocab_size=256", "moe.num_experts=4", \
        "data.seq_len=16", "train.global_batch=4", "train.micro_batch=2"

static void test_step_allocations_dropless_are_none(void **state)
{
    (void)state;
    if (!COUNTS_ALLOCATIONS) skip();
    const char *const settings[] = {TINY, "moe.noisy=true", NULL};
    check_steps(settings);
}

static void test_step_allocations_with_capacity_are_none(void **state)
{
    (void)state;
    if (!COUNTS_ALLOCATIONS) skip();
    const char *const settings[] = {TINY, "model.family=gpt2", "moe.capacity_factor=1.25", "model.moe_every=2", NULL};
    check_steps(settings);
}

static void test_step_allocations_in_bf16_are_none(void **state)
{
    (void)state;
    if (!COUNTS_ALLOCATIONS) skip();
    const char *const settings[] = {TINY, "moe.shared_experts=1", "train.compute_dtype=bf16", NULL};
    check_steps(settings);
}

static void test_step_allocations_are_seen_by_the_counter(void **state)
{
    (void)state;
    if (!COUNTS_ALLOCATIONS) skip();
    fsm_comm *self;
    long before = n_allocations;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    fsm_comm_destroy(self);
    assert_int_equal(n_allocations - before, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_allocations_dropless_are_none),
        cmocka_unit_test(test_step_allocations_with_capacity_are_none),
        cmocka_unit_test(test_step_allocations_in_bf16_are_none),
        cmocka_unit_test(test_step_allocations_are_seen_by_the_counter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
