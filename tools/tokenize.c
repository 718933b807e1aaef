/* fsmoe tokenize IN... OUT: text into a token file. */
#include "command.h"

#include <stdio.h>

enum { KEY_TOKENIZER = 1000, MAX_FILES = 4096 };

typedef struct arguments {
    const char *files[MAX_FILES];
    size_t count;
    const char *tokenizer;
} arguments;

static const struct argp_option options[] = {
    {"tokenizer", KEY_TOKENIZER, "NAME", 0, "bytes, gpt2, a tokenizer.json or its folder (gpt2)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_TOKENIZER:
        a->tokenizer = value;
        return 0;
    case ARGP_KEY_ARG:
        if (a->count == MAX_FILES) argp_error(state, "more than %d files", MAX_FILES);
        a->files[a->count++] = value;
        return 0;
    case ARGP_KEY_END:
        if (a->count < 2) argp_error(state, "IN and OUT are missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static fsmoe_status tokenize(const arguments *a)
{
    fsmoe_tokenizer *tokenizer;
    fsmoe_tokens *tokens = NULL;
    const char *out = a->files[a->count - 1];
    fsmoe_status status = fsmoe_tokenizer_create(a->tokenizer, &tokenizer);
    if (status != FSMOE_OK) return status;
    status = fsmoe_tokens_write(out, tokenizer, a->files, a->count - 1);
    bool again = command_is_file(out);
    if (status == FSMOE_OK && again) status = fsmoe_tokens_open(&out, 1, tokenizer, &tokens);
    if (status == FSMOE_OK && again) {
        char text[4200];
        snprintf(text, sizeof text, "%lld tokens in %s", (long long)fsmoe_tokens_count(tokens), out);
        command_note(text);
    }
    fsmoe_tokens_close(tokens);
    fsmoe_tokenizer_destroy(tokenizer);
    return status;
}

int command_tokenize(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse, "IN... OUT", "Tokenizes files of text or JSON lines, in order, into one token file.", 0, 0, 0};
    static arguments a;
    a.tokenizer = "gpt2";
    command_parse(&argp, argc, argv, &a);
    fsmoe_status status = tokenize(&a);
    return status == FSMOE_OK ? 0 : command_fail(status);
}
