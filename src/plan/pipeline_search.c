/* Exact search of one layer's order: partial orders level by level, a level for each task more that is done.
 * Branching is that of active schedules (Giffler and Thompson 1960): on the resource that can finish something first,
 * every task that could start before that. Of two partial orders with the same tasks done, the one that is nowhere
 * earlier is dropped. */
#include "plan/pipeline_state.h"

#include <stdlib.h>
#include <string.h>

static const double ROUNDING = 1e-12; /* of sums in another order, relative */

typedef struct node {
    fsm_pipe_state state; /* rows_s and out_s point into the pool's times */
    double bound_s;
    int parent, next; /* next: of the same level and bucket, -1 at the end */
    fsm_stage stage;  /* the one that was done last */
} node;

enum { BUCKETS = 1024 };

typedef struct search {
    const fsm_pipeline *p;
    node *nodes;
    double *times;                        /* [capacity][2 r] */
    int count, used, capacity, width;     /* nodes; places of `times` given out, which are not taken back */
    double upper_s, dropped_s, tolerance; /* what is had already; least bound of what was dropped unexplored */
    double slack_s;                       /* an order that is ahead of another by less than this is given up for it */
    int best;                             /* finished node, or -1 */
    int bucket[BUCKETS];                  /* nodes of the level in the making by what is done */
} search;

/* No completion of the state ends before this. */
static double bound_of(const fsm_pipe_state *s, const fsm_pipeline *p)
{
    const double *t = p->stage_s;
    int r = p->degree, ag = r - s->done[FSM_STAGE_ALLGATHER], rs = r - s->done[FSM_STAGE_REDUCESCATTER];
    int ex = r - s->done[FSM_STAGE_EXPERT], wg = r - s->done[FSM_STAGE_WEIGHT_GRAD];
    double c = t[FSM_STAGE_COMBINE], g = t[FSM_STAGE_ALLGATHER], e = t[FSM_STAGE_EXPERT];
    double dispatched_s = r * t[FSM_STAGE_DISPATCH], after_expert = t[FSM_STAGE_REDUCESCATTER] + c, bound = s->late_s;
    if (ex > 0) {
        bound = fsm_later(bound, fsm_pipe_expert_at_best(s, p) + ex * e + after_expert);
        if (ag > 0)
            bound = fsm_later(bound,
                              fsm_later(fsm_pipe_allgather_start(s, p) + ag * g, dispatched_s + g) + e + after_expert);
    }
    if (wg > 0) bound = fsm_later(bound, s->compute_s + ex * e + wg * t[FSM_STAGE_WEIGHT_GRAD]);
    if (rs > 0) {
        int next = r - rs;
        double out_s = next < s->done[FSM_STAGE_EXPERT] ? s->out_s[next] : fsm_pipe_expert_at_best(s, p) + e;
        double first_s = fsm_later(s->intra_s, out_s) + t[FSM_STAGE_REDUCESCATTER];
        bound = fsm_later(bound, fsm_later(first_s, dispatched_s) + rs * c);
        bound = fsm_later(bound, first_s + (rs - 1) * t[FSM_STAGE_REDUCESCATTER] + c);
        bound = fsm_later(bound, s->intra_s + ag * g + rs * t[FSM_STAGE_REDUCESCATTER] + c);
    }
    return bound;
}

/* Is x nowhere later than y by more than the slack? Both have the same tasks done. */
static bool dominates(const fsm_pipe_state *x, const fsm_pipe_state *y, double slack_s)
{
    if (x->intra_s > y->intra_s + slack_s || x->compute_s > y->compute_s + slack_s || x->late_s > y->late_s + slack_s)
        return false;
    for (int i = x->done[FSM_STAGE_EXPERT]; i < x->done[FSM_STAGE_ALLGATHER]; i++)
        if (x->rows_s[i] > y->rows_s[i] + slack_s) return false;
    for (int i = x->done[FSM_STAGE_REDUCESCATTER]; i < x->done[FSM_STAGE_EXPERT]; i++)
        if (x->out_s[i] > y->out_s[i] + slack_s) return false;
    return true;
}

static bool same_done(const fsm_pipe_state *x, const fsm_pipe_state *y)
{
    return memcmp(x->done, y->done, sizeof x->done) == 0;
}

static int *bucket_of(search *pool, const fsm_pipe_state *s)
{
    unsigned hash = (unsigned)s->done[FSM_STAGE_ALLGATHER] * 31 + (unsigned)s->done[FSM_STAGE_EXPERT];
    return &pool->bucket[(hash * 31 + (unsigned)s->done[FSM_STAGE_REDUCESCATTER]) % BUCKETS];
}

static bool can_win(const search *pool, double bound_s)
{
    return bound_s < pool->upper_s * (1 - pool->tolerance);
}

/* Adds the child unless it cannot win or another of its level dominates it. */
static void add_child(search *pool, int parent, fsm_stage stage, double start_s)
{
    const fsm_pipeline *p = pool->p;
    node *child = &pool->nodes[pool->count];
    const node *from = &pool->nodes[parent];
    *child = *from;
    child->state.rows_s = pool->times + (size_t)pool->used * 2 * (size_t)p->degree;
    child->state.out_s = child->state.rows_s + p->degree;
    memcpy(child->state.rows_s, from->state.rows_s, 2 * (size_t)p->degree * sizeof(double));
    fsm_pipe_do(&child->state, p, stage, start_s);
    child->parent = parent;
    child->stage = stage;
    child->bound_s = fsm_later(from->bound_s, bound_of(&child->state, p));
    if (!can_win(pool, child->bound_s)) {
        pool->dropped_s = fmin(pool->dropped_s, child->bound_s);
        return;
    }
    int *bucket = bucket_of(pool, &child->state);
    for (int i = *bucket; i >= 0; i = pool->nodes[i].next) {
        node *other = &pool->nodes[i];
        if (!same_done(&other->state, &child->state)) continue;
        if (dominates(&other->state, &child->state, pool->slack_s)) return;
        if (!dominates(&child->state, &other->state, 0)) continue;
        double *times = other->state.rows_s; /* takes the place of the one it beats */
        memcpy(times, child->state.rows_s, 2 * (size_t)p->degree * sizeof(double));
        child->next = other->next;
        *other = *child;
        other->state.rows_s = times;
        other->state.out_s = times + p->degree;
        return;
    }
    child->next = *bucket;
    *bucket = pool->count++;
    pool->used++;
}

/* Weight_grad never takes the place of an expert that could start, and goes before one that it does not delay: it has
 * no successor. */
static bool pointless(const fsm_pipe_state *s, const fsm_pipeline *p, fsm_stage stage)
{
    double expert_s = fsm_pipe_start(s, p, FSM_STAGE_EXPERT), weight_s = fsm_pipe_start(s, p, FSM_STAGE_WEIGHT_GRAD);
    if (expert_s <= s->compute_s) return stage == FSM_STAGE_WEIGHT_GRAD; /* also when weight_grad takes no time */
    return stage == FSM_STAGE_EXPERT && weight_s + p->stage_s[FSM_STAGE_WEIGHT_GRAD] <= expert_s;
}

static void expand(search *pool, int parent)
{
    static const fsm_stage stages[] = {FSM_STAGE_EXPERT, FSM_STAGE_WEIGHT_GRAD, FSM_STAGE_ALLGATHER,
                                       FSM_STAGE_REDUCESCATTER};
    const fsm_pipe_state *s = &pool->nodes[parent].state;
    double start_s[4], first_end_s = INFINITY;
    int earliest = 0;
    for (int i = 0; i < 4; i++) {
        start_s[i] = pointless(s, pool->p, stages[i]) ? INFINITY : fsm_pipe_start(s, pool->p, stages[i]);
        double end_s = start_s[i] + pool->p->stage_s[stages[i]];
        if (end_s < first_end_s) first_end_s = end_s, earliest = i;
    }
    for (int i = earliest / 2 * 2; i < earliest / 2 * 2 + 2; i++)
        if (i == earliest || start_s[i] < first_end_s) add_child(pool, parent, stages[i], start_s[i]);
}

/* By bound; where bounds are equal, as they often are, by what the resources have been taken up with. */
static int by_bound(const void *x, const void *y)
{
    const node *m = x, *n = y;
    double a = m->bound_s, b = n->bound_s;
    if (a == b) a = m->state.intra_s + m->state.compute_s, b = n->state.intra_s + n->state.compute_s;
    return (a > b) - (a < b);
}

/* One level of nodes [first, last) into the next; true while there are any. */
static bool advance(search *pool, int first, int last)
{
    for (int i = 0; i < BUCKETS; i++) pool->bucket[i] = -1;
    for (int i = first; i < last; i++) {
        if (fsm_pipe_is_done(&pool->nodes[i].state, pool->p)) {
            if (pool->nodes[i].state.late_s >= pool->upper_s) continue;
            pool->upper_s = pool->nodes[i].state.late_s;
            pool->best = i;
        } else if (can_win(pool, pool->nodes[i].bound_s) && pool->used + 2 <= pool->capacity) {
            expand(pool, i);
        } else {
            pool->dropped_s = fmin(pool->dropped_s, pool->nodes[i].bound_s);
        }
    }
    if (pool->count - last > pool->width) {
        qsort(pool->nodes + last, (size_t)(pool->count - last), sizeof *pool->nodes, by_bound);
        pool->dropped_s = fmin(pool->dropped_s, pool->nodes[last + pool->width].bound_s);
        pool->count = last + pool->width;
    }
    return pool->count > last;
}

static void write_order(const search *pool, fsm_slot *order)
{
    int r = pool->p->degree, slots = fsm_pipeline_slots(pool->p), at = slots - r;
    for (int c = 0; c < r; c++) order[c] = (fsm_slot){FSM_STAGE_DISPATCH, c};
    for (int c = 0; c < r; c++) order[slots - r + c] = (fsm_slot){FSM_STAGE_COMBINE, c};
    for (int i = pool->best; pool->nodes[i].parent >= 0; i = pool->nodes[i].parent)
        order[--at] = (fsm_slot){pool->nodes[i].stage, pool->nodes[i].state.done[pool->nodes[i].stage] - 1};
}

fsmoe_status fsm_pipeline_search(const fsm_pipeline *p, double upper_s, double tolerance, int max_states, bool *found,
                                 double *makespan_s, double *bound_s, fsm_slot *order)
{
    int levels = (p->split ? 4 : 3) * p->degree;
    search pool = {.p = p, .capacity = max_states, .width = max_states / levels + 1, .upper_s = upper_s, .best = -1};
    pool.dropped_s = INFINITY;
    pool.tolerance = fsm_later(0.5 * tolerance, ROUNDING);
    pool.nodes = malloc(sizeof *pool.nodes * (size_t)max_states);
    pool.times = malloc(sizeof(double) * 2 * (size_t)p->degree * (size_t)max_states);
    if (!pool.nodes || !pool.times) {
        free(pool.nodes);
        free(pool.times);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to search orders of %d chunks", p->degree);
    }
    pool.nodes[0] = (node){.state = {.rows_s = pool.times, .out_s = pool.times + p->degree}, .parent = -1};
    fsm_pipe_begin(p, &pool.nodes[0].state);
    pool.nodes[0].bound_s = fsm_later(fsm_pipeline_bound(p, NULL), bound_of(&pool.nodes[0].state, p));
    pool.slack_s = 0.5 * tolerance * pool.nodes[0].bound_s / levels; /* over all levels this comes to the other half */
    pool.count = pool.used = 1;
    for (int first = 0, last = 1; advance(&pool, first, last); first = last, last = pool.count) {
    }
    *found = pool.best >= 0;
    *makespan_s = pool.upper_s;
    *bound_s = fsm_later(fmin(pool.upper_s, pool.dropped_s) - levels * pool.slack_s, pool.nodes[0].bound_s);
    if (*found && order) write_order(&pool, order);
    free(pool.nodes);
    free(pool.times);
    return FSMOE_OK;
}
