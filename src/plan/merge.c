#include "plan/merge.h"

#include "plan/step_memory.h"

#include "plan/list.h"
#include "plan/rhythm.h"

#include <stdlib.h>

/* ---- turns ---- */

static void take_turn(fsm_merge *merge, int role, fsm_section section, int ahead)
{
    merge->turns[merge->turn_count++] = (fsm_turn){role, section, ahead};
}

int fsm_merge_most_parts(const fsm_step_shape *shape, int most)
{
    int parts = most < shape->most_parts ? most : shape->most_parts;
    while (parts > 1 && !fsm_step_allows(shape, (fsm_lanes){.lanes = parts, .parts = parts})) parts--;
    return parts > 1 ? parts : 1;
}

/* What the next attention waits for goes before the all-to-all that runs beside it, since they share a stream. */
fsm_merge fsm_merge_parts(int parts)
{
    fsm_merge merge = {.lanes = {.lanes = parts, .parts = parts}};
    int last = parts - 1;
    if (parts == 1) return (fsm_merge){0};
    take_turn(&merge, 0, FSM_SECTION_APPROACH, 0);
    take_turn(&merge, last, FSM_SECTION_COMBINE, -1);
    take_turn(&merge, 0, FSM_SECTION_DENSE, 0);
    for (int part = 1; part < parts; part++) {
        take_turn(&merge, part, FSM_SECTION_APPROACH, 0);
        take_turn(&merge, part - 1, FSM_SECTION_DISPATCH, 0);
        take_turn(&merge, part, FSM_SECTION_DENSE, 0);
    }
    take_turn(&merge, last, FSM_SECTION_DISPATCH, 0);
    for (int part = 0; part < parts; part++) {
        take_turn(&merge, part, FSM_SECTION_EXPERTS, 0);
        take_turn(&merge, part, FSM_SECTION_WEIGHT_GRADS, 0);
        if (part > 0) take_turn(&merge, part - 1, FSM_SECTION_COMBINE, 0);
    }
    return merge;
}

/* ---- sections ---- */

/* Where a lane is: its pass, how many layers with experts it has left behind, in which section of the next. */
typedef struct place {
    int micro;
    fsm_phase phase;
    int layers;
    fsm_section section;
} place;

/* A task's section; FSM_SECTION_COUNT: it does not belong to experts. */
static fsm_section section_of_experts(const fsm_task *t)
{
    bool is_chunk = t->rows_last > t->rows_first;
    switch (t->kind) {
    case FSM_TASK_A2A_DISPATCH:
    case FSM_TASK_ALLGATHER:
        return FSM_SECTION_DISPATCH;
    case FSM_TASK_EXPERT:
        return FSM_SECTION_EXPERTS;
    case FSM_TASK_WEIGHT_GRAD: /* a dense feed-forward's is no chunk */
        return is_chunk ? FSM_SECTION_WEIGHT_GRADS : FSM_SECTION_COUNT;
    case FSM_TASK_REDUCESCATTER:
    case FSM_TASK_A2A_COMBINE:
        return FSM_SECTION_COMBINE;
    default:
        return FSM_SECTION_COUNT;
    }
}

static void go_on(place *lane, const fsm_task *t)
{
    fsm_section section = section_of_experts(t);
    bool begins = t->micro != lane->micro || t->phase != lane->phase;
    if (begins) *lane = (place){t->micro, t->phase, 0, FSM_SECTION_APPROACH};
    bool leaves = section == FSM_SECTION_COUNT && lane->section > FSM_SECTION_DENSE;
    if (section != FSM_SECTION_COUNT) lane->section = section;
    if (leaves) lane->layers++, lane->section = FSM_SECTION_APPROACH;
    if (t->kind == FSM_TASK_ATTENTION) lane->section = FSM_SECTION_DENSE;
}

/* ---- the order ---- */

/* A task and its rank among all: by stretch of the step, round, turn. */
typedef struct ranked {
    int64_t rank;
    int task;
} ranked;

static int by_rank(const void *x, const void *y)
{
    const ranked *a = x, *b = y;
    if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
    return a->task - b->task;
}

static int find_turn(const fsm_merge *merge, int role, fsm_section section)
{
    int i = 0;
    while (merge->turns[i].role != role || merge->turns[i].section != section) i++;
    return i;
}

/* Stretches are what roles go through together; the exchange of the losses ends one, and the update is the last. */
static int64_t rank_of(const fsm_merge *merge, const fsm_step_shape *shape, const fsm_task *t, place *lanes)
{
    int64_t rounds = shape->num_layers / shape->moe_every + 3, turns = merge->turn_count;
    int64_t stretch = (merge->opposite ? t->micro : 2 * (int64_t)t->micro) + (t->phase == FSM_BACKWARD);
    if (t->phase == FSM_UPDATE) return INT64_MAX;
    if (t->kind == FSM_TASK_SUMS) return (stretch + 1) * rounds * turns - 1;
    place *lane = &lanes[fsm_task_lane(t)];
    go_on(lane, t);
    int turn = find_turn(merge, merge->opposite ? (int)t->phase : fsm_task_lane(t), lane->section);
    int64_t round = lane->layers - merge->turns[turn].ahead + 1;
    return (stretch * rounds + round) * turns + turn;
}

static fsmoe_status take_turns(const fsm_merge *merge, const fsm_step_shape *shape, fsm_graph *graph)
{
    place lanes[FSM_MAX_LANES];
    fsm_graph merged = {0};
    ranked *rank = malloc(sizeof *rank * ((size_t)graph->count + 1));
    int *order = malloc(sizeof *order * ((size_t)graph->count + 1));
    fsmoe_status status = rank && order ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to merge lanes");
    for (int lane = 0; lane < FSM_MAX_LANES; lane++) lanes[lane] = (place){.micro = -1};
    if (status == FSMOE_OK) {
        for (int i = 0; i < graph->count; i++) rank[i] = (ranked){rank_of(merge, shape, &graph->tasks[i], lanes), i};
        qsort(rank, (size_t)graph->count, sizeof *rank, by_rank);
        for (int i = 0; i < graph->count; i++) order[i] = rank[i].task;
        status = fsm_graph_reorder(graph, order, &merged);
    }
    free(rank);
    free(order);
    fsm_graph_destroy(graph);
    *graph = merged;
    return status;
}

/* ---- sums of gradients that give way ---- */

/* The graph with every task but those sums waiting for the one before it on its resource. */
static fsm_graph chain(const fsm_graph *graph)
{
    fsm_graph chained = {.lanes = graph->lanes, .parts = graph->parts};
    int before[FSM_RESOURCE_COUNT];
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) before[r] = -1;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        fsm_graph_add(&chained, *t, graph->edges + t->after_first, t->after_count);
        if (t->kind == FSM_TASK_ALLREDUCE) continue;
        fsm_graph_wait(&chained, i, before[t->resource]);
        before[t->resource] = i;
    }
    return chained;
}

/* Sums come after all else, and first what was finished first. */
static double key_of(const fsm_graph *graph, int task)
{
    const fsm_task *t = &graph->tasks[task];
    int finished = 0;
    if (t->kind != FSM_TASK_ALLREDUCE) return 0;
    for (int e = t->after_first; e < t->after_first + t->after_count; e++)
        if (graph->edges[e] > finished) finished = graph->edges[e];
    return -1.0 - finished;
}

static fsmoe_status list_chained(const fsm_graph *chained, const fsm_graph *graph, const fsm_cluster *cluster,
                                 fsm_graph *reordered)
{
    fsm_list list = {0};
    size_t n = (size_t)graph->count + 1;
    double *seconds = malloc(sizeof *seconds * n), *keys = malloc(sizeof *keys * n);
    fsmoe_status status = fsm_graph_check(chained);
    if (status == FSMOE_OK && !(seconds && keys)) status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to order sums");
    if (status == FSMOE_OK) status = fsm_cost_tasks(graph, cluster, true, seconds);
    if (status == FSMOE_OK) status = fsm_list_create(chained, seconds, &list);
    if (status == FSMOE_OK) {
        for (int i = 0; i < graph->count; i++) keys[i] = key_of(graph, i);
        fsm_list_run(&list, keys);
        status = fsm_graph_reorder(graph, list.order, reordered);
    }
    fsm_list_destroy(&list);
    free(seconds);
    free(keys);
    return status;
}

static fsmoe_status give_way(const fsm_cluster *cluster, fsm_graph *graph)
{
    fsm_graph chained = chain(graph), reordered = {0};
    fsmoe_status status = list_chained(&chained, graph, cluster, &reordered);
    fsm_graph_destroy(&chained);
    fsm_graph_destroy(graph);
    *graph = reordered;
    return status;
}

/* ---- both ---- */

static fsmoe_status string(const fsm_merge *merge, const fsm_step_shape *shape, fsm_graph *graph)
{
    static const int degree[2] = {1, 1};
    fsm_lane_cuts cuts;
    fsm_layer_cut passes[2][FSM_MAX_LANES];
    fsm_step_builder b;
    fsm_lanes_cut(shape, merge->lanes, degree, cuts, passes);
    for (int phase = 0; phase < 2; phase++)
        for (int part = 0; part < FSM_MAX_LANES; part++) passes[phase][part].split = merge->split;
    FSM_TRY(fsm_step_builder_begin(shape, merge->lanes, true, graph, &b));
    b.after_backward = merge->piece_elems == 0;
    fsm_step_plain(&b, passes);
    if (merge->piece_elems > 0) fsm_step_send_pieces(&b, merge->piece_elems);
    if (shape->training) fsm_step_update(&b);
    return fsm_step_builder_end(&b);
}

fsmoe_status fsm_merge_build(const fsm_merge *merge, const fsm_step_shape *shape, const fsm_cluster *cluster,
                             fsm_graph *graph)
{
    FSM_TRY(string(merge, shape, graph));
    if (fsm_graph_lanes(graph) > 1) FSM_TRY(take_turns(merge, shape, graph));
    return merge->piece_elems > 0 ? give_way(cluster, graph) : FSMOE_OK;
}
