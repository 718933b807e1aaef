/* fsmoe generate MODEL_DIR --prompt TEXT: text from a model, printed as it comes. */
#include "command.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_PROMPT = 1000, KEY_TOKENS, KEY_TEMPERATURE, KEY_TOP_P, KEY_SEED, KEY_TOKENIZER };

typedef struct arguments {
    const char *model_dir;
    fsmoe_generate_options options;
} arguments;

static const struct argp_option options[] = {
    {"prompt", KEY_PROMPT, "TEXT", 0, "Text to continue", 0},
    {"max-tokens", KEY_TOKENS, "N", 0, "Tokens to add (200)", 0},
    {"temperature", KEY_TEMPERATURE, "T", 0, "0 takes the likeliest token every time (0.8)", 0},
    {"top-p", KEY_TOP_P, "P", 0, "Draw from the likeliest tokens that together reach P (0.95)", 0},
    {"seed", KEY_SEED, "N", 0, "Seed of the draws (1)", 0},
    {"tokenizer", KEY_TOKENIZER, "NAME", 0, "bytes, gpt2, a tokenizer.json or its folder (the model's own)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_PROMPT:
        a->options.prompt = value;
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
        command_require(state, "--prompt", a->options.prompt);
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

int command_generate(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL_DIR", "Continues a prompt with the model in MODEL_DIR.", 0,
                                     0,       0};
    arguments a = {.options = {.max_tokens = 200,
                               .temperature = 0.8,
                               .top_p = 0.95,
                               .seed = 1,
                               .on_text = print_text,
                               .on_message = print_message}};
    char *text;
    size_t size;
    command_parse(&argp, argc, argv, &a);
    signal(SIGPIPE, SIG_IGN);
    fsmoe_status status = fsmoe_generate(a.model_dir, &a.options, &text, &size);
    if (status != FSMOE_OK) return command_fail(status);
    fputc('\n', stdout);
    free(text);
    return 0;
}
