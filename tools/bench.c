/* fsmoe bench schedules CONFIG.yaml: schedules held against one another on these ranks, measured or rehearsed. */
#include "command.h"
#include "config_source.h"
#include "launch.h"
#include "progress.h"

#include <fsmoe/bench.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_LAYER = 1000,
    KEY_STEPS,
    KEY_BUDGET,
    KEY_SCHEDULES,
    KEY_CASES,
    KEY_CSV,
    KEY_PICTURE,
    KEY_CLUSTER,
    KEY_REHEARSE,
    KEY_LAYERS,
    KEY_STRETCH,
    KEY_MICRO_BATCHES
};
enum { MOST_SCHEDULES = FSMOE_BENCH_MOST_ROWS };

/* What is measured: the configuration, or a line of the cases file. */
typedef struct measured_case {
    char *line;       /* copied, cut at its blanks; NULL: the configuration alone */
    const char *name; /* in line */
    config_source source;
} measured_case;

typedef struct arguments {
    config_source source;
    fsmoe_bench_options options;
    bool alone;
    const char *what, *csv, *picture, *cases_path;
    measured_case *cases; /* [count] */
    int count;
    char *schedules; /* copied, cut at its commas */
    const char *names[MOST_SCHEDULES + 1];
} arguments;

/* A bench under way. */
typedef struct bench {
    fsmoe_world *world;
    const arguments *arguments;
    fsmoe_bench_case *results; /* [count] those measured so far; rank 0 alone has rows */
    int count;
    char error[1024]; /* what to say instead of fsmoe_last_error(); "": nothing */
} bench;

static const struct argp_option options[] = {
    {"layer", KEY_LAYER, NULL, 0, "The MoE layers alone, forward and backward; else whole training steps", 0},
    {"cases", KEY_CASES, "FILE", 0, "Several cases: a line each, NAME SECTION.KEY=VALUE ...", 0},
    {"schedules", KEY_SCHEDULES, "A,B,...", 0, "Which schedules (all)", 0},
    {"steps", KEY_STEPS, "N", 0, "Steps of each schedule that count (7)", 0},
    {"budget", KEY_BUDGET, "SECONDS", 0, "For measuring the costs of a case (15)", 0},
    {"picture", KEY_PICTURE, "FILE.svg", 0, "Draw how many times faster than dsmoe the schedules were", 0},
    {"cluster", KEY_CLUSTER, "CLUSTER.json", 0, "Plan from these costs instead of measuring", 0},
    {"rehearse", KEY_REHEARSE, "CLUSTER.json", 0,
     "Rehearse that cluster: messages run, compute tasks sleep for what it says, all of it slowly; times are its", 0},
    {"stretch", KEY_STRETCH, "N", 0, "Rehearse so many times as slowly (as few as leave half of the machine free)", 0},
    {"layers", KEY_LAYERS, "N", 0, "Cut the model to so many layers, and its vocabulary in proportion", 0},
    {"micro-batches", KEY_MICRO_BATCHES, "N", 0, "Micro-batches of a step, each of train.micro_batch samples (1)", 0},
    {"csv", KEY_CSV, "FILE", 0, "Write the rows to a file, too", 0},
    CONFIG_SOURCE_OPTION,
    LAUNCH_OPTION,
    {0},
};

static void take_schedules(arguments *a, struct argp_state *state, const char *list)
{
    int count = 0;
    a->schedules = strdup(list);
    for (char *name = a->schedules ? strtok(a->schedules, ",") : NULL; name; name = strtok(NULL, ",")) {
        if (count == MOST_SCHEDULES) argp_error(state, "--schedules takes %d names at most", MOST_SCHEDULES);
        a->names[count++] = name;
    }
    if (count == 0) argp_error(state, "--schedules names none");
}

static void take_argument(arguments *a, struct argp_state *state, const char *value)
{
    if (a->what) command_take(state, "CONFIG.yaml", value, &a->source.path);
    else if (strcmp(value, "schedules") == 0) a->what = value;
    else argp_error(state, "'%s' cannot be measured; schedules can", value);
}

/* ---- cases ---- */

static void add_case(arguments *a, struct argp_state *state, measured_case added)
{
    a->cases = realloc(a->cases, ((size_t)a->count + 1) * sizeof *a->cases);
    if (!a->cases) argp_failure(state, fsmoe_status_exit_code(FSMOE_ERROR_MEMORY), 0, "no memory for the cases");
    a->cases[a->count++] = added;
}

/* A name and settings; an empty line, or one that begins with #, is none. */
static void read_line(arguments *a, struct argp_state *state, char *line, int number)
{
    static const char blanks[] = " \t\r\n";
    measured_case c = {.line = line, .name = strtok(line, blanks), .source = a->source};
    if (!c.name || c.name[0] == '#') {
        free(line);
        return;
    }
    for (char *word = strtok(NULL, blanks); word; word = strtok(NULL, blanks)) {
        if (c.source.count == CONFIG_SOURCE_MAX_SETTINGS)
            argp_error(state, "%s:%d: case '%s' has more than %d settings, those of --set included", a->cases_path,
                       number, c.name, CONFIG_SOURCE_MAX_SETTINGS);
        c.source.settings[c.source.count++] = word;
    }
    add_case(a, state, c);
}

static void read_cases(arguments *a, struct argp_state *state)
{
    char *line = NULL;
    size_t size = 0;
    FILE *in = fopen(a->cases_path, "r");
    if (!in) argp_error(state, "cannot read '%s': %s", a->cases_path, strerror(errno));
    for (int number = 1; getline(&line, &size, in) >= 0; number++) {
        read_line(a, state, line, number);
        line = NULL; /* kept by the case */
        size = 0;
    }
    if (ferror(in)) argp_error(state, "cannot read '%s': %s", a->cases_path, strerror(errno));
    free(line);
    fclose(in);
    if (a->count == 0) argp_error(state, "'%s' has no case", a->cases_path);
}

static void take_cases(arguments *a, struct argp_state *state)
{
    if (a->cases_path) read_cases(a, state);
    else add_case(a, state, (measured_case){.name = a->source.path, .source = a->source});
}

/* What a rehearsal does not use is refused, not ignored. */
static void check_arguments(const arguments *a, struct argp_state *state)
{
    command_require(state, "schedules", a->what);
    command_require(state, "CONFIG.yaml", a->source.path);
    const fsmoe_bench_options *o = &a->options;
    if (o->rehearse && (o->cluster || o->budget_s > 0))
        argp_error(state, "--rehearse takes its costs from its file: no --cluster or --budget");
    if (o->layer && o->micro_batches > 1) argp_error(state, "--layer runs one micro-batch: no --micro-batches");
    if (o->stretch > 0 && !o->rehearse) argp_error(state, "--stretch is of a rehearsal: --rehearse CLUSTER.json");
}

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
    case KEY_LAYER:
        a->options.layer = true;
        return 0;
    case KEY_CASES:
        a->cases_path = value;
        return 0;
    case KEY_SCHEDULES:
        take_schedules(a, state, value);
        return 0;
    case KEY_STEPS:
        a->options.steps = command_count(state, "--steps", value);
        return 0;
    case KEY_BUDGET:
        a->options.budget_s = command_number(state, "--budget", value, 0.001, 1e6);
        return 0;
    case KEY_CLUSTER:
        a->options.cluster = value;
        return 0;
    case KEY_REHEARSE:
        a->options.rehearse = value;
        return 0;
    case KEY_STRETCH:
        a->options.stretch = command_number(state, "--stretch", value, 1, 1e6);
        return 0;
    case KEY_LAYERS:
        a->options.layers = command_count(state, "--layers", value);
        return 0;
    case KEY_MICRO_BATCHES:
        a->options.micro_batches = command_count(state, "--micro-batches", value);
        return 0;
    case KEY_CSV:
        a->csv = value;
        return 0;
    case KEY_PICTURE:
        a->picture = value;
        return 0;
    case ARGP_KEY_ARG:
        take_argument(a, state, value);
        return 0;
    case ARGP_KEY_END:
        check_arguments(a, state);
        take_cases(a, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- rows ---- */

/* How many times faster than the schedule of that name; NaN when it did not run. */
static double over(const fsmoe_bench_row *rows, int count, const char *name, double step_s)
{
    for (int i = 0; i < count; i++)
        if (strcmp(rows[i].schedule, name) == 0) return rows[i].step_s / step_s;
    return NAN;
}

/* Right-aligned; what cannot be told is a dash. */
static void print_number(int width, int decimals, double value, const char *unit)
{
    if (isfinite(value)) printf(" %*.*f%s", width, decimals, value, unit);
    else printf(" %*s%*s", width, "-", (int)strlen(unit), "");
}

static void print_table(const fsmoe_bench_case *c)
{
    double stretch = c->rows[0].stretch;
    if (stretch > 0) printf("%s, rehearsed %.3g times as slowly\n", c->name, stretch);
    else printf("%s\n", c->name);
    printf("%-16s %5s %7s %10s %21s %10s %7s %6s %6s %8s\n", "schedule", "lanes", "degrees", "step, ms", "range",
           "plan, ms", "error", "/dsmoe", "/tutel", "overlap");
    for (int i = 0; i < c->count; i++) {
        const fsmoe_bench_row *r = &c->rows[i];
        printf("%-16s %5d %3d/%-3d %10.1f %10.1f-%10.1f %10.1f %+6.1f%%", r->schedule, r->lanes, r->forward,
               r->backward, 1e3 * r->step_s, 1e3 * r->fastest_s, 1e3 * r->slowest_s, 1e3 * r->planned_s,
               100 * (r->step_s / r->planned_s - 1));
        print_number(6, 3, over(c->rows, c->count, "dsmoe", r->step_s), "");
        print_number(6, 3, over(c->rows, c->count, "tutel", r->step_s), "");
        print_number(7, 1, 100 * r->overlap, "%");
        fputc('\n', stdout);
    }
    fflush(stdout);
}

/* ---- the summary ---- */

static fsmoe_status print_summary_row(const bench *b, const char *schedule)
{
    fsmoe_bench_summary s;
    fsmoe_status status = fsmoe_bench_summarize(b->results, b->count, schedule, &s);
    if (status != FSMOE_OK) return status;
    printf("%-16s %6d", schedule, s.cases);
    print_number(7, 3, s.over_dsmoe, "");
    print_number(7, 3, s.over_tutel, "");
    print_number(7, 3, s.over_bound, "");
    print_number(7, 1, 100 * s.prediction_error, "%");
    print_number(7, 1, 100 * s.overlap, "%");
    fputc('\n', stdout);
    return FSMOE_OK;
}

/* Every case ran the same schedules. */
static fsmoe_status print_summary(const bench *b)
{
    fsmoe_status status = FSMOE_OK;
    printf("%d cases: geometric means of /dsmoe, /tutel and step/bound; medians of |error| and overlap\n", b->count);
    printf("%-16s %6s %7s %7s %7s %8s %8s\n", "schedule", "cases", "/dsmoe", "/tutel", "/bound", "error", "overlap");
    for (int i = 0; status == FSMOE_OK && i < b->results[0].count; i++)
        status = print_summary_row(b, b->results[0].rows[i].schedule);
    fflush(stdout);
    return status;
}

/* ---- files ---- */

static fsmoe_status draw(const bench *b)
{
    const arguments *a = b->arguments;
    char title[512];
    snprintf(title, sizeof title, "%s, %s on %d rank%s%s%s", a->source.path,
             a->options.layer ? "MoE layers" : "whole steps", fsmoe_world_size(b->world),
             fsmoe_world_size(b->world) == 1 ? "" : "s", a->options.rehearse ? ", rehearsed from " : "",
             a->options.rehearse ? a->options.rehearse : "");
    return fsmoe_bench_draw(b->results, b->count, title, a->picture);
}

/* Whether a path is written to rather than replaced. */
static bool stays(const char *path)
{
    return access(path, F_OK) == 0 && !command_is_file(path);
}

/* On rank 0, before anything is measured: what cannot be written fails now. */
static fsmoe_status check_outputs(const arguments *a)
{
    fsmoe_status status = a->csv ? fsmoe_can_write(a->csv) : FSMOE_OK;
    return status == FSMOE_OK && a->picture ? fsmoe_can_write(a->picture) : status;
}

/* Whether an output is written anew after this case; what cannot be replaced gets everything at the end. */
static bool is_due(const bench *b, const char *path)
{
    return path && (b->count == b->arguments->count || !stays(path));
}

static fsmoe_status write_outputs(const bench *b)
{
    const arguments *a = b->arguments;
    fsmoe_status status = is_due(b, a->csv) ? fsmoe_bench_write_csv(b->results, b->count, a->csv) : FSMOE_OK;
    return status == FSMOE_OK && is_due(b, a->picture) ? draw(b) : status;
}

/* ---- measuring ---- */

/* The message names the case. */
static fsmoe_status fail_case(bench *b, const measured_case *c, fsmoe_status status)
{
    if (status != FSMOE_OK && c->line)
        snprintf(b->error, sizeof b->error, "case '%s': %s", c->name, fsmoe_last_error());
    return status;
}

/* On rank 0. */
static fsmoe_status show_case(bench *b)
{
    print_table(&b->results[b->count++]);
    return write_outputs(b);
}

static fsmoe_status run_case(bench *b, const measured_case *c)
{
    const arguments *a = b->arguments;
    fsmoe_bench_case *result = &b->results[b->count];
    fsmoe_config *config = NULL;
    fsmoe_status status = fsmoe_world_agree(b->world, config_source_load(&c->source, b->world, &config));
    result->name = c->name;
    if (status == FSMOE_OK)
        status = fsmoe_bench_schedules(b->world, config, a->names[0] ? a->names : NULL, &a->options, result->rows,
                                       &result->count);
    fsmoe_config_destroy(config);
    if (status != FSMOE_OK) return fail_case(b, c, status);
    if (fsmoe_world_rank(b->world) == 0) status = show_case(b);
    return fsmoe_world_agree(b->world, status);
}

/* All cases' settings, before the first is measured. */
static fsmoe_status check_cases(bench *b)
{
    const arguments *a = b->arguments;
    fsmoe_status status = FSMOE_OK;
    for (int i = 0; status == FSMOE_OK && i < a->count; i++) {
        fsmoe_config *config = NULL;
        status = fail_case(b, &a->cases[i], config_source_load(&a->cases[i].source, b->world, &config));
        fsmoe_config_destroy(config);
    }
    return status;
}

static fsmoe_status run_bench(bench *b)
{
    const arguments *a = b->arguments;
    bool first = fsmoe_world_rank(b->world) == 0;
    fsmoe_status status = fsmoe_world_agree(b->world, check_cases(b));
    if (status == FSMOE_OK) status = fsmoe_world_agree(b->world, first ? check_outputs(a) : FSMOE_OK);
    for (int i = 0; status == FSMOE_OK && i < a->count; i++) status = run_case(b, &a->cases[i]);
    if (status == FSMOE_OK && first && a->count > 1) status = print_summary(b);
    return status;
}

static void release(const bench *b, arguments *a)
{
    for (int i = 0; i < a->count; i++) free(a->cases[i].line);
    free(a->cases);
    free(a->schedules);
    free(b->results);
}

int command_bench(int argc, char **argv)
{
    static const struct argp argp = {options,
                                     parse,
                                     "schedules CONFIG.yaml",
                                     "Runs steps of every schedule in turn, on all ranks, and prints what each took, "
                                     "what its plan expected, and how much communication it hid; over several "
                                     "cases, their means.",
                                     0,
                                     0,
                                     0};
    progress shown = {0};
    arguments a = {.options = {.on_message = progress_on_message, .user = &shown}};
    bench b = {.arguments = &a};
    command_parse(&argp, argc, argv, &a);
    int exit_code = launch_world(a.alone, &b.world);
    if (exit_code != 0) {
        release(&b, &a);
        return exit_code;
    }
    b.results = calloc((size_t)a.count, sizeof *b.results);
    fsmoe_status status = fsmoe_world_agree(b.world, b.results ? FSMOE_OK : FSMOE_ERROR_MEMORY);
    if (status == FSMOE_OK) status = run_bench(&b);
    exit_code = fsmoe_status_exit_code(status);
    if (status != FSMOE_OK && (fsmoe_world_rank(b.world) == 0 || status == FSMOE_ERROR_COMM)) {
        if (b.error[0]) command_fail_with(status, b.error);
        else command_fail(status);
    }
    if (status == FSMOE_ERROR_COMM) fsmoe_world_abort(b.world, exit_code);
    fsmoe_world_destroy(b.world);
    release(&b, &a);
    return exit_code;
}
