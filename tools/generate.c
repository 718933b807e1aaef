/* fsmoe generate MODEL_DIR --prompt TEXT: text from a model, printed as it comes; of several prompts when all are
 * done. */
#include "command.h"
#include "prompts.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KEY_PROMPT = 1000, KEY_TOKENS, KEY_TEMPERATURE, KEY_TOP_P, KEY_SEED, KEY_TOKENIZER, KEY_PROMPTS, KEY_STATS };

typedef struct arguments {
    const char *model_dir;
    prompts prompts;
    bool stats;
    fsmoe_generate_options options;
    fsmoe_status failed; /* a prompt that could not be taken, and why */
    char why[PROMPTS_SENTENCE_BYTES];
} arguments;

static const struct argp_option options[] = {
    {"prompt", KEY_PROMPT, "TEXT", 0, "Text to continue; given again, they are continued side by side", 0},
    {"prompts", KEY_PROMPTS, "FILE", 0, "The same, one a line", 0},
    {"max-tokens", KEY_TOKENS, "N", 0, "Tokens to add (200)", 0},
    {"temperature", KEY_TEMPERATURE, "T", 0, "0 takes the likeliest token every time (0.8)", 0},
    {"top-p", KEY_TOP_P, "P", 0, "Draw from the likeliest tokens that together reach P (0.95)", 0},
    {"seed", KEY_SEED, "N", 0, "Seed of the draws (1); the next prompts have N + 1, N + 2, …", 0},
    {"tokenizer", KEY_TOKENIZER, "NAME", 0, "bytes, gpt2, a tokenizer.json or its folder (the model's own)", 0},
    {"stats", KEY_STATS, NULL, 0, "Say how fast it was even where standard error is no terminal", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_PROMPT:
        if (a->failed == FSMOE_OK) a->failed = prompts_add(&a->prompts, value, a->why);
        return 0;
    case KEY_PROMPTS:
        if (a->failed == FSMOE_OK) a->failed = prompts_add_file(&a->prompts, value, a->why);
        return 0;
    case KEY_STATS:
        a->stats = true;
        return 0;
    case KEY_TOKENS:
        a->options.max_tokens = command_integer(state, "--max-tokens", value, 0);
        return 0;
    case KEY_TEMPERATURE:
        a->options.temperature = command_number(state, "--temperature", value, 0, 100);
        return 0;
    case KEY_TOP_P:
        a->options.top_p = command_number(state, "--top-p", value, 1e-6, 1);
        return 0;
    case KEY_SEED:
        a->options.seed = (uint64_t)command_integer(state, "--seed", value, 0);
        return 0;
    case KEY_TOKENIZER:
        a->options.tokenizer = value;
        return 0;
    case ARGP_KEY_ARG:
        command_take(state, "MODEL_DIR", value, &a->model_dir);
        return 0;
    case ARGP_KEY_END:
        command_require(state, "MODEL_DIR", a->model_dir);
        if (a->failed == FSMOE_OK) command_require(state, "--prompt", a->prompts.texts);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The prompt comes first, then what follows it. Who reads no more, as `head` does, ends the generation. */
static int print_text(void *user, const char *bytes, size_t size)
{
    (void)user;
    return fwrite(bytes, 1, size, stdout) != size || fflush(stdout) != 0;
}

static void print_message(void *user, const char *sentence)
{
    (void)user;
    command_note(sentence);
}

/* Tokens a second of the steps, and what they would be if nothing took time but reading the weights. */
static void print_speed(const fsmoe_generate_speed *s)
{
    char text[256];
    int n = snprintf(text, sizeof text, "%lld tokens of prompts in %.3g s", (long long)s->prompt_tokens, s->prompt_s);
    if (s->steps_s > 0 && s->read_bytes_per_s > 0) {
        double floor_s = s->weight_bytes / s->read_bytes_per_s, tokens = (double)s->step_tokens;
        snprintf(text + n, sizeof text - (size_t)n,
                 "; %.4g tokens/s in %lld steps, %.0f %% of the %.4g that reading weights allows: %.4g MB a step at "
                 "%.3g GB/s",
                 tokens / s->steps_s, (long long)s->steps, 100 * floor_s / s->steps_s, tokens / floor_s,
                 1e-6 * s->weight_bytes / (double)s->steps, 1e-9 * s->read_bytes_per_s);
    }
    command_note(text);
}

static fsmoe_status continue_one(const arguments *a)
{
    char *text;
    size_t size;
    fsmoe_status status = fsmoe_generate(a->model_dir, &a->options, &text, &size);
    if (status != FSMOE_OK) return status;
    fputc('\n', stdout);
    free(text);
    return FSMOE_OK;
}

/* As head(1) shows several files. */
static fsmoe_status continue_all(const arguments *a, fsmoe_generated *generated)
{
    size_t n = a->prompts.count;
    fsmoe_status status =
        fsmoe_generate_batch(a->model_dir, &a->options, n, (const char *const *)a->prompts.texts, generated);
    for (size_t i = 0; status == FSMOE_OK && i < n; i++) {
        printf("%s==> prompt %zu <==\n", i > 0 ? "\n" : "", i + 1);
        fwrite(generated[i].text, 1, generated[i].size, stdout);
        fputc('\n', stdout);
        free(generated[i].text);
    }
    return status;
}

static fsmoe_status continue_prompts(arguments *a)
{
    if (a->prompts.count == 1) {
        a->options.prompt = a->prompts.texts[0];
        return continue_one(a);
    }
    fsmoe_generated *generated = calloc(a->prompts.count, sizeof *generated);
    if (!generated) return FSMOE_ERROR_MEMORY;
    fsmoe_status status = continue_all(a, generated);
    free(generated);
    return status;
}

int command_generate(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL_DIR", "Continues prompts with the model in MODEL_DIR.", 0,
                                     0,       0};
    fsmoe_generate_speed speed;
    arguments a = {.options = {.max_tokens = 200,
                               .temperature = 0.8,
                               .top_p = 0.95,
                               .seed = 1,
                               .on_text = print_text,
                               .on_message = print_message}};
    command_parse(&argp, argc, argv, &a);
    if (a.failed != FSMOE_OK) {
        prompts_free(&a.prompts);
        return command_fail_with(a.failed, a.why);
    }
    if (a.stats || isatty(STDERR_FILENO)) a.options.speed = &speed;
    signal(SIGPIPE, SIG_IGN);
    fsmoe_status status = continue_prompts(&a);
    prompts_free(&a.prompts);
    if (status != FSMOE_OK) return command_fail(status);
    if (a.options.speed) print_speed(&speed);
    return 0;
}
