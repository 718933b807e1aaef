/* Prompts side by side are continued as each is alone, to the bit; what ends one of them leaves the others; what cannot
 * be is said; and a token is drawn as sorting all of them would have it. */
#include "command_case.h"

#include <fsmoe/model.h>

#include "base/rng.h"
#include "train/draw.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

enum { MOST_PROMPTS = 8, POSITIONS = 16 };
static const char *const prompts[] = {"Emma", "a", "She was so", "handsome, clev", "th", "of"};
enum { PROMPTS = COUNT_OF(prompts) };

/* A few steps make likely bytes letters and the choices of experts differ. */
static const char *make_model(const command_case *c, const char *const *settings, char path[FSM_PATH_BYTES])
{
    const char *args[MOST_ARGS] = {"train", "config.yaml", "--set", "train.steps=20", "--set", "train.lr=2e-2"};
    int n = 6;
    for (; *settings; settings++) args[n++] = "--set", args[n++] = *settings;
    assert_works(run(c, args));
    return path_in(c, "run/model", path);
}

/* ---- in the library ---- */

typedef struct heard {
    size_t pieces[MOST_PROMPTS], bytes[MOST_PROMPTS];
    size_t stops, after; /* which prompt is ended, with which piece */
} heard;

static int hear(void *user, size_t prompt, const char *bytes, size_t size)
{
    heard *h = user;
    (void)bytes;
    h->bytes[prompt] += size;
    return ++h->pieces[prompt] == h->after && prompt == h->stops;
}

static fsmoe_generate_options options_of(double temperature, int64_t max_tokens)
{
    return (fsmoe_generate_options){.temperature = temperature, .top_p = 0.9, .seed = 5, .max_tokens = max_tokens};
}

static void free_all(fsmoe_generated *generated, size_t n)
{
    for (size_t i = 0; i < n; i++) free(generated[i].text);
}

/* Prompt i has seed + i. */
static void assert_as_alone(const char *model, fsmoe_generate_options o, size_t i, const fsmoe_generated *got)
{
    char *text;
    size_t size;
    o.prompt = prompts[i];
    o.seed += i;
    o.on_prompt_text = NULL;
    o.speed = NULL;
    if (fsmoe_generate(model, &o, &text, &size) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_int_equal(size, got->size);
    assert_memory_equal(text, got->text, size);
    free(text);
}

static void check_batch(const char *model, double temperature)
{
    heard h = {{0}, {0}, MOST_PROMPTS, 0};
    fsmoe_generate_speed speed;
    fsmoe_generated got[PROMPTS];
    fsmoe_generate_options o = options_of(temperature, 20); /* more than the positions of all but one prompt */
    o.on_prompt_text = hear;
    o.user = &h;
    o.speed = &speed;
    if (fsmoe_generate_batch(model, &o, PROMPTS, prompts, got) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    int64_t tokens = 0;
    for (size_t i = 0; i < PROMPTS; i++) {
        assert_as_alone(model, o, i, &got[i]);
        assert_int_equal(got[i].prompt_tokens, strlen(prompts[i]));
        assert_int_equal(got[i].tokens, POSITIONS + 1 - strlen(prompts[i])); /* each ends at the last position */
        assert_int_equal(h.bytes[i], got[i].size);
        tokens += got[i].tokens;
    }
    assert_int_equal(speed.tokens, tokens);
    assert_int_equal(speed.step_tokens, tokens - PROMPTS); /* the first of each comes from its prompt */
    assert_int_equal(speed.steps, POSITIONS - 1);
    assert_true(speed.weight_bytes > 0 && speed.read_bytes_per_s > 0 && isfinite(speed.read_bytes_per_s));
    free_all(got, PROMPTS);
}

static void test_generate_batch_equals_alone(void **state)
{
    const char *const *const models[] = {
        ARGS("model.family=mixtral", "model.num_heads=4", "model.num_kv_heads=2", "model.moe_every=1"),
        ARGS("model.family=gpt2", "moe.top_k=1"),
        ARGS("moe.gate=xmoe", "moe.shared_experts=1", "moe.shared_gate=true"),
        ARGS("moe.gate=sigmoid", "moe.top_k=2"),
    };
    const command_case *c = *state;
    char path[FSM_PATH_BYTES];
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        const char *model = make_model(c, models[i], path);
        check_batch(model, 0);
        check_batch(model, 1);
    }
}

static void test_generate_one_that_ends_early_leaves_the_others(void **state)
{
    const command_case *c = *state;
    char path[FSM_PATH_BYTES];
    const char *model = make_model(c, ARGS("model.num_kv_heads=1"), path);
    heard h = {{0}, {0}, 1, 3}; /* "a" and two tokens */
    fsmoe_generated got[PROMPTS];
    fsmoe_generate_options o = options_of(1, 8);
    o.on_prompt_text = hear;
    o.user = &h;
    assert_int_equal(fsmoe_generate_batch(model, &o, PROMPTS, prompts, got), FSMOE_OK);
    assert_int_equal(got[1].tokens, 2);
    assert_int_equal(got[1].size, strlen(got[1].text));
    for (size_t i = 0; i < PROMPTS; i++)
        if (i != 1) assert_as_alone(model, o, i, &got[i]);
    free_all(got, PROMPTS);
}

static void assert_refused(const char *model, const fsmoe_generate_options *o, size_t n, const char *const *texts,
                           fsmoe_status status, const char *part)
{
    fsmoe_generated got[2];
    if (fsmoe_generate_batch(model, o, n, texts, got) != status) fail_msg("%s", fsmoe_last_error());
    assert_has(fsmoe_last_error(), part);
}

static void test_generate_bad_batches_are_refused(void **state)
{
    const command_case *c = *state;
    char path[FSM_PATH_BYTES];
    const char *model = make_model(c, ARGS("train.seed=1"), path);
    fsmoe_generate_options o = options_of(0, 4);
    assert_refused(model, &o, 0, NULL, FSMOE_ERROR_CONFIG, "no prompt");
    assert_refused(model, &o, 2, ARGS("a", ""), FSMOE_ERROR_CONFIG, "prompt 2 is empty");
    assert_refused(model, &o, 2, ARGS("a", "seventeen letters"), FSMOE_ERROR_CONFIG,
                   "prompt 2 has 17 tokens, the model only 16 positions");
}

/* A model whose file says that it has so many positions. */
static const char *stretch_positions(const command_case *c, const char *model, int64_t positions)
{
    char file[FSM_PATH_BYTES];
    json_t *config = json_load_file(path_in(c, "run/model/config.json", file), 0, NULL);
    json_object_set_new(config, "max_position_embeddings", json_integer(positions));
    assert_int_equal(json_dump_file(config, file, 0), 0);
    json_decref(config);
    assert_int_equal(unlink(path_in(c, "run/model/checksums", file)), 0); /* the seal is another test's */
    return model;
}

/* Of 2^20 positions 2000 prompts can be numbered still, but have 1000 GiB of keys and values a layer. */
static void test_generate_more_than_memory_holds_is_said(void **state)
{
    enum { MANY = 2050, FEWER = 2000, LONG = 1 << 20 };
    const command_case *c = *state;
    char path[FSM_PATH_BYTES];
    const char *texts[MANY], *model = make_model(c, ARGS("model.hidden=64", "model.num_kv_heads=2"), path);
    stretch_positions(c, model, LONG);
    for (int i = 0; i < MANY; i++) texts[i] = "a";
    fsmoe_generate_options o = options_of(0, LONG);
    assert_refused(model, &o, MANY, texts, FSMOE_ERROR_MEMORY, "2050 prompts with up to 1048576 tokens are more");
    assert_refused(model, &o, FEWER, texts, FSMOE_ERROR_MEMORY,
                   "keys and values of 2000 prompts with up to 1048576 tokens");
    assert_has(fsmoe_last_error(), "this machine has");
}

/* ---- by the command ---- */

#define GENERATE "generate", "run/model", "--max-tokens", "4", "--seed", "3"

static void test_generate_command_continues_prompts_of_options_and_files(void **state)
{
    const command_case *c = *state;
    char path[FSM_PATH_BYTES], want[512];
    make_model(c, ARGS("train.seed=1"), path);
    write_text(c, "prompts.txt", "Emma\nShe was\r\n", strlen("Emma\nShe was\r\n"));
    outcome one = run(c, ARGS(GENERATE, "--prompt", "Emma")),
            two = run(c, ARGS("generate", "run/model", "--max-tokens", "4", "--seed", "4", "--prompt", "She was"));
    assert_int_equal(one.exit_code, 0);
    assert_int_equal(two.exit_code, 0);
    snprintf(want, sizeof want, "==> prompt 1 <==\n%s\n==> prompt 2 <==\n%s", one.out, two.out);
    outcome both[] = {run(c, ARGS(GENERATE, "--prompt", "Emma", "--prompt", "She was")),
                      run(c, ARGS(GENERATE, "--prompts", "prompts.txt"))};
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        assert_string_equal(both[i].out, want);
        assert_string_equal(both[i].err, "");
        forget(both[i]);
    }
    outcome said = run(c, ARGS(GENERATE, "--prompt", "Emma", "--stats"));
    assert_string_equal(said.out, one.out);
    assert_has(said.err, "4 tokens of prompts in ");
    assert_has(said.err, "tokens/s in 3 steps");
    assert_has(said.err, "that reading weights allows");
    forget(said);
    forget(one);
    forget(two);
}

static void test_generate_command_refuses_files_without_prompts(void **state)
{
    const command_case *c = *state;
    write_text(c, "empty.txt", "", 0);
    write_text(c, "gap.txt", "a\n\nb\n", 5);
    write_text(c, "zero.txt", "a\nb\0c\n", 6);
    assert_fails(run(c, ARGS(GENERATE, "--prompts", "empty.txt")), FSMOE_ERROR_CONFIG,
                 ARGS("empty.txt holds no prompt"));
    assert_fails(run(c, ARGS(GENERATE, "--prompts", "gap.txt")), FSMOE_ERROR_CONFIG, ARGS("gap.txt: line 2 is empty"));
    assert_fails(run(c, ARGS(GENERATE, "--prompts", "zero.txt")), FSMOE_ERROR_CONFIG,
                 ARGS("zero.txt: line 2 holds a zero byte"));
    assert_fails(run(c, ARGS(GENERATE, "--prompts", "none.txt")), FSMOE_ERROR_IO, ARGS("cannot read none.txt"));
}

/* ---- draws ---- */

static int likelier(const void *a, const void *b)
{
    const fsm_candidate *x = a, *y = b;
    if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int32_t draw_sorted(const float *logits, int n, double temperature, double top_p, double uniform)
{
    fsm_candidate all[64];
    double top = -INFINITY, total = 0, nucleus = 0;
    int kept = 0;
    for (int i = 0; i < n; i++) top = fmax(top, logits[i]);
    for (int i = 0; i < n; i++) {
        all[i] = (fsm_candidate){i, exp((logits[i] - top) / temperature)};
        total += all[i].probability;
    }
    qsort(all, (size_t)n, sizeof *all, likelier);
    while (kept < n && (kept == 0 || nucleus < top_p * total)) nucleus += all[kept++].probability;
    double at = uniform * nucleus;
    for (int i = 0; i < kept; i++)
        if ((at -= all[i].probability) < 0) return all[i].id;
    return all[kept - 1].id;
}

static void test_generate_draws_as_from_sorted_tokens(void **state)
{
    static const double top_ps[] = {1e-6, 0.3, 0.9, 1};
    (void)state;
    for (uint64_t trial = 0; trial < 4000; trial++) {
        fsm_candidate scratch[64];
        float logits[64];
        int n = 1 + (int)(fsm_rng_bits(1, FSM_RNG_TEST, trial) % 64), best = 0;
        for (int i = 0; i < n; i++) /* few values, so that many are equal */
            logits[i] = (float)(fsm_rng_bits(2 + trial, FSM_RNG_TEST, (uint64_t)i) % 9);
        for (int i = 1; i < n; i++) best = logits[i] > logits[best] ? i : best;
        double uniform = fsm_rng_uniform(3, FSM_RNG_TEST, trial), top_p = top_ps[trial % COUNT_OF(top_ps)];
        assert_int_equal(fsm_draw_token(logits, n, 0.7, top_p, uniform, scratch),
                         draw_sorted(logits, n, 0.7, top_p, uniform));
        assert_int_equal(fsm_draw_token(logits, n, 0, top_p, uniform, scratch), best);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_case, remove_case)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_generate_batch_equals_alone),
        CASE(test_generate_one_that_ends_early_leaves_the_others),
        CASE(test_generate_bad_batches_are_refused),
        CASE(test_generate_more_than_memory_holds_is_said),
        CASE(test_generate_command_continues_prompts_of_options_and_files),
        CASE(test_generate_command_refuses_files_without_prompts),
        cmocka_unit_test(test_generate_draws_as_from_sorted_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
