/* fsmoe profile [CONFIG.yaml]: what operations cost on these ranks, alone or under mpirun. */
#include "command.h"
#include "config_source.h"
#include "launch.h"
#include "progress.h"

#include <fsmoe/profile.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_OUT = 1000, KEY_MIN_ELEMS, KEY_MAX_ELEMS, KEY_POINTS, KEY_REPEATS, KEY_BUDGET, KEY_NAME, KEY_GEMM };

typedef struct arguments {
    config_source source;
    fsmoe_profile_options options;
    const char *out;
    bool alone, gemm;
} arguments;

static const struct argp_option options[] = {
    {"out", KEY_OUT, "CLUSTER.json", 0, "Where the cluster file goes", 0},
    CONFIG_SOURCE_OPTION,
    LAUNCH_OPTION,
    {"min-elems", KEY_MIN_ELEMS, "N", 0, "Smallest size of a collective in float32 elements (2^14)", 0},
    {"max-elems", KEY_MAX_ELEMS, "N", 0, "Largest size (2^24)", 0},
    {"points", KEY_POINTS, "N", 0, "Sizes of each operation (11)", 0},
    {"repeats", KEY_REPEATS, "N", 0, "Repeats of each size, of which the median counts (10)", 0},
    {"budget", KEY_BUDGET, "SECONDS", 0, "Time for all measurements; large sizes give way first (60)", 0},
    {"gemm", KEY_GEMM, NULL, 0, "Instead: what each implementation of products reaches with the model's weights, here",
     0},
    {"name", KEY_NAME, "NAME", 0, "Name of the cluster (the host's)", 0},
    {0},
};

/* A whole number, or 2^K. */
static long long parse_elems(struct argp_state *state, const char *option, const char *text)
{
    if (strncmp(text, "2^", 2) != 0) return command_integer(state, option, text, 1);
    long long exponent = command_integer(state, option, text + 2, 0);
    if (exponent > 40) argp_error(state, "%s takes 2^40 at most, not '%s'", option, text);
    return 1LL << exponent;
}

static int parse_count(struct argp_state *state, const char *option, const char *text, long long min)
{
    long long value = command_integer(state, option, text, min);
    if (value > 10000) argp_error(state, "%s takes 10000 at most, not '%s'", option, text);
    return (int)value;
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
    case KEY_OUT:
        a->out = value;
        return 0;
    case KEY_MIN_ELEMS:
        a->options.min_elems = parse_elems(state, "--min-elems", value);
        return 0;
    case KEY_MAX_ELEMS:
        a->options.max_elems = parse_elems(state, "--max-elems", value);
        return 0;
    case KEY_POINTS:
        a->options.points = parse_count(state, "--points", value, 4);
        return 0;
    case KEY_REPEATS:
        a->options.repeats = parse_count(state, "--repeats", value, 1);
        return 0;
    case KEY_BUDGET:
        a->options.budget_s = command_number(state, "--budget", value, 0.001, 1e6);
        return 0;
    case KEY_NAME:
        a->options.name = value;
        return 0;
    case KEY_GEMM:
        a->gemm = true;
        return 0;
    case ARGP_KEY_ARG:
        command_take(state, "CONFIG.yaml", value, &a->source.path);
        return 0;
    case ARGP_KEY_END:
        if (!a->gemm) command_require(state, "--out", a->out);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* One line that is rewritten, where a person watches. */
static void on_progress(void *user, double fraction, const char *what)
{
    progress *shown = user;
    char text[64];
    if (!isatty(STDERR_FILENO)) return;
    snprintf(text, sizeof text, "measuring: %3.0f %%  %s", 100 * fraction, what);
    fprintf(stderr, "\r%-*s", shown->width, text);
    shown->width = (int)strlen(text);
}

static void print_operation(const fsmoe_profile_op *op)
{
    bool is_gemm = !op->group[0];
    printf("%-14s%-8s%5d  %-6s", op->name, op->group, op->ranks, op->link);
    if (op->largest == 0) {
        printf("  nothing to exchange\n");
        return;
    }
    printf("%10.2f %12.5f %9.2f %-7s%8.4f%7.0f %%\n", 1e6 * op->alpha_s[0], 1e9 * op->beta_s[0], 1e-9 * op->rate,
           is_gemm ? "GFLOP/s" : "GB/s", op->r2, 100 * op->worst_residual);
    if (op->large_from > 0)
        printf("%16s n >= %-12.4g%10.2f %12.5f\n", "", op->large_from, 1e6 * op->alpha_s[1], 1e9 * op->beta_s[1]);
}

static void print_result(const fsmoe_profile_result *r, const char *path)
{
    printf("%s: %s\n\n", r->name, r->machine);
    printf("%-14s%-8s%5s  %-6s%10s %12s %17s%8s%9s\n", "operation", "group", "ranks", "link", "alpha, us", "beta, ns",
           "at largest size", "r2", "worst");
    for (int i = 0; i < FSMOE_PROFILE_OPS; i++) print_operation(&r->ops[i]);
    printf("\n%-30s%8s%12s%16s%12s%9s\n", "task", "a step", "ms each", "size", "ps a unit", "overlap");
    for (int i = 0; i < r->task_count; i++) {
        const fsmoe_profile_task *t = &r->tasks[i];
        printf("%-30s%8d%12.4f%16.0f%12.4g", t->name, t->tasks, 1e3 * t->time_s, t->size, 1e12 * t->time_s / t->size);
        if (t->overlap > 0) printf("%8.2fx\n", t->overlap);
        else printf("%9s\n", "-");
    }
    printf("\n%s\n", path);
}

static void print_products(const fsmoe_products *products, int ranks)
{
    const int threads = products->threads;
    printf("on %d thread%s of %s\n", threads, threads > 1 ? "s" : "",
           ranks > 1 ? "each rank, all at once" : "one rank");
    printf("%-9s%7s%7s%7s", "GFLOP/s", "rows", "out", "in");
    for (int way = 0; way < FSMOE_PRODUCT_WAYS; way++) printf("%10s", fsmoe_product_way(way));
    printf("  fastest\n");
    for (int i = 0; i < products->count; i++) {
        const fsmoe_product *p = &products->items[i];
        printf("%-9s%7lld%7lld%7lld", p->backward ? "backward" : "forward", (long long)p->rows, (long long)p->out,
               (long long)p->in);
        for (int way = 0; way < FSMOE_PRODUCT_WAYS; way++)
            if (p->gflops[way] > 0) printf("%10.1f", p->gflops[way]);
            else printf("%10s", "-");
        printf("  %s\n", fsmoe_product_way(p->chosen));
    }
    const fsmoe_expert_products *e = &products->experts;
    if (e->gflops[0] > 0)
        printf("%lld experts, %lld rows each, weights [%lld, %lld]: in turn %.1f, side by side %.1f  %s\n",
               (long long)e->count, (long long)e->rows, (long long)e->out, (long long)e->in, e->gflops[0], e->gflops[1],
               e->side_by_side ? "side by side" : "in turn");
}

/* Those of rank 0, whose machine stands for all. */
static fsmoe_status profile_products(fsmoe_world *world, fsmoe_config *config, const arguments *a)
{
    static fsmoe_products products;
    fsmoe_status status = fsmoe_profile_products(world, config, a->options.budget_s, &products);
    if (status == FSMOE_OK && fsmoe_world_rank(world) == 0) print_products(&products, fsmoe_world_size(world));
    return status;
}

static fsmoe_status profile(fsmoe_world *world, const arguments *a)
{
    fsmoe_config *config = NULL;
    fsmoe_profile_result result;
    fsmoe_status status = fsmoe_world_agree(world, config_source_load(&a->source, world, &config));
    if (status == FSMOE_OK && a->gemm) status = profile_products(world, config, a);
    else if (status == FSMOE_OK) status = fsmoe_profile(world, config, &a->options, a->out, &result);
    fsmoe_config_destroy(config);
    if (status != FSMOE_OK || a->gemm || fsmoe_world_rank(world) != 0) return status;
    progress_end_line(a->options.user);
    print_result(&result, a->out);
    return FSMOE_OK;
}

int command_profile(int argc, char **argv)
{
    static const struct argp argp = {options,
                                     parse,
                                     "[CONFIG.yaml]",
                                     "Measures what operations cost on these ranks, in the layout and for the model of "
                                     "CONFIG.yaml (default: the defaults), and writes a cluster file; under mpirun, on "
                                     "all ranks.",
                                     0,
                                     0,
                                     0};
    progress shown = {0};
    arguments a = {.options = {.on_message = progress_on_message, .on_progress = on_progress, .user = &shown}};
    fsmoe_world *world;
    command_parse(&argp, argc, argv, &a);
    int exit_code = launch_world(a.alone, &world);
    if (exit_code != 0) return exit_code;
    fsmoe_status status = profile(world, &a);
    progress_end_line(&shown);
    exit_code = fsmoe_status_exit_code(status);
    if (status != FSMOE_OK && (fsmoe_world_rank(world) == 0 || status == FSMOE_ERROR_COMM)) command_fail(status);
    if (status == FSMOE_ERROR_COMM) fsmoe_world_abort(world, exit_code);
    fsmoe_world_destroy(world);
    return exit_code;
}
