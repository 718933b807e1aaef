#include "plan/bound.h"

#include "plan/schedule.h"

#include <math.h>
#include <stdlib.h>

static void raise(fsm_bound *bound, double seconds, const char *binding)
{
    if (seconds > bound->seconds) *bound = (fsm_bound){seconds, binding};
}

/* ---- of a graph ---- */

/* heads: the longest path to a task's start; tails: from its end. */
static void find_paths(const fsm_graph *graph, const double *seconds, double *heads, double *tails)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        heads[i] = tails[i] = 0;
        for (int e = t->after_first; e < t->after_first + t->after_count; e++)
            heads[i] = fmax(heads[i], heads[graph->edges[e]] + seconds[graph->edges[e]]);
    }
    for (int i = graph->count - 1; i >= 0; i--) {
        const fsm_task *t = &graph->tasks[i];
        for (int e = t->after_first; e < t->after_first + t->after_count; e++) {
            double *tail = &tails[graph->edges[e]];
            *tail = fmax(*tail, seconds[i] + tails[i]);
        }
    }
}

fsmoe_status fsm_bound_graph(const fsm_graph *graph, const double *seconds, fsm_bound *bound)
{
    *bound = (fsm_bound){0, "path"};
    double *heads = malloc(sizeof *heads * ((size_t)graph->count + 1));
    double *tails = malloc(sizeof *tails * ((size_t)graph->count + 1));
    if (!heads || !tails) {
        free(heads);
        free(tails);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to bound %d tasks", graph->count);
    }
    find_paths(graph, seconds, heads, tails);
    for (int i = 0; i < graph->count; i++) raise(bound, heads[i] + seconds[i] + tails[i], "path");
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        double head = INFINITY, load = 0, tail = INFINITY;
        for (int i = 0; i < graph->count; i++) {
            if (graph->tasks[i].resource != (fsm_resource)r || seconds[i] == 0) continue;
            head = fmin(head, heads[i]);
            tail = fmin(tail, tails[i]);
            load += seconds[i];
        }
        if (load > 0) raise(bound, head + load + tail, fsm_resource_name((fsm_resource)r));
    }
    free(heads);
    free(tails);
    return FSMOE_OK;
}

/* ---- of a step, whatever its degrees ---- */

/* The least time of a load, in however many launches of one or more. */
static double least_s(const fsm_load *load)
{
    if (load->launches == 0) return 0;
    const fsm_line *line = load->cost.line;
    double alpha_s = line[0].alpha_s, beta_s = line[0].beta_s;
    if (load->cost.large_from > 0) alpha_s = fmin(alpha_s, line[1].alpha_s), beta_s = fmin(beta_s, line[1].beta_s);
    return alpha_s * load->launches + beta_s * load->size;
}

/* The step as it goes through a plain graph: `now_s` is the bound of the chain so far. */
typedef struct walk {
    const fsm_step_shape *shape;
    const fsm_cluster *cluster;
    fsm_freedom freedom;
    fsm_window_plan moe[2];
    double update_s;                       /* after the last gradient has arrived: norm and optimizer */
    double moe_link_s[FSM_RESOURCE_COUNT]; /* least load of one MoE layer's backward */
    fsm_bound *bound;
} walk;

static bool is_chunk(fsm_task_kind kind, bool is_moe)
{
    return is_moe && (kind == FSM_TASK_A2A_DISPATCH || kind == FSM_TASK_ALLGATHER || kind == FSM_TASK_EXPERT ||
                      kind == FSM_TASK_WEIGHT_GRAD || kind == FSM_TASK_REDUCESCATTER || kind == FSM_TASK_A2A_COMBINE);
}

static fsm_load allreduce_of(const walk *w, double elems)
{
    return (fsm_load){w->cluster->op[FSM_COST_ALLREDUCE].cost, elems > 0, elems};
}

static fsm_resource link_of_region(const walk *w, int region)
{
    return w->shape->link[w->freedom.one_stream ? FSM_GROUP_EP : w->shape->regions[region].group];
}

/* Gradients of a region that are finished in `layer`'s backward or later; -1: at the end of backward. */
static double elems_from(const walk *w, int region, int layer)
{
    const fsm_step_shape *s = w->shape;
    double elems = 0;
    if (s->group_size[s->regions[region].group] == 1) return 0;
    if (s->gradient_count == 0) return (double)(s->regions[region].last - s->regions[region].first);
    for (int i = 0; i < s->gradient_count; i++) {
        const fsm_gradient *g = &s->gradients[i];
        bool late = g->layer < 0 ? g->after == FSM_TASK_EMBEDDING || layer >= s->num_layers : g->layer <= layer;
        if (g->region == region && late) elems += (double)(g->last - g->first);
    }
    return elems;
}

/* From now on each link has to carry the all-to-alls of layers 0 … layer and the gradients that they finish. */
static void bound_links(walk *w, double now_s, int layer, int moe_layers)
{
    double load_s[FSM_RESOURCE_COUNT] = {0};
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) load_s[r] = moe_layers * w->moe_link_s[r];
    for (int i = 0; i < w->shape->region_count; i++) {
        fsm_load rest = allreduce_of(w, elems_from(w, i, layer));
        load_s[link_of_region(w, i)] += least_s(&rest);
    }
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (load_s[r] > 0) raise(w->bound, now_s + load_s[r] + w->update_s, fsm_resource_name((fsm_resource)r));
}

static void describe_links(walk *w)
{
    static const fsm_group groups[FSM_STAGE_COUNT] = {FSM_GROUP_EP,    FSM_GROUP_ESP, FSM_GROUP_WORLD,
                                                      FSM_GROUP_WORLD, FSM_GROUP_ESP, FSM_GROUP_EP};
    fsm_window backward = fsm_step_moe_window(w->shape, w->cluster, FSM_BACKWARD);
    for (int i = 0; i < FSM_STAGE_COUNT; i++) {
        bool compute = groups[i] == FSM_GROUP_WORLD;
        fsm_group group = w->freedom.one_stream ? FSM_GROUP_EP : groups[i];
        w->moe_link_s[compute ? FSM_COMPUTE : w->shape->link[group]] += least_s(&backward.stage[i]);
    }
}

/* One MoE layer counts once, when its first chunk task comes. */
static double chain_s(const walk *w, const fsm_graph *graph, const double *seconds, int i)
{
    const fsm_task *t = &graph->tasks[i], *before = i > 0 ? t - 1 : NULL;
    bool is_moe = t->layer >= 0 && fsm_layer_is_moe(w->shape->moe_every, t->layer);
    if (!is_chunk(t->kind, is_moe)) return seconds[i];
    bool first = !before || !is_chunk(before->kind, is_moe) || before->layer != t->layer || before->phase != t->phase;
    return first ? w->moe[t->phase].bound_s : 0;
}

static void walk_graph(walk *w, const fsm_graph *graph, const double *seconds)
{
    const fsm_step_shape *s = w->shape;
    double now_s = 0;
    int moe_layers = s->num_layers / s->moe_every;
    for (int i = 0; i < graph->count; i++)
        if (graph->tasks[i].kind == FSM_TASK_GRAD_NORM || graph->tasks[i].kind == FSM_TASK_OPTIMIZER)
            w->update_s += seconds[i];
    for (int i = 0; i < graph->count && graph->tasks[i].phase != FSM_UPDATE; i++) {
        const fsm_task *t = &graph->tasks[i];
        bool last = t->phase == FSM_BACKWARD && t->micro == s->micro_batches - 1;
        bool enters = last && t->layer >= 0 && graph->tasks[i - 1].layer != t->layer;
        if (enters) bound_links(w, now_s, t->layer, s->moe_every > 0 ? (t->layer + 1) / s->moe_every : moe_layers);
        now_s += chain_s(w, graph, seconds, i);
        if (last && t->kind == FSM_TASK_HEAD) bound_links(w, now_s, s->num_layers, moe_layers);
    }
    raise(w->bound, now_s + w->update_s, "path");
    if (s->training) bound_links(w, now_s, -1, 0);
}

fsmoe_status fsm_bound_step(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_freedom freedom,
                            fsm_bound *bound)
{
    fsm_graph graph;
    walk w = {.shape = shape, .cluster = cluster, .freedom = fsm_step_freedom(shape, freedom), .bound = bound};
    *bound = (fsm_bound){0, "path"};
    for (int phase = 0; phase < 2; phase++) {
        fsm_window layer = fsm_step_moe_window(shape, cluster, (fsm_phase)phase);
        FSM_TRY(fsm_window_best(&layer, w.freedom, &w.moe[phase]));
    }
    describe_links(&w);
    FSM_TRY(fsm_schedule_in_order(shape, 1, 1, &graph));
    double *seconds = malloc(sizeof *seconds * ((size_t)graph.count + 1));
    fsmoe_status status =
        seconds ? fsm_cost_graph(&graph, cluster, seconds) : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to bound a step");
    if (status == FSMOE_OK) walk_graph(&w, &graph, seconds);
    free(seconds);
    fsm_graph_destroy(&graph);
    return status;
}
