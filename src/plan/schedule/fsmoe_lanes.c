/* Lanes: the whole step is one problem. Parts of a micro-batch, or micro-batches beside one another, go their own ways
 * through the layers; weight gradients run when nothing else can, gradients are sent when a link has nothing else.
 * Which lanes, which degrees, which pieces: the order of each candidate is found by list scheduling in a rhythm
 * (plan/rhythm.h), the best is kept, and no other schedule that takes no more memory is better. */
#include "plan/rhythm.h"
#include "plan/schedule/schedule.h"
#include "plan/simulate.h"
#include "plan/step_memory.h"

#include <math.h>
#include <stdlib.h>

enum {
    MOST_CHUNKS = 12, /* of a layer, in all lanes together */
    MOST_LAYOUTS = 8, /* of lanes */
    MOST_DEGREES = 8,
    ATTEMPTS = 2000,          /* at a better rhythm */
    KEPT_DEGREES = 2,         /* whose rhythm is improved, in each direction */
    FEW_MICRO_BATCHES = 4,    /* a multiple of every number that may stand side by side, but 3 */
    POLISHED_TASKS = 2000000, /* that attempts at the whole step may start */
    MOST_PIECES = 1024,       /* of gradients: with more, alphas that are next to nothing cost nothing but planning */
};

static const double MOST_PIECE_ELEMS = 0x1p50; /* more than any gradients, and far from where counts overflow */

/* A layout of lanes that promises more than this above the best one is not looked at closely. */
static const double WORTH_A_LOOK = 1.06;

/* ---- the graph of one candidate ---- */

typedef struct candidate {
    fsm_lanes lanes;
    fsm_rhythm *rhythm[2];
    int64_t piece_elems; /* 0: gradients in one piece a region */
} candidate;

static fsmoe_status string(const fsm_step_shape *shape, const candidate *c, fsm_graph *graph)
{
    const int degree[2] = {c->rhythm[0]->degree, c->rhythm[1]->degree};
    fsm_lane_cuts cuts;
    fsm_layer_cut passes[2][FSM_MAX_LANES];
    fsm_step_builder b;
    fsm_lanes_cut(shape, c->lanes, degree, cuts, passes);
    FSM_TRY(fsm_step_builder_begin(shape, c->lanes, false, graph, &b));
    b.late_weight_grads = true;
    fsm_step_plain(&b, passes);
    if (c->piece_elems > 0) fsm_step_send_pieces(&b, c->piece_elems);
    if (shape->training) fsm_step_update(&b);
    return fsm_step_builder_end(&b);
}

/* The candidate's graph in the order of its rhythm, and what it takes. */
static fsmoe_status order(const fsm_step_shape *shape, const fsm_cluster *cluster, const candidate *c, int attempts,
                          fsm_graph *graph, double *makespan_s)
{
    fsm_graph strung;
    FSM_TRY(string(shape, c, &strung));
    fsm_list list = {0};
    double *seconds = malloc(sizeof *seconds * ((size_t)strung.count + 1));
    fsmoe_status status = seconds ? fsm_cost_tasks(&strung, cluster, true, seconds)
                                  : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to order %d tasks", strung.count);
    if (status == FSMOE_OK) status = fsm_list_create(&strung, seconds, &list);
    if (status == FSMOE_OK) status = fsm_rhythm_run(shape, c->rhythm[0], c->rhythm[1], attempts, &list);
    if (status == FSMOE_OK) status = fsm_list_reorder(&list, graph);
    *makespan_s = list.makespan_s;
    fsm_list_destroy(&list);
    fsm_graph_destroy(&strung);
    free(seconds);
    return status;
}

/* ---- which candidates ---- */

/* One layout of lanes, with the rhythms of each direction, the best first. */
typedef struct layout {
    fsm_lanes lanes;
    fsm_rhythm *rhythm[2]; /* [count]; owned */
    int count[2];          /* 0: it cannot be as wanted */
    int kept[2];           /* of them */
} layout;

typedef struct planner {
    const fsm_step_shape *shape;
    fsm_step_shape few; /* the same with few micro-batches, by which candidates are compared: what is between repeats */
    const fsm_cluster *cluster;
    fsm_lanes_wanted wanted;
    layout layouts[MOST_LAYOUTS];
    int count;
    fsm_graph best;
    double best_s;
    candidate best_of; /* the candidate that it is of */
} planner;

/* Of one micro-batch. */
static double promised_s(const layout *l)
{
    if (l->count[0] == 0 || l->count[1] == 0) return INFINITY;
    int side = l->lanes.lanes / l->lanes.parts;
    return (l->rhythm[0][0].direction_s + l->rhythm[1][0].direction_s) / side;
}

static int by_time(const void *x, const void *y)
{
    const fsm_rhythm *a = x, *b = y;
    return (a->direction_s > b->direction_s) - (a->direction_s < b->direction_s);
}

static int most_degree(const fsm_step_shape *s, fsm_lanes lanes)
{
    int most = fsm_step_max_degree(s), parts = lanes.parts > 1 ? lanes.parts : 1;
    for (int part = 0; part < parts; part++) {
        int64_t rows = fsm_step_part(s, parts, part).nominal_rows;
        if (rows < most) most = (int)rows;
    }
    return most;
}

/* Those to look at in one direction. */
static int list_degrees(const planner *p, fsm_lanes lanes, fsm_phase phase, int degrees[MOST_DEGREES])
{
    static const int usual[MOST_DEGREES] = {1, 2, 3, 4, 5, 6, 8, 12};
    int most = most_degree(p->shape, lanes), count = 0;
    degrees[0] = p->wanted.degree[phase];
    if (degrees[0] > 0) return degrees[0] <= most && degrees[0] <= FSM_LANE_CHUNKS;
    for (int i = 0; i < MOST_DEGREES; i++)
        if (usual[i] <= most && usual[i] * lanes.lanes <= MOST_CHUNKS) degrees[count++] = usual[i];
    return count;
}

static fsmoe_status look_at_layout(planner *p, fsm_lanes lanes)
{
    layout *l = &p->layouts[p->count++];
    l->lanes = lanes;
    for (int phase = 0; phase < 2; phase++) {
        int degrees[MOST_DEGREES], count = list_degrees(p, lanes, (fsm_phase)phase, degrees);
        l->rhythm[phase] = calloc(MOST_DEGREES, sizeof *l->rhythm[phase]);
        if (!l->rhythm[phase])
            return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the rhythms of %d lanes", lanes.lanes);
        for (int i = 0; i < count; i++)
            FSM_TRY(fsm_rhythm_begin(p->shape, p->cluster, lanes, (fsm_phase)phase, degrees[i],
                                     &l->rhythm[phase][l->count[phase]++]));
        qsort(l->rhythm[phase], (size_t)count, sizeof *l->rhythm[phase], by_time);
    }
    return FSMOE_OK;
}

static fsmoe_status improve(planner *p, layout *l)
{
    for (int phase = 0; phase < 2; phase++) {
        fsm_rhythm *rhythms = l->rhythm[phase];
        l->kept[phase] = l->count[phase] < KEPT_DEGREES ? l->count[phase] : KEPT_DEGREES;
        for (int i = 0; i < l->kept[phase]; i++)
            FSM_TRY(fsm_rhythm_improve(p->shape, p->cluster, l->lanes, (fsm_phase)phase, ATTEMPTS, &rhythms[i]));
        qsort(rhythms, (size_t)l->kept[phase], sizeof *rhythms, by_time);
    }
    return FSMOE_OK;
}

static void keep_if_faster(planner *p, fsm_graph tried, double tried_s)
{
    bool faster = tried_s < p->best_s;
    fsm_graph_destroy(faster ? &p->best : &tried);
    if (!faster) return;
    p->best = tried;
    p->best_s = tried_s;
}

static fsmoe_status try_candidate(planner *p, const candidate *c, int attempts)
{
    fsm_graph tried;
    double tried_s;
    FSM_TRY(order(&p->few, p->cluster, c, attempts, &tried, &tried_s));
    if (tried_s < p->best_s) p->best_of = *c;
    keep_if_faster(p, tried, tried_s);
    return FSMOE_OK;
}

/* Rhythms are of layers that follow one another; the best candidate's are tried once more on the step itself, whose
 * ends and turns count most where it is short. */
static fsmoe_status polish(planner *p)
{
    int attempts = p->best.count > 0 ? POLISHED_TASKS / p->best.count : 0;
    const candidate best = p->best_of;
    FSM_TRY(try_candidate(p, &best, attempts));
    if (p->few.micro_batches == p->shape->micro_batches) return FSMOE_OK;
    fsm_graph_destroy(&p->best);
    return order(p->shape, p->cluster, &p->best_of, 0, &p->best, &p->best_s);
}

static planner begin_planner(const fsm_step_shape *shape, const fsm_cluster *cluster, const fsm_lanes_wanted *wanted)
{
    planner p = {.shape = shape, .few = *shape, .cluster = cluster, .wanted = *wanted, .best_s = INFINITY};
    if (p.few.micro_batches > FEW_MICRO_BATCHES) p.few.micro_batches = FEW_MICRO_BATCHES;
    return p;
}

/* Pieces that take so many times the alpha of an all-reduce; one that takes few costs much, one that takes many stands
 * in the way of others. */
static fsmoe_status try_pieces(planner *p, candidate c)
{
    static const double alphas[] = {8, 32, 128, 512};
    const fsm_cost cost = fsm_cost_find(p->cluster, FSM_TASK_ALLREDUCE, FSM_UPDATE, true).cost;
    fsm_line line = fsm_cost_least(&cost);
    double largest = fsm_window_piece_elems(&cost), least = fmax(fsm_step_summed_elems(p->shape) / MOST_PIECES, 1024);
    for (size_t i = 0; i < sizeof alphas / sizeof *alphas; i++) {
        double elems = line.beta_s > 0 ? alphas[i] * line.alpha_s / line.beta_s : 0;
        if (largest > 0 && elems > largest) elems = largest;
        c.piece_elems = (int64_t)fmin(fmax(elems, least), MOST_PIECE_ELEMS);
        FSM_TRY(try_candidate(p, &c, 0));
    }
    return FSMOE_OK;
}

static fsmoe_status try_layout(planner *p, const layout *l)
{
    for (int f = 0; f < l->kept[0]; f++)
        for (int b = 0; b < l->kept[1]; b++)
            FSM_TRY(try_pieces(p, (candidate){.lanes = l->lanes, .rhythm = {&l->rhythm[0][f], &l->rhythm[1][b]}}));
    return FSMOE_OK;
}

static bool is_wanted(const planner *p, int lanes)
{
    bool fits = lanes <= FSM_MAX_LANES && (p->wanted.lanes == 0 || p->wanted.lanes == lanes);
    return fits && p->count < MOST_LAYOUTS;
}

/* Parts of one micro-batch, or of several side by side, as far as memory goes. */
static fsmoe_status look_at_layouts(planner *p)
{
    const fsm_step_shape *s = p->shape;
    int most_side = s->micro_in_turn ? 1 : s->micro_batches;
    for (int parts = 1; parts <= (s->most_parts > 1 ? s->most_parts : 1); parts++)
        for (int side = 1; side <= most_side; side++) {
            int lanes = parts * side, spare = is_wanted(p, lanes) ? fsm_step_most_spare(s, lanes, parts) : -1;
            if (spare < 0) continue;
            FSM_TRY(look_at_layout(p, (fsm_lanes){.lanes = lanes, .parts = parts, .spare = spare}));
        }
    return FSMOE_OK;
}

static fsmoe_status refuse(const planner *p)
{
    if (p->wanted.degree[0] > 0 || p->wanted.degree[1] > 0)
        return fsm_fail(FSMOE_ERROR_CONFIG, "the step cannot be taken in %d lanes with %d chunks forward, %d backward",
                        p->wanted.lanes, p->wanted.degree[0], p->wanted.degree[1]);
    FSM_TRY(fsm_step_check_lanes(p->shape, p->wanted.lanes));
    return fsm_fail(FSMOE_ERROR_INTERNAL, "no plan in %d lanes", p->wanted.lanes);
}

static fsmoe_status plan_lanes(planner *p)
{
    FSM_TRY(look_at_layouts(p));
    double least_s = INFINITY;
    for (int i = 0; i < p->count; i++) least_s = fmin(least_s, promised_s(&p->layouts[i]));
    if (isinf(least_s)) return refuse(p);
    for (int i = 0; i < p->count; i++) {
        if (promised_s(&p->layouts[i]) > WORTH_A_LOOK * least_s) continue;
        FSM_TRY(improve(p, &p->layouts[i]));
        FSM_TRY(try_layout(p, &p->layouts[i]));
    }
    return polish(p);
}

static void end_planner(planner *p, fsmoe_status status, fsm_graph *graph)
{
    for (int i = 0; i < p->count; i++)
        for (int phase = 0; phase < 2; phase++) free(p->layouts[i].rhythm[phase]);
    *graph = p->best;
    if (status != FSMOE_OK) fsm_graph_destroy(graph);
}

/* Other schedules' plans are candidates, too; fsmoe-x's is left only for what promises more than costs are off by. */
static fsmoe_status try_others(planner *p)
{
    static const fsm_schedule *const lanes[] = {&fsm_schedule_two_batch, &fsm_schedule_megatron_overlap,
                                                &fsm_schedule_flowmoe, NULL},
                                     *const plainer[] = {&fsm_schedule_fsmoe_x, NULL};
    const fsm_freedom freedom = fsm_schedule_fsmoe_lanes.freedom;
    fsm_step_shape shape = *p->shape; /* borrows what it owns */
    shape.lanes = p->wanted.lanes;
    if (p->wanted.degree[0] > 0 || p->wanted.degree[1] > 0) return FSMOE_OK;
    FSM_TRY(fsm_schedule_try_others(&shape, p->cluster, freedom, lanes, &p->best, &p->best_s));
    p->best_s *= 1 + fsm_schedule_risk(p->cluster);
    return fsm_schedule_try_others(&shape, p->cluster, freedom, plainer, &p->best, &p->best_s);
}

fsmoe_status fsm_schedule_in_lanes(const fsm_step_shape *shape, const fsm_cluster *cluster,
                                   const fsm_lanes_wanted *wanted, fsm_graph *graph)
{
    planner p = begin_planner(shape, cluster, wanted);
    fsmoe_status status = plan_lanes(&p);
    if (status == FSMOE_OK) status = try_others(&p);
    end_planner(&p, status, graph);
    return status;
}

static fsmoe_status build(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    FSM_TRY(fsm_schedule_in_lanes(shape, cluster, &(fsm_lanes_wanted){.lanes = shape->lanes}, graph));
    if (shape->lanes > 1) return FSMOE_OK; /* as was wanted, whatever it costs */
    return fsm_schedule_or_in_order(shape, cluster, graph);
}

const fsm_schedule fsm_schedule_fsmoe_lanes = {
    .name = "fsmoe-lanes",
    .description = "the whole step at once: lanes, degrees, pieces, weight gradients wherever there is room",
    .source = "this project, docs/planner.md",
    .freedom = {.split = true, .lanes = true},
    .needs_costs = true,
    .build = build,
};
