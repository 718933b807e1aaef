/* A planned step made by hand: tasks in order on their resources, each after what it waits for. */
#ifndef FSM_TESTS_PLAN_BY_HAND_H
#define FSM_TESTS_PLAN_BY_HAND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "exec/spans.h"
#include "exec/trace.h"
#include "report/gantt.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct plan {
    fsm_graph graph;
    fsm_timeline timeline;
    int capacity;
    double free_s[FSM_RESOURCE_COUNT];
} plan;

static inline int put(plan *p, fsm_task task, double seconds, const int *after, int n)
{
    if (p->graph.count == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 64;
        p->timeline.start_s = realloc(p->timeline.start_s, (size_t)p->capacity * sizeof(double));
        p->timeline.end_s = realloc(p->timeline.end_s, (size_t)p->capacity * sizeof(double));
        assert_non_null(p->timeline.start_s);
        assert_non_null(p->timeline.end_s);
    }
    double start_s = p->free_s[task.resource];
    for (int i = 0; i < n; i++)
        if (after[i] >= 0) start_s = fmax(start_s, p->timeline.end_s[after[i]]);
    int index = fsm_graph_add(&p->graph, task, after, n);
    assert_true(index >= 0);
    p->timeline.start_s[index] = start_s;
    p->timeline.end_s[index] = p->free_s[task.resource] = start_s + seconds;
    p->timeline.makespan_s = fmax(p->timeline.makespan_s, start_s + seconds);
    return index;
}

static inline void destroy(plan *p)
{
    fsm_graph_destroy(&p->graph);
    free(p->timeline.start_s);
    free(p->timeline.end_s);
}

static inline fsm_task task_of(fsm_task_kind kind, fsm_phase phase, fsm_resource resource, int layer, int micro)
{
    return (fsm_task){.kind = kind, .phase = phase, .resource = resource, .layer = layer, .micro = micro, .size = 1};
}

/* dispatch, expert, combine of two chunks; backward's weight gradients run late, on what follows. */
static inline int put_layer(plan *p, fsm_phase phase, int layer, int micro, int last)
{
    int ends[2];
    last = put(p, task_of(FSM_TASK_ATTENTION, phase, FSM_COMPUTE, layer, micro), 1.5e-3, &last, 1);
    for (int c = 0; c < 2; c++) {
        fsm_task chunk = task_of(FSM_TASK_A2A_DISPATCH, phase, FSM_INTER, layer, micro);
        chunk.rows_first = 64 * c, chunk.rows_last = 64 * c + 64;
        int at = put(p, chunk, 0.4e-3, &last, 1);
        chunk.kind = FSM_TASK_EXPERT, chunk.resource = FSM_COMPUTE;
        at = put(p, chunk, 0.7e-3, &at, 1);
        if (phase == FSM_BACKWARD) {
            chunk.kind = FSM_TASK_WEIGHT_GRAD;
            put(p, chunk, 0.6e-3, &at, 1);
        }
        chunk.kind = FSM_TASK_A2A_COMBINE, chunk.resource = FSM_INTER;
        ends[c] = put(p, chunk, 0.4e-3, &at, 1);
    }
    return put(p, task_of(FSM_TASK_IORDER, phase, FSM_COMPUTE, layer, micro), 0.05e-3, ends, 2);
}

/* All-reduces start beneath the last backward. */
static inline plan make_plan(int layers, int micros)
{
    plan p = {.capacity = 0};
    int last = -1;
    for (int m = 0; m < micros; m++) {
        last = put(&p, task_of(FSM_TASK_EMBEDDING, FSM_FORWARD, FSM_COMPUTE, -1, m), 0.2e-3, &last, 1);
        for (int l = 0; l < layers; l++) last = put_layer(&p, FSM_FORWARD, l, m, last);
        last = put(&p, task_of(FSM_TASK_HEAD, FSM_FORWARD, FSM_COMPUTE, -1, m), 1e-3, &last, 1);
        for (int l = layers - 1; l >= 0; l--) {
            last = put_layer(&p, FSM_BACKWARD, l, m, last);
            fsm_task piece = task_of(FSM_TASK_ALLREDUCE, FSM_UPDATE, FSM_INTER, -1, -1);
            piece.slice_first = 100 * l, piece.slice_last = 100 * l + 100;
            if (m == micros - 1) put(&p, piece, 0.3e-3, &last, 1);
        }
    }
    last = p.graph.count - 1;
    put(&p, task_of(FSM_TASK_OPTIMIZER, FSM_UPDATE, FSM_COMPUTE, -1, -1), 1e-3, &last, 1);
    return p;
}

/* Two lanes of one micro-batch: each layer of one begins in the other's gaps; the second lags. Both wait for the
 * losses. */
static inline plan make_plan_of_lanes(int layers, int lanes)
{
    plan p = {.capacity = 0};
    int last[4] = {-1, -1, -1, -1};
    p.graph.lanes = p.graph.parts = lanes;
    for (int phase = FSM_FORWARD; phase <= FSM_BACKWARD; phase++) {
        for (int l = 0; l < layers; l++)
            for (int lane = 0; lane < lanes; lane++) {
                int first = p.graph.count;
                last[lane] = put_layer(&p, (fsm_phase)phase, phase == FSM_FORWARD ? l : layers - 1 - l, 0, last[lane]);
                for (int i = first; i < p.graph.count; i++) p.graph.tasks[i].lane = lane;
            }
        fsm_task sums = task_of(FSM_TASK_SUMS, FSM_FORWARD, FSM_INTER, -1, 0);
        sums.lane = -1;
        if (phase == FSM_BACKWARD) break;
        last[0] = put(&p, sums, 0.1e-3, last, lanes);
        for (int lane = 1; lane < lanes; lane++) last[lane] = last[0];
    }
    fsm_task piece = task_of(FSM_TASK_ALLREDUCE, FSM_UPDATE, FSM_INTER, -1, -1);
    piece.lane = -1;
    last[0] = put(&p, piece, 0.3e-3, last, lanes);
    piece.kind = FSM_TASK_OPTIMIZER, piece.resource = FSM_COMPUTE;
    put(&p, piece, 1e-3, last, 1);
    return p;
}

static inline void move(plan *p, int task)
{
    double seconds = p->timeline.end_s[task] - p->timeline.start_s[task];
    p->timeline.start_s[task] = p->timeline.makespan_s;
    p->timeline.end_s[task] = p->timeline.makespan_s += seconds;
}

/* Weight gradients after all else but the optimizer: layers, phases and micro-batches end long after the next has
 * begun. */
static inline void delay_weight_grads(plan *p)
{
    for (int i = 0; i < p->graph.count; i++)
        if (p->graph.tasks[i].kind == FSM_TASK_WEIGHT_GRAD) move(p, i);
    move(p, p->graph.count - 1);
}

#endif
