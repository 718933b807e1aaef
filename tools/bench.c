/* fsmoe bench schedules CONFIG.yaml: schedules held against one another on these ranks. */
#include "command.h"
#include "config_source.h"
#include "progress.h"

#include <fsmoe/bench.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_LAYER = 1000, KEY_STEPS, KEY_BUDGET, KEY_SCHEDULES, KEY_CASES, KEY_CSV, KEY_CLUSTER };
enum { MOST_SCHEDULES = FSMOE_BENCH_MOST_ROWS, MOST_CASES = 512, MOST_WORDS = CONFIG_SOURCE_MAX_SETTINGS };

typedef struct arguments {
    config_source source;
    fsmoe_bench_options options;
    const char *what, *csv;
    FILE *cases;
    char *schedules; /* copied, cut at its commas */
    const char *names[MOST_SCHEDULES + 1];
} arguments;

static const struct argp_option options[] = {
    {"layer", KEY_LAYER, NULL, 0, "The MoE layers alone, forward and backward; else whole training steps", 0},
    {"cases", KEY_CASES, "FILE", 0, "Several cases: a line each, NAME SECTION.KEY=VALUE ...", 0},
    {"schedules", KEY_SCHEDULES, "A,B,...", 0, "Which schedules (all)", 0},
    {"steps", KEY_STEPS, "N", 0, "Steps of each schedule that count (7)", 0},
    {"budget", KEY_BUDGET, "SECONDS", 0, "For measuring the costs of a case (15)", 0},
    {"cluster", KEY_CLUSTER, "CLUSTER.json", 0, "Plan from these costs instead of measuring", 0},
    {"csv", KEY_CSV, "FILE", 0, "Write the rows to a file, too", 0},
    CONFIG_SOURCE_OPTION,
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

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case CONFIG_SOURCE_KEY_SET:
        config_source_add(&a->source, state, value);
        return 0;
    case KEY_LAYER:
        a->options.layer = true;
        return 0;
    case KEY_CASES:
        a->cases = fopen(value, "r");
        if (!a->cases) argp_error(state, "cannot read '%s': %s", value, strerror(errno));
        return 0;
    case KEY_SCHEDULES:
        take_schedules(a, state, value);
        return 0;
    case KEY_STEPS:
        a->options.steps = (int)command_integer(state, "--steps", value, 1);
        return 0;
    case KEY_BUDGET:
        a->options.budget_s = command_number(state, "--budget", value, 0.001, 1e6);
        return 0;
    case KEY_CLUSTER:
        a->options.cluster = value;
        return 0;
    case KEY_CSV:
        a->csv = value;
        return 0;
    case ARGP_KEY_ARG:
        take_argument(a, state, value);
        return 0;
    case ARGP_KEY_END:
        command_require(state, "schedules", a->what);
        command_require(state, "CONFIG.yaml", a->source.path);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- rows ---- */

static const char csv_head[] =
    "case,schedule,forward_degree,backward_degree,median_ms,fastest_ms,slowest_ms,planned_ms,"
    "bound_ms,over_dsmoe,over_tutel,prediction_error,overlap,compute_ms,intra_ms,inter_ms\n";

/* How many times faster than the schedule of that name; NaN when it did not run. */
static double over(const fsmoe_bench_row *rows, int count, const char *name, double step_s)
{
    for (int i = 0; i < count; i++)
        if (strcmp(rows[i].schedule, name) == 0) return rows[i].step_s / step_s;
    return NAN;
}

static void print_csv(FILE *out, const char *name, const fsmoe_bench_row *rows, int count)
{
    for (int i = 0; i < count; i++) {
        const fsmoe_bench_row *r = &rows[i];
        fprintf(out, "%s,%s,%d,%d,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f\n", name, r->schedule,
                r->forward, r->backward, 1e3 * r->step_s, 1e3 * r->fastest_s, 1e3 * r->slowest_s, 1e3 * r->planned_s,
                1e3 * r->bound_s, over(rows, count, "dsmoe", r->step_s), over(rows, count, "tutel", r->step_s),
                r->step_s / r->planned_s - 1, r->overlap, 1e3 * r->compute_s, 1e3 * r->intra_s, 1e3 * r->inter_s);
    }
    fflush(out);
}

static void print_table(const char *name, const fsmoe_bench_row *rows, int count)
{
    printf("%s\n%-15s %7s %10s %21s %10s %7s %6s %6s %8s\n", name, "schedule", "degrees", "step, ms", "range",
           "plan, ms", "error", "/dsmoe", "/tutel", "overlap");
    for (int i = 0; i < count; i++) {
        const fsmoe_bench_row *r = &rows[i];
        printf("%-15s %3d/%-3d %10.1f %10.1f-%10.1f %10.1f %+6.1f%% %6.3f %6.3f %7.1f%%\n", r->schedule, r->forward,
               r->backward, 1e3 * r->step_s, 1e3 * r->fastest_s, 1e3 * r->slowest_s, 1e3 * r->planned_s,
               100 * (r->step_s / r->planned_s - 1), over(rows, count, "dsmoe", r->step_s),
               over(rows, count, "tutel", r->step_s), 100 * r->overlap);
    }
    fflush(stdout);
}

/* ---- cases ---- */

static fsmoe_status run_case(fsmoe_world *world, const arguments *a, const char *name, const config_source *source,
                             FILE *csv)
{
    fsmoe_config *config = NULL;
    fsmoe_bench_row rows[FSMOE_BENCH_MOST_ROWS];
    int count = 0;
    fsmoe_status status = fsmoe_world_agree(world, config_source_load(source, &config));
    if (status == FSMOE_OK)
        status = fsmoe_bench_schedules(world, config, a->names[0] ? a->names : NULL, &a->options, rows, &count);
    fsmoe_config_destroy(config);
    if (status != FSMOE_OK || fsmoe_world_rank(world) != 0) return status;
    print_table(name, rows, count);
    if (csv) print_csv(csv, name, rows, count);
    return FSMOE_OK;
}

/* One line: a name and settings; an empty one, or one that begins with #, is none. */
static fsmoe_status run_line(fsmoe_world *world, const arguments *a, char *line, FILE *csv)
{
    config_source source = a->source;
    char *name = strtok(line, " \t\r\n");
    if (!name || name[0] == '#') return FSMOE_OK;
    for (char *word = strtok(NULL, " \t\r\n"); word && source.count < MOST_WORDS; word = strtok(NULL, " \t\r\n"))
        source.settings[source.count++] = word;
    return run_case(world, a, name, &source, csv);
}

static fsmoe_status run_cases(fsmoe_world *world, const arguments *a, FILE *csv)
{
    if (!a->cases) return run_case(world, a, a->source.path, &a->source, csv);
    char *line = NULL;
    size_t size = 0;
    fsmoe_status status = FSMOE_OK;
    while (status == FSMOE_OK && getline(&line, &size, a->cases) >= 0) status = run_line(world, a, line, csv);
    free(line);
    return status;
}

static fsmoe_status bench(fsmoe_world *world, const arguments *a)
{
    FILE *csv = NULL;
    fsmoe_status status = FSMOE_OK;
    if (fsmoe_world_rank(world) == 0 && a->csv && !(csv = fopen(a->csv, "w"))) {
        fprintf(stderr, "fsmoe: cannot write '%s': %s\n", a->csv, strerror(errno));
        status = FSMOE_ERROR_IO;
    }
    status = fsmoe_world_agree(world, status);
    if (csv) fputs(csv_head, csv);
    if (status == FSMOE_OK) status = run_cases(world, a, csv);
    if (csv) fclose(csv);
    return status;
}

int command_bench(int argc, char **argv)
{
    static const struct argp argp = {options,
                                     parse,
                                     "schedules CONFIG.yaml",
                                     "Runs steps of every schedule in turn, on all ranks, and prints what each took, "
                                     "what its plan expected, and how much communication it hid.",
                                     0,
                                     0,
                                     0};
    progress shown = {0};
    arguments a = {.options = {.on_message = progress_on_message, .user = &shown}};
    fsmoe_world *world;
    command_parse(&argp, argc, argv, &a);
    fsmoe_status status = fsmoe_world_create(&world);
    if (status != FSMOE_OK) return command_fail(status);
    status = bench(world, &a);
    int exit_code = fsmoe_status_exit_code(status);
    if (status != FSMOE_OK && (fsmoe_world_rank(world) == 0 || status == FSMOE_ERROR_COMM)) command_fail(status);
    if (status == FSMOE_ERROR_COMM) fsmoe_world_abort(world, exit_code);
    fsmoe_world_destroy(world);
    free(a.schedules);
    if (a.cases) fclose(a.cases);
    return exit_code;
}
