#include "plan/bound_lanes.h"

#include "plan/builder.h"

#include <math.h>
#include <stdlib.h>

/* What one direction of a micro-batch takes at least, and what each resource has to do in it. */
typedef struct direction_bound {
    fsm_bound bound;
    double load_s[FSM_RESOURCE_COUNT];  /* all of it */
    double pass_s[FSM_RESOURCE_COUNT];  /* without sums of gradients and the update */
    double chain_s[FSM_RESOURCE_COUNT]; /* and without weight gradients */
} direction_bound;

typedef struct whole_cut {
    int64_t cuts[FSM_MAX_LANES][2];
    fsm_layer_cut part[FSM_MAX_LANES];
} whole_cut;

/* Each run of gradients by itself, once it is finished: no piece can be sent before what is in it. */
static void send_runs(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    for (int i = 0; i < s->gradient_count; i++) {
        const fsm_gradient *g = &s->gradients[i];
        if (s->group_size[s->regions[g->region].group] > 1 && g->last > g->first)
            fsm_step_send(b, &(fsm_piece){g->region, g->first, g->last});
    }
}

static void string_direction(fsm_step_builder *b, fsm_phase phase, const fsm_layer_cut *cut)
{
    int layers = b->shape->num_layers;
    if (phase == FSM_FORWARD) fsm_step_begin(b);
    else fsm_step_head_backward(b);
    for (int i = 0; i < layers; i++) fsm_step_layer(b, phase, phase == FSM_FORWARD ? i : layers - 1 - i, cut);
    if (phase == FSM_FORWARD) fsm_step_head(b);
    else fsm_step_end(b);
}

/* Directions of the micro-batches that are side by side, with no more dependencies than there are: weight gradients
 * have room for all layers. Backward is that of the last, with its sums of gradients and the update. */
static fsmoe_status build(const fsm_step_shape *shape, fsm_lanes lanes, fsm_phase first, fsm_phase last,
                          fsm_graph *graph)
{
    int parts = lanes.parts > 1 ? lanes.parts : 1;
    whole_cut cut;
    fsm_step_builder b;
    for (int part = 0; part < parts; part++) {
        fsm_step_even_cuts(fsm_step_part(shape, parts, part).nominal_rows, 1, cut.cuts[part]);
        cut.part[part] = (fsm_layer_cut){.degree = 1, .cuts = cut.cuts[part], .split = true};
    }
    lanes.spare = shape->num_layers;
    FSM_TRY(fsm_step_builder_begin(shape, lanes, false, graph, &b));
    b.late_weight_grads = true;
    for (int lane = 0; lane < fsm_graph_lanes(graph); lane++) {
        fsm_step_enter(&b, shape->micro_batches - 1, lane);
        for (int phase = first; phase <= (int)last; phase++)
            string_direction(&b, (fsm_phase)phase, &cut.part[lane % parts]);
    }
    if (last == FSM_BACKWARD) send_runs(&b);
    if (last == FSM_BACKWARD) fsm_step_update(&b);
    return fsm_step_builder_end(&b);
}

static bool is_chunk(const fsm_task *t)
{
    return t->rows_last > t->rows_first;
}

/* What a task costs at least in whatever pieces, and what must pass from its beginning to the end of what it is for. A
 * chunk costs alpha, and beta for what is in it; another may be done before. A sum of gradients may be part of a larger
 * piece, which begins but once: it costs beta alone, but all of it is on one link and comes after what finished the
 * gradients. An update that follows its piece of a sum may begin before the others have come, and how many there are
 * nobody says. */
static fsmoe_status least_costs(const fsm_step_shape *shape, const fsm_graph *graph, const fsm_cluster *cluster,
                                double *seconds, double *least_s)
{
    FSM_TRY(fsm_cost_tasks(graph, cluster, true, seconds));
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        const fsm_price price = fsm_cost_find(cluster, t->kind, t->phase, true);
        fsm_line least = fsm_cost_least(&price.cost);
        bool sum = t->kind == FSM_TASK_ALLREDUCE, update = t->kind == FSM_TASK_OPTIMIZER && shape->early_update;
        int launches = price.own ? 1 : t->launches;
        least_s[i] = seconds[i];
        if (seconds[i] == 0 || !(is_chunk(t) || sum || update)) continue;
        double beta_s = least.beta_s * t->size;
        least_s[i] = is_chunk(t) ? least.alpha_s * launches : sum ? beta_s : 0;
        seconds[i] = (is_chunk(t) ? least_s[i] : 0) + beta_s;
    }
    return FSMOE_OK;
}

static void add_loads(const fsm_graph *graph, const double *seconds, direction_bound *d)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        d->load_s[t->resource] += seconds[i];
        if (t->phase == FSM_UPDATE) continue;
        d->pass_s[t->resource] += seconds[i];
        if (t->kind != FSM_TASK_WEIGHT_GRAD) d->chain_s[t->resource] += seconds[i];
    }
}

static fsmoe_status bound_directions(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes,
                                     fsm_phase from, fsm_phase to, direction_bound *d)
{
    fsm_graph graph;
    *d = (direction_bound){.bound = {0, "path"}};
    FSM_TRY(build(shape, lanes, from, to, &graph));
    double *seconds = malloc(2 * sizeof *seconds * ((size_t)graph.count + 1)), *least_s = seconds + graph.count;
    fsmoe_status status = seconds ? least_costs(shape, &graph, cluster, seconds, least_s)
                                  : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to bound %d tasks", graph.count);
    if (status == FSMOE_OK) status = fsm_bound_cut_graph(&graph, seconds, least_s, &d->bound);
    if (status == FSMOE_OK) add_loads(&graph, seconds, d);
    free(seconds);
    fsm_graph_destroy(&graph);
    return status;
}

static double greatest(const double *seconds, const char **binding)
{
    double most_s = 0;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (seconds[r] > most_s) {
            most_s = seconds[r];
            *binding = fsm_resource_name((fsm_resource)r);
        }
    return most_s;
}

/* Where nothing is exchanged between the directions, as between experts alone, one part goes back while another goes
 * forward: both directions are one graph. */
static fsmoe_status bound_together(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes,
                                   fsm_bound *bound)
{
    direction_bound both;
    FSM_TRY(bound_directions(shape, cluster, lanes, FSM_FORWARD, FSM_BACKWARD, &both));
    *bound = both.bound;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        double load_s = (shape->micro_batches - 1) * both.pass_s[r] + both.load_s[r];
        if (load_s > bound->seconds) *bound = (fsm_bound){load_s, fsm_resource_name((fsm_resource)r)};
    }
    return FSMOE_OK;
}

/* One layout of lanes, and those that have it several times, for micro-batches beside one another. A lane begins a
 * micro-batch when it is through with the one before: where there is one at a time, between the exchanges of the losses
 * of two that follow one another lie all chains of the first one's backward and of the second one's forward. In any
 * case a forward comes before the first exchange, and a backward after the last. */
static fsmoe_status bound_apart(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes,
                                fsm_bound *bound)
{
    direction_bound first, last;
    FSM_TRY(bound_directions(shape, cluster, lanes, FSM_FORWARD, FSM_FORWARD, &first));
    FSM_TRY(bound_directions(shape, cluster, lanes, FSM_BACKWARD, FSM_BACKWARD, &last));
    const fsm_bound forward = first.bound, backward = last.bound;
    double between_s[FSM_RESOURCE_COUNT], all_s[FSM_RESOURCE_COUNT], more = shape->micro_batches - 1;
    const char *binding = forward.seconds > backward.seconds ? forward.binding : backward.binding, *busiest = binding;
    bool one_at_a_time = 2 * lanes.lanes > FSM_MAX_LANES || shape->micro_in_turn;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        between_s[r] = one_at_a_time ? more * (first.chain_s[r] + last.chain_s[r]) : 0;
        all_s[r] = more * (first.load_s[r] + last.pass_s[r]) + first.load_s[r] + last.load_s[r];
    }
    *bound = (fsm_bound){forward.seconds + greatest(between_s, &binding) + backward.seconds, binding};
    double load_s = greatest(all_s, &busiest);
    if (load_s > bound->seconds) *bound = (fsm_bound){load_s, busiest};
    return FSMOE_OK;
}

static fsmoe_status bound_layout(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes,
                                 fsm_bound *bound)
{
    if (!shape->training) {
        direction_bound forward;
        FSM_TRY(bound_directions(shape, cluster, lanes, FSM_FORWARD, FSM_FORWARD, &forward));
        *bound = forward.bound;
        return FSMOE_OK;
    }
    bool exchanges = !shape->experts_only || shape->with_losses;
    return exchanges || lanes.parts <= 1 ? bound_apart(shape, cluster, lanes, bound)
                                         : bound_together(shape, cluster, lanes, bound);
}

fsmoe_status fsm_bound_lanes(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_bound *bound)
{
    *bound = (fsm_bound){INFINITY, "path"};
    for (int parts = 1; parts <= (shape->most_parts > 1 ? shape->most_parts : 1); parts++) {
        fsm_bound of_layout;
        FSM_TRY(bound_layout(shape, cluster, (fsm_lanes){.lanes = parts, .parts = parts}, &of_layout));
        if (of_layout.seconds < bound->seconds) *bound = of_layout;
    }
    return FSMOE_OK;
}
