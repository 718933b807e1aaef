#include "plan/bound.h"

#include "plan/bound_lanes.h"
#include "plan/schedule/schedule.h"

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

fsmoe_status fsm_bound_cut_graph(const fsm_graph *graph, const double *seconds, const double *least_s, fsm_bound *bound)
{
    *bound = (fsm_bound){0, "path"};
    double *heads = malloc(sizeof *heads * ((size_t)graph->count + 1));
    double *tails = malloc(sizeof *tails * ((size_t)graph->count + 1));
    if (!heads || !tails) {
        free(heads);
        free(tails);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to bound %d tasks", graph->count);
    }
    find_paths(graph, least_s, heads, tails);
    for (int i = 0; i < graph->count; i++) raise(bound, heads[i] + least_s[i] + tails[i], "path");
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

fsmoe_status fsm_bound_graph(const fsm_graph *graph, const double *seconds, fsm_bound *bound)
{
    return fsm_bound_cut_graph(graph, seconds, seconds, bound);
}

/* ---- of a step, whatever its degrees ---- */

/* The least time of a load, in however many launches of one or more. */
static double least_s(const fsm_load *load)
{
    if (load->launches == 0) return 0;
    fsm_line least = fsm_cost_least(&load->cost);
    return least.alpha_s * load->launches + least.beta_s * load->size;
}

/* The step as it goes through a plain graph: `now_s` is the bound of the chain so far. */
typedef struct walk {
    const fsm_step_shape *shape;
    const fsm_cluster *cluster;
    fsm_freedom freedom;
    fsm_window_plan moe[2];
    double update_s;                         /* after the last gradient has arrived: norm and optimizer */
    double moe_link_s[FSM_RESOURCE_COUNT];   /* least load of one MoE layer's backward */
    double chain_left_s[FSM_RESOURCE_COUNT]; /* of the last backward, dense work and its collectives still to come */
    double left_elems[3];                    /* of each region, not finished yet */
    fsm_bound *bound;
} walk;

static bool is_chunk(fsm_task_kind kind, bool is_moe)
{
    return is_moe && (kind == FSM_TASK_A2A_DISPATCH || kind == FSM_TASK_ALLGATHER || kind == FSM_TASK_EXPERT ||
                      kind == FSM_TASK_WEIGHT_GRAD || kind == FSM_TASK_REDUCESCATTER || kind == FSM_TASK_A2A_COMBINE);
}

static bool is_finished_by(const fsm_gradient *g, const fsm_task *t)
{
    return g->after == t->kind && g->layer == t->layer;
}

static fsm_load allreduce_of(const walk *w, bool overlapped, double elems)
{
    return (fsm_load){fsm_cost_find(w->cluster, FSM_TASK_ALLREDUCE, FSM_UPDATE, overlapped).cost, elems > 0, elems};
}

static fsm_resource link_of_region(const walk *w, int region)
{
    return w->freedom.one_stream ? fsm_step_stream(w->shape) : w->shape->link[w->shape->regions[region].group];
}

/* From now on each resource has to do its part of so many MoE layers, the gradients that nothing has finished before,
 * and what is left of the chain. */
static void bound_links(walk *w, double now_s, int moe_layers)
{
    double load_s[FSM_RESOURCE_COUNT] = {0};
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) load_s[r] = moe_layers * w->moe_link_s[r] + w->chain_left_s[r];
    for (int i = 0; i < w->shape->region_count; i++) {
        fsm_load rest = allreduce_of(w, true, w->left_elems[i]);
        load_s[link_of_region(w, i)] += least_s(&rest);
    }
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (load_s[r] > 0) raise(w->bound, now_s + load_s[r] + w->update_s, fsm_resource_name((fsm_resource)r));
}

/* A task of the last backward has ended at now_s; what it finished could not be sent before. Experts' weight
 * gradients may be finished before their layer's end, so nothing is said of them but that they are no longer left. */
static void finish(walk *w, const fsm_task *t, double now_s, int moe_layers, bool is_moe)
{
    const fsm_step_shape *s = w->shape;
    bool finishes = false;
    for (int i = 0; i < s->gradient_count; i++) finishes |= is_finished_by(&s->gradients[i], t);
    if (!finishes) return;
    if (!is_chunk(t->kind, is_moe)) bound_links(w, now_s, moe_layers);
    for (int i = 0; i < s->gradient_count; i++) {
        const fsm_gradient *g = &s->gradients[i];
        if (is_finished_by(g, t) && s->group_size[s->regions[g->region].group] > 1)
            w->left_elems[g->region] -= (double)(g->last - g->first);
    }
}

static void describe_links(walk *w)
{
    static const fsm_group groups[FSM_STAGE_COUNT] = {FSM_GROUP_EP,    FSM_GROUP_ESP, FSM_GROUP_WORLD,
                                                      FSM_GROUP_WORLD, FSM_GROUP_ESP, FSM_GROUP_EP};
    fsm_window backward = fsm_step_moe_window(w->shape, w->cluster, FSM_BACKWARD);
    for (int i = 0; i < FSM_STAGE_COUNT; i++) {
        bool compute = groups[i] == FSM_GROUP_WORLD;
        fsm_resource link = w->freedom.one_stream ? fsm_step_stream(w->shape) : w->shape->link[groups[i]];
        w->moe_link_s[compute ? FSM_COMPUTE : link] += least_s(&backward.stage[i]);
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

static bool is_last_backward(const walk *w, const fsm_task *t)
{
    return t->phase == FSM_BACKWARD && t->micro == w->shape->micro_batches - 1;
}

static bool is_moe_task(const walk *w, const fsm_task *t)
{
    return t->layer >= 0 && fsm_layer_is_moe(w->shape->moe_every, t->layer);
}

/* Where a task of the chain runs; its time counts as left until it is passed. */
static double *chain_left(walk *w, const fsm_task *t)
{
    bool moved = w->freedom.one_stream && t->resource != FSM_COMPUTE;
    return &w->chain_left_s[moved ? fsm_step_stream(w->shape) : t->resource];
}

/* What begins when the last gradient has been summed: an early update of the others does not. */
static bool is_after_gradients(const fsm_step_shape *s, const fsm_task *t)
{
    return t->kind == FSM_TASK_GRAD_SQUARES || t->kind == FSM_TASK_GRAD_NORM ||
           (t->kind == FSM_TASK_OPTIMIZER && !s->early_update);
}

static void start_walk(walk *w, const fsm_graph *graph, const double *seconds)
{
    const fsm_step_shape *s = w->shape;
    for (int i = 0; i < graph->count; i++)
        if (is_after_gradients(s, &graph->tasks[i])) w->update_s += seconds[i];
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (is_last_backward(w, t) && !is_chunk(t->kind, is_moe_task(w, t))) *chain_left(w, t) += seconds[i];
    }
    for (int i = 0; i < s->region_count; i++)
        if (s->group_size[s->regions[i].group] > 1)
            w->left_elems[i] = (double)(s->regions[i].last - s->regions[i].first);
}

/* MoE layers among 0 … layer. */
static int moe_layers_up_to(const walk *w, int layer)
{
    return (layer + 1) / w->shape->moe_every;
}

static void walk_graph(walk *w, const fsm_graph *graph, const double *seconds)
{
    const fsm_step_shape *s = w->shape;
    double now_s = 0;
    start_walk(w, graph, seconds);
    for (int i = 0; i < graph->count && graph->tasks[i].phase != FSM_UPDATE; i++) {
        const fsm_task *t = &graph->tasks[i];
        bool last = is_last_backward(w, t), is_moe = is_moe_task(w, t);
        bool enters = last && t->layer >= 0 && graph->tasks[i - 1].layer != t->layer;
        if (enters) bound_links(w, now_s, moe_layers_up_to(w, t->layer));
        now_s += chain_s(w, graph, seconds, i);
        if (last && !is_chunk(t->kind, is_moe)) *chain_left(w, t) -= seconds[i];
        int later = t->layer < 0 ? t->kind == FSM_TASK_HEAD ? s->num_layers : 0 : t->layer; /* layers still to come */
        if (last) finish(w, t, now_s, moe_layers_up_to(w, later - 1), is_moe);
    }
    raise(w->bound, now_s + w->update_s, "path");
    if (s->training) bound_links(w, now_s, 0);
}

/* A step in which nothing overlaps takes at least its forward and backward tasks, the gradients' sums, which links of
 * their own may share out, and the update. */
static double plain_s(const walk *w, const fsm_graph *graph, const double *alone)
{
    const fsm_step_shape *s = w->shape;
    double chain_s = 0, link_s[FSM_RESOURCE_COUNT] = {0}, sums_s = 0;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->phase != FSM_UPDATE || is_after_gradients(s, t)) chain_s += alone[i];
    }
    for (int i = 0; s->training && i < s->region_count; i++) {
        if (s->group_size[s->regions[i].group] == 1) continue;
        fsm_load sum = allreduce_of(w, false, (double)(s->regions[i].last - s->regions[i].first));
        link_s[s->link[s->regions[i].group]] += least_s(&sum);
    }
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) sums_s = fmax(sums_s, link_s[r]);
    return chain_s + sums_s;
}

static fsmoe_status bound_both(walk *w, const fsm_graph *graph, double *seconds)
{
    FSM_TRY(fsm_cost_tasks(graph, w->cluster, true, seconds));
    if (w->freedom.lanes) FSM_TRY(fsm_bound_lanes(w->shape, w->cluster, w->bound));
    else walk_graph(w, graph, seconds);
    FSM_TRY(fsm_cost_tasks(graph, w->cluster, false, seconds));
    double least = plain_s(w, graph, seconds);
    if (least < w->bound->seconds) *w->bound = (fsm_bound){least, "path"};
    return FSMOE_OK;
}

fsmoe_status fsm_bound_step(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_freedom freedom,
                            fsm_bound *bound)
{
    fsm_graph graph;
    walk w = {.shape = shape, .cluster = cluster, .freedom = freedom, .bound = bound};
    *bound = (fsm_bound){0, "path"};
    for (int phase = 0; phase < 2; phase++) {
        fsm_window layer = fsm_step_moe_window(shape, cluster, (fsm_phase)phase);
        FSM_TRY(fsm_window_best(&layer, fsm_step_freedom(shape, freedom), &w.moe[phase]));
    }
    describe_links(&w);
    FSM_TRY(fsm_schedule_in_order(shape, 1, 1, &graph));
    double *seconds = malloc(sizeof *seconds * ((size_t)graph.count + 1));
    fsmoe_status status =
        seconds ? bound_both(&w, &graph, seconds) : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to bound a step");
    free(seconds);
    fsm_graph_destroy(&graph);
    return status;
}
