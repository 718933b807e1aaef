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

/* ---- chunks ---- */

void fsm_lanes_cut(const fsm_step_shape *shape, fsm_lanes lanes, const int degree[2], fsm_lane_cuts cuts,
                   fsm_layer_cut passes[2][FSM_MAX_LANES])
{
    int parts = lanes.parts > 1 ? lanes.parts : 1;
    for (int phase = 0; phase < 2; phase++)
        for (int part = 0; part < parts; part++) {
            fsm_step_even_cuts(fsm_step_part(shape, parts, part).nominal_rows, degree[phase], cuts[phase][part]);
            passes[phase][part] = (fsm_layer_cut){.degree = degree[phase], .cuts = cuts[phase][part], .split = true};
        }
}

/* The chunk of even cuts that begins at a row. */
static int chunk_of(const fsm_task *t, int64_t nominal_rows, int degree)
{
    return (int)((t->rows_first * degree + nominal_rows - 1) / nominal_rows);
}

/* ---- keys ---- */

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

void fsm_rhythm_keys(const fsm_rhythm *const rhythms[2], const fsm_step_shape *shape, const fsm_list *list,
                     double *keys)
{
    for (int i = 0; i < list->count; i++) {
        const fsm_task *t = &list->graph->tasks[i];
        fsm_rhythm *r = (fsm_rhythm *)rhythms[t->phase == FSM_BACKWARD]; /* is only read */
        const double *shift = shift_of(r, shape, list->graph, t);
        keys[i] = list->way_s[i] + (shift ? *shift * r->period_s : 0);
        if (is_late(t)) keys[i] = LATE_S + list->way_s[i];
        if (t->kind == FSM_TASK_ALLREDUCE) keys[i] = LAST_S + list->way_s[i];
    }
}

/* ---- one direction of a few layers ---- */

typedef struct direction {
    fsm_step_shape shape;
    fsm_graph graph;
    fsm_list list;
    double *seconds, *keys;
    double **shift; /* [count] where the rhythm speaks of each task, or NULL */
} direction;

static void destroy(direction *d)
{
    fsm_list_destroy(&d->list);
    fsm_graph_destroy(&d->graph);
    free(d->seconds);
    free(d->shift);
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
    size_t n = (size_t)d->graph.count + 1;
    d->seconds = malloc(2 * n * sizeof *d->seconds);
    d->shift = malloc(n * sizeof *d->shift);
    if (!d->seconds || !d->shift) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to order %d tasks", d->graph.count);
    d->keys = d->seconds + n;
    FSM_TRY(fsm_cost_tasks(&d->graph, cluster, true, d->seconds));
    FSM_TRY(fsm_list_create(&d->graph, d->seconds, &d->list));
    for (int i = 0; i < d->graph.count; i++) {
        const fsm_task *t = &d->graph.tasks[i];
        d->shift[i] = is_late(t) ? NULL : shift_of(r, &d->shape, &d->graph, t);
    }
    return FSMOE_OK;
}

/* The makespan under the rhythm as it is now. */
static double beat(direction *d, double period_s)
{
    for (int i = 0; i < d->graph.count; i++)
        d->keys[i] = d->list.way_s[i] + (d->shift[i] ? *d->shift[i] * period_s : LATE_S);
    fsm_list_run(&d->list, d->keys);
    return d->list.makespan_s;
}

/* ---- lanes that are alike ---- */

static void set_apart(fsm_rhythm *r, double distance)
{
    for (int k = 0; k < FSM_TASK_KIND_COUNT; k++)
        for (int lane = 0; lane < FSM_MAX_LANES; lane++)
            for (int c = 0; c < FSM_RHYTHM_CHUNKS; c++) r->shift[k][lane][c] = -distance * lane;
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
    if (status == FSMOE_OK) r->direction_s = extend(shape, many, many_s, few, beat(&d, r->period_s));
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
        for (int i = 0; i <= (lanes.lanes > 1 ? 16 : 0); i++) {
            double distance = i / 16.0;
            set_apart(r, distance);
            double taken_s = beat(&d, r->period_s);
            if (taken_s < best_s) best = distance, best_s = taken_s;
        }
        set_apart(r, best);
    }
    destroy(&d);
    return status == FSMOE_OK ? measure(shape, cluster, lanes, phase, best_s, r) : status;
}

/* ---- local search ---- */

typedef struct search {
    direction *d;
    fsm_rhythm *r;
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
    bool there[FSM_TASK_KIND_COUNT] = {false};
    for (int i = 0; i < s->d->graph.count; i++)
        if (s->d->shift[i] && s->d->seconds[i] > 0) there[s->d->graph.tasks[i].kind] = true;
    for (int k = 0; k < FSM_TASK_KIND_COUNT; k++)
        if (there[k]) s->kinds[s->kind_count++] = k;
}

/* Moves a kind of task of one lane, or one chunk of it. */
static void move(search *s)
{
    int kind = s->kinds[draw(s, s->kind_count)], lane = draw(s, s->lanes), chunk = draw(s, s->r->degree);
    bool all = uniform(s) < 0.4;
    double by = step(s);
    for (int c = 0; c < FSM_RHYTHM_CHUNKS; c++)
        if (all || c == chunk) s->r->shift[kind][lane][c] += by;
}

/* No order is below what the busiest resource has to do. */
static double load_s(const direction *d)
{
    double loads_s[FSM_RESOURCE_COUNT] = {0}, most_s = 0;
    for (int i = 0; i < d->graph.count; i++) loads_s[d->graph.tasks[i].resource] += d->seconds[i];
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) most_s = fmax(most_s, loads_s[r]);
    return most_s;
}

/* Keeps what is better, and for a while also what is a little worse; until there is hardly anything left to gain. */
static double anneal(search *s, int attempts, double begun_s)
{
    fsm_rhythm *kept = s->r, now = *kept, best = *kept;
    double now_s = begun_s, best_s = begun_s, enough_s = NEAR_ENOUGH * load_s(s->d);
    for (int i = 0; i < attempts && best_s > enough_s; i++) {
        static const int moves[] = {1, 1, 2, 3};
        for (int n = moves[draw(s, 4)]; n > 0; n--) move(s);
        double tried_s = beat(s->d, kept->period_s);
        if (tried_s > now_s + 0.01 * kept->period_s * (1 - (double)i / attempts)) {
            *kept = now;
            continue;
        }
        now = *kept, now_s = tried_s;
        if (now_s < best_s) best = now, best_s = now_s;
    }
    *kept = best;
    return best_s;
}

fsmoe_status fsm_rhythm_improve(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes,
                                fsm_phase phase, int attempts, fsm_rhythm *r)
{
    direction d;
    double best_s = 0;
    fsmoe_status status = prepare(shape, cluster, lanes, phase, layers_with_experts(shape, MANY_LAYERS), r, &d);
    if (status == FSMOE_OK) {
        search s = {.d = &d, .r = r, .lanes = fsm_graph_lanes(&d.graph)};
        find_kinds(&s);
        best_s = beat(&d, r->period_s);
        if (s.kind_count > 0) best_s = anneal(&s, attempts, best_s);
    }
    destroy(&d);
    return status == FSMOE_OK ? measure(shape, cluster, lanes, phase, best_s, r) : status;
}
