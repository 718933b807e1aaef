/* A model's own tokenizer: used and said, or refused with what it is; never bytes in silence. */
#include "command_case.h"

#define SMALL FSMOE_TEST_DATA "/golden/tokenizer.small.json"
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define EVAL "eval", "run/model", "--data", "valid.txt", "--seq-len", "8"
#define GENERATE "generate", "run/model", "--prompt", "the", "--max-tokens", "3"
#define CONSTANT_RATE "--set", "train.lr=0.001", "--set", "train.min_lr=0.001", "--set", "train.warmup_steps=0"
#define INIT "train", "open.yaml", "--init", "run/model"

/* run/model of 705 ids, as many as the small tokenizer has, or of 256; and a configuration that names no tokenizer. */
static void make_model(const command_case *c, const char *tokenizer)
{
    static const char open_shape[] = "data: {train: train.txt, seq_len: 8}\nparallel: {threads: 1}\n"
                                     "train: {steps: 2, global_batch: 4}\nrun: {dir: more}\n";
    char setting[FSM_PATH_BYTES];
    snprintf(setting, sizeof setting, "data.tokenizer=%s", tokenizer);
    write_text(c, "open.yaml", open_shape, strlen(open_shape));
    assert_works(run(c, ARGS("train", "config.yaml", "--set", "train.steps=1", "--set", setting)));
}

static void put_small(const command_case *c, const char *name, const char *replaced, const char *by)
{
    char *text, *place;
    size_t size;
    assert_int_equal(fsm_file_read(SMALL, &text, &size), FSMOE_OK);
    if (replaced) {
        place = strstr(text, replaced);
        assert_non_null(place);
        assert_int_equal(strlen(replaced), strlen(by));
        memcpy(place, by, strlen(by));
    }
    write_text(c, name, text, size);
    free(text);
}

static char *output_of(outcome o, const char *said)
{
    if (o.exit_code != 0) fail_msg("%s", o.err);
    if (said) assert_has(o.err, said);
    else assert_string_equal(o.err, "");
    free(o.err);
    return o.out;
}

static void assert_same_output(outcome a, const char *said, outcome b)
{
    char *x = output_of(a, said), *y = output_of(b, NULL);
    assert_string_equal(x, y);
    free(x);
    free(y);
}

static void assert_says(outcome o, const char *sentence)
{
    if (o.exit_code != 0) fail_msg("%s", o.err);
    assert_has(o.err, sentence);
    forget(o);
}

static void test_own_tokenizer_is_used_and_said(void **state)
{
    static const char said[] = "the tokenizer is 'run/model/tokenizer.json', the model's own";
    const command_case *c = *state;
    make_model(c, SMALL);
    put_small(c, "run/model/tokenizer.json", NULL, NULL);
    assert_same_output(run(c, ARGS(EVAL)), said, run(c, ARGS(EVAL, "--tokenizer", SMALL)));
    assert_same_output(run(c, ARGS(GENERATE)), said, run(c, ARGS(GENERATE, "--tokenizer", SMALL)));
    assert_says(run(c, ARGS(INIT)), said);
    assert_works(run(c, ARGS(INIT, "--set", "run.dir=named", "--set", "data.tokenizer=" SMALL)));
    assert_losses_agree(c, "more", "named", 0);
}

/* A run that took the model's tokenizer is resumed with it, though its configuration still names none. */
static void test_own_tokenizer_is_that_of_the_resumed_run(void **state)
{
    const command_case *c = *state;
    make_model(c, SMALL);
    put_small(c, "run/model/tokenizer.json", NULL, NULL);
    assert_works(run(c, ARGS(INIT, CONSTANT_RATE, "--set", "train.steps=4", "--set", "run.dir=whole")));
    assert_works(run(c, ARGS(INIT, CONSTANT_RATE)));
    assert_says(run(c, ARGS("train", "open.yaml", CONSTANT_RATE, "--set", "train.steps=4", "--resume")),
                "the tokenizer is 'run/model', as in 'more/config.yaml'");
    assert_losses_agree(c, "more", "whole", 0);
}

static void test_own_tokenizer_that_cannot_be_read_is_refused(void **state)
{
    const command_case *c = *state;
    make_model(c, SMALL);
    put_small(c, "run/model/tokenizer.json", "\"BPE\"", "\"WPM\"");
    const char *const why[] = {"run/model/tokenizer.json", "model.type is 'WPM'", "--tokenizer", NULL};
    assert_fails(run(c, ARGS(EVAL)), FSMOE_ERROR_UNSUPPORTED, why);
    assert_fails(run(c, ARGS(GENERATE)), FSMOE_ERROR_UNSUPPORTED, why);
    assert_fails(run(c, ARGS(INIT)), FSMOE_ERROR_UNSUPPORTED,
                 ARGS("run/model/tokenizer.json", "model.type is 'WPM'", "data.tokenizer"));
    assert_false(has(c, "more"));
    assert_works(run(c, ARGS(EVAL, "--tokenizer", SMALL)));
    assert_works(run(c, ARGS(GENERATE, "--tokenizer", SMALL)));
    assert_says(run(c, ARGS(INIT, "--set", "data.tokenizer=" SMALL)),
                "--set: 'data.tokenizer' is " SMALL "; 'run/model/tokenizer.json', the model's own, is not used");
}

/* One file of every kind beside a model whose 256 ids would be taken for bytes. */
static void test_own_tokenizer_of_another_kind_is_refused_by_name(void **state)
{
    const command_case *c = *state;
    static const char *const names[] = {
        "tokenizer.model",
        "tokenizer.model.v3",
        "sentencepiece.bpe.model",
        "spiece.model",
        "spm_char.model",
        "source.spm",
        "qwen.tiktoken",
        "tekken.json",
        "vocab.txt",
        "encoder.json",
        "vocab.bpe",
        "vocab.json",
        "merges.txt",
        "tokenization_qwen.py",
        "tokenizer.pkl",
        "tokenizer_config.json",
        "added_tokens.json",
        "special_tokens_map.json",
    };
    make_model(c, "bytes");
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char name[64], path[FSM_PATH_BYTES];
        snprintf(name, sizeof name, "run/model/%s", names[i]);
        write_text(c, name, "{}", 2);
        assert_fails(run(c, ARGS(EVAL)), FSMOE_ERROR_UNSUPPORTED, ARGS("run/model", names[i], "--tokenizer"));
        assert_fails(run(c, ARGS(INIT)), FSMOE_ERROR_UNSUPPORTED, ARGS("run/model", names[i], "data.tokenizer"));
        if (i == 0) assert_works(run(c, ARGS(EVAL, "--tokenizer", "bytes")));
        assert_int_equal(unlink(path_in(c, name, path)), 0);
    }
    assert_false(has(c, "more"));
}

static void test_own_tokenizer_missing_is_bytes_for_256_ids_only(void **state)
{
    const command_case *c = *state;
    make_model(c, "bytes");
    assert_same_output(run(c, ARGS(EVAL)), NULL, run(c, ARGS(EVAL, "--tokenizer", "bytes")));
    make_model(c, SMALL);
    const char *const why[] = {"'run/model' has no tokenizer and 705 ids", "--tokenizer", NULL};
    assert_fails(run(c, ARGS(EVAL)), FSMOE_ERROR_CONFIG, why);
    assert_fails(run(c, ARGS(GENERATE)), FSMOE_ERROR_CONFIG, why);
    assert_says(run(c, ARGS(INIT)), "'run/model' has no tokenizer and 705 ids: text is taken as bytes");
    make_model(c, "gpt2");
    static const char said[] = "'run/model' has no tokenizer; by its 50257 ids it is taken to be gpt2's";
    assert_same_output(run(c, ARGS(EVAL)), said, run(c, ARGS(EVAL, "--tokenizer", "gpt2")));
    assert_says(run(c, ARGS(INIT)), said);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_case, remove_case)
    const struct CMUnitTest tests[] = {
        CASE(test_own_tokenizer_is_used_and_said),
        CASE(test_own_tokenizer_is_that_of_the_resumed_run),
        CASE(test_own_tokenizer_that_cannot_be_read_is_refused),
        CASE(test_own_tokenizer_of_another_kind_is_refused_by_name),
        CASE(test_own_tokenizer_missing_is_bytes_for_256_ids_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
