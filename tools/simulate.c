/* fsmoe simulate PLAN|MODEL.yaml: a step on a virtual clock, as numbers and pictures; and the paper's grid of
 * layers. */
#include "command.h"
#include "plan_source.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_GANTT = 1000, KEY_TRACE, KEY_GRID, KEY_CSV, KEY_CLASS, KEY_PRIORITY };
enum { MOST_CLASSES = 64, NAME_BYTES = 64 };

typedef struct arguments {
    plan_source source; /* its path is a plan or a model */
    const char *gantt, *trace, *grid, *csv;
    fsmoe_rank_class classes[MOST_CLASSES];
    char class_names[MOST_CLASSES][NAME_BYTES];
    int class_count;
    bool by_priority, is_plan;
} arguments;

static const struct argp_option options[] = {
    PLAN_SOURCE_OPTIONS,
    {"gantt", KEY_GANTT, "FILE.svg", 0, "Draw what each resource does when", 0},
    {"trace", KEY_TRACE, "FILE.json", 0, "Write a Chrome trace (Perfetto)", 0},
    {"class", KEY_CLASS, "NAME=RANKS[,compute=F][,intra=F][,inter=F]", 0,
     "Ranks that take F times as long as planned (may be repeated)", 0},
    {"priority", KEY_PRIORITY, NULL, 0, "A free resource takes the first issued task that is ready", 0},
    {"grid", KEY_GRID, "paper|stacked", 0,
     "Plan the paper's 1458 layers under every schedule; `stacked': each twice, as a whole step", 0},
    {"csv", KEY_CSV, "OUT.csv", 0, "Where the grid goes", 0},
    {0},
};

/* NAME=RANKS,compute=F,… */
static void add_class(arguments *a, struct argp_state *state, const char *text)
{
    char copy[256];
    if (a->class_count == MOST_CLASSES) argp_error(state, "at most %d classes of ranks", MOST_CLASSES);
    if (strlen(text) >= sizeof copy) argp_error(state, "--class is too long: '%s'", text);
    strcpy(copy, text);
    fsmoe_rank_class *c = &a->classes[a->class_count];
    *c = (fsmoe_rank_class){.name = a->class_names[a->class_count], .compute = 1, .intra = 1, .inter = 1};
    char *rest, *part = strtok_r(copy, ",", &rest);
    for (int i = 0; part; i++, part = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(part, '=');
        if (!value) argp_error(state, "--class takes NAME=RANKS[,compute=F][,intra=F][,inter=F], not '%s'", text);
        *value++ = 0;
        if (i == 0) {
            snprintf(a->class_names[a->class_count], NAME_BYTES, "%s", part);
            c->ranks = command_integer(state, "--class NAME", value, 1);
        } else {
            double *field = strcmp(part, "compute") == 0 ? &c->compute
                            : strcmp(part, "intra") == 0 ? &c->intra
                            : strcmp(part, "inter") == 0 ? &c->inter
                                                         : NULL;
            if (!field) argp_error(state, "--class: '%s' is none of compute, intra, inter", part);
            else *field = command_number(state, "--class", value, 1e-6, 1e6);
        }
    }
    if (c->ranks == 0 || !c->name[0]) argp_error(state, "--class takes NAME=RANKS, not '%s'", text);
    a->class_count++;
}

/* A plan file is a JSON object. false: the file cannot be looked into, as reading it will say; a pipe gives what it has
 * but once. */
static bool look(const char *path, bool *is_plan)
{
    char c = ' ';
    int file = command_is_file(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1; /* no stream: it would need memory */
    ssize_t n = file >= 0 ? 1 : -1;
    while (n == 1 && memchr(" \n\t\r", c, 4)) n = read(file, &c, 1);
    if (file >= 0) close(file);
    *is_plan = n == 1 && c == '{';
    return n >= 0;
}

static void check_arguments(arguments *a, struct argp_state *state)
{
    if (a->grid) {
        if (strcmp(a->grid, "paper") != 0 && strcmp(a->grid, "stacked") != 0)
            argp_error(state, "no grid is named '%s'; there are 'paper' and 'stacked'", a->grid);
        command_require(state, "--cluster", a->source.options.cluster);
        command_require(state, "--csv", a->csv);
        if (a->source.config.path) argp_error(state, "--grid plans layers of its own, not '%s'", a->source.config.path);
        if (a->gantt || a->trace || a->class_count > 0 || a->by_priority || a->source.schedule ||
            a->source.options.nodes || a->source.options.ranks_per_node || a->source.config.count > 0)
            argp_error(state, "--grid goes with --cluster and --csv alone");
        return;
    }
    command_require(state, "PLAN or MODEL.yaml", a->source.config.path);
    bool looked = look(a->source.config.path, &a->is_plan);
    bool pipe = !looked && access(a->source.config.path, R_OK) == 0;
    if (pipe) a->is_plan = !a->source.options.cluster; /* which goes with a model alone */
    if (a->is_plan) {
        const fsmoe_plan_options *o = &a->source.options;
        if (o->cluster || o->nodes || o->ranks_per_node || a->source.schedule || a->source.config.count > 0)
            argp_error(state, "a plan file has its own model, cluster and schedule");
    } else if (looked) {
        command_require(state, "--cluster (a model needs it)", a->source.options.cluster);
    }
    if (a->csv) argp_error(state, "--csv goes with --grid");
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_GANTT:
        a->gantt = value;
        return 0;
    case KEY_TRACE:
        a->trace = value;
        return 0;
    case KEY_CLASS:
        add_class(a, state, value);
        return 0;
    case KEY_PRIORITY:
        a->by_priority = true;
        return 0;
    case KEY_GRID:
        a->grid = value;
        return 0;
    case KEY_CSV:
        a->csv = value;
        return 0;
    case ARGP_KEY_END:
        check_arguments(a, state);
        return 0;
    default:
        return plan_source_parse(&a->source, "PLAN or MODEL.yaml", key, value, state);
    }
}

/* ---- one step ---- */

static fsmoe_status take_plan(const arguments *a, fsmoe_plan **plan)
{
    fsmoe_status status = fsmoe_plan_read(a->source.config.path, plan);
    return status == FSMOE_OK ? fsmoe_plan_check(*plan) : status;
}

static fsmoe_status make_plan(const arguments *a, fsmoe_plan **plan)
{
    return plan_source_create(&a->source, a->source.schedule ? a->source.schedule : "fsmoe-lanes", plan, NULL);
}

static void print_step(const arguments *a, const fsmoe_plan *plan, double planned_s, const double *class_s)
{
    fsmoe_plan_summary s;
    fsmoe_plan_summarize(plan, &s);
    printf("%s: %d tasks, %.3f ms a step", s.schedule, s.tasks, 1e3 * s.step_s);
    if (a->class_count > 0 || a->by_priority) printf(" (%.3f ms as planned)", 1e3 * planned_s);
    printf("; compute busy %.1f %%, intra-node link %.1f %%, inter-node link %.1f %%\n", 100 * s.busy[0],
           100 * s.busy[1], 100 * s.busy[2]);
    printf("%d lane%s; uncut, the tasks are %.3f ms of compute, %.3f ms of the intra-node link, %.3f ms of the "
           "inter-node link; the step is %.3f times the largest\n",
           s.lanes, s.lanes > 1 ? "s" : "", 1e3 * s.load_s[0], 1e3 * s.load_s[1], 1e3 * s.load_s[2], s.step_over_load);
    for (int i = 0; i < a->class_count; i++)
        printf("  %-16s %8lld ranks  %12.3f ms\n", a->classes[i].name, (long long)a->classes[i].ranks,
               1e3 * class_s[i]);
}

static fsmoe_status simulate_step(const arguments *a)
{
    fsmoe_plan *plan = NULL;
    fsmoe_plan_summary planned = {0};
    double class_s[MOST_CLASSES] = {0};
    fsmoe_status status = a->gantt ? fsmoe_can_write(a->gantt) : FSMOE_OK;
    if (status == FSMOE_OK && a->trace) status = fsmoe_can_write(a->trace);
    if (status == FSMOE_OK) status = a->is_plan ? take_plan(a, &plan) : make_plan(a, &plan);
    if (status == FSMOE_OK) fsmoe_plan_summarize(plan, &planned);
    if (status == FSMOE_OK) plan_source_warn(plan);
    if (status == FSMOE_OK) status = fsmoe_plan_simulate(plan, a->classes, a->class_count, a->by_priority, class_s);
    if (status == FSMOE_OK) print_step(a, plan, planned.step_s, class_s);
    if (status == FSMOE_OK && a->gantt) status = fsmoe_plan_draw(plan, a->gantt);
    if (status == FSMOE_OK && a->trace) status = fsmoe_plan_trace(plan, a->trace);
    fsmoe_plan_destroy(plan);
    return status;
}

static fsmoe_status simulate_grid(const arguments *a)
{
    char *summary;
    fsmoe_status status = fsmoe_can_write(a->csv);
    bool stacked = strcmp(a->grid, "stacked") == 0;
    if (status == FSMOE_OK)
        status =
            (stacked ? fsmoe_plan_stacked_grid : fsmoe_plan_paper_grid)(a->source.options.cluster, a->csv, &summary);
    if (status != FSMOE_OK) return status;
    fputs(summary, stdout);
    free(summary);
    return FSMOE_OK;
}

int command_simulate(int argc, char **argv)
{
    static const struct argp argp = {options,
                                     parse,
                                     "[PLAN|MODEL.yaml]",
                                     "Runs a training step on a virtual clock: a plan file, or a model on a cluster.",
                                     0,
                                     0,
                                     0};
    arguments a = {0};
    command_parse(&argp, argc, argv, &a);
    fsmoe_status status = a.grid ? simulate_grid(&a) : simulate_step(&a);
    return status == FSMOE_OK ? 0 : command_fail(status);
}
