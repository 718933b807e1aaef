/* What must hold of every schedule's graph of a step: the work of the step without overlap, every gradient once and
 * never early, and every task after what it needs. Tasks and reachability are looked at one by one, as no planner does.
 * In:  a step's shape, a graph of it, the graph without overlap. Out: a failed test where something is wrong.
 */
#ifndef FSM_TESTS_GRAPH_CHECKS_H
#define FSM_TESTS_GRAPH_CHECKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plan/step.h"

#include <math.h>
#include <stdlib.h>

/* ---- reachability ---- */

/* reach[i]: which tasks i waits for, itself included, directly or through others; a row of bits a task. */
typedef struct reach {
    uint64_t *bits;
    size_t words;
} reach;

static inline reach find_reach(const fsm_graph *graph)
{
    reach r = {.words = ((size_t)graph->count + 63) / 64};
    r.bits = calloc(r.words * (size_t)graph->count + 1, sizeof *r.bits);
    assert_non_null(r.bits);
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        uint64_t *row = r.bits + r.words * (size_t)i;
        row[i / 64] |= (uint64_t)1 << (i % 64);
        for (int e = 0; e < t->after_count; e++) {
            const uint64_t *before = r.bits + r.words * (size_t)graph->edges[t->after_first + e];
            for (size_t w = 0; w < r.words; w++) row[w] |= before[w];
        }
    }
    return r;
}

static inline void assert_waits(const fsm_graph *graph, const reach *r, int task, int before)
{
    if (r->bits[r->words * (size_t)task + (size_t)before / 64] >> (before % 64) & 1) return;
    char name[128], other[128];
    fsm_task_name(&graph->tasks[task], name);
    fsm_task_name(&graph->tasks[before], other);
    fail_msg("%s does not wait for %s", name, other);
}

/* ---- checks of a graph ---- */

static inline bool same_work(const fsm_task *t, const fsm_task *u)
{
    return t->kind == u->kind && t->phase == u->phase && t->layer == u->layer && t->micro == u->micro;
}

static inline bool same_layer_of(const fsm_task *t, const fsm_task *u)
{
    return t->layer == u->layer && t->phase == u->phase && t->micro == u->micro;
}

static inline double size_of(const fsm_graph *graph, const fsm_task *like)
{
    double size = 0;
    for (int i = 0; i < graph->count; i++) size += same_work(&graph->tasks[i], like) ? graph->tasks[i].size : 0;
    return size;
}

/* Both ways: as much of every (kind, phase, layer, micro) as without overlap, in all lanes together. */
static inline void check_same_work(const fsm_graph *graph, const fsm_graph *plain)
{
    for (int i = 0; i < plain->count; i++) {
        double want = size_of(plain, &plain->tasks[i]), got = size_of(graph, &plain->tasks[i]);
        if (plain->tasks[i].kind == FSM_TASK_COUNTS) want *= fsm_graph_parts(graph); /* a lane counts for itself */
        assert_true(fabs(got - want) <= 1e-9 * want);
    }
    for (int i = 0; i < graph->count; i++) {
        bool found = false;
        for (int j = 0; j < plain->count && !found; j++) found = same_work(&graph->tasks[i], &plain->tasks[j]);
        assert_true(found);
    }
}

/* The chunk beside t that begins at a row; NULL: none. */
static inline const fsm_task *chunk_at(const fsm_graph *graph, const fsm_task *t, int64_t at)
{
    for (int j = 0; j < graph->count; j++) {
        const fsm_task *u = &graph->tasks[j];
        if (same_work(t, u) && t->lane == u->lane && u->rows_first == at) return u;
    }
    return NULL;
}

/* Chunks of one kind and lane follow one another over all nominal rows, none empty. */
static inline void check_chunks_tile_rows(const fsm_step_shape *s, const fsm_graph *graph)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i], *u;
        if (t->rows_first == t->rows_last || t->rows_first != 0) continue;
        int64_t at = 0;
        int chunks = 0, all = 0, parts = fsm_graph_parts(graph);
        for (; (u = chunk_at(graph, t, at)); chunks++) {
            assert_true(u->rows_last > at);
            at = u->rows_last;
        }
        for (int j = 0; j < graph->count; j++) all += same_work(t, &graph->tasks[j]) && t->lane == graph->tasks[j].lane;
        assert_int_equal(chunks, all);
        assert_int_equal(at, fsm_step_part(s, parts, fsm_task_lane(t) % parts).nominal_rows);
        assert_true(chunks <= fsm_step_max_degree(s) && chunks <= FSM_MAX_CHUNKS);
    }
}

static inline int64_t tiled_until(const fsm_graph *graph, fsm_task_kind kind, fsm_group group, int64_t at)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->kind == kind && t->slice_first == at && t->slice_last > at) {
            assert_int_equal(t->group, group);
            return t->slice_last;
        }
    }
    return at;
}

static inline int64_t elems_in(const fsm_graph *graph, fsm_task_kind kind, const fsm_region *region)
{
    int64_t elems = 0;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->kind != kind || t->slice_last <= region->first || t->slice_first >= region->last) continue;
        assert_true(t->slice_first >= region->first && t->slice_last <= region->last);
        elems += t->slice_last - t->slice_first;
    }
    return elems;
}

/* Slices of a kind go gaplessly over the region, and no element is in two of them. */
static inline void check_region_once(const fsm_graph *graph, fsm_task_kind kind, const fsm_region *region)
{
    int64_t at = region->first, before = at - 1;
    while (at < region->last && at > before) {
        before = at;
        at = tiled_until(graph, kind, region->group, at);
    }
    assert_int_equal(at, region->last);
    assert_int_equal(elems_in(graph, kind, region), region->last - region->first);
}

static inline void check_gradients_once(const fsm_step_shape *s, const fsm_graph *graph)
{
    for (int r = 0; r < s->region_count; r++) {
        if (s->training) check_region_once(graph, FSM_TASK_OPTIMIZER, &s->regions[r]);
        else assert_int_equal(elems_in(graph, FSM_TASK_OPTIMIZER, &s->regions[r]), 0);
        if (s->training && s->group_size[s->regions[r].group] > 1)
            check_region_once(graph, FSM_TASK_ALLREDUCE, &s->regions[r]);
        else assert_int_equal(elems_in(graph, FSM_TASK_ALLREDUCE, &s->regions[r]), 0);
    }
}

/* An all-reduce waits for every task, of every micro-batch, that adds to its gradients. */
static inline void check_piece_is_finished(const fsm_step_shape *s, const fsm_graph *graph, const reach *r, int piece)
{
    const fsm_task *p = &graph->tasks[piece];
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        bool adds = s->gradient_count == 0;
        for (int k = 0; k < s->gradient_count; k++) {
            const fsm_gradient *g = &s->gradients[k];
            bool overlaps = g->first < p->slice_last && g->last > p->slice_first;
            adds |= overlaps && g->after == t->kind && g->layer == t->layer;
        }
        if (t->phase == FSM_BACKWARD && adds) assert_waits(graph, r, piece, i);
    }
}

static inline void check_update_waits(const fsm_step_shape *s, const fsm_graph *graph, const reach *r)
{
    int norm = -1;
    for (int i = 0; i < graph->count; i++) {
        if (graph->tasks[i].kind == FSM_TASK_ALLREDUCE) check_piece_is_finished(s, graph, r, i);
        if (graph->tasks[i].kind == FSM_TASK_OPTIMIZER) assert_waits(graph, r, i, norm);
        if (graph->tasks[i].kind != FSM_TASK_GRAD_NORM) continue;
        assert_int_equal(norm, -1);
        norm = i;
        for (int j = 0; j < i; j++) assert_waits(graph, r, i, j);
    }
    assert_int_equal(norm >= 0, s->training);
}

/* Place of a kind in the chain of one chunk; -1: not of a chunk. */
static inline int stage_of(const fsm_task *t)
{
    static const fsm_task_kind kinds[] = {FSM_TASK_A2A_DISPATCH, FSM_TASK_ALLGATHER,     FSM_TASK_EXPERT,
                                          FSM_TASK_WEIGHT_GRAD,  FSM_TASK_REDUCESCATTER, FSM_TASK_A2A_COMBINE};
    for (int i = 0; i < 6; i++)
        if (t->kind == kinds[i] && t->rows_last > t->rows_first) return i;
    return -1;
}

/* Whether a task is a weight gradient that its layer does not wait for. */
static inline bool is_late(const fsm_graph *graph, const fsm_task *t)
{
    return graph->lanes > 0 && t->kind == FSM_TASK_WEIGHT_GRAD && stage_of(t) >= 0;
}

/* Stages of the same rows wait for one another, but nothing waits for a weight gradient that is split off; a layer's
 * other tasks wait for all chunks or all chunks wait for them. */
static inline void check_chunk_order(const fsm_graph *graph, const reach *r)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        for (int j = 0; j < i; j++) {
            const fsm_task *u = &graph->tasks[j];
            bool same_layer = same_layer_of(t, u) && t->lane == u->lane && t->layer >= 0;
            if (!same_layer || is_late(graph, u)) continue;
            bool chunks = stage_of(t) >= 0 && stage_of(u) >= 0;
            bool overlap = t->rows_first < u->rows_last && u->rows_first < t->rows_last;
            bool beside =
                u->kind == FSM_TASK_WEIGHT_GRAD || (t->kind == FSM_TASK_WEIGHT_GRAD && stage_of(u) > stage_of(t));
            if (is_late(graph, t) && u->kind != FSM_TASK_EXPERT && (!chunks || beside)) continue;
            if (chunks && (!overlap || beside)) continue;
            if (chunks) assert_true(stage_of(t) > stage_of(u));
            assert_waits(graph, r, i, j);
        }
    }
}

/* Whether the micro-batches of two tasks go beside one another, in lanes of their own. */
static inline bool are_beside(const fsm_graph *graph, const fsm_task *t, const fsm_task *u)
{
    int at_once = fsm_graph_lanes(graph) / fsm_graph_parts(graph);
    return t->micro % at_once != u->micro % at_once;
}

/* Whether a task of one lane, issued later, has to wait for one of another: only where losses are exchanged. */
static inline bool lanes_meet(const fsm_task *t, const fsm_task *u)
{
    if (t->micro != u->micro) return false;
    return (t->kind == FSM_TASK_SUMS && u->phase == FSM_FORWARD) ||
           (u->kind == FSM_TASK_SUMS && t->phase == FSM_BACKWARD);
}

/* What follows a layer waits for all of it, in every lane. */
static inline void check_chain(const fsm_graph *graph, const reach *r)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->phase == FSM_UPDATE || is_late(graph, t)) continue;
        for (int j = 0; j < i; j++) {
            const fsm_task *u = &graph->tasks[j];
            if (u->phase == FSM_UPDATE || is_late(graph, u) || same_layer_of(t, u) || are_beside(graph, t, u)) continue;
            if (t->lane == u->lane || lanes_meet(t, u)) assert_waits(graph, r, i, j);
        }
    }
}

static inline void check_links(const fsm_step_shape *s, const fsm_graph *graph)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->resource == FSM_COMPUTE || t->kind == FSM_TASK_A2A_COMBINE) continue;
        assert_true(s->group_size[t->group] > 1);
        assert_true(t->resource == s->link[t->group] || t->resource == fsm_step_stream(s));
    }
}

static inline void check_graph(const fsm_step_shape *s, const fsm_graph *graph, const fsm_graph *plain)
{
    reach r = find_reach(graph);
    assert_int_equal(fsm_graph_check(graph), FSMOE_OK);
    check_same_work(graph, plain);
    check_chunks_tile_rows(s, graph);
    check_gradients_once(s, graph);
    check_update_waits(s, graph, &r);
    check_chunk_order(graph, &r);
    check_chain(graph, &r);
    check_links(s, graph);
    free(r.bits);
}

#endif
