/* fsmoe eval MODEL_DIR --data FILE: the loss of a model on a text. */
#include "command.h"

#include <math.h>
#include <stdio.h>

enum { KEY_DATA = 1000, KEY_TOKENIZER, KEY_SEQ_LEN, KEY_JSON };

typedef struct arguments {
    const char *model_dir;
    bool json;
    fsmoe_eval_options options;
} arguments;

static const struct argp_option options[] = {
    {"data", KEY_DATA, "FILE", 0, "A file of text, JSON lines or tokens", 0},
    {"tokenizer", KEY_TOKENIZER, "NAME", 0, "bytes, gpt2, a tokenizer.json or its folder (the model's own)", 0},
    {"seq-len", KEY_SEQ_LEN, "L", 0, "Tokens a window (the model's longest, at most 1024)", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_DATA:
        a->options.data = value;
        return 0;
    case KEY_TOKENIZER:
        a->options.tokenizer = value;
        return 0;
    case KEY_SEQ_LEN:
        a->options.seq_len = command_integer(state, "--seq-len", value, 1);
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case ARGP_KEY_ARG:
        command_take(state, "MODEL_DIR", value, &a->model_dir);
        return 0;
    case ARGP_KEY_END:
        command_require(state, "MODEL_DIR", a->model_dir);
        command_require(state, "--data", a->options.data);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* JSON has no NaN or infinity. */
static void print_number(const char *key, double value)
{
    if (isfinite(value)) printf("\"%s\": %.9g, ", key, value);
    else printf("\"%s\": null, ", key);
}

static void print_json(const fsmoe_eval_result *result)
{
    putchar('{');
    print_number("loss_per_token", result->loss_per_token);
    print_number("loss_per_byte", result->loss_per_byte);
    print_number("perplexity", result->perplexity);
    printf("\"tokens\": %lld}\n", (long long)result->tokens);
}

static void print_lines(const fsmoe_eval_result *result)
{
    printf("loss per token  %.6f nats\n", result->loss_per_token);
    printf("loss per byte   %.6f nats\n", result->loss_per_byte);
    printf("perplexity      %.4f\n", result->perplexity);
    printf("tokens          %lld\n", (long long)result->tokens);
}

static void print_message(void *user, const char *sentence)
{
    (void)user;
    command_note(sentence);
}

int command_eval(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse, "MODEL_DIR", "Prints the loss of the model in MODEL_DIR on a text.", 0, 0, 0};
    arguments a = {.options = {.on_message = print_message}};
    fsmoe_eval_result result;
    command_parse(&argp, argc, argv, &a);
    fsmoe_status status = fsmoe_eval(a.model_dir, &a.options, &result);
    if (status != FSMOE_OK) return command_fail(status);
    if (a.json) print_json(&result);
    else print_lines(&result);
    return 0;
}
