/* fsmoe config --dump [CONFIG.yaml]: the configuration with every default filled in. */
#include "command.h"
#include "config_source.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEY_DUMP = 1000, KEY_COMMENTS };

typedef struct arguments {
    config_source source;
    bool dump, comments;
} arguments;

static const struct argp_option options[] = {
    {"dump", KEY_DUMP, NULL, 0, "Print every key and its value as YAML", 0},
    {"comments", KEY_COMMENTS, NULL, 0, "With --dump: what each key means", 0},
    CONFIG_SOURCE_OPTION,
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
    case CONFIG_SOURCE_KEY_SET:
        config_source_add(&a->source, state, value);
        return 0;
    case ARGP_KEY_ARG:
        command_take(state, "CONFIG.yaml", value, &a->source.path);
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
    fsmoe_status status = config_source_load(&a->source, NULL, &config);
    if (status == FSMOE_OK) status = fsmoe_config_drop_silenced(config);
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
