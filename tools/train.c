/* fsmoe train CONFIG.yaml: train a model, alone or under mpirun. */
#include "command.h"
#include "config_source.h"
#include "progress.h"
#include "signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_INIT = 1000, KEY_RESUME, KEY_TRACE };

typedef struct arguments {
    config_source source;
    fsmoe_train_options options;
} arguments;

static const struct argp_option options[] = {
    CONFIG_SOURCE_OPTION,
    {"init", KEY_INIT, "MODEL_DIR", 0, "Start from the weights of a model folder", 0},
    {"resume", KEY_RESUME, NULL, 0, "Go on from the newest checkpoint of run.dir", 0},
    {"trace", KEY_TRACE, "FILE", 0, "Write a Chrome trace (Perfetto) of the first 100 steps", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case CONFIG_SOURCE_KEY_SET:
        config_source_add(&a->source, state, value);
        return 0;
    case KEY_INIT:
        a->options.init_dir = value;
        return 0;
    case KEY_RESUME:
        a->options.resume = true;
        return 0;
    case KEY_TRACE:
        a->options.trace_path = value;
        return 0;
    case ARGP_KEY_ARG:
        command_take(state, "CONFIG.yaml", value, &a->source.path);
        return 0;
    case ARGP_KEY_END:
        command_require(state, "CONFIG.yaml", a->source.path);
        if (a->options.resume && a->options.init_dir) argp_error(state, "--init and --resume exclude each other");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static char *join_command(int argc, char **argv)
{
    size_t size = 1;
    for (int i = 0; i < argc; i++) size += strlen(argv[i]) + 1;
    char *line = calloc(size, 1);
    for (int i = 0; line && i < argc; i++) {
        if (i > 0) strcat(line, " ");
        strcat(line, argv[i]);
    }
    return line;
}

/* A run of no step at all, which turns a seed or another model into a model folder, has nothing to report. */
static fsmoe_status conclude(const fsmoe_config *config)
{
    char text[2 * 4096 + 64];
    const char *dir = config->run.dir;
    fsmoe_status status = config->train.steps > 0 ? fsmoe_report_write(dir) : FSMOE_OK;
    if (status != FSMOE_OK) return status;
    if (config->train.steps > 0) snprintf(text, sizeof text, "model in %s/model, report in %s/report.html", dir, dir);
    else snprintf(text, sizeof text, "model in %s/model", dir);
    command_note(text);
    return FSMOE_OK;
}

static fsmoe_status train(fsmoe_world *world, arguments *a)
{
    fsmoe_config *config = NULL;
    fsmoe_status status = fsmoe_world_agree(world, config_source_load(&a->source, &config));
    if (status == FSMOE_OK) signals_prepare(world, config->train.steps);
    if (status == FSMOE_OK) status = fsmoe_train(world, config, &a->options);
    fsmoe_status reported = FSMOE_OK;
    if (status == FSMOE_OK && !signals_stopped_by() && fsmoe_world_rank(world) == 0) reported = conclude(config);
    if (status == FSMOE_OK) status = fsmoe_world_agree(world, reported);
    fsmoe_config_destroy(config);
    return status;
}

int command_train(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "CONFIG.yaml",
        "Trains the model that CONFIG.yaml describes; under mpirun, on all ranks."
        "\vSIGINT, SIGTERM or SIGUSR1 finishes the present step, saves a checkpoint and exits with 128 + the signal's "
        "number; --resume goes on from there. A second one ends at once.",
        0,
        0,
        0};
    progress shown = {0};
    arguments a = {.options = {.on_step = progress_on_step,
                               .on_message = progress_on_message,
                               .should_stop = signals_should_stop,
                               .on_stop = signals_on_stop,
                               .on_pause = signals_on_pause,
                               .user = &shown}};
    char *line = join_command(argc, argv);
    fsmoe_world *world;
    if (!line) return command_fail_with(FSMOE_ERROR_MEMORY, "no memory for the command line");
    command_parse(&argp, argc, argv, &a);
    a.options.command = line;
    signals_begin();
    fsmoe_status status = fsmoe_world_create(&world);
    if (status != FSMOE_OK) {
        free(line);
        return command_fail(status);
    }
    status = train(world, &a);
    progress_end_line(&shown);
    int exit_code = fsmoe_status_exit_code(status);
    if (status == FSMOE_OK && signals_stopped_by()) {
        exit_code = 128 + signals_stopped_by(); /* as shells report it */
        if (fsmoe_world_rank(world) == 0) signals_tell();
    }
    if (status != FSMOE_OK && (fsmoe_world_rank(world) == 0 || status == FSMOE_ERROR_COMM)) command_fail(status);
    if (status == FSMOE_ERROR_COMM) fsmoe_world_abort(world, exit_code);
    fsmoe_world_destroy(world);
    free(line);
    return exit_code;
}
