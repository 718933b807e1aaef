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

void fsm_route_take(fsm_memory *memory, int64_t max_tokens, int64_t num_experts, int64_t choices, fsm_route *route)
{
    route->row = fsm_take_indices(memory, max_tokens * choices);
    route->kept = FSM_TAKE_HOST(memory, int64_t, num_experts);
    route->rows = FSM_TAKE_HOST(memory, int64_t, num_experts);
    route->filling = FSM_TAKE_HOST(memory, int64_t, num_experts);
    route->ranking = fsm_take_indices(memory, max_tokens * choices);
}

/* ---- who keeps a place in the group of tokens [first, last); others get row -1 ---- */

static void keep_or_drop_one(int64_t at, int64_t capacity, const int32_t *choice, fsm_route *route)
{
    route->row[at] = -1;
    if (choice[at] < 0) return;
    bool kept = route->filling[choice[at]] < capacity;
    route->filling[choice[at]] += kept;
    route->dropped += !kept;
    if (kept) route->row[at] = 0;
}

static void keep_by_position(const fsm_order_problem *p, int64_t first, int64_t last, const int32_t *choice,
                             fsm_route *route)
{
    int64_t capacity = fsm_order_capacity(p);
    for (int64_t j = 0; j < p->choices; j++)
        for (int64_t i = first; i < last; i++) keep_or_drop_one(i * p->choices + j, capacity, choice, route);
}

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

static void keep_by_weight(const fsm_order_problem *p, int64_t first, int64_t last, const int32_t *choice,
                           const float *weight, fsm_route *route)
{
    int64_t n = (last - first) * p->choices, capacity = fsm_order_capacity(p);
    for (int64_t i = 0; i < n; i++) route->ranking[i] = (int32_t)(first * p->choices + i);
    rank(p->choices, weight, route->ranking, n);
    for (int64_t i = 0; i < n; i++) keep_or_drop_one(route->ranking[i], capacity, choice, route);
}

/* ---- rows ---- */

void fsm_order_fill(const fsm_order_problem *p, int64_t stride, const int32_t *choice, const float *weight,
                    fsm_route *route)
{
    memset(route->kept, 0, sizeof *route->kept * (size_t)p->num_experts);
    route->dropped = 0;
    for (int64_t first = 0, group = 0; first < p->n; first += p->group, group++) {
        int64_t last = first + p->group < p->n ? first + p->group : p->n;
        memset(route->filling, 0, sizeof *route->filling * (size_t)p->num_experts);
        if (p->by_weight) keep_by_weight(p, first, last, choice, weight, route);
        else keep_by_position(p, first, last, choice, route);
        memset(route->filling, 0, sizeof *route->filling * (size_t)p->num_experts);
        for (int64_t at = first * p->choices; at < last * p->choices; at++) {
            if (route->row[at] < 0) continue;
            int32_t expert = choice[at];
            route->row[at] = (int32_t)(stride > 0 ? group * stride + route->filling[expert] : route->kept[expert]);
            route->filling[expert]++;
            route->kept[expert]++;
        }
    }
}
