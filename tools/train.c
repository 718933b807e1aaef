/* fsmoe train CONFIG.yaml: train a model, alone or under mpirun. */
#include "command.h"
#include "config_source.h"
#include "invocation.h"
#include "launch.h"
#include "live_report.h"
#include "outputs.h"
#include "progress.h"
#include "signals.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_INIT = 1000, KEY_RESUME, KEY_RESUME_FROM, KEY_ALLOW_CHANGES, KEY_TRACE, KEY_BREAKDOWN };

typedef struct arguments {
    config_source source;
    fsmoe_train_options options;
    bool alone;
} arguments;

static const struct argp_option options[] = {
    CONFIG_SOURCE_OPTION,
    LAUNCH_OPTION,
    {"init", KEY_INIT, "MODEL_DIR", 0, "Start from the weights of a model folder", 0},
    {"resume", KEY_RESUME, NULL, 0, "Go on from the newest checkpoint of run.dir", 0},
    {"resume-from", KEY_RESUME_FROM, "CHECKPOINT", 0, "Go on from this checkpoint of run.dir, such as checkpoint-500",
     0},
    {"allow-changes", KEY_ALLOW_CHANGES, NULL, 0,
     "Go on even with other data, batches, capacity or seed than the checkpoint was saved with", 0},
    {"trace", KEY_TRACE, "FILE", 0, "Write a Chrome trace (Perfetto) of the first 100 steps", 0},
    {"breakdown", KEY_BREAKDOWN, NULL, 0,
     "Time every operation; print at the end where the time went, by kind of operation, and show it in the report", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case LAUNCH_KEY_ALONE:
        a->alone = true;
        return 0;
    case CONFIG_SOURCE_KEY_SET:
        config_source_add(&a->source, state, value);
        return 0;
    case KEY_INIT:
        a->options.init_dir = value;
        return 0;
    case KEY_RESUME:
        a->options.resume = true;
        return 0;
    case KEY_RESUME_FROM:
        a->options.resume = true;
        a->options.resume_from = value;
        return 0;
    case KEY_ALLOW_CHANGES:
        a->options.allow_changes = true;
        return 0;
    case KEY_TRACE:
        a->options.trace_path = value;
        return 0;
    case KEY_BREAKDOWN:
        a->options.breakdown = true;
        return 0;
    case ARGP_KEY_ARG:
        command_take(state, "CONFIG.yaml", value, &a->source.path);
        return 0;
    case ARGP_KEY_END:
        command_require(state, "CONFIG.yaml", a->source.path);
        if (a->options.resume && a->options.init_dir) argp_error(state, "--init and --resume exclude each other");
        if (a->options.allow_changes && !a->options.resume) argp_error(state, "--allow-changes is for --resume");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What is told of a run as it goes. */
typedef struct shown {
    progress progress;
    live_report report;
} shown;

/* The reader of a pipe (`| tee`) has ended, most likely by the same Ctrl-C. */
static void look_for_reader(void)
{
    struct pollfd messages = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&messages, 1, 0) == 1 && (messages.revents & POLLERR)) signals_lost_reader();
}

static void on_step(void *user, const fsmoe_train_progress *step)
{
    shown *s = user;
    progress_on_step(&s->progress, step);
    live_report_on_step(&s->report);
    look_for_reader();
}

static void on_message(void *user, const char *sentence)
{
    shown *s = user;
    progress_on_message(&s->progress, sentence);
}

static void on_breakdown(void *user, const char *table)
{
    shown *s = user;
    progress_end_line(&s->progress);
    fputs(table, stdout);
}

/* Where the results are. A run of no step at all turns a seed or another model into a model folder. */
static void tell_results(const fsmoe_config *config, bool reported)
{
    char text[2 * 4096 + 64];
    const char *dir = config->run.dir;
    reported &= config->train.steps > 0;
    if (reported) snprintf(text, sizeof text, "model in %s/model, report in %s/report.html", dir, dir);
    else snprintf(text, sizeof text, "model in %s/model", dir);
    command_note(text);
}

static fsmoe_status fail(fsmoe_status status)
{
    command_fail(status);
    return status;
}

/* A run that is to go on is saved, and no failure for want of a page. */
static fsmoe_status write_report(const fsmoe_config *config, shown *s)
{
    char text[2200];
    bool stopped = signals_stopped_by() != 0,
         nothing_left = s->report.steps == 0 && config->train.steps > 0 && !stopped;
    fsmoe_status status = nothing_left ? fsmoe_report_write(config->run.dir) : live_report_end(&s->report);
    if (status == FSMOE_OK || !stopped) return status;
    snprintf(text, sizeof text, "the report cannot be written: %s", fsmoe_last_error());
    command_warn(text);
    return FSMOE_OK;
}

/* On rank 0, whether the run is done, was stopped or has failed. */
static fsmoe_status conclude(fsmoe_status status, const fsmoe_config *config, shown *s, const char *resume)
{
    if (status != FSMOE_OK) {
        fail(status);
        live_report_end(&s->report); /* one more failure would say nothing */
        return status;
    }
    status = write_report(config, s);
    if (signals_stopped_by()) signals_tell(resume);
    else tell_results(config, status == FSMOE_OK);
    return status == FSMOE_OK ? status : fail(status);
}

static bool sets_run_dir(const config_source *source)
{
    for (int i = 0; i < source->count; i++)
        if (strncmp(source->settings[i], "run.dir=", 8) == 0) return true;
    return false;
}

/* The configuration that a run has left in its folder is of that folder, wherever it was moved or copied to since. */
static fsmoe_status settle_run_dir(const arguments *a, bool speaks, fsmoe_config *config)
{
    char folder[4096], lock[4096 + 16], text[3 * 4096];
    const char *slash = strrchr(a->source.path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - a->source.path) : 1, slash ? a->source.path : ".");
    snprintf(lock, sizeof lock, "%s/run.lock", folder);
    if (!a->options.resume || sets_run_dir(&a->source) || access(lock, F_OK) != 0) return FSMOE_OK;
    snprintf(text, sizeof text, "%s/run.lock", config->run.dir);
    if (outputs_same_file(lock, text)) return FSMOE_OK;
    char *dir = strdup(folder);
    if (!dir) return FSMOE_ERROR_MEMORY;
    snprintf(text, sizeof text, "run.dir is '%s', where the configuration lies, and not '%s', as it says", dir,
             config->run.dir);
    if (speaks) command_warn(text);
    free(config->run.dir);
    config->run.dir = dir;
    return FSMOE_OK;
}

/* A trace over what the run learns from, or keeps beside its checkpoints, would be missed. */
static bool trace_clashes(const arguments *a, const fsmoe_config *config)
{
    const fsmoe_strings *const inputs[] = {&config->data.train, &config->data.valid};
    const char *trace = a->options.trace_path, *const kept[] = {"log.jsonl", "config.yaml", "run.json", "run.lock"};
    bool same = false;
    for (int i = 0; trace && i < 2; i++)
        for (size_t j = 0; j < inputs[i]->count; j++) same |= outputs_same_file(trace, inputs[i]->items[j]);
    for (size_t i = 0; trace && i < sizeof kept / sizeof *kept; i++) {
        const char *slash = strrchr(trace, '/');
        same |= strcmp(slash ? slash + 1 : trace, kept[i]) == 0;
    }
    return same;
}

static fsmoe_status run(fsmoe_world *world, arguments *a, fsmoe_config *config, shown *s, const char *started,
                        const char *resume)
{
    a->options.command = started;
    a->options.resume_command = resume;
    live_report_begin(&s->report, config->run.dir);
    signals_prepare(world);
    fsmoe_status status = fsmoe_train(world, config, &a->options);
    progress_end_line(&s->progress);
    bool failed = status != FSMOE_OK;
    if (fsmoe_world_rank(world) == 0) status = conclude(status, config, s, resume);
    else if (status == FSMOE_ERROR_COMM) command_fail(status);
    return failed ? status : fsmoe_world_agree(world, status);
}

static fsmoe_status train(fsmoe_world *world, arguments *a, shown *s)
{
    fsmoe_config *config = NULL;
    int rank = fsmoe_world_rank(world), ranks = fsmoe_world_size(world);
    fsmoe_status status = fsmoe_world_agree(world, config_source_load(&a->source, world, &config));
    if (status == FSMOE_OK) status = fsmoe_world_agree(world, settle_run_dir(a, rank == 0, config));
    if (status != FSMOE_OK) {
        fsmoe_config_destroy(config);
        return rank == 0 ? fail(status) : status;
    }
    /* ranks look for themselves, and one may see another disk */
    if (fsmoe_world_agree(world, trace_clashes(a, config) ? FSMOE_ERROR_USAGE : FSMOE_OK) != FSMOE_OK) {
        fsmoe_config_destroy(config);
        if (rank == 0)
            command_fail_with(FSMOE_ERROR_USAGE, "--trace would be written over a file of the data or of a run");
        return FSMOE_ERROR_USAGE;
    }
    char *started = invocation_describe(ranks), *resume = invocation_resume(ranks, config->run.dir);
    bool described = started && resume;
    status = fsmoe_world_agree(world, described ? FSMOE_OK : FSMOE_ERROR_MEMORY);
    if (status == FSMOE_OK) status = run(world, a, config, s, started, resume);
    else if (rank == 0) command_fail_with(status, "no memory for the command line");
    fsmoe_config_destroy(config);
    free(started);
    free(resume);
    return status;
}

int command_train(int argc, char **argv)
{
    static const struct argp argp = {options,
                                     parse,
                                     "CONFIG.yaml",
                                     "Trains the model that CONFIG.yaml describes; under mpirun, on all ranks."
                                     "\vSIGINT, SIGTERM, SIGHUP or SIGUSR1, or nobody reading its messages any more, "
                                     "finishes the present step, saves a "
                                     "checkpoint and exits with 128 + the signal's number; --resume goes on from "
                                     "there. A second signal ends at once.",
                                     0,
                                     0,
                                     0};
    shown told = {0};
    arguments a = {.options = {.on_step = on_step,
                               .on_message = on_message,
                               .on_breakdown = on_breakdown,
                               .should_stop = signals_should_stop,
                               .on_stop = signals_on_stop,
                               .on_stage = signals_on_stage,
                               .user = &told}};
    fsmoe_world *world;
    command_parse(&argp, argc, argv, &a);
    signals_begin();
    int exit_code = launch_world(a.alone, &world);
    if (exit_code != 0) return exit_code;
    fsmoe_status status = train(world, &a, &told);
    exit_code = fsmoe_status_exit_code(status);
    if (status == FSMOE_OK && signals_stopped_by()) exit_code = 128 + signals_stopped_by(); /* as shells report it */
    if (status == FSMOE_ERROR_COMM) fsmoe_world_abort(world, exit_code);
    fsmoe_world_destroy(world);
    return exit_code;
}
