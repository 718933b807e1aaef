#include "plan/rhythm.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Layers that a rhythm is found on: enough to see what repeats. Its time a layer is told from two numbers of them. */
enum { MANY_LAYERS = 8, FEW_LAYERS = 4 };

/* Where the busiest resource waits less than this, a better rhythm is not looked for. */
static const double NEAR_ENOUGH = 1.005;

/* What waits until nothing else can run, and what waits even for that, s. */
static const double LATE_S = -1e6, LAST_S = -2e6;

/* ---- keys ---- */

/* The chunk of even cuts that begins at a row. */
static int chunk_of(const fsm_task *t, int64_t nominal_rows, int degree)
{
    return (int)((t->rows_first * degree + nominal_rows - 1) / nominal_rows);
}

/* Experts' weight gradients: nothing in a layer waits for them. */
static bool is_late(const fsm_task *t)
{
    return t->kind == FSM_TASK_WEIGHT_GRAD && t->rows_last > t->rows_first;
}

/* The rhythm's word on a task; NULL: none. */
static double *shift_of(fsm_rhythm *r, const fsm_step_shape *shape, const fsm_graph *graph, const fsm_task *t)
{
    if (t->phase == FSM_UPDATE || t->layer < 0) return NULL;
    int lane = fsm_task_lane(t), parts = fsm_graph_parts(graph);
    int64_t rows = fsm_step_part(shape, parts, lane % parts).nominal_rows;
    return &r->shift[t->kind][lane][chunk_of(t, rows, r->degree)];
}

/* A graph that is run again and again while rhythms change. */
typedef struct score {
    fsm_list *list;
    double *base, *keys; /* [count] what a task's key is without a shift, and with it; owned by whoever made them */
    double **shift;      /* [count] where a rhythm speaks of each task, or NULL */
    double period_s[2];
} score;

static void set_bases(const fsm_step_shape *shape, fsm_rhythm *const rhythms[2], score *s)
{
    for (int i = 0; i < s->list->count; i++) {
        const fsm_task *t = &s->list->graph->tasks[i];
        double last_s = t->kind == FSM_TASK_ALLREDUCE ? LAST_S : is_late(t) ? LATE_S : 0;
        s->base[i] = s->list->way_s[i] + last_s;
        s->shift[i] = last_s < 0 ? NULL : shift_of(rhythms[t->phase == FSM_BACKWARD], shape, s->list->graph, t);
    }
    for (int phase = 0; phase < 2; phase++) s->period_s[phase] = rhythms[phase]->period_s;
}

/* The makespan under the rhythms as they are now. */
static double beat(score *s)
{
    for (int i = 0; i < s->list->count; i++) {
        bool backward = s->list->graph->tasks[i].phase == FSM_BACKWARD;
        s->keys[i] = s->base[i] + (s->shift[i] ? *s->shift[i] * s->period_s[backward] : 0);
    }
    fsm_list_run(s->list, s->keys);
    return s->list->makespan_s;
}

static fsmoe_status score_create(const fsm_step_shape *shape, fsm_list *list, fsm_rhythm *const rhythms[2], score *s)
{
    size_t n = (size_t)list->count + 1;
    *s = (score){.list = list, .base = malloc(2 * n * sizeof *s->base), .shift = malloc(n * sizeof *s->shift)};
    if (!s->base || !s->shift) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to order %d tasks", list->count);
    s->keys = s->base + n;
    set_bases(shape, rhythms, s);
    return FSMOE_OK;
}

static void score_destroy(score *s)
{
    free(s->base);
    free(s->shift);
}

/* ---- one direction of a few layers ---- */

typedef struct direction {
    fsm_step_shape shape;
    fsm_graph graph;
    fsm_list list;
    double *seconds;
    score score;
} direction;

static void destroy(direction *d)
{
    fsm_list_destroy(&d->list);
    fsm_graph_destroy(&d->graph);
    free(d->seconds);
    score_destroy(&d->score);
}

/* Every lane has one pass: nothing is sent, and nothing waits for the loss. */
static fsmoe_status build(direction *d, fsm_lanes lanes, fsm_phase phase, int degree)
{
    fsm_lane_cuts cuts;
    fsm_layer_cut passes[2][FSM_MAX_LANES];
    fsm_step_builder b;
    const int degrees[2] = {degree, degree};
    fsm_lanes_cut(&d->shape, lanes, degrees, cuts, passes);
    FSM_TRY(fsm_step_builder_begin(&d->shape, lanes, false, &d->graph, &b));
    b.late_weight_grads = true;
    int parts = fsm_graph_parts(&d->graph), layers = d->shape.num_layers;
    for (int lane = 0; lane < fsm_graph_lanes(&d->graph); lane++) {
        fsm_step_enter(&b, lane / parts, lane);
        for (int i = 0; i < layers; i++)
            fsm_step_layer(&b, phase, phase == FSM_FORWARD ? i : layers - 1 - i, &passes[phase][lane % parts]);
    }
    return fsm_step_builder_end(&b);
}

static fsmoe_status prepare(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes, fsm_phase phase,
                            int layers, fsm_rhythm *r, direction *d)
{
    *d = (direction){.shape = *shape};
    d->shape.num_layers = layers;
    d->shape.micro_batches = 1;
    d->shape.gradient_count = d->shape.region_count = 0;
    FSM_TRY(build(d, lanes, phase, r->degree));
    d->seconds = malloc(sizeof *d->seconds * ((size_t)d->graph.count + 1));
    if (!d->seconds) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the costs of %d tasks", d->graph.count);
    FSM_TRY(fsm_cost_tasks(&d->graph, cluster, true, d->seconds));
    FSM_TRY(fsm_list_create(&d->graph, d->seconds, &d->list));
    return score_create(&d->shape, &d->list, (fsm_rhythm *const[]){r, r}, &d->score);
}

/* ---- lanes that are alike ---- */

static void set_apart(fsm_rhythm *r, double distance)
{
    for (int k = 0; k < FSM_TASK_KIND_COUNT; k++)
        for (int lane = 0; lane < FSM_MAX_LANES; lane++)
            for (int c = 0; c < FSM_LANE_CHUNKS; c++) r->shift[k][lane][c] = -distance * lane;
}

static int layers_with_experts(const fsm_step_shape *shape, int layers)
{
    int most = shape->num_layers, wanted = layers * shape->moe_every;
    return wanted < most ? wanted : most;
}

/* Time of all layers, from that of many and of fewer. */
static double extend(const fsm_step_shape *shape, int many, double many_s, int few, double few_s)
{
    if (many <= few) return many_s;
    return many_s + (shape->num_layers - many) * (many_s - few_s) / (many - few);
}

static fsmoe_status measure(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes, fsm_phase phase,
                            double many_s, fsm_rhythm *r)
{
    direction d;
    int many = layers_with_experts(shape, MANY_LAYERS), few = layers_with_experts(shape, FEW_LAYERS);
    r->direction_s = many_s;
    if (many <= few) return FSMOE_OK;
    fsmoe_status status = prepare(shape, cluster, lanes, phase, few, r, &d);
    if (status == FSMOE_OK) r->direction_s = extend(shape, many, many_s, few, beat(&d.score));
    destroy(&d);
    return status;
}

fsmoe_status fsm_rhythm_begin(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes, fsm_phase phase,
                              int degree, fsm_rhythm *r)
{
    direction d;
    double best = 0, best_s = INFINITY;
    memset(r, 0, sizeof *r);
    r->degree = degree;
    int many = layers_with_experts(shape, MANY_LAYERS);
    fsmoe_status status = prepare(shape, cluster, lanes, phase, many, r, &d);
    if (status == FSMOE_OK) {
        for (int i = 0; i < d.graph.count; i++) r->period_s = fmax(r->period_s, d.list.way_s[i] / many);
        d.score.period_s[0] = d.score.period_s[1] = r->period_s;
        for (int i = 0; i <= (lanes.lanes > 1 ? 16 : 0); i++) {
            double distance = i / 16.0;
            set_apart(r, distance);
            double taken_s = beat(&d.score);
            if (taken_s < best_s) best = distance, best_s = taken_s;
        }
        set_apart(r, best);
    }
    destroy(&d);
    return status == FSMOE_OK ? measure(shape, cluster, lanes, phase, best_s, r) : status;
}

/* ---- local search ---- */

typedef struct search {
    score *score;
    fsm_rhythm *r[2]; /* of what is there; NULL: that direction is not */
    uint64_t drawn;
    int kinds[FSM_TASK_KIND_COUNT], kind_count, lanes;
} search;

static double uniform(search *s)
{
    return fsm_rng_uniform(1, FSM_RNG_PLAN, s->drawn++);
}

static int draw(search *s, int n)
{
    int value = (int)(uniform(s) * n);
    return value < n ? value : n - 1;
}

/* About normal, with a deviation of a third of a period. */
static double step(search *s)
{
    return 0.33 * (uniform(s) + uniform(s) + uniform(s) + uniform(s) - 2) * 1.73;
}

static void find_kinds(search *s)
{
    const fsm_list *list = s->score->list;
    bool there[FSM_TASK_KIND_COUNT] = {false};
    for (int i = 0; i < list->count; i++)
        if (s->score->shift[i] && list->seconds[i] > 0) there[list->graph->tasks[i].kind] = true;
    for (int k = 0; k < FSM_TASK_KIND_COUNT; k++)
        if (there[k]) s->kinds[s->kind_count++] = k;
}

/* Moves a kind of task of one lane, or one chunk of it. */
static void move(search *s)
{
    fsm_rhythm *r = s->r[0] && (!s->r[1] || draw(s, 2)) ? s->r[0] : s->r[1];
    int kind = s->kinds[draw(s, s->kind_count)], lane = draw(s, s->lanes), chunk = draw(s, r->degree);
    bool all = uniform(s) < 0.4;
    double by = step(s);
    for (int c = 0; c < FSM_LANE_CHUNKS; c++)
        if (all || c == chunk) r->shift[kind][lane][c] += by;
}

/* No order is below what the busiest resource has to do. */
static double load_s(const fsm_list *list)
{
    double loads_s[FSM_RESOURCE_COUNT] = {0}, most_s = 0;
    for (int i = 0; i < list->count; i++) loads_s[list->graph->tasks[i].resource] += list->seconds[i];
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) most_s = fmax(most_s, loads_s[r]);
    return most_s;
}

static void copy(const search *s, fsm_rhythm to[2])
{
    for (int phase = 0; phase < 2; phase++)
        if (s->r[phase]) to[phase] = *s->r[phase];
}

static void restore(search *s, const fsm_rhythm from[2])
{
    for (int phase = 0; phase < 2; phase++)
        if (s->r[phase]) *s->r[phase] = from[phase];
}

/* Keeps what is better, and for a while also what is a little worse; until there is hardly anything left to gain. */
static double anneal(search *s, int attempts, double begun_s)
{
    static const int moves[] = {1, 1, 2, 3};
    fsm_rhythm now[2], best[2];
    double now_s = begun_s, best_s = begun_s, enough_s = NEAR_ENOUGH * load_s(s->score->list);
    double period_s = fmax(s->score->period_s[0], s->score->period_s[1]);
    copy(s, now);
    copy(s, best);
    for (int i = 0; i < attempts && best_s > enough_s; i++) {
        for (int n = moves[draw(s, 4)]; n > 0; n--) move(s);
        double tried_s = beat(s->score);
        if (tried_s > now_s + 0.01 * period_s * (1 - (double)i / attempts)) {
            restore(s, now);
            continue;
        }
        copy(s, now);
        now_s = tried_s;
        if (now_s >= best_s) continue;
        copy(s, best);
        best_s = now_s;
    }
    restore(s, best);
    return best_s;
}

static double search_for(score *scored, fsm_rhythm *forward, fsm_rhythm *backward, int attempts)
{
    search s = {.score = scored, .r = {forward, backward}, .lanes = fsm_graph_lanes(scored->list->graph)};
    double begun_s = beat(scored);
    find_kinds(&s);
    return s.kind_count > 0 ? anneal(&s, attempts, begun_s) : begun_s;
}

fsmoe_status fsm_rhythm_improve(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes,
                                fsm_phase phase, int attempts, fsm_rhythm *r)
{
    direction d;
    double best_s = 0;
    bool forward = phase == FSM_FORWARD;
    fsmoe_status status = prepare(shape, cluster, lanes, phase, layers_with_experts(shape, MANY_LAYERS), r, &d);
    if (status == FSMOE_OK) best_s = search_for(&d.score, forward ? r : NULL, forward ? NULL : r, attempts);
    destroy(&d);
    return status == FSMOE_OK ? measure(shape, cluster, lanes, phase, best_s, r) : status;
}

fsmoe_status fsm_rhythm_run(const fsm_step_shape *shape, fsm_rhythm *forward, fsm_rhythm *backward, int attempts,
                            fsm_list *list)
{
    score s;
    fsmoe_status status = score_create(shape, list, (fsm_rhythm *const[]){forward, backward}, &s);
    if (status == FSMOE_OK && attempts > 0) search_for(&s, forward, backward, attempts);
    if (status == FSMOE_OK) beat(&s);
    score_destroy(&s);
    return status;
}
