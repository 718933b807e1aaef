/* The shortest time any schedule of one chunked layer can take, by trying every one: what searches and bounds are
 * held against.
 * In:  seconds of the stages, dense work before them, pieces of an all-reduce, which stages share a resource.
 * Out: the optimum. For a handful of chunks: the number of schedules grows like a power of a factorial.
 * Tasks of a stage go chunk by chunk (pipelines.json's generator says why nothing is lost) and start as early as
 * their resource and their chunk let them; schedules are built by start time. No bound of the library is used.
 */
#ifndef FSM_TESTS_PIPELINE_ORDERS_H
#define FSM_TESTS_PIPELINE_ORDERS_H

#include "plan/pipeline.h"

#include <math.h>

enum { ORDERS_PIECE = FSM_STAGE_COUNT, ORDERS_KINDS, ORDERS_CHUNKS = 8 };

typedef struct orders {
    int degree;
    bool split;                      /* weight_grad is a task of its own */
    bool one_stream;                 /* both links are one resource */
    double stage_s[FSM_STAGE_COUNT]; /* of one chunk */
    double dense_s;                  /* on the compute resource, before the first dispatch */
    double piece_s[2];               /* all-reduce on the inter-node link, from time 0 on, in this order */
    int pieces;

    int done[ORDERS_KINDS]; /* state of the search: tasks of each kind that have their place */
    double end_s[ORDERS_KINDS][ORDERS_CHUNKS], free_s[3], left_s[3];
    double best_s;
} orders;

static int orders_count(const orders *o, int kind)
{
    if (kind == ORDERS_PIECE) return o->pieces;
    return kind == FSM_STAGE_WEIGHT_GRAD && !o->split ? 0 : o->degree;
}

static double orders_length(const orders *o, int kind)
{
    return kind == ORDERS_PIECE ? o->piece_s[o->done[kind]] : o->stage_s[kind];
}

static int orders_resource(const orders *o, int kind)
{
    static const int resource_of[ORDERS_KINDS] = {0, 1, 2, 2, 1, 0, 0};
    return o->one_stream && resource_of[kind] == 1 ? 0 : resource_of[kind];
}

static const int orders_before[ORDERS_KINDS] = {
    -1, FSM_STAGE_DISPATCH, FSM_STAGE_ALLGATHER, FSM_STAGE_EXPERT, FSM_STAGE_EXPERT, FSM_STAGE_REDUCESCATTER, -1};

/* When the kind's next task could start; INFINITY when its chunk is not so far. */
static double orders_start(const orders *o, int kind)
{
    int chunk = o->done[kind], before = orders_before[kind];
    double ready_s = kind == FSM_STAGE_DISPATCH ? o->dense_s : 0;
    if (before >= 0 && chunk >= o->done[before]) return INFINITY;
    if (before >= 0) ready_s = o->end_s[before][chunk];
    return fmax(ready_s, o->free_s[orders_resource(o, kind)]);
}

/* All ways to go on after `last`, which started at last_s. Two tasks that start at once on different resources,
 * neither of which waits for the other, are taken in one order only. */
static void orders_explore(orders *o, int last, double last_s)
{
    bool finished = true;
    for (int r = 0; r < 3; r++)
        if (o->left_s[r] > 0 && o->free_s[r] + o->left_s[r] >= o->best_s) return;
    for (int kind = 0; kind < ORDERS_KINDS; kind++) {
        if (o->done[kind] == orders_count(o, kind)) continue;
        finished = false;
        int resource = orders_resource(o, kind), before = orders_before[kind];
        double start_s = orders_start(o, kind), length_s = orders_length(o, kind), free_s = o->free_s[resource];
        bool waits = last >= 0 && before == last && o->done[kind] == o->done[last] - 1;
        bool twin = last > kind && start_s == last_s && !waits && resource != orders_resource(o, last);
        if (start_s == INFINITY || start_s < last_s || start_s + length_s >= o->best_s || twin) continue;
        o->end_s[kind][o->done[kind]++] = o->free_s[resource] = start_s + length_s;
        o->left_s[resource] -= length_s;
        orders_explore(o, kind, start_s);
        o->left_s[resource] += length_s;
        o->free_s[resource] = free_s;
        o->done[kind]--;
    }
    if (finished) o->best_s = fmin(o->best_s, fmax(o->free_s[0], fmax(o->free_s[1], o->free_s[2])));
}

static double orders_optimum(const orders *layer)
{
    orders o = *layer;
    for (int r = 0; r < 3; r++) o.free_s[r] = o.left_s[r] = 0;
    for (int kind = 0; kind < ORDERS_KINDS; kind++) {
        o.done[kind] = 0;
        if (kind < FSM_STAGE_COUNT) o.left_s[orders_resource(&o, kind)] += orders_count(&o, kind) * o.stage_s[kind];
    }
    for (int i = 0; i < o.pieces; i++) o.left_s[0] += o.piece_s[i];
    o.free_s[2] = o.dense_s;
    o.best_s = INFINITY;
    orders_explore(&o, -1, 0);
    return o.best_s;
}

#endif
