/* fsmoe plan MODEL.yaml --cluster C.json: how a step is best cut and overlapped. */
#include "command.h"
#include "plan_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_JSON = 1000, KEY_OUT, KEY_EXPLAIN, KEY_LAYER, KEY_PAPER, KEY_CHECK };
enum { MOST_SCHEDULES = 32 };

static const double GB = 1e9;

typedef struct arguments {
    plan_source source;
    const char *out, *layer, *check;
    bool json, explain;
} arguments;

static const struct argp_option options[] = {
    PLAN_SOURCE_OPTIONS,
    {"paper", KEY_PAPER, NULL, 0, "fsmoe chooses degrees as the paper does, not by exact search", 0},
    {"explain", KEY_EXPLAIN, NULL, 0, "Say why these degrees", 0},
    {"json", KEY_JSON, NULL, 0, "Print JSON", 0},
    {"out", KEY_OUT, "PLAN", 0, "Write the plan to a file", 0},
    {"layer", KEY_LAYER, "LAYER.yaml", 0, "Plan one MoE layer instead of a model", 0},
    {"check", KEY_CHECK, "PLAN", 0, "Verify a plan file instead of planning", 0},
    {0},
};

/* What a mode does not use is refused, not ignored. */
static void check_unused(const arguments *a, struct argp_state *state)
{
    const plan_source *s = &a->source;
    bool places = s->options.nodes || s->options.ranks_per_node || s->config.count > 0;
    bool plans = s->options.cluster || s->schedule || s->options.paper || a->json || a->explain || a->out || places;
    if (a->check && (s->config.path || a->layer || plans)) argp_error(state, "--check takes the plan file alone");
    if (a->layer && s->config.path) argp_error(state, "--layer plans one layer, not also '%s'", s->config.path);
    if (a->layer && a->out) argp_error(state, "--out writes the plan of a model, not of a layer");
    if (a->layer && places) argp_error(state, "--layer has its own sizes: no --nodes, --ranks-per-node or --set");
    if (s->options.paper && s->schedule && strcmp(s->schedule, "fsmoe") != 0)
        argp_error(state, "--paper is about schedule fsmoe, not '%s'", s->schedule);
}

static void check_arguments(const arguments *a, struct argp_state *state)
{
    check_unused(a, state);
    if (a->check) return;
    command_require(state, "--cluster", a->source.options.cluster);
    if (!a->layer) command_require(state, "MODEL.yaml", a->source.config.path);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_PAPER:
        a->source.options.paper = true;
        return 0;
    case KEY_EXPLAIN:
        a->explain = true;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case KEY_OUT:
        a->out = value;
        return 0;
    case KEY_LAYER:
        a->layer = value;
        return 0;
    case KEY_CHECK:
        a->check = value;
        return 0;
    case ARGP_KEY_END:
        check_arguments(a, state);
        return 0;
    default:
        return plan_source_parse(&a->source, "MODEL.yaml", key, value, state);
    }
}

/* ---- one layer ---- */

static void print_direction(const char *name, const fsmoe_layer_direction *d, const char *end)
{
    printf("  \"%s\": {\"degree\": %d, \"makespan_ms\": %.12g, \"lower_bound_ms\": %.12g, \"gap\": %.6g, \"binding\": "
           "\"%s\"}%s\n",
           name, d->degree, 1e3 * d->makespan_s, 1e3 * d->lower_bound_s, d->gap, d->binding, end);
}

static void print_line(const char *name, const fsmoe_layer_direction *d)
{
    printf("%-9s degree %3d  %10.3f ms  bound %10.3f ms  gap %6.3f %%  %s binds\n", name, d->degree,
           1e3 * d->makespan_s, 1e3 * d->lower_bound_s, 100 * d->gap, d->binding);
}

static fsmoe_status plan_layer(const arguments *a)
{
    fsmoe_layer_plan plan;
    char *why = NULL;
    const char *schedule = a->source.schedule ? a->source.schedule : "fsmoe";
    if (a->source.options.paper && strcmp(schedule, "fsmoe") == 0) schedule = "fsmoe-paper";
    fsmoe_status status =
        fsmoe_plan_layer(a->layer, a->source.options.cluster, schedule, &plan, a->explain ? &why : NULL);
    if (status != FSMOE_OK) return status;
    if (a->json) {
        printf("{\n  \"schedule\": \"%s\",\n", schedule);
        print_direction("forward", &plan.forward, ",");
        print_direction("backward", &plan.backward, "");
        printf("}\n");
    } else {
        print_line("forward", &plan.forward);
        print_line("backward", &plan.backward);
    }
    if (why) fprintf(a->json ? stderr : stdout, "%s", why);
    free(why);
    return FSMOE_OK;
}

/* ---- a model ---- */

/* The plans of all schedules asked for. */
typedef struct plans {
    fsmoe_plan *of[MOST_SCHEDULES];
    int count;
    fsmoe_memory memory; /* of a step in one lane */
} plans;

static fsmoe_status make_plans(const arguments *a, plans *made)
{
    for (int i = 0; fsmoe_schedule_name(i) && made->count < MOST_SCHEDULES; i++) {
        const char *name = a->source.schedule ? a->source.schedule : fsmoe_schedule_name(i);
        fsmoe_status status = plan_source_create(&a->source, name, &made->of[made->count], &made->memory);
        if (status != FSMOE_OK) return status;
        made->count++;
        if (a->source.schedule) break;
    }
    return FSMOE_OK;
}

static fsmoe_plan *find_plan(const plans *made, const char *schedule)
{
    for (int i = 0; i < made->count; i++) {
        fsmoe_plan_summary s;
        fsmoe_plan_summarize(made->of[i], &s);
        if (strcmp(s.schedule, schedule) == 0) return made->of[i];
    }
    return NULL;
}

static double step_of(const plans *made, const char *schedule)
{
    fsmoe_plan_summary s;
    const fsmoe_plan *plan = find_plan(made, schedule);
    if (!plan) return 0;
    fsmoe_plan_summarize(plan, &s);
    return s.step_s;
}

static void print_range(char *text, size_t size, int least, int most)
{
    if (least == most) snprintf(text, size, "%d", least);
    else snprintf(text, size, "%d-%d", least, most);
}

/* The degrees of the layers with experts: "4/2 x 24", or "4/1-3 x 24" where they differ; --json has each. */
static void degrees_of(const fsmoe_plan *plan, int layers, char *text, size_t size)
{
    int least[2] = {0, 0}, most[2] = {0, 0}, count = 0;
    char ranges[2][32];
    for (int i = 0; i < layers; i++) {
        int degree[2];
        fsmoe_plan_degrees(plan, i, &degree[0], &degree[1]);
        if (degree[0] == 0) continue;
        for (int phase = 0; phase < 2; phase++) {
            if (count == 0 || degree[phase] < least[phase]) least[phase] = degree[phase];
            if (degree[phase] > most[phase]) most[phase] = degree[phase];
        }
        count++;
    }
    for (int phase = 0; phase < 2; phase++) print_range(ranges[phase], sizeof ranges[phase], least[phase], most[phase]);
    if (count == 0) snprintf(text, size, "-");
    else snprintf(text, size, "%s/%s x %d", ranges[0], ranges[1], count);
}

static void ratio(double baseline_s, double step_s, char text[16])
{
    if (baseline_s > 0 && step_s > 0) snprintf(text, 16, "%.3fx", baseline_s / step_s);
    else snprintf(text, 16, "-");
}

static void print_memory(const fsmoe_memory *m)
{
    char kinds[512];
    fsmoe_memory_describe(m, kinds, sizeof kinds);
    printf("in one lane a rank takes %s\n", kinds);
}

static void print_row(const plans *made, const fsmoe_plan *plan)
{
    char over_dsmoe[16], over_tutel[16], degrees[128];
    fsmoe_plan_summary s;
    fsmoe_plan_summarize(plan, &s);
    ratio(step_of(made, "dsmoe"), s.step_s, over_dsmoe);
    ratio(step_of(made, "tutel"), s.step_s, over_tutel);
    degrees_of(plan, s.layers, degrees, sizeof degrees);
    printf("%-16s %12.3f %10s %10s %9.3f %12.3f %7.2f%%  %-8s %5d %5d %8.3f  %s\n", s.schedule, 1e3 * s.step_s,
           over_dsmoe, over_tutel, s.step_over_load, 1e3 * s.lower_bound_s, 100 * s.gap, s.binding, s.lanes, s.parts,
           (double)s.memory_bytes / GB, degrees);
}

static void print_table(const plans *made)
{
    fsmoe_plan_summary s;
    fsmoe_plan_summarize(made->of[0], &s);
    printf("%d layers, %d with experts, on %d ranks of %d nodes\n", s.layers, s.moe_layers, s.ranks, s.nodes);
    print_memory(&made->memory);
    printf("uncut, its tasks are %.3f ms of compute, %.3f ms of the intra-node link, %.3f ms of the inter-node link\n",
           1e3 * s.load_s[0], 1e3 * s.load_s[1], 1e3 * s.load_s[2]);
    printf("%-16s %12s %10s %10s %9s %12s %8s  %-8s %5s %5s %8s  %s\n", "schedule", "step, ms", "over dsmoe",
           "over tutel", "step/load", "bound, ms", "gap", "binds", "lanes", "parts", "GB",
           "degrees forward/backward x layers");
    for (int i = 0; i < made->count; i++) print_row(made, made->of[i]);
}

static fsmoe_status print_json(const plans *made)
{
    const fsmoe_memory *m = &made->memory;
    printf("{\"schedules\": [\n");
    for (int i = 0; i < made->count; i++) {
        char *text;
        fsmoe_status status = fsmoe_plan_to_json(made->of[i], &text);
        if (status != FSMOE_OK) return status;
        printf("%s%s\n", text, i + 1 < made->count ? "," : "");
        free(text);
    }
    printf("], \"memory_bytes\": {\"parameters\": %lld, \"gradients\": %lld, \"optimizer\": %lld, \"saved\": "
           "%lld, \"staging\": %lld, \"packed\": %lld, \"workspace\": %lld, \"host_tables\": %lld, \"worst_more\": "
           "%lld}}\n",
           (long long)m->parameters, (long long)m->gradients, (long long)m->optimizer, (long long)m->saved,
           (long long)m->staging, (long long)m->packed, (long long)m->workspace, (long long)m->host_tables,
           (long long)m->worst_more);
    return FSMOE_OK;
}

static fsmoe_status explain_all(const plans *made, bool json)
{
    for (int i = 0; i < made->count; i++) {
        char *text;
        fsmoe_status status = fsmoe_plan_explain(made->of[i], &text);
        if (status != FSMOE_OK) return status;
        fprintf(json ? stderr : stdout, "\n%s", text);
        free(text);
    }
    return FSMOE_OK;
}

static fsmoe_status write_plan(const arguments *a, const plans *made)
{
    char sentence[4096];
    const char *name = a->source.schedule ? a->source.schedule : "fsmoe-lanes";
    const fsmoe_plan *plan = a->source.schedule ? made->of[0] : find_plan(made, name);
    fsmoe_status status = fsmoe_plan_write(plan, a->out);
    snprintf(sentence, sizeof sentence, "plan of %s in %s", name, a->out);
    if (status == FSMOE_OK) command_note(sentence);
    return status;
}

static fsmoe_status plan_model(const arguments *a)
{
    plans made = {.count = 0};
    fsmoe_status status = a->out ? fsmoe_can_write(a->out) : FSMOE_OK;
    if (status == FSMOE_OK) status = make_plans(a, &made);
    if (status == FSMOE_OK) plan_source_warn(made.of[0]);
    if (status == FSMOE_OK && a->json) status = print_json(&made);
    else if (status == FSMOE_OK) print_table(&made);
    if (status == FSMOE_OK && a->explain) status = explain_all(&made, a->json);
    if (status == FSMOE_OK && a->out) status = write_plan(a, &made);
    for (int i = 0; i < made.count; i++) fsmoe_plan_destroy(made.of[i]);
    return status;
}

static fsmoe_status check_plan(const arguments *a)
{
    fsmoe_plan *plan = NULL;
    fsmoe_plan_summary s;
    fsmoe_status status = fsmoe_plan_read(a->check, &plan);
    if (status == FSMOE_OK) status = fsmoe_plan_check(plan);
    if (status == FSMOE_OK) {
        fsmoe_plan_summarize(plan, &s);
        printf("%s: %s, %d tasks, %.3f ms, at most %.3f %% above the best: all claims hold\n", a->check, s.schedule,
               s.tasks, 1e3 * s.step_s, 100 * s.gap);
    }
    fsmoe_plan_destroy(plan);
    return status;
}

int command_plan(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse, "[MODEL.yaml]", "Compares schedules of a model's training step on a cluster.", 0, 0, 0};
    arguments a = {0};
    command_parse(&argp, argc, argv, &a);
    fsmoe_status status = a.check ? check_plan(&a) : a.layer ? plan_layer(&a) : plan_model(&a);
    return status == FSMOE_OK ? 0 : command_fail(status);
}
