/* Plans for programs outside: <fsmoe/plan.h> but for what draws. */
#include "plan/public.h"

#include "base/json.h"
#include "base/print.h"
#include "plan/check.h"
#include "plan/explain.h"
#include "plan/explain_step.h"
#include "plan/model_step.h"
#include "plan/schedule/paper.h"
#include "plan/step_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *fsmoe_schedule_name(int index)
{
    for (int i = 0; i <= index; i++)
        if (index < 0 || !fsm_schedules[i]) return NULL;
    return fsm_schedules[index]->name;
}

static fsmoe_status find_schedule(const char *name, bool paper, const fsm_schedule **schedule)
{
    FSM_TRY(fsm_schedule_named(name, schedule));
    if (*schedule == &fsm_schedule_fsmoe && paper) *schedule = &fsm_schedule_fsmoe_paper;
    return FSMOE_OK;
}

/* ---- a step ---- */

/* What was asked for, else the configuration's, else the cluster file's. */
static fsmoe_status count_ranks(const fsmoe_config *c, const fsmoe_plan_options *o, fsmoe_plan *plan)
{
    const fsmoe_parallel_config *p = &c->parallel;
    plan->nodes = o->nodes > 0 ? o->nodes : p->nodes > 0 ? (int)p->nodes : plan->cluster.nodes;
    plan->ranks_per_node = o->ranks_per_node > 0   ? o->ranks_per_node
                           : p->ranks_per_node > 0 ? (int)p->ranks_per_node
                                                   : plan->cluster.ranks_per_node;
    if (plan->nodes > 0 && plan->ranks_per_node > 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG,
                    "neither the command, parallel.nodes and parallel.ranks_per_node nor '%s' say how many "
                    "nodes and ranks there are",
                    o->cluster);
}

/* What a collective costs is of the group and the link that its layout gave it. */
static void compare_layouts(const fsm_step_shape *shape, fsmoe_plan *plan)
{
    char costs[FSM_CLUSTER_LAYOUT_BYTES], planned[FSM_CLUSTER_LAYOUT_BYTES];
    const fsm_cluster here = {.nodes = plan->nodes,
                              .ranks_per_node = plan->ranks_per_node,
                              .ep_size = shape->group_size[FSM_GROUP_EP],
                              .esp_size = shape->group_size[FSM_GROUP_ESP],
                              .mp_size = shape->group_size[FSM_GROUP_MP]};
    if (fsm_cluster_same_layout(&plan->cluster, &here)) return;
    fsm_cluster_print_layout(&plan->cluster, costs);
    fsm_cluster_print_layout(&here, planned);
    snprintf(plan->other_layout, sizeof plan->other_layout, "the costs are of %s, the plan is for %s", costs, planned);
}

static fsmoe_status fill(fsmoe_config *config, const fsmoe_plan_options *options, const char *schedule,
                         fsmoe_plan *plan)
{
    const fsm_schedule *chosen;
    fsm_step_shape shape;
    FSM_TRY(find_schedule(schedule, options->paper, &chosen));
    FSM_TRY(fsm_cluster_read(options->cluster, &plan->cluster));
    FSM_TRY(count_ranks(config, options, plan));
    FSM_TRY(fsm_step_of_config(config, plan->nodes, plan->ranks_per_node, &shape));
    compare_layouts(&shape, plan);
    return fsm_plan_create(&shape, &plan->cluster, chosen, &plan->plan);
}

fsmoe_status fsmoe_plan_create(fsmoe_config *config, const fsmoe_plan_options *options, const char *schedule,
                               fsmoe_plan **plan)
{
    *plan = calloc(1, sizeof **plan);
    if (!*plan) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a plan");
    fsmoe_status status = fill(config, options, schedule, *plan);
    if (status == FSMOE_OK) return status;
    fsmoe_plan_destroy(*plan);
    *plan = NULL;
    return status;
}

void fsmoe_plan_destroy(fsmoe_plan *plan)
{
    if (!plan) return;
    fsm_plan_destroy(&plan->plan);
    fsm_cluster_destroy(&plan->cluster);
    free(plan->path);
    free(plan);
}

fsmoe_status fsmoe_plan_write(const fsmoe_plan *plan, const char *path)
{
    return fsm_plan_write(&plan->plan, &plan->cluster, path);
}

fsmoe_status fsmoe_plan_read(const char *path, fsmoe_plan **plan)
{
    *plan = calloc(1, sizeof **plan);
    if (!*plan) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a plan");
    (*plan)->path = strdup(path);
    fsmoe_status status = (*plan)->path ? fsm_plan_read(path, &(*plan)->plan, &(*plan)->cluster)
                                        : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a plan");
    if (status == FSMOE_OK) return status;
    fsmoe_plan_destroy(*plan);
    *plan = NULL;
    return status;
}

fsmoe_status fsmoe_plan_check(const fsmoe_plan *plan)
{
    fsmoe_status status = fsm_plan_check(&plan->plan, &plan->cluster);
    return status == FSMOE_OK || !plan->path ? status : fsm_fail_within(status, "plan '%s'", plan->path);
}

static int count_kind(const fsm_graph *graph, fsm_task_kind kind)
{
    int n = 0;
    for (int i = 0; i < graph->count; i++) n += graph->tasks[i].kind == kind;
    return n;
}

void fsmoe_plan_summarize(const fsmoe_plan *plan, fsmoe_plan_summary *summary)
{
    const fsm_plan *p = &plan->plan;
    const fsm_certificate *c = &p->certificate;
    *summary = (fsmoe_plan_summary){
        .schedule = p->schedule,
        .step_s = p->timeline.makespan_s,
        .lower_bound_s = c->bound.seconds,
        .gap = fsm_gap(p->timeline.makespan_s, c->bound.seconds),
        .binding = c->bound.binding,
        .order_bound_s = c->order_bound.seconds,
        .layers = p->shape.num_layers,
        .moe_layers = p->shape.num_layers / p->shape.moe_every,
        .tasks = p->graph.count,
        .allreduces = count_kind(&p->graph, FSM_TASK_ALLREDUCE),
        .nodes = plan->nodes,
        .ranks = plan->nodes * plan->ranks_per_node,
        .cluster_nodes = plan->cluster.nodes,
        .other_layout = plan->other_layout[0] ? plan->other_layout : NULL,
        .cluster_ranks = plan->cluster.nodes * plan->cluster.ranks_per_node,
        .lanes = fsm_graph_lanes(&p->graph),
        .memory_bytes = fsm_step_bytes(&p->shape, (fsm_lanes){p->graph.lanes, p->graph.parts, p->graph.spare}),
        .parts = fsm_graph_parts(&p->graph),
        .step_over_load = fsm_over_load(p->timeline.makespan_s, c->load_s),
    };
    memcpy(summary->load_s, c->load_s, sizeof summary->load_s);
    for (int i = 0; i < p->graph.count; i++)
        if (p->timeline.makespan_s > 0)
            summary->busy[p->graph.tasks[i].resource] +=
                (p->timeline.end_s[i] - p->timeline.start_s[i]) / p->timeline.makespan_s;
}

void fsmoe_plan_degrees(const fsmoe_plan *plan, int layer, int *forward, int *backward)
{
    *forward = plan->plan.degree[layer][FSM_FORWARD];
    *backward = plan->plan.degree[layer][FSM_BACKWARD];
}

static json_t *layers_json(const fsmoe_plan *plan, int layers, bool *failed)
{
    json_t *list = json_array();
    for (int i = 0; i < layers; i++) {
        int forward, backward;
        fsmoe_plan_degrees(plan, i, &forward, &backward);
        if (forward == 0) continue;
        json_t *layer = json_object();
        fsm_json_set(layer, "layer", json_integer(i), failed);
        fsm_json_set(layer, "forward_degree", json_integer(forward), failed);
        fsm_json_set(layer, "backward_degree", json_integer(backward), failed);
        fsm_json_append(list, layer, failed);
    }
    return list;
}

/* A number a resource, `unit` times as large. */
static json_t *resources_json(const double values[FSM_RESOURCE_COUNT], double unit, bool *failed)
{
    json_t *json = json_object();
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        fsm_json_set(json, fsm_resource_name((fsm_resource)r), json_real(unit * values[r]), failed);
    return json;
}

fsmoe_status fsmoe_plan_to_json(const fsmoe_plan *plan, char **text)
{
    fsmoe_plan_summary s;
    bool failed = false;
    json_t *root = json_object();
    fsmoe_plan_summarize(plan, &s);
    fsm_json_set(root, "schedule", json_string(s.schedule), &failed);
    fsm_json_set(root, "step_ms", json_real(1e3 * s.step_s), &failed);
    fsm_json_set(root, "lower_bound_ms", json_real(1e3 * s.lower_bound_s), &failed);
    fsm_json_set(root, "gap", json_real(s.gap), &failed);
    fsm_json_set(root, "binding", json_string(s.binding), &failed);
    fsm_json_set(root, "order_bound_ms", json_real(1e3 * s.order_bound_s), &failed);
    fsm_json_set(root, "tasks", json_integer(s.tasks), &failed);
    fsm_json_set(root, "allreduces", json_integer(s.allreduces), &failed);
    fsm_json_set(root, "lanes", json_integer(s.lanes), &failed);
    if (s.memory_bytes > 0) fsm_json_set(root, "memory_bytes", json_integer(s.memory_bytes), &failed);
    fsm_json_set(root, "parts", json_integer(s.parts), &failed);
    fsm_json_set(root, "load_ms", resources_json(s.load_s, 1e3, &failed), &failed);
    fsm_json_set(root, "step_over_load", json_real(s.step_over_load), &failed);
    fsm_json_set(root, "busy", resources_json(s.busy, 1, &failed), &failed);
    fsm_json_set(root, "layers", layers_json(plan, s.layers, &failed), &failed);
    return fsm_json_text(root, failed, JSON_INDENT(1) | JSON_REAL_PRECISION(12), "a plan", text);
}

/* A layer by itself; with several lanes that is not what was planned. */
static fsmoe_status explain_layer(const fsmoe_plan *plan, int layer, FILE *out)
{
    const fsm_plan *p = &plan->plan;
    fsm_freedom freedom = fsm_step_freedom(&p->shape, p->freedom);
    for (int phase = 0; phase < 2; phase++) {
        fsm_window window = fsm_step_moe_window(&p->shape, &plan->cluster, (fsm_phase)phase);
        char title[96];
        snprintf(title, sizeof title, "%s, %s of an MoE layer without gradients", p->schedule,
                 fsm_phase_name((fsm_phase)phase));
        FSM_TRY(fsm_window_explain(&window, freedom, p->degree[layer][phase], title, out));
    }
    return FSMOE_OK;
}

static fsmoe_status explain(const fsmoe_plan *plan, FILE *out)
{
    const fsm_plan *p = &plan->plan;
    int layer = (int)p->shape.moe_every - 1; /* the first with experts */
    bool has_experts = layer < p->shape.num_layers;
    if (!has_experts) fprintf(out, "no layer has experts: nothing is cut\n");
    else if (fsm_graph_lanes(&p->graph) == 1) FSM_TRY(explain_layer(plan, layer, out));
    FSM_TRY(fsm_plan_explain_waits(p, out));
    bool others = has_experts && p->freedom.lanes && !p->freedom.one_stream; /* lanes are searched for on all streams */
    return others ? fsm_plan_explain_lanes(p, &plan->cluster, layer, out) : FSMOE_OK;
}

fsmoe_status fsmoe_plan_explain(const fsmoe_plan *plan, char **text)
{
    fsm_print print;
    *text = NULL;
    FSM_TRY(fsm_print_begin(&print));
    fsmoe_status status = explain(plan, print.out);
    return fsm_print_end(&print, status, "an explanation", text);
}

fsmoe_status fsmoe_plan_simulate(fsmoe_plan *plan, const fsmoe_rank_class *classes, int n_classes, bool by_priority,
                                 double *makespan_s)
{
    fsm_plan *p = &plan->plan;
    fsm_timeline timeline;
    if (n_classes == 0) {
        FSM_TRY(fsm_simulate(&p->graph, p->seconds, by_priority ? FSM_BY_PRIORITY : FSM_IN_ORDER, &timeline));
    } else {
        int64_t ranks = 0;
        for (int i = 0; i < n_classes; i++) ranks += classes[i].ranks;
        if (by_priority)
            return fsm_fail(FSMOE_ERROR_CONFIG, "classes of ranks are simulated in order, not by priority");
        if (ranks != p->shape.group_size[FSM_GROUP_WORLD])
            return fsm_fail(FSMOE_ERROR_CONFIG, "the classes have %lld ranks together, the plan is for %d",
                            (long long)ranks, p->shape.group_size[FSM_GROUP_WORLD]);
        fsm_rank_class *internal = malloc(sizeof *internal * (size_t)n_classes);
        if (!internal) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for classes of ranks");
        for (int i = 0; i < n_classes; i++)
            internal[i] = (fsm_rank_class){classes[i].name,
                                           classes[i].ranks,
                                           {classes[i].compute, classes[i].intra, classes[i].inter}};
        fsmoe_status status =
            fsm_simulate_classes(&p->graph, p->seconds, NULL, internal, n_classes, &timeline, makespan_s);
        free(internal);
        FSM_TRY(status);
    }
    fsm_timeline_destroy(&p->timeline);
    p->timeline = timeline;
    return FSMOE_OK;
}
