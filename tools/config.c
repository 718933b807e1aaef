/* fsmoe config --dump [CONFIG.yaml]: the configuration with every default filled in. */
#include "command.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEY_DUMP = 1000, KEY_COMMENTS, KEY_SET, MAX_SETTINGS = 256 };

typedef struct arguments {
    const char *config;
    const char *settings[MAX_SETTINGS];
    int setting_count;
    bool dump, comments;
} arguments;

static const struct argp_option options[] = {
    {"dump", KEY_DUMP, NULL, 0, "Print every key and its value as YAML", 0},
    {"comments", KEY_COMMENTS, NULL, 0, "With --dump: what each key means", 0},
    {"set", KEY_SET, "SECTION.KEY=VALUE", 0, "Override a key (may be repeated)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_DUMP:
        a->dump = true;
        return 0;
    case KEY_COMMENTS:
        a->comments = true;
        return 0;
    case KEY_SET:
        if (a->setting_count == MAX_SETTINGS) argp_error(state, "more than %d --set", MAX_SETTINGS);
        a->settings[a->setting_count++] = value;
        return 0;
    case ARGP_KEY_ARG:
        if (a->config) argp_error(state, "one CONFIG.yaml, not also '%s'", value);
        a->config = value;
        return 0;
    case ARGP_KEY_END:
        if (!a->dump) argp_error(state, "--dump is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static fsmoe_status dump(const arguments *a)
{
    fsmoe_config *config = NULL;
    char *text = NULL;
    fsmoe_status status = fsmoe_config_create(&config);
    if (status == FSMOE_OK && a->config) status = fsmoe_config_load(config, a->config);
    for (int i = 0; status == FSMOE_OK && i < a->setting_count; i++) status = fsmoe_config_set(config, a->settings[i]);
    if (status == FSMOE_OK) status = fsmoe_config_dump(config, a->comments, &text);
    if (status == FSMOE_OK) fputs(text, stdout);
    free(text);
    fsmoe_config_destroy(config);
    return status;
}

int command_config(int argc, char **argv)
{
    static const struct argp argp = {options,
                                     parse,
                                     "[CONFIG.yaml]",
                                     "Prints the configuration: the defaults, or those of CONFIG.yaml completed.",
                                     0,
                                     0,
                                     0};
    arguments a = {0};
    command_parse(&argp, argc, argv, &a);
    fsmoe_status status = dump(&a);
    return status == FSMOE_OK ? 0 : command_fail(status);
}
