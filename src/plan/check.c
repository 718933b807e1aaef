#include "plan/check.h"

#include "plan/ancestry.h"
#include "plan/check_lanes.h"
#include "plan/schedule/paper.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double TOLERANCE = 1e-9; /* relative; times are sums of many */

__attribute__((format(printf, 3, 4))) static fsmoe_status wrong(const fsm_graph *graph, int task, const char *format,
                                                                ...)
{
    char name[128], text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fsm_task_name(&graph->tasks[task], name);
    return fsm_fail(FSMOE_ERROR_FORMAT, "task %d (%s) %s", task, name, text);
}

static bool close_to(double x, double y)
{
    return fabs(x - y) <= TOLERANCE * fmax(fmax(fabs(x), fabs(y)), 1e-12);
}

/* ---- against the plain step ---- */

typedef struct comparison {
    const fsm_step_shape *shape;
    const fsm_graph *graph, *plain;
    int *first, *tasks; /* of plain task i: tasks[first[i] … first[i + 1]) of the graph */
    fsm_ancestry ancestry;
} comparison;

static bool same_work(const fsm_task *t, const fsm_task *u)
{
    return t->kind == u->kind && t->phase == u->phase && t->layer == u->layer && t->micro == u->micro &&
           t->lane == u->lane;
}

static bool is_chunk(const fsm_task *t)
{
    return t->rows_last > t->rows_first;
}

/* All-reduces and optimizer slices are looked at by slice. */
static bool is_by_slice(const fsm_task *t)
{
    return t->kind == FSM_TASK_ALLREDUCE || t->kind == FSM_TASK_OPTIMIZER;
}

/* The place of a task's work in the plain step; -1: it has none. Search by a hash of what identifies it. */
static unsigned key_of(const fsm_task *t)
{
    unsigned key = (unsigned)t->kind * 31 + (unsigned)t->phase;
    key = (key * 8191 + (unsigned)t->layer + 1) * 8191 + (unsigned)t->micro + 1;
    return (key * (FSM_MAX_LANES + 1) + (unsigned)t->lane + 1) * 2654435761u;
}

typedef struct index_entry {
    unsigned key;
    int task;
} index_entry;

static int by_key(const void *x, const void *y)
{
    unsigned a = ((const index_entry *)x)->key, b = ((const index_entry *)y)->key;
    return (a > b) - (a < b);
}

static int find_plain(const fsm_graph *plain, const index_entry *index, const fsm_task *t)
{
    int low = 0, high = plain->count;
    unsigned key = key_of(t);
    while (low < high) {
        int middle = (low + high) / 2;
        if (index[middle].key < key) low = middle + 1;
        else high = middle;
    }
    for (; low < plain->count && index[low].key == key; low++)
        if (same_work(&plain->tasks[index[low].task], t)) return index[low].task;
    return -1;
}

static fsmoe_status match(comparison *c, index_entry *index, int *place)
{
    for (int i = 0; i < c->plain->count; i++) index[i] = (index_entry){key_of(&c->plain->tasks[i]), i};
    qsort(index, (size_t)c->plain->count, sizeof *index, by_key);
    for (int i = 0; i < c->graph->count; i++) {
        place[i] = is_by_slice(&c->graph->tasks[i]) ? -1 : find_plain(c->plain, index, &c->graph->tasks[i]);
        if (place[i] < 0 && !is_by_slice(&c->graph->tasks[i])) return wrong(c->graph, i, "is no part of the step");
        if (place[i] >= 0) c->first[place[i] + 1]++;
    }
    for (int i = 0; i < c->plain->count; i++) c->first[i + 1] += c->first[i];
    int *next = malloc(sizeof *next * ((size_t)c->plain->count + 1));
    if (!next) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to check %d tasks", c->graph->count);
    memcpy(next, c->first, sizeof *next * ((size_t)c->plain->count + 1));
    for (int i = 0; i < c->graph->count; i++)
        if (place[i] >= 0) c->tasks[next[place[i]]++] = i;
    free(next);
    return FSMOE_OK;
}

static int by_rows(const fsm_graph *graph, int x, int y)
{
    return graph->tasks[x].rows_first < graph->tasks[y].rows_first;
}

static int most_chunks(const fsm_step_shape *shape, const fsm_task *plain)
{
    int most = fsm_step_max_degree(shape);
    return plain->rows_last < most ? (int)plain->rows_last : most;
}

/* The tasks that stand for plain task i: one, or chunks that cover its rows once; together its work. */
static fsmoe_status check_work(comparison *c, int i)
{
    const fsm_task *plain = &c->plain->tasks[i];
    int n = c->first[i + 1] - c->first[i], *tasks = c->tasks + c->first[i];
    int most = is_chunk(plain) ? most_chunks(c->shape, plain) : 1;
    char name[128];
    fsm_task_name(plain, name);
    if (n == 0) return fsm_fail(FSMOE_ERROR_FORMAT, "nothing does %s", name);
    if (n > most) return wrong(c->graph, tasks[most], "is done twice, or in more than %d chunks", most);
    for (int k = 1; k < n; k++) /* few and nearly sorted */
        for (int j = k; j > 0 && by_rows(c->graph, tasks[j], tasks[j - 1]); j--) {
            int swap = tasks[j];
            tasks[j] = tasks[j - 1];
            tasks[j - 1] = swap;
        }
    int64_t at = plain->rows_first;
    for (int k = 0; k < n; k++) {
        const fsm_task *t = &c->graph->tasks[tasks[k]];
        double share = is_chunk(plain) ? (double)(t->rows_last - t->rows_first) / (double)plain->rows_last : 1;
        if (t->rows_first != at || (n > 1 && !is_chunk(t)))
            return wrong(c->graph, tasks[k], "does not begin at row %lld, or has no rows", (long long)at);
        at = t->rows_last;
        if (t->launches != plain->launches || t->group != plain->group)
            return wrong(c->graph, tasks[k], "has other launches or another group than the step's");
        if (!close_to(t->size, share * plain->size))
            return wrong(c->graph, tasks[k], "has size %g, not %g", t->size, share * plain->size);
        if (t->slice_last != t->slice_first) return wrong(c->graph, tasks[k], "has a slice of gradients");
    }
    if (at != plain->rows_last)
        return wrong(c->graph, tasks[n - 1], "does not end at row %lld", (long long)plain->rows_last);
    return FSMOE_OK;
}

/* Chunks of one layer concern one another where they share rows. */
static bool rows_meet(const fsm_task *t, const fsm_task *u)
{
    return t->layer != u->layer || !is_chunk(t) || !is_chunk(u) ||
           (t->rows_first < u->rows_last && u->rows_first < t->rows_last);
}

/* What stands for plain task `to` must wait for what stands for `from`, wherever they share rows. */
static fsmoe_status check_edge(comparison *c, int from, int to)
{
    for (int j = c->first[to]; j < c->first[to + 1]; j++)
        for (int k = c->first[from]; k < c->first[from + 1]; k++) {
            int after = c->tasks[j], before = c->tasks[k];
            if (!rows_meet(&c->graph->tasks[after], &c->graph->tasks[before])) continue;
            if (fsm_waits_for(&c->ancestry, after, before)) continue;
            char name[128];
            fsm_task_name(&c->graph->tasks[before], name);
            return wrong(c->graph, after, "does not wait for task %d (%s)", before, name);
        }
    return FSMOE_OK;
}

/* The first micro-batch of a task's lane. */
static int first_micro(const comparison *c, const fsm_task *t)
{
    return fsm_task_lane(t) / fsm_graph_parts(c->graph);
}

/* A lane cuts a layer once for all stages and micro-batches of a direction: where its rows lie is set before the
 * step. */
static fsmoe_status check_cuts(const comparison *c, const index_entry *index, int i)
{
    const fsm_task *plain = &c->plain->tasks[i];
    fsm_task first = {.kind = FSM_TASK_EXPERT,
                      .phase = plain->phase,
                      .layer = plain->layer,
                      .micro = first_micro(c, plain),
                      .lane = plain->lane};
    int experts = find_plain(c->plain, index, &first), n = c->first[i + 1] - c->first[i];
    for (int k = 0; k < n; k++) {
        int task = c->tasks[c->first[i] + k];
        bool same = n == c->first[experts + 1] - c->first[experts];
        if (same) {
            const fsm_task *t = &c->graph->tasks[task], *e = &c->graph->tasks[c->tasks[c->first[experts] + k]];
            same = t->rows_first == e->rows_first && t->rows_last == e->rows_last;
        }
        if (!same) return wrong(c->graph, task, "is not cut as the experts of its layer are");
    }
    return FSMOE_OK;
}

/* Compute stays compute; collectives are all on their groups' links, or all on that of the all-to-alls. place: of
 * each task in the plain step. */
static fsmoe_status check_resources(const comparison *c, const int *place)
{
    bool own = true, one = true;
    for (int i = 0; i < c->graph->count; i++) {
        const fsm_task *t = &c->graph->tasks[i];
        fsm_resource link = place[i] >= 0                   ? c->plain->tasks[place[i]].resource
                            : t->kind == FSM_TASK_ALLREDUCE ? c->shape->link[t->group]
                                                            : FSM_COMPUTE;
        own = own && t->resource == link;
        one = one && t->resource == (link == FSM_COMPUTE ? link : fsm_step_stream(c->shape));
        if (!own && !one) return wrong(c->graph, i, "cannot be on resource %s", fsm_resource_name(t->resource));
    }
    return FSMOE_OK;
}

static fsmoe_status check_against_plain(comparison *c, const index_entry *index)
{
    for (int i = 0; i < c->plain->count; i++)
        if (!is_by_slice(&c->plain->tasks[i])) FSM_TRY(check_work(c, i));
    for (int i = 0; i < c->plain->count; i++)
        if (is_chunk(&c->plain->tasks[i])) FSM_TRY(check_cuts(c, index, i));
    for (int i = 0; i < c->plain->count; i++) {
        const fsm_task *t = &c->plain->tasks[i];
        for (int e = t->after_first; e < t->after_first + t->after_count && !is_by_slice(t); e++)
            if (!is_by_slice(&c->plain->tasks[c->plain->edges[e]])) FSM_TRY(check_edge(c, c->plain->edges[e], i));
    }
    return FSMOE_OK;
}

/* ---- gradients ---- */

static int by_slice(const void *x, const void *y)
{
    const fsm_task *a = *(const fsm_task *const *)x, *b = *(const fsm_task *const *)y;
    return (a->slice_first > b->slice_first) - (a->slice_first < b->slice_first);
}

/* Slices of a kind cover the region once, in its group. */
static fsmoe_status check_cover(const fsm_graph *graph, const fsm_task **sorted, fsm_task_kind kind,
                                const fsm_region *region, bool wanted)
{
    int n = 0;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->kind == kind && t->slice_first < region->last && t->slice_last > region->first) sorted[n++] = t;
    }
    qsort(sorted, (size_t)n, sizeof *sorted, by_slice);
    int64_t at = region->first;
    for (int k = 0; k < n; k++) {
        int task = (int)(sorted[k] - graph->tasks);
        if (!wanted) return wrong(graph, task, "sends gradients that one rank holds alone");
        if (sorted[k]->slice_first < at) return wrong(graph, task, "covers elements before %lld twice", (long long)at);
        if (sorted[k]->slice_first > at) return wrong(graph, task, "leaves elements from %lld on out", (long long)at);
        if (sorted[k]->group != region->group) return wrong(graph, task, "is in another group than its gradients");
        if (sorted[k]->size != (double)(sorted[k]->slice_last - sorted[k]->slice_first))
            return wrong(graph, task, "has size %g, not its slice's", sorted[k]->size);
        at = sorted[k]->slice_last;
    }
    if (!wanted || at == region->last) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "%s: elements %lld-%lld are left out", fsm_task_kind_name(kind), (long long)at,
                    (long long)region->last);
}

static fsmoe_status check_slices(const fsm_graph *graph, const fsm_step_shape *shape)
{
    const fsm_task **sorted = malloc(sizeof *sorted * ((size_t)graph->count + 1));
    fsmoe_status status = sorted ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to check slices");
    for (int i = 0; i < shape->region_count && status == FSMOE_OK; i++) {
        const fsm_region *region = &shape->regions[i];
        bool reduced = shape->training && shape->group_size[region->group] > 1;
        status = check_cover(graph, sorted, FSM_TASK_ALLREDUCE, region, reduced);
        if (status == FSMOE_OK) status = check_cover(graph, sorted, FSM_TASK_OPTIMIZER, region, shape->training);
    }
    free(sorted);
    for (int i = 0; i < graph->count && status == FSMOE_OK; i++) {
        const fsm_task *t = &graph->tasks[i];
        bool inside = false, nowhere = t->layer == -1 && t->micro == -1 && t->lane == -1,
             plain =
                 t->phase == FSM_UPDATE && nowhere && !is_chunk(t) && t->launches == (t->kind == FSM_TASK_ALLREDUCE);
        for (int r = 0; r < shape->region_count; r++)
            inside |= t->slice_first >= shape->regions[r].first && t->slice_last <= shape->regions[r].last &&
                      t->slice_last > t->slice_first;
        if (!is_by_slice(t)) continue;
        if (!inside) status = wrong(graph, i, "is of no region of gradients");
        else if (!plain) status = wrong(graph, i, "has another phase, place or number of launches than the step's");
    }
    return status;
}

/* A piece waits for all that finishes its gradients; without a list of those, for the end of backward. */
static fsmoe_status check_piece(fsm_ancestry *a, const fsm_step_shape *shape, int piece)
{
    const fsm_graph *graph = a->graph;
    const fsm_task *t = &graph->tasks[piece];
    const fsm_gradient *runs = shape->gradients;
    int first = 0, last;
    while (first < shape->gradient_count && runs[first].last <= t->slice_first) first++;
    for (last = first; last < shape->gradient_count && runs[last].first < t->slice_last;) last++;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *u = &graph->tasks[i];
        if (u->phase != FSM_BACKWARD ||
            u->micro < shape->micro_batches - fsm_graph_lanes(graph) / fsm_graph_parts(graph))
            continue;
        bool needed = shape->gradient_count == 0 && u->kind == FSM_TASK_EMBEDDING;
        for (int g = first; g < last && !needed; g++) needed = runs[g].after == u->kind && runs[g].layer == u->layer;
        if (needed && !fsm_waits_for(a, piece, i)) {
            char name[128];
            fsm_task_name(u, name);
            return wrong(graph, piece, "comes before task %d (%s) has finished its gradients", i, name);
        }
    }
    return FSMOE_OK;
}

/* It waits for the norm; where nothing is clipped, for all that makes its gradients whole. */
static fsmoe_status check_optimizer(fsm_ancestry *a, const fsm_step_shape *shape, int optimizer, int norm)
{
    const fsm_graph *graph = a->graph;
    const fsm_task *t = &graph->tasks[optimizer];
    if (!shape->early_update) {
        if (norm >= 0 && fsm_waits_for(a, optimizer, norm)) return FSMOE_OK;
        return wrong(graph, optimizer, "does not wait for the gradient norm");
    }
    FSM_TRY(check_piece(a, shape, optimizer));
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *u = &graph->tasks[i];
        bool sends = u->kind == FSM_TASK_ALLREDUCE && u->slice_first < t->slice_last && u->slice_last > t->slice_first;
        if (sends && !fsm_waits_for(a, optimizer, i)) return wrong(graph, optimizer, "does not wait for task %d", i);
    }
    return FSMOE_OK;
}

static fsmoe_status check_update(fsm_ancestry *a, const fsm_step_shape *shape)
{
    const fsm_graph *graph = a->graph;
    int squares = -1, norm = -1;
    for (int i = 0; i < graph->count; i++) {
        if (graph->tasks[i].kind == FSM_TASK_GRAD_SQUARES) squares = i;
        if (graph->tasks[i].kind == FSM_TASK_GRAD_NORM) norm = i;
    }
    if (norm >= 0 && (squares < 0 || !fsm_waits_for(a, norm, squares)))
        return wrong(graph, norm, "does not wait for this rank's squares");
    for (int i = 0; i < graph->count; i++) {
        if (graph->tasks[i].kind == FSM_TASK_ALLREDUCE) {
            FSM_TRY(check_piece(a, shape, i));
            if (squares >= 0 && !fsm_waits_for(a, squares, i))
                return wrong(graph, squares, "does not wait for task %d", i);
        }
        if (graph->tasks[i].kind == FSM_TASK_OPTIMIZER) FSM_TRY(check_optimizer(a, shape, i, norm));
    }
    return FSMOE_OK;
}

/* The list of who finishes what covers the regions without gaps, and names tasks that there are. */
static fsmoe_status check_gradients(const fsm_graph *graph, const fsm_step_shape *shape)
{
    int g = 0;
    for (int r = 0; r < shape->region_count && shape->gradient_count > 0; r++) {
        int64_t at = shape->regions[r].first;
        for (; g < shape->gradient_count && shape->gradients[g].region == r; at = shape->gradients[g++].last)
            if (shape->gradients[g].first != at || shape->gradients[g].last < at) break;
        if (at != shape->regions[r].last)
            return fsm_fail(FSMOE_ERROR_FORMAT, "nothing is said to finish the gradients from %lld on", (long long)at);
    }
    if (g < shape->gradient_count)
        return fsm_fail(FSMOE_ERROR_FORMAT, "run %d of gradients is in no region, or out of order", g);
    for (g = 0; g < shape->gradient_count; g++) {
        const fsm_gradient *run = &shape->gradients[g];
        int i = 0;
        while (i < graph->count && (graph->tasks[i].phase != FSM_BACKWARD || graph->tasks[i].kind != run->after ||
                                    graph->tasks[i].layer != run->layer))
            i++;
        if (i == graph->count)
            return fsm_fail(FSMOE_ERROR_FORMAT, "no task of backward is %s of layer %d, said to finish gradients",
                            fsm_task_kind_name(run->after), run->layer);
    }
    return FSMOE_OK;
}

/* ---- the graph ---- */

/* The step that any graph with these lanes has to do, with no more dependencies than there are. */
static fsmoe_status build_plain(const fsm_step_shape *shape, const fsm_graph *graph, fsm_graph *plain)
{
    int parts = fsm_graph_parts(graph);
    int64_t cuts[FSM_MAX_LANES][2] = {{0}};
    fsm_layer_cut passes[2][FSM_MAX_LANES];
    for (int part = 0; part < parts; part++) {
        cuts[part][1] = fsm_step_part(shape, parts, part).nominal_rows;
        passes[0][part] = passes[1][part] = (fsm_layer_cut){.degree = 1, .cuts = cuts[part], .split = true};
    }
    fsm_step_builder b;
    fsm_lanes lanes = {graph->lanes, graph->parts, graph->spare};
    FSM_TRY(fsm_step_builder_begin(shape, lanes, false, plain, &b));
    b.late_weight_grads = true;
    fsm_step_plain(&b, passes);
    if (shape->training) fsm_step_update(&b);
    return fsm_step_builder_end(&b);
}

static fsmoe_status compare(const fsm_graph *graph, const fsm_graph *plain, const fsm_step_shape *shape)
{
    comparison c = {.shape = shape, .graph = graph, .plain = plain};
    index_entry *index = malloc(sizeof *index * ((size_t)plain->count + 1));
    int *place = malloc(sizeof *place * ((size_t)graph->count + 1));
    c.first = calloc((size_t)plain->count + 2, sizeof *c.first);
    c.tasks = malloc(sizeof *c.tasks * ((size_t)graph->count + 1));
    fsmoe_status status = fsm_ancestry_begin(graph, &c.ancestry);
    if (status == FSMOE_OK) {
        status = index && place && c.first && c.tasks ? match(&c, index, place)
                                                      : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to check a plan");
        if (status == FSMOE_OK) status = check_against_plain(&c, index);
        if (status == FSMOE_OK) status = check_resources(&c, place);
        fsm_ancestry_end(&c.ancestry);
    }
    free(index);
    free(place);
    free(c.first);
    free(c.tasks);
    return status;
}

fsmoe_status fsm_plan_check_graph(const fsm_graph *graph, const fsm_step_shape *shape)
{
    fsm_graph plain;
    fsm_ancestry a;
    FSM_TRY(fsm_graph_check(graph));
    if ((double)shape->num_layers * (shape->training ? shape->micro_batches : 1) > graph->count)
        return fsm_fail(FSMOE_ERROR_FORMAT, "%d tasks are too few for %d layers and %d micro-batches", graph->count,
                        shape->num_layers, shape->micro_batches);
    FSM_TRY(fsm_check_lanes(shape, graph));
    FSM_TRY(check_slices(graph, shape));
    if (shape->training) FSM_TRY(check_gradients(graph, shape));
    FSM_TRY(fsm_ancestry_begin(graph, &a));
    fsmoe_status status = check_update(&a, shape);
    if (status == FSMOE_OK) status = fsm_check_buffers(shape, &a);
    fsm_ancestry_end(&a);
    FSM_TRY(status);
    FSM_TRY(build_plain(shape, graph, &plain));
    status = compare(graph, &plain, shape);
    fsm_graph_destroy(&plain);
    return status;
}

/* ---- times and claims ---- */

static fsmoe_status check_times(const fsm_plan *p, const double *seconds)
{
    const fsm_graph *graph = &p->graph;
    double free_s[FSM_RESOURCE_COUNT] = {0}, stream_s = 0, last_s = 0;
    double slack = TOLERANCE * fmax(p->certificate.makespan_s, 1e-12);
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        double start_s = p->timeline.start_s[i], end_s = p->timeline.end_s[i];
        if (!close_to(p->seconds[i], seconds[i]))
            return wrong(graph, i, "costs %g s, not %g s", seconds[i], p->seconds[i]);
        if (!(fabs(end_s - start_s - seconds[i]) <= slack)) return wrong(graph, i, "does not take what it costs");
        if (!(start_s >= free_s[t->resource] - slack))
            return wrong(graph, i, "starts before its resource (%s) is free", fsm_resource_name(t->resource));
        for (int e = t->after_first; e < t->after_first + t->after_count; e++)
            if (start_s < p->timeline.end_s[graph->edges[e]] - slack)
                return wrong(graph, i, "starts before task %d, which it waits for, has ended", graph->edges[e]);
        if (p->freedom.one_stream && t->resource != FSM_COMPUTE && !(start_s >= stream_s - slack))
            return wrong(graph, i, "starts beside another collective, and schedule %s has one stream", p->schedule);
        if (t->resource != FSM_COMPUTE) stream_s = end_s;
        free_s[t->resource] = end_s;
        last_s = fmax(last_s, end_s);
    }
    if (close_to(last_s, p->certificate.makespan_s)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "the makespan is %g s, not %g s", last_s, p->certificate.makespan_s);
}

static fsmoe_status check_bound(const char *what, const fsm_bound *claimed, const fsm_bound *found, double makespan_s)
{
    if (!close_to(claimed->seconds, found->seconds))
        return fsm_fail(FSMOE_ERROR_FORMAT, "the %s is %.9g s, not %.9g s", what, found->seconds, claimed->seconds);
    if (strcmp(claimed->binding, found->binding) != 0)
        return fsm_fail(FSMOE_ERROR_FORMAT, "the %s rests on '%s', not on '%s'", what, found->binding,
                        claimed->binding);
    if (claimed->seconds > makespan_s * (1 + TOLERANCE))
        return fsm_fail(FSMOE_ERROR_FORMAT, "the %s %g s is above the makespan %g s", what, claimed->seconds,
                        makespan_s);
    return FSMOE_OK;
}

static fsmoe_status check_loads(const fsm_plan *plan, const fsm_cluster *cluster)
{
    const double *claimed = plan->certificate.load_s;
    double load_s[FSM_RESOURCE_COUNT];
    FSM_TRY(fsm_step_loads(&plan->shape, cluster, load_s));
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (!close_to(claimed[r], load_s[r]))
            return fsm_fail(FSMOE_ERROR_FORMAT, "the load of %s is %.9g s, not %.9g s",
                            fsm_resource_name((fsm_resource)r), load_s[r], claimed[r]);
    return FSMOE_OK;
}

/* The bound is about what the schedule may do, so a plan must not claim less freedom than its schedule has. */
static fsmoe_status check_schedule(const fsm_plan *plan)
{
    bool is_paper = strcmp(plan->schedule, fsm_schedule_fsmoe_paper.name) == 0;
    const fsm_schedule *s = is_paper ? &fsm_schedule_fsmoe_paper : fsm_schedule_find(plan->schedule);
    if (!s) return fsm_fail(FSMOE_ERROR_FORMAT, "no schedule is named '%s'", plan->schedule);
    const fsm_freedom *a = &s->freedom, *b = &plan->freedom;
    if (a->split != b->split || a->one_stream != b->one_stream || a->lanes != b->lanes)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'split', 'one_stream' or 'lanes' is not what schedule %s has",
                        plan->schedule);
    if (!a->lanes && fsm_graph_lanes(&plan->graph) > 1)
        return fsm_fail(FSMOE_ERROR_FORMAT, "it has %d lanes, which schedule %s has not", fsm_graph_lanes(&plan->graph),
                        plan->schedule);
    return FSMOE_OK;
}

fsmoe_status fsm_plan_check(const fsm_plan *plan, const fsm_cluster *cluster)
{
    fsm_bound bound, order_bound;
    const fsm_certificate *claimed = &plan->certificate;
    FSM_TRY(check_schedule(plan));
    FSM_TRY(fsm_plan_check_graph(&plan->graph, &plan->shape));
    double *seconds = malloc(sizeof *seconds * ((size_t)plan->graph.count + 1));
    if (!seconds) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to check a plan");
    fsmoe_status status = fsm_cost_graph(&plan->graph, cluster, seconds);
    if (status == FSMOE_OK) status = check_times(plan, seconds);
    if (status == FSMOE_OK) status = fsm_bound_graph(&plan->graph, seconds, &order_bound);
    free(seconds);
    FSM_TRY(status);
    FSM_TRY(check_loads(plan, cluster));
    FSM_TRY(fsm_bound_step(&plan->shape, cluster, plan->freedom, &bound));
    FSM_TRY(check_bound("lower bound", &claimed->bound, &bound, claimed->makespan_s));
    return check_bound("lower bound of the order", &claimed->order_bound, &order_bound, claimed->makespan_s);
}
