/* The command on a person's command line: which stream says what, one message for what is wrong on any number of ranks,
 * and subcommands that agree with each other. tests/test_command.sh has the longer stories. */
#define _GNU_SOURCE
#include "command_case.h"

#define TRAIN "train", "config.yaml"

static bool is_number(const json_t *object, const char *key)
{
    return json_is_number(json_object_get(object, key));
}

/* What `fsmoe eval --json` prints about a file. */
static json_t *evaluate(const command_case *c, const char *data, const char *seq_len)
{
    outcome o = run(c, ARGS("eval", "run/model", "--data", data, "--seq-len", seq_len, "--json"));
    assert_int_equal(o.exit_code, 0);
    assert_string_equal(o.err, "");
    json_t *result = json_loads(o.out, 0, NULL); /* refuses anything after the object */
    assert_int_equal(json_object_size(result), 4);
    assert_true(is_number(result, "loss_per_token") && is_number(result, "loss_per_byte"));
    assert_true(is_number(result, "perplexity") && json_is_integer(json_object_get(result, "tokens")));
    forget(o);
    return result;
}

/* ---- streams ---- */

static void test_command_line_asked_for_help_prints_it_and_misused_says_why(void **state)
{
    const command_case *c = *state;
    const char *const *const asked[] = {ARGS("--help"), ARGS("--version"), ARGS("train", "--help"),
                                        ARGS("eval", "--help")};
    const char *const *const misused[] = {ARGS("trian"), ARGS("train"), ARGS("train", "config.yaml", "--sett", "a"),
                                          ARGS("eval", "model"),
                                          ARGS("generate", "model", "--prompt", "a", "--seed", "x")};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        outcome o = run(c, asked[i]);
        assert_int_equal(o.exit_code, 0);
        assert_true(o.out_bytes > 0);
        assert_string_equal(o.err, "");
        forget(o);
    }
    for (size_t i = 0; i < sizeof misused / sizeof *misused; i++) {
        outcome o = run(c, misused[i]);
        assert_int_equal(o.exit_code, 2);
        assert_int_equal(o.out_bytes, 0);
        assert_has(o.err, "fsmoe");
        forget(o);
    }
}

static void test_command_line_messages_in_a_file_have_no_escape_codes(void **state)
{
    const command_case *c = *state;
    outcome o = run(c, ARGS(TRAIN));
    assert_int_equal(o.exit_code, 0);
    assert_int_equal(o.out_bytes, 0);
    assert_null(strpbrk(o.err, "\r\033"));
    assert_has(o.err, "step 4/4");
    forget(o);
}

static void test_command_line_terminal_line_is_rewritten(void **state)
{
    const command_case *c = *state;
    outcome o = run_with(c, (streams){.terminal_err = true}, ARGS(TRAIN));
    assert_int_equal(o.exit_code, 0);
    assert_has(o.err, "\rstep 1/4");
    assert_has(o.err, "\rstep 4/4");
    assert_int_equal(count_text(o.err, "\rstep"), 4);
    assert_null(strstr(o.err, "\nstep")); /* but for the first, each stands where the last one did */
    assert_has(o.err, "\033[");
    forget(o);
    setenv("NO_COLOR", "1", 1);
    o = run_with(c, (streams){.terminal_err = true}, ARGS(TRAIN));
    unsetenv("NO_COLOR");
    assert_int_equal(o.exit_code, 0);
    assert_has(o.err, "\rstep 4/4");
    assert_null(strchr(o.err, '\033'));
    forget(o);
}

/* The loss grows without bound in a few steps; the message does not stand on the line of the last step. */
#define WILD                                                                                             \
    "--set", "train.lr=1000", "--set", "train.min_lr=1000", "--set", "train.weight_decay=1000", "--set", \
        "train.steps=100", "--set", "train.checkpoint_every=1"

static void test_command_line_error_on_a_terminal_has_its_own_line(void **state)
{
    const command_case *c = *state;
    outcome o = run_with(c, (streams){.terminal_err = true}, ARGS(TRAIN, WILD));
    assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_NUMERIC));
    assert_has(o.err, "\n\033[1;31mfsmoe: error:");
    forget(o);
}

static void test_command_line_output_that_cannot_be_written_is_an_error(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS(TRAIN)));
    const char *const *generate = ARGS("generate", "run/model", "--prompt", "Emma");
    assert_fails(run_with(c, (streams){.closed_out = true}, generate), FSMOE_ERROR_IO, ARGS("standard output"));
    assert_works(run_with(c, (streams){.broken_out = true}, generate)); /* the reader has seen enough */
    if (access("/dev/full", W_OK) != 0) skip();
    outcome o = spawn(c, ARGS("sh", "-c", "exec \"$0\" config --dump > /dev/full", FSMOE_COMMAND), (streams){0});
    assert_fails(o, FSMOE_ERROR_IO, ARGS("standard output"));
}

static void test_command_line_reads_what_is_piped_in(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS(TRAIN)));
    json_t *file = evaluate(c, "valid.txt", "16");
    outcome o =
        spawn(c,
              ARGS("sh", "-c", "cat valid.txt | exec \"$0\" eval run/model --data /dev/stdin --seq-len 16 --json",
                   FSMOE_COMMAND),
              (streams){0});
    json_t *piped = json_loads(o.out, 0, NULL);
    assert_true(json_equal(file, piped));
    json_decref(file);
    json_decref(piped);
    forget(o);
}

/* ---- what goes wrong ---- */

static void test_command_line_bad_input_leaves_nothing_behind(void **state)
{
    const command_case *c = *state;
    static const char typo[] = "model:\n  hiden: 16\n", twice[] = "model:\n  hidden: 16\n  hidden: 32\n";
    const struct {
        fsmoe_status status;
        const char *const *args, *const *parts;
    } cases[] = {
        {FSMOE_ERROR_IO, ARGS("train", "none.yaml"), ARGS("none.yaml", "No such file")},
        {FSMOE_ERROR_IO, ARGS(TRAIN, "--set", "data.train=none.txt"), ARGS("data.train", "none.txt", "No such file")},
        {FSMOE_ERROR_IO, ARGS(TRAIN, "--set", "data.valid=none.txt"), ARGS("data.valid", "none.txt")},
        {FSMOE_ERROR_FORMAT, ARGS(TRAIN, "--set", "data.train=empty.txt"), ARGS("data.train", "empty.txt", "empty")},
        {FSMOE_ERROR_CONFIG, ARGS(TRAIN, "--set", "data.train=short.txt"), ARGS("data.train", "shorter")},
        {FSMOE_ERROR_CONFIG, ARGS("train", "typo.yaml"), ARGS("typo.yaml:2:", "'model.hiden'", "'model.hidden'")},
        {FSMOE_ERROR_CONFIG, ARGS("train", "twice.yaml"), ARGS("twice.yaml:3:", "'model.hidden'", "line 2")},
        {FSMOE_ERROR_CONFIG, ARGS(TRAIN, "--set", "moe.capacity_group=8"), ARGS("'moe.capacity_group' has no effect")},
        {FSMOE_ERROR_CONFIG, ARGS(TRAIN, "--set", "train.lr=1e30"), ARGS("'train.lr'", "0 to 1000")},
        {FSMOE_ERROR_CONFIG, ARGS(TRAIN, "--set", "run.dir=\"\""), ARGS("'run.dir'", "empty")},
        {FSMOE_ERROR_LAYOUT, ARGS(TRAIN, "--set", "parallel.ep_size=2"), ARGS("parallel.ep_size = 2", "1 ranks")},
        {FSMOE_ERROR_IO, ARGS(TRAIN, "--set", "run.dir=train.txt/run"), ARGS("train.txt")},
        {FSMOE_ERROR_IO, ARGS("report", "run"), ARGS("run/log.jsonl")},
        {FSMOE_ERROR_IO, ARGS("eval", "run/model", "--data", "valid.txt"), ARGS("run/model/config.json")},
    };
    write_text(c, "empty.txt", "", 0);
    write_text(c, "short.txt", "0123456789abcdef", 16); /* a sample is 16 tokens and a target */
    write_text(c, "typo.yaml", typo, strlen(typo));
    write_text(c, "twice.yaml", twice, strlen(twice));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(run(c, cases[i].args), cases[i].status, cases[i].parts);
        assert_false(has(c, "run"));
    }
}

/* A person who tries a file with a key less hears, from one rank and once, what that leaves without effect. */
static void test_command_line_warns_once_of_what_a_set_silences(void **state)
{
    const command_case *c = *state;
    static const char yaml[] = "data: {train: train.txt, valid: valid.txt, seq_len: 16}\ntrain:\n  steps: 1\n"
                               "  global_batch: 4\n  eval_every: 1\nmodel: {hidden: 16, num_heads: 2, num_layers: 1}\n",
                      warning[] = "fsmoe: warning: tried.yaml:5: 'train.eval_every' is left without effect: data.valid "
                                  "is empty\n";
    write_text(c, "tried.yaml", yaml, strlen(yaml));
    const char *const *const commands[] = {ARGS("train", "tried.yaml", "--set", "data.valid=[]"),
                                           ARGS("config", "--dump", "tried.yaml", "--set", "data.valid=[]")};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        outcome o = run(c, commands[i]);
        assert_int_equal(o.exit_code, 0);
        assert_int_equal(count_text(o.err, "warning"), 1);
        assert_has(o.err, warning);
        if (i == 1) assert_has(o.out, "  eval_every: 0\n");
        forget(o);
    }
    if (!has_mpi(c)) return;
    outcome o = run_ranks(c, "2", commands[0]);
    assert_int_equal(count_text(o.err, "warning"), 1);
    assert_has(o.err, warning);
    assert_works(o);
}

static void test_command_line_every_rank_ends_with_the_code_of_the_one_message(void **state)
{
    const command_case *c = *state;
    if (!has_mpi(c)) skip();
    assert_fails(run_ranks(c, "4", ARGS(TRAIN, "--set", "moe.num_experts=6", "--set", "parallel.ep_size=3")),
                 FSMOE_ERROR_LAYOUT, ARGS("parallel.ep_size = 3", "4 ranks"));
    assert_fails(run_ranks(c, "4", ARGS(TRAIN, "--set", "parallel.mp_size=4")), FSMOE_ERROR_CONFIG,
                 ARGS("'model.num_heads' is 2", "'parallel.mp_size', which is 4"));
    assert_fails(run_ranks(c, "2", ARGS(TRAIN, "--set", "parallel.nodes=3")), FSMOE_ERROR_LAYOUT,
                 ARGS("2 ranks started"));
    assert_fails(run_ranks(c, "2", ARGS("train", "none.yaml")), FSMOE_ERROR_IO, ARGS("none.yaml"));
    /* only the first rank writes, so only that one sees what is in the way */
    assert_fails(run_ranks(c, "2", ARGS(TRAIN, "--set", "run.dir=train.txt/run")), FSMOE_ERROR_IO, ARGS("train.txt"));
    assert_false(has(c, "run"));
    assert_fails(run_ranks(c, "2", ARGS(TRAIN, WILD, "--set", "parallel.schedule=dsmoe")), FSMOE_ERROR_NUMERIC,
                 ARGS("step", "not finite"));
    assert_int_equal(count_matches(c, "run/checkpoint-*"), 2);
}

static void test_command_line_weights_that_are_not_finite_are_named_at_loading(void **state)
{
    const command_case *c = *state;
    enum { VOCAB = 256, HIDDEN = 16 };
    const float bad = NAN;
    size_t size;
    assert_works(run(c, ARGS(TRAIN)));
    char *bytes = read_text(c, "run/model/model.safetensors", &size);
    char *embedding_of_e = bytes + size - (VOCAB - 'e') * HIDDEN * sizeof bad; /* the embeddings are last in the file */
    memcpy(embedding_of_e, &bad, sizeof bad);
    write_text(c, "run/model/model.safetensors", bytes, size);
    free(bytes);
    assert_works(spawn(c, ARGS("rm", "run/model/checksums"), (streams){0})); /* which would speak first */
    assert_fails(run(c, ARGS(TRAIN, "--init", "run/model", "--set", "run.dir=bad")), FSMOE_ERROR_NUMERIC,
                 ARGS("'run/model'", "'model.embed_tokens.weight'", "NaN at [101, 0]"));
    assert_false(has(c, "bad"));
}

static void test_command_line_run_that_lost_its_way_keeps_checkpoint_and_log(void **state)
{
    const command_case *c = *state;
    size_t steps;
    assert_fails(run(c, ARGS(TRAIN, WILD)), FSMOE_ERROR_NUMERIC, ARGS("not finite"));
    double *losses = read_log(c, "run", "loss", &steps);
    assert_true(steps > 0 && steps < 100 && isfinite(losses[steps - 1]));
    free(losses);
    assert_int_equal(count_matches(c, "run/checkpoint-*"), 2);
    assert_int_equal(count_matches(c, "run/*.tmp*"), 0);
    assert_works(run(c, ARGS("report", "run")));
    assert_true(has(c, "run/report.html"));
}

/* ---- subcommands that agree ---- */

static void test_command_line_dumped_configuration_reads_back(void **state)
{
    const command_case *c = *state;
    outcome first = run(c, ARGS("config", "--dump", "config.yaml", "--set", "train.lr=0.1"));
    assert_int_equal(first.exit_code, 0);
    write_text(c, "dumped.yaml", first.out, first.out_bytes);
    outcome again = run(c, ARGS("config", "--dump", "dumped.yaml"));
    assert_string_equal(first.out, again.out);
    forget(first);
    forget(again);
    assert_works(run(c, ARGS(TRAIN, "--set", "run.dir=one", "--set", "train.lr=0.1")));
    assert_works(run(c, ARGS("train", "dumped.yaml", "--set", "run.dir=two")));
    assert_losses_agree(c, "one", "two", 0);
}

static void test_command_line_token_file_trains_as_its_text(void **state)
{
    const command_case *c = *state;
    outcome o = run(c, ARGS("tokenize", "--tokenizer", "bytes", "train.txt", "valid.txt", "both.tokens"));
    assert_int_equal(o.exit_code, 0);
    assert_int_equal(o.out_bytes, 0);
    assert_has(o.err, "5000 tokens");
    forget(o);
    assert_works(run(c, ARGS(TRAIN, "--set", "run.dir=text", "--set", "data.train=[train.txt, valid.txt]")));
    assert_works(run(c, ARGS(TRAIN, "--set", "run.dir=tokens", "--set", "data.train=both.tokens")));
    assert_losses_agree(c, "text", "tokens", 0);
}

static void test_command_line_eval_gives_the_logged_validation_loss(void **state)
{
    const command_case *c = *state;
    size_t steps;
    assert_works(run(c, ARGS(TRAIN)));
    double *logged = read_log(c, "run", "val_loss", &steps);
    json_t *result = evaluate(c, "valid.txt", "16");
    assert_int_equal(json_integer_value(json_object_get(result, "tokens")), (VALID_BYTES - 1) / 16 * 16);
    double loss = json_number_value(json_object_get(result, "loss_per_token"));
    assert_true(fabs(loss - logged[steps - 1]) < 1e-6);
    assert_true(fabs(json_number_value(json_object_get(result, "perplexity")) - exp(loss)) < 1e-5 * exp(loss));
    json_decref(result);
    free(logged);
}

/* Window j holds tokens j L … j L + L: two windows share one token, which is a target of the first only. */
static void test_command_line_eval_windows_share_their_ends_and_leave_out_a_rest(void **state)
{
    const command_case *c = *state;
    enum { L = 8 };
    char *text = read_text(c, "valid.txt", NULL);
    double loss[3];
    assert_works(run(c, ARGS(TRAIN)));
    write_text(c, "both.txt", text, 2 * L + 1);
    write_text(c, "first.txt", text, L + 1);
    write_text(c, "second.txt", text + L, L + 1);
    static const char *const files[] = {"both.txt", "first.txt", "second.txt"};
    for (int i = 0; i < 3; i++) {
        json_t *result = evaluate(c, files[i], "8");
        assert_int_equal(json_integer_value(json_object_get(result, "tokens")), i == 0 ? 2 * L : L);
        loss[i] = json_number_value(json_object_get(result, "loss_per_token"));
        json_decref(result);
    }
    assert_true(fabs(loss[0] - (loss[1] + loss[2]) / 2) < 1e-6);
    write_text(c, "rest.txt", text, 2 * L); /* one short of two windows */
    json_t *result = evaluate(c, "rest.txt", "8");
    assert_int_equal(json_integer_value(json_object_get(result, "tokens")), L);
    json_decref(result);
    write_text(c, "short.txt", text, L);
    assert_fails(run(c, ARGS("eval", "run/model", "--data", "short.txt", "--seq-len", "8")), FSMOE_ERROR_CONFIG,
                 ARGS("short.txt", "8 tokens"));
    assert_fails(run(c, ARGS("eval", "run/model", "--data", "valid.txt", "--seq-len", "17")), FSMOE_ERROR_CONFIG,
                 ARGS("17", "16 positions"));
    free(text);
}

static char *generate(const command_case *c, const char *prompt, const char *tokens, const char *temperature,
                      const char *seed)
{
    outcome o = run(c, ARGS("generate", "run/model", "--prompt", prompt, "--max-tokens", tokens, "--temperature",
                            temperature, "--seed", seed));
    if (o.exit_code != 0) fail_msg("%s", o.err);
    assert_string_equal(o.err, "");
    assert_int_equal(strncmp(o.out, prompt, strlen(prompt)), 0);
    assert_int_equal(o.out_bytes, strlen(o.out)); /* no zero byte, so that the text can be a prompt */
    assert_int_equal(o.out[o.out_bytes - 1], '\n');
    o.out[o.out_bytes - 1] = 0;
    free(o.err);
    return o.out;
}

/* Enough steps that likely bytes are letters. */
static void train_to_write(const command_case *c)
{
    assert_works(
        run(c, ARGS(TRAIN, "--set", "train.steps=40", "--set", "train.lr=2e-2", "--set", "train.global_batch=16")));
}

static void test_command_line_generate_repeats_itself_by_seed(void **state)
{
    const command_case *c = *state;
    train_to_write(c);
    char *one = generate(c, "Emma", "10", "1", "7"), *same = generate(c, "Emma", "10", "1", "7");
    char *other = generate(c, "Emma", "10", "1", "8"),
         *greedy[2] = {generate(c, "Emma", "10", "0", "7"), generate(c, "Emma", "10", "0", "8")};
    assert_string_equal(one, same);
    assert_string_not_equal(one, other);
    assert_string_equal(greedy[0], greedy[1]);
    assert_int_equal(strlen(greedy[0]), strlen("Emma") + 10);
    free(one);
    free(same);
    free(other);
    free(greedy[0]);
    free(greedy[1]);
    assert_fails(run(c, ARGS("generate", "run/model", "--prompt", "seventeen letters")), FSMOE_ERROR_CONFIG,
                 ARGS("17 tokens", "16 positions"));
}

/* A prompt goes through the model at once, so a growing prompt uses no cache. */
static void test_command_line_cache_does_not_change_what_is_generated(void **state)
{
    const command_case *c = *state;
    train_to_write(c);
    char *cached = generate(c, "Em", "12", "0", "1"), *grown = strdup("Em");
    for (int i = 0; i < 12; i++) {
        char *longer = generate(c, grown, "1", "0", "1");
        free(grown);
        grown = longer;
    }
    assert_string_equal(cached, grown);
    free(cached);
    free(grown);
}

static void test_command_line_earlier_run_is_moved_aside(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS(TRAIN)));
    assert_works(run(c, ARGS(TRAIN, "--set", "run.dir=run/", "--set", "train.seed=2")));
    outcome o = run(c, ARGS(TRAIN));
    assert_int_equal(o.exit_code, 0);
    assert_has(o.err, "'run' held an earlier run; it is now 'run.2'");
    forget(o);
    assert_same_file(c, "run/model/model.safetensors", "run.1/model/model.safetensors");
    assert_losses_agree(c, "run", "run.1", 0);
    assert_true(has(c, "run.2/report.html"));
}

/* ---- traces ---- */

typedef struct slice {
    int64_t rank, resource, task;
    double start, end;
} slice;

static int by_place_and_time(const void *a, const void *b)
{
    const slice *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    if (x->resource != y->resource) return x->resource < y->resource ? -1 : 1;
    return x->start < y->start ? -1 : x->start > y->start;
}

static int64_t integer(const json_t *object, const char *key)
{
    assert_true(json_is_integer(json_object_get(object, key)));
    return json_integer_value(json_object_get(object, key));
}

/* The complete events of a trace; the caller frees them. */
static slice *read_trace(const command_case *c, const char *name, size_t *count)
{
    char *text = read_text(c, name, NULL);
    json_t *json = json_loads(text, 0, NULL), *events = json_object_get(json, "traceEvents"), *event;
    size_t i;
    assert_true(json_is_array(events));
    slice *slices = calloc(json_array_size(events) + 1, sizeof *slices);
    *count = 0;
    json_array_foreach(events, i, event)
    {
        const char *kind = json_string_value(json_object_get(event, "ph"));
        if (strcmp(kind, "X") != 0) continue;
        double start = json_number_value(json_object_get(event, "ts"));
        slices[(*count)++] =
            (slice){integer(event, "pid"), integer(event, "tid"), integer(json_object_get(event, "args"), "task"),
                    start, start + json_number_value(json_object_get(event, "dur"))};
    }
    json_decref(json);
    free(text);
    return slices;
}

/* Of a planned run the plan is one more process, which has one step. */
static void assert_trace_is_complete(const command_case *c, int ranks, int tasks, int steps, bool planned)
{
    const int processes = ranks + planned;
    size_t n;
    slice *slices = read_trace(c, "trace.json", &n);
    int *seen = calloc((size_t)(processes * tasks), sizeof *seen);
    assert_int_equal(n, (size_t)(ranks * tasks * steps + planned * tasks));
    qsort(slices, n, sizeof *slices, by_place_and_time);
    for (size_t i = 0; i < n; i++) {
        const slice *s = &slices[i], *next = s + 1;
        assert_true(s->rank >= 0 && s->rank < processes && s->task >= 0 && s->task < tasks && s->end >= s->start);
        seen[s->rank * tasks + s->task]++;
        if (i + 1 < n && s->rank == next->rank && s->resource == next->resource)
            assert_true(s->end <= next->start + 2e-3); /* µs; both are rounded to 1e-3 */
    }
    for (int i = 0; i < processes * tasks; i++) assert_int_equal(seen[i], i < ranks * tasks ? steps : 1);
    free(seen);
    free(slices);
}

static int tasks_said(const char *err)
{
    int tasks = 0;
    const char *at = strstr(err, " tasks a step");
    assert_non_null(at);
    while (at[-1] != ' ') at--;
    assert_int_equal(sscanf(at, "%d", &tasks), 1);
    return tasks;
}

static void test_command_line_trace_has_every_task_once_a_step_without_overlap(void **state)
{
    const command_case *c = *state;
    outcome o = run(c, ARGS(TRAIN, "--trace", "trace.json"));
    assert_int_equal(o.exit_code, 0);
    assert_trace_is_complete(c, 1, tasks_said(o.err), 4, false);
    forget(o);
    if (!has_mpi(c)) skip();
    o = run_ranks(c, "4",
                  ARGS(TRAIN, "--trace", "trace.json", "--set", "parallel.ep_size=2", "--set", "parallel.esp_size=2",
                       "--set", "parallel.mp_size=2", "--set", "train.micro_batch=2"));
    assert_int_equal(o.exit_code, 0);
    assert_trace_is_complete(c, 4, tasks_said(o.err), 4, true);
    forget(o);
}

/* On stdout, once, as the page has it; no loss changes. */
static void check_breakdown(const command_case *c, outcome plain, outcome o, const char *of, const char *page_has)
{
    size_t steps;
    assert_works(plain);
    assert_int_equal(o.exit_code, 0);
    assert_has(o.out, "a step, of a rank");
    assert_has(o.out, "products forward");
    assert_has(o.out, "outside operations");
    assert_has(o.out, of);
    assert_int_equal(count_text(o.out, "a step, of a rank"), 1);
    assert_losses_agree(c, "plain", "metered", 0);
    double *share = read_log(c, "metered", "peak_share", &steps);
    assert_true(steps == 4 && share[3] > 0);
    free(share);
    char *page = read_text(c, "metered/report.html", NULL);
    assert_has(page, "id=\"breakdown\"");
    assert_has(page, page_has);
    free(page);
    forget(o);
}

static void test_command_line_breakdown_is_printed_and_in_the_report(void **state)
{
    const command_case *c = *state;
    check_breakdown(c, run(c, ARGS(TRAIN, "--set", "run.dir=plain")),
                    run(c, ARGS(TRAIN, "--set", "run.dir=metered", "--breakdown")), "steps 2 to 4, mean of 1 rank;",
                    "steps 2 to 4.");
    if (!has_mpi(c)) skip();
#define ON_FOUR \
    TRAIN, "--set", "parallel.ep_size=2", "--set", "parallel.esp_size=2", "--set", "parallel.canonical_sums=true"
    remove_matches(c, "plain");
    remove_matches(c, "metered");
    check_breakdown(c, run_ranks(c, "4", ARGS(ON_FOUR, "--set", "run.dir=plain")),
                    run_ranks(c, "4", ARGS(ON_FOUR, "--set", "run.dir=metered", "--breakdown")),
                    "steps 2 to 4, mean of 4 ranks;", "steps 2 to 4, mean of 4 ranks.");
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_case, remove_case)
    const struct CMUnitTest tests[] = {
        CASE(test_command_line_asked_for_help_prints_it_and_misused_says_why),
        CASE(test_command_line_messages_in_a_file_have_no_escape_codes),
        CASE(test_command_line_terminal_line_is_rewritten),
        CASE(test_command_line_error_on_a_terminal_has_its_own_line),
        CASE(test_command_line_output_that_cannot_be_written_is_an_error),
        CASE(test_command_line_reads_what_is_piped_in),
        CASE(test_command_line_bad_input_leaves_nothing_behind),
        CASE(test_command_line_warns_once_of_what_a_set_silences),
        CASE(test_command_line_every_rank_ends_with_the_code_of_the_one_message),
        CASE(test_command_line_weights_that_are_not_finite_are_named_at_loading),
        CASE(test_command_line_run_that_lost_its_way_keeps_checkpoint_and_log),
        CASE(test_command_line_dumped_configuration_reads_back),
        CASE(test_command_line_token_file_trains_as_its_text),
        CASE(test_command_line_eval_gives_the_logged_validation_loss),
        CASE(test_command_line_eval_windows_share_their_ends_and_leave_out_a_rest),
        CASE(test_command_line_generate_repeats_itself_by_seed),
        CASE(test_command_line_cache_does_not_change_what_is_generated),
        CASE(test_command_line_earlier_run_is_moved_aside),
        CASE(test_command_line_trace_has_every_task_once_a_step_without_overlap),
        CASE(test_command_line_breakdown_is_printed_and_in_the_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
