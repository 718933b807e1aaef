#include "plan/recipe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- loads ---- */

static fsm_load load(const fsm_cluster *cluster, fsm_task_kind kind, fsm_phase phase, int launches, double size)
{
    fsm_price price = fsm_cost_find(cluster, kind, phase, true);
    return price.known ? (fsm_load){price.cost, price.own ? launches > 0 : launches, size} : (fsm_load){0};
}

fsm_window fsm_step_moe_window(const fsm_step_shape *s, const fsm_cluster *cluster, fsm_phase phase)
{
    int esp = s->group_size[FSM_GROUP_ESP], exchanges = s->group_size[FSM_GROUP_EP] > 1, gemms = s->expert_gemms;
    double elems = s->rows * (double)s->hidden, a2a = fsm_step_exchanged(s, elems);
    double gathered = fsm_step_moved(s, elems) * esp;
    double macs = elems * esp * (double)(gemms * s->ffn_hidden / esp);
    fsm_window layer = {.max_degree = fsm_step_max_degree(s), .rows = (double)s->nominal_rows};
    layer.stage[FSM_STAGE_DISPATCH] = load(cluster, FSM_TASK_A2A_DISPATCH, phase, exchanges, a2a);
    layer.stage[FSM_STAGE_ALLGATHER] = load(cluster, FSM_TASK_ALLGATHER, phase, esp > 1, gathered);
    layer.stage[FSM_STAGE_EXPERT] = load(cluster, FSM_TASK_EXPERT, phase, gemms, macs);
    if (phase == FSM_BACKWARD)
        layer.stage[FSM_STAGE_WEIGHT_GRAD] = load(cluster, FSM_TASK_WEIGHT_GRAD, phase, gemms, macs);
    layer.stage[FSM_STAGE_REDUCESCATTER] = load(cluster, FSM_TASK_REDUCESCATTER, phase, esp > 1, gathered);
    layer.stage[FSM_STAGE_COMBINE] = load(cluster, FSM_TASK_A2A_COMBINE, phase, exchanges, a2a);
    return layer;
}

fsm_freedom fsm_step_freedom(const fsm_step_shape *s, fsm_freedom wanted)
{
    bool both = s->group_size[FSM_GROUP_EP] > 1 && s->group_size[FSM_GROUP_ESP] > 1;
    if (both && s->link[FSM_GROUP_EP] == s->link[FSM_GROUP_ESP]) wanted.one_stream = true;
    return wanted;
}

fsmoe_status fsm_step_dense_s(const fsm_step_shape *shape, const fsm_cluster *cluster, bool one_stream, int layer,
                              double *dense_s)
{
    bool attention_alone = fsm_step_sends_beside_attention(shape, one_stream);
    const int64_t cuts[2] = {0, shape->nominal_rows};
    const fsm_layer_cut whole = {.degree = 1, .cuts = cuts};
    fsm_step_builder b;
    fsm_graph graph;
    FSM_TRY(fsm_step_builder_begin(shape, (fsm_lanes){0}, false, &graph, &b));
    fsm_step_layer(&b, FSM_BACKWARD, layer, &whole);
    FSM_TRY(fsm_step_builder_end(&b));
    double *seconds = malloc(sizeof *seconds * ((size_t)graph.count + 1));
    fsmoe_status status = seconds ? fsm_cost_tasks(&graph, cluster, true, seconds)
                                  : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the costs of a layer");
    *dense_s = 0;
    for (int i = graph.count - 1; status == FSMOE_OK && i >= 0; i--) {
        const fsm_task *t = &graph.tasks[i];
        bool ends_experts = t->kind == FSM_TASK_ORDER; /* dense work as well where it multiplies */
        bool counts = attention_alone ? t->kind == FSM_TASK_ATTENTION : !ends_experts || t->launches > 0;
        if (counts) *dense_s += seconds[i];
        if (ends_experts) break;
    }
    free(seconds);
    fsm_graph_destroy(&graph);
    return status;
}

fsmoe_status fsm_recipe_one_degree(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_recipe *recipe)
{
    const fsm_window moe[2] = {fsm_step_moe_window(shape, cluster, FSM_FORWARD),
                               fsm_step_moe_window(shape, cluster, FSM_BACKWARD)};
    return fsm_window_one_degree(moe, fsm_step_freedom(shape, recipe->freedom), recipe->plan);
}

bool fsm_step_shares_link(const fsm_step_shape *shape, bool one_stream, int region)
{
    return one_stream || shape->link[shape->regions[region].group] == shape->link[FSM_GROUP_EP];
}

/* ---- gradients ---- */

/* One way to run a layer's experts: a degree, its cuts and the order of its tasks. */
typedef struct way {
    double elems; /* of gradients that it is best for */
    int64_t cuts[FSM_MAX_CHUNKS + 1];
    fsm_slot *slots;
    int degree, slot_count;
} way;

enum { MOST_WAYS = 16 };

typedef struct cook {
    const fsm_recipe *recipe;
    const fsm_step_shape *shape;
    const fsm_cluster *cluster;
    fsm_freedom inside; /* of a layer: both links may be one even where the schedule has a stream for each */
    fsm_window moe[2];
    way forward, backward[MOST_WAYS]; /* backward[0]: the recipe's */
    int ways;
    fsm_layer_cut *layers; /* [num_layers] backward */
    fsm_load allreduce;
    int64_t most_elems; /* of a piece; 0: any */
    double dense_s[2];  /* of a layer without and with experts */
    double room_s;      /* on the all-to-alls' link beside the experts of one layer */
    int64_t sent[3], finished[3];
    int gradient[3]; /* of each region, the first that is not finished */
    fsm_step_builder builder;
} cook;

/* Most elements, at most `most`, whose all-reduce takes at most room_s: bisection, for costs may be several lines. */
static int64_t elems_that_fit(const cook *c, int64_t most, double room_s)
{
    int64_t low = 0, high = most;
    const fsm_cost *cost = &c->allreduce.cost;
    if (most <= 0 || fsm_cost_s(cost, 1, (double)most) <= room_s) return most;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (fsm_cost_s(cost, 1, (double)middle) <= room_s) low = middle;
        else high = middle;
    }
    return low / 16 * 16; /* slices start where vectors are aligned */
}

/* A piece that mostly pays its alpha is left for later, when it travels with more. */
static bool is_worth_it(const cook *c, int64_t elems, double time_s)
{
    double alphas = c->recipe->least_alphas > 0 ? c->recipe->least_alphas : 4;
    return elems > 0 && time_s >= alphas * fsm_cost_s(&c->allreduce.cost, 1, 0);
}

/* How far a region is finished when backward enters this place: it only grows, as backward goes from the last layer
 * to the first. */
static int64_t finished(cook *c, int region, int layer, bool dense)
{
    c->finished[region] = fsm_step_finished(c->shape, region, layer, dense, &c->gradient[region], c->finished[region]);
    return c->finished[region];
}

/* The next piece of a region, of what is ready; false when none fits or is worth it. */
static bool next_piece(const cook *c, fsm_sending sending, int64_t ready, double room_s, int64_t *elems, double *time_s)
{
    int64_t most = sending == FSM_SEND_PIECES ? c->recipe->piece_elems : c->most_elems;
    if (most > 0 && ready > most) ready = most;
    *elems = elems_that_fit(c, ready, room_s);
    *time_s = fsm_cost_s(&c->allreduce.cost, 1, (double)*elems);
    if (sending == FSM_SEND_PIECES && *elems < ready) return false;
    return (*elems > 0 && *elems == c->most_elems) || is_worth_it(c, *elems, *time_s);
}

/* Fills one place with what is finished. Links other than the all-to-alls' are free all the time that the place
 * lasts. */
static void fill(cook *c, fsm_layer_cut *cut, int place, int layer, fsm_sending sending, double room_s)
{
    const fsm_step_shape *s = c->shape;
    double lasts_s = place == 0 ? c->recipe->plan[FSM_BACKWARD].moe_s : room_s;
    for (int r = 0; r < s->region_count && sending != FSM_SEND_NOTHING; r++) {
        if (s->group_size[s->regions[r].group] == 1) continue;
        bool shares = fsm_step_shares_link(s, c->recipe->freedom.one_stream, r);
        int64_t last = finished(c, r, layer, place == 1), elems;
        double left_s = shares ? room_s : lasts_s, time_s;
        while (cut->piece_count[place] < FSM_MAX_PIECES &&
               next_piece(c, sending, last - c->sent[r], left_s, &elems, &time_s)) {
            cut->pieces[place][cut->piece_count[place]++] = (fsm_piece){r, c->sent[r], c->sent[r] + elems};
            c->sent[r] += elems;
            left_s -= time_s;
        }
        if (shares) room_s = left_s;
    }
}

static void fill_layer(cook *c, int layer, fsm_layer_cut *cut)
{
    bool is_moe = fsm_layer_is_moe(c->shape->moe_every, layer);
    cut->piece_count[0] = cut->piece_count[1] = 0;
    if (is_moe) fill(c, cut, 0, layer, c->recipe->beside_experts, c->room_s);
    fill(c, cut, 1, layer, c->recipe->beside_dense, c->dense_s[is_moe]);
}

/* ---- layers ---- */

static fsmoe_status lay_out(const cook *c, fsm_phase phase, const fsm_window_plan *plan, double elems, way *w)
{
    w->elems = elems;
    w->degree = plan->degree;
    w->slots = malloc(sizeof *w->slots * 6 * (size_t)plan->degree);
    if (!w->slots) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the order of %d chunks", plan->degree);
    fsm_step_even_cuts(c->shape->nominal_rows, plan->degree, w->cuts);
    return fsm_window_order(&c->moe[phase], c->inside, plan, w->slots, &w->slot_count);
}

/* The way for a layer that sends so much; amounts that differ by a per cent share one. */
static fsmoe_status find_way(cook *c, double elems, const way **found)
{
    *found = &c->backward[0];
    if (!c->recipe->own_degrees) return FSMOE_OK;
    for (int i = 1; i < c->ways; i++)
        if (fabs(c->backward[i].elems - elems) <= 0.01 * elems) {
            *found = &c->backward[i];
            return FSMOE_OK;
        }
    if (c->ways == MOST_WAYS) return FSMOE_OK;
    fsm_window window = c->moe[FSM_BACKWARD];
    fsm_window_plan plan;
    if (elems > 0) window.allreduce = (fsm_load){c->allreduce.cost, 1, elems};
    FSM_TRY(fsm_window_best(&window, c->inside, &plan));
    *found = &c->backward[c->ways];
    return lay_out(c, FSM_BACKWARD, &plan, elems, &c->backward[c->ways++]);
}

static fsm_layer_cut cut_by(const cook *c, const way *w)
{
    return (fsm_layer_cut){.degree = w->degree,
                           .cuts = w->cuts,
                           .slots = w->slots,
                           .slot_count = w->slot_count,
                           .split = c->recipe->freedom.split,
                           .one_link = c->inside.one_stream};
}

/* From the last layer to the first: what each sends, then how it is cut. All micro-batches are cut alike. */
static fsmoe_status plan_layers(cook *c)
{
    const fsm_step_shape *s = c->shape;
    c->layers = calloc((size_t)s->num_layers + 1, sizeof *c->layers);
    if (!c->layers) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to plan %d layers", s->num_layers);
    for (int i = s->num_layers - 1; i >= 0 && s->training; i--) {
        fsm_layer_cut sent = {.degree = 0};
        const way *w;
        double elems = 0;
        fill_layer(c, i, &sent);
        for (int k = 0; k < sent.piece_count[0]; k++)
            if (fsm_step_shares_link(s, c->recipe->freedom.one_stream, sent.pieces[0][k].region))
                elems += (double)(sent.pieces[0][k].last - sent.pieces[0][k].first);
        FSM_TRY(find_way(c, elems, &w));
        c->layers[i] = cut_by(c, w);
        memcpy(c->layers[i].pieces, sent.pieces, sizeof sent.pieces);
        memcpy(c->layers[i].piece_count, sent.piece_count, sizeof sent.piece_count);
    }
    return FSMOE_OK;
}

/* ---- the step ---- */

static fsmoe_status prepare(cook *c)
{
    const fsm_recipe *r = c->recipe;
    const fsm_step_shape *s = c->shape;
    c->inside = fsm_step_freedom(s, r->freedom);
    for (int phase = 0; phase < 2; phase++) c->moe[phase] = fsm_step_moe_window(s, c->cluster, (fsm_phase)phase);
    FSM_TRY(lay_out(c, FSM_FORWARD, &r->plan[FSM_FORWARD], 0, &c->forward));
    FSM_TRY(lay_out(c, FSM_BACKWARD, &r->plan[FSM_BACKWARD], 0, &c->backward[0]));
    c->ways = 1;
    double link_s = fsm_window_link_s(&c->moe[FSM_BACKWARD], c->inside, r->plan[FSM_BACKWARD].degree);
    c->room_s = fmax(r->plan[FSM_BACKWARD].moe_s - link_s, r->stretch_s);
    c->allreduce = load(c->cluster, FSM_TASK_ALLREDUCE, FSM_UPDATE, 1, 0);
    c->most_elems = (int64_t)fsm_window_piece_elems(&c->allreduce.cost) / 16 * 16;
    for (int kind = 0; kind < 2 && s->training; kind++) { /* any layer of a kind stands for all */
        int layer = kind == 1 ? s->moe_every - 1 : s->moe_every > 1 ? 0 : s->num_layers;
        if (layer < s->num_layers)
            FSM_TRY(fsm_step_dense_s(s, c->cluster, r->freedom.one_stream, layer, &c->dense_s[kind]));
    }
    for (int i = 0; i < s->region_count; i++) c->sent[i] = c->finished[i] = s->regions[i].first;
    for (int i = 0; i < s->region_count; i++)
        while (c->gradient[i] < s->gradient_count && s->gradients[c->gradient[i]].region < i) c->gradient[i]++;
    return plan_layers(c);
}

static void build(cook *c)
{
    const fsm_step_shape *s = c->shape;
    fsm_step_builder *b = &c->builder;
    fsm_layer_cut forward = cut_by(c, &c->forward);
    for (b->micro = 0; b->micro < (s->training ? s->micro_batches : 1); b->micro++) {
        fsm_step_begin(b);
        for (int i = 0; i < s->num_layers; i++) fsm_step_layer(b, FSM_FORWARD, i, &forward);
        fsm_step_loss(b);
        if (!s->training) break;
        for (int i = s->num_layers - 1; i >= 0; i--) fsm_step_layer(b, FSM_BACKWARD, i, &c->layers[i]);
        fsm_step_end(b);
    }
    if (s->training) fsm_step_update(b);
}

fsmoe_status fsm_recipe_build(const fsm_recipe *recipe, const fsm_step_shape *shape, const fsm_cluster *cluster,
                              fsm_graph *graph)
{
    cook *c = calloc(1, sizeof *c);
    if (!c) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to build a step");
    c->recipe = recipe, c->shape = shape, c->cluster = cluster;
    fsmoe_status status = prepare(c);
    if (status == FSMOE_OK)
        status = fsm_step_builder_begin(shape, (fsm_lanes){0}, recipe->freedom.one_stream, graph, &c->builder);
    if (status == FSMOE_OK) {
        c->builder.most_elems = c->most_elems;
        build(c);
        status = fsm_step_builder_end(&c->builder);
    }
    free(c->forward.slots);
    for (int i = 0; i < MOST_WAYS; i++) free(c->backward[i].slots);
    free(c->layers);
    free(c);
    return status;
}
