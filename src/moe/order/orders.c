/* The orders there are, and what they share: capacity, and giving places by position. */
#include "moe/order/order.h"

#include "moe/extend.h"
#include "moe/registry.h"

#include <math.h>
#include <string.h>

static const fsm_order_kind *const orders[] = {
    &fsm_order_tutel,
    &fsm_order_gshard,
    &fsm_order_sorted,
};

static fsm_registry registry = FSM_REGISTRY("moe.order", orders);

const fsm_order_kind *fsm_order_find(const char *name)
{
    return fsm_registry_find(&registry, name);
}

fsmoe_status fsm_add_order_v(const fsm_order_kind *kind, int version)
{
    return fsm_registry_add(&registry, kind, version);
}

int64_t fsm_order_capacity(const fsm_order_problem *problem)
{
    if (problem->capacity_factor == 0) return problem->group;
    double exact =
        (double)problem->top_k * problem->capacity_factor * (double)problem->group / (double)problem->num_experts;
    /* 1.2 * 5 must count as 6, not 7: the product of decimal factors is a hair above the whole number. */
    int64_t capacity = (int64_t)ceil(exact - 1e-9 * exact);
    if (capacity < 1) capacity = 1;
    return capacity < problem->group ? capacity : problem->group;
}

/* Of what drop policy probs sorts, on the host. */
struct fsm_ranking {
    int32_t *choice, *row; /* [n, choices] */
    float *weight;         /* [n, choices] */
    int32_t *order;        /* [n choices] choices of a group, the heaviest first */
    int64_t *filling;      /* [E] */
};

static struct fsm_ranking *take_ranking(fsm_memory *memory, int64_t pairs, int64_t num_experts)
{
    struct fsm_ranking *ranking = FSM_TAKE_HOST(memory, struct fsm_ranking, 1);
    struct fsm_ranking arrays = {.choice = FSM_TAKE_HOST(memory, int32_t, pairs),
                                 .row = FSM_TAKE_HOST(memory, int32_t, pairs),
                                 .weight = FSM_TAKE_HOST(memory, float, pairs),
                                 .order = FSM_TAKE_HOST(memory, int32_t, pairs),
                                 .filling = FSM_TAKE_HOST(memory, int64_t, num_experts)};
    if (ranking) *ranking = arrays; /* not while memory is only measured */
    return ranking;
}

void fsm_route_take(fsm_memory *memory, int64_t max_tokens, int64_t num_experts, int64_t choices, bool by_weight,
                    fsm_route *route)
{
    *route = (fsm_route){.row = fsm_take_indices(memory, max_tokens * choices),
                         .counts = fsm_take_indices(memory, num_experts + 1),
                         .filling = fsm_take_indices(memory, num_experts),
                         .rows = FSM_TAKE_HOST(memory, int64_t, num_experts),
                         .kept = FSM_TAKE_HOST(memory, int64_t, num_experts),
                         .read = FSM_TAKE_HOST(memory, int32_t, num_experts + 1)};
    if (by_weight) route->ranking = take_ranking(memory, max_tokens * choices, num_experts);
}

/* ---- who keeps a place by weight: row 0, others get -1 ---- */

/* Whether choice a comes before b: heavier, or as by position. */
static bool is_before(int64_t k, const float *weight, int32_t a, int32_t b)
{
    if (weight[a] != weight[b]) return weight[a] > weight[b];
    return a % k != b % k ? a % k < b % k : a < b;
}

/* A heap whose root comes last: restored from `at` down. */
static void sift(int64_t k, const float *weight, int32_t *heap, int64_t n, int64_t at)
{
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_before(k, weight, heap[child], heap[child + 1])) child++;
        if (is_before(k, weight, heap[child], heap[at])) return;
        int32_t swapped = heap[at];
        heap[at] = heap[child];
        heap[child] = swapped;
    }
}

/* Heapsort: the library's qsort may allocate. */
static void rank(int64_t k, const float *weight, int32_t *items, int64_t n)
{
    for (int64_t at = n / 2 - 1; at >= 0; at--) sift(k, weight, items, n, at);
    for (int64_t last = n - 1; last > 0; last--) {
        int32_t most = items[0];
        items[0] = items[last];
        items[last] = most;
        sift(k, weight, items, last, 0);
    }
}

/* The tokens [first, last) are a group; returns how many pairs it dropped. */
static int32_t keep_in_group(const fsm_order_problem *p, int64_t first, int64_t last, struct fsm_ranking *r)
{
    int64_t n = (last - first) * p->choices, capacity = fsm_order_capacity(p);
    int32_t dropped = 0;
    for (int64_t i = 0; i < n; i++) r->order[i] = (int32_t)(first * p->choices + i);
    rank(p->choices, r->weight, r->order, n);
    memset(r->filling, 0, sizeof *r->filling * (size_t)p->num_experts);
    for (int64_t i = 0; i < n; i++) {
        int32_t at = r->order[i], expert = r->choice[at];
        r->row[at] = -1;
        if (expert < 0) continue;
        bool kept = r->filling[expert] < capacity;
        r->filling[expert] += kept;
        dropped += !kept;
        if (kept) r->row[at] = 0;
    }
    return dropped;
}

static void keep_by_weight(const fsm_ops *ops, const fsm_order_problem *p, const fsm_index *choice,
                           const fsm_real *weight, fsm_route *route)
{
    struct fsm_ranking *r = route->ranking;
    size_t pairs = (size_t)(p->n * p->choices);
    int32_t dropped = 0;
    ops->read(ops, pairs * sizeof *r->choice, choice, r->choice);
    ops->read(ops, pairs * sizeof *r->weight, weight, r->weight);
    for (int64_t first = 0; first < p->n; first += p->group)
        dropped += keep_in_group(p, first, first + p->group < p->n ? first + p->group : p->n, r);
    ops->write(ops, pairs * sizeof *r->row, r->row, route->row);
    ops->write(ops, sizeof dropped, &dropped, fsm_index_at(route->counts, p->num_experts));
}

/* ---- rows ---- */

void fsm_order_place(const fsm_ops *ops, const fsm_order_problem *p, int64_t stride, const fsm_index *choice,
                     const fsm_real *weight, fsm_route *route)
{
    const fsm_places places = {.n = p->n,
                               .choices = p->choices,
                               .num_experts = p->num_experts,
                               .group = p->group,
                               .capacity = fsm_order_capacity(p),
                               .stride = stride};
    route->is_read = false;
    if (p->by_weight) keep_by_weight(ops, p, choice, weight, route);
    else ops->place.keep(ops, &places, choice, route->row, route->filling, fsm_index_at(route->counts, p->num_experts));
    ops->place.number(ops, &places, choice, route->row, route->filling, route->counts);
}

void fsm_route_read(const fsm_ops *ops, int64_t num_experts, fsm_route *route)
{
    if (route->is_read) return;
    ops->read(ops, (size_t)(num_experts + 1) * sizeof *route->read, route->counts, route->read);
    for (int64_t e = 0; e < num_experts; e++) route->kept[e] = route->read[e];
    route->dropped = route->read[num_experts];
    route->is_read = true;
}

void fsm_order_fill(const fsm_ops *ops, const fsm_order_problem *p, int64_t stride, const fsm_index *choice,
                    const fsm_real *weight, fsm_route *route)
{
    fsm_order_place(ops, p, stride, choice, weight, route);
    fsm_route_read(ops, p->num_experts, route);
}
