/* FSMoE as its paper plans it (Pan et al. 2025, sections 4 and 5): degrees by the four closed forms, in backward each
 * layer's own for the gradients it sends; gradients shared out by an evolutionary solver. The order of a degree's
 * chunks is the best there is, so that what differs from schedule `fsmoe` is the choices alone. */
#include "plan/schedule/paper.h"

#include <stdlib.h>

static fsmoe_status plan_layer(const fsm_window layer[2], fsm_window_plan plan[2])
{
    for (int phase = 0; phase < 2; phase++) FSM_TRY(fsm_paper_degree(&layer[phase], &plan[phase], NULL));
    return FSMOE_OK;
}

/* The cut of one direction, made anew when a layer's G differs from the one before. */
typedef struct cutter {
    fsm_window moe;
    fsm_freedom freedom;
    double allreduce_s;
    fsm_slot slots[6 * FSM_MAX_CHUNKS];
    int64_t cuts[FSM_MAX_CHUNKS + 1];
    fsm_layer_cut cut;
} cutter;

typedef struct cook {
    const fsm_step_shape *shape;
    cutter cutter[2];
    fsm_paper_layer *layers; /* [num_layers] */
    fsm_step_builder builder;
} cook;

/* The paper chooses the degree; what the links allow, and so the order, may be less than its three streams. */
static fsmoe_status set_cut(cutter *c, const fsm_step_shape *shape, double allreduce_s)
{
    fsm_paper_estimate estimate;
    fsm_window_plan plan;
    fsm_window with = c->moe;
    if (c->cut.degree > 0 && allreduce_s == c->allreduce_s) return FSMOE_OK;
    with.allreduce = (fsm_load){.cost = {.line = {{allreduce_s, 0}}}, .launches = allreduce_s > 0};
    FSM_TRY(fsm_paper_solve(&with, &estimate));
    FSM_TRY(fsm_window_at(&c->moe, c->freedom, estimate.degree, &plan));
    FSM_TRY(fsm_window_order(&c->moe, c->freedom, &plan, c->slots, &c->cut.slot_count));
    fsm_step_even_cuts(shape->nominal_rows, plan.degree, c->cuts);
    c->allreduce_s = allreduce_s;
    c->cut.degree = plan.degree;
    c->cut.cuts = c->cuts;
    c->cut.slots = c->slots;
    c->cut.one_link = c->freedom.one_stream;
    return FSMOE_OK;
}

static void set_pieces(fsm_layer_cut *cut, const fsm_paper_layer *layer)
{
    for (int place = 0; place < 2; place++) {
        cut->piece_count[place] = layer->piece_count[place];
        for (int i = 0; i < layer->piece_count[place]; i++) cut->pieces[place][i] = layer->pieces[place][i];
    }
}

static fsmoe_status build_backward(cook *c)
{
    const fsm_step_shape *s = c->shape;
    cutter *backward = &c->cutter[FSM_BACKWARD];
    for (int i = s->num_layers - 1; i >= 0; i--) {
        const fsm_paper_layer *layer = &c->layers[i]; /* all micro-batches are cut alike; the last one sends */
        if (fsm_layer_is_moe(s->moe_every, i)) FSM_TRY(set_cut(backward, s, layer->allreduce_s));
        set_pieces(&backward->cut, layer);
        fsm_step_layer(&c->builder, FSM_BACKWARD, i, &backward->cut);
    }
    return FSMOE_OK;
}

static fsmoe_status build_step(cook *c)
{
    const fsm_step_shape *s = c->shape;
    fsm_step_builder *b = &c->builder;
    FSM_TRY(set_cut(&c->cutter[FSM_FORWARD], s, 0));
    for (b->micro = 0; b->micro < (s->training ? s->micro_batches : 1); b->micro++) {
        fsm_step_begin(b);
        for (int i = 0; i < s->num_layers; i++) fsm_step_layer(b, FSM_FORWARD, i, &c->cutter[FSM_FORWARD].cut);
        fsm_step_loss(b);
        if (!s->training) break;
        FSM_TRY(build_backward(c));
        fsm_step_end(b);
    }
    if (s->training) fsm_step_update(b);
    return FSMOE_OK;
}

static fsmoe_status prepare(cook *c, const fsm_step_shape *shape, const fsm_cluster *cluster)
{
    c->shape = shape;
    for (int phase = 0; phase < 2; phase++) {
        c->cutter[phase].moe = fsm_step_moe_window(shape, cluster, (fsm_phase)phase);
        c->cutter[phase].freedom = fsm_step_freedom(shape, (fsm_freedom){0});
    }
    return shape->training ? fsm_paper_partition(shape, cluster, c->layers) : FSMOE_OK;
}

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    fsmoe_status status = FSMOE_OK;
    cook *c = calloc(1, sizeof *c);
    *graph = (fsm_graph){0};
    if (c) c->layers = calloc((size_t)shape->num_layers, sizeof *c->layers);
    if (!c || !c->layers) status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to build a step");
    if (status == FSMOE_OK) status = prepare(c, shape, cluster);
    if (status == FSMOE_OK) status = fsm_step_builder_begin(shape, (fsm_lanes){0}, false, graph, &c->builder);
    if (status == FSMOE_OK) {
        status = build_step(c);
        fsmoe_status ended = fsm_step_builder_end(&c->builder);
        if (status == FSMOE_OK) status = ended;
        if (status != FSMOE_OK) fsm_graph_destroy(graph);
    }
    if (c) free(c->layers);
    free(c);
    return status;
}

const fsm_schedule fsm_schedule_fsmoe_paper = {
    .name = "fsmoe-paper",
    .description = "fsmoe with degrees by the paper's four closed forms and gradients shared out by evolution",
    .source = "Pan et al., FSMoE, 2025, sections 4 and 5",
    .needs_costs = true,
    .build = build,
    .plan_layer = plan_layer,
};
