/* The orders there are, and what they share: capacity, and giving places by position. */
#include "moe/order/order.h"

#include <math.h>
#include <string.h>

static const fsm_order_kind *const orders[] = {
    &fsm_order_tutel,
    &fsm_order_sorted,
};

const fsm_order_kind *fsm_order_find(const char *name)
{
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (strcmp(orders[i]->name, name) == 0) return orders[i];
    return NULL;
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

void fsm_route_take(fsm_arena *arena, int64_t max_tokens, int64_t num_experts, int64_t top_k, fsm_route *route)
{
    route->row = FSM_ARENA_ARRAY(arena, int32_t, max_tokens * top_k);
    route->kept = FSM_ARENA_ARRAY(arena, int64_t, num_experts);
    route->rows = FSM_ARENA_ARRAY(arena, int64_t, num_experts);
    route->filling = FSM_ARENA_ARRAY(arena, int64_t, num_experts);
}

/* Who keeps a place in the group [first, last): first choices before second, tokens in order. Others get row -1. */
static void keep_or_drop(const fsm_order_problem *p, int64_t first, int64_t last, const int32_t *choice,
                         fsm_route *route)
{
    int64_t capacity = fsm_order_capacity(p);
    memset(route->filling, 0, sizeof *route->filling * (size_t)p->num_experts);
    for (int64_t j = 0; j < p->top_k; j++) {
        for (int64_t i = first; i < last; i++) {
            int64_t at = i * p->top_k + j;
            bool kept = route->filling[choice[at]] < capacity;
            route->row[at] = kept ? 0 : -1;
            route->filling[choice[at]] += kept;
            route->dropped += !kept;
        }
    }
}

void fsm_order_fill(const fsm_order_problem *p, int64_t stride, const int32_t *choice, fsm_route *route)
{
    memset(route->kept, 0, sizeof *route->kept * (size_t)p->num_experts);
    route->dropped = 0;
    for (int64_t first = 0, group = 0; first < p->n; first += p->group, group++) {
        int64_t last = first + p->group < p->n ? first + p->group : p->n;
        keep_or_drop(p, first, last, choice, route);
        memset(route->filling, 0, sizeof *route->filling * (size_t)p->num_experts);
        for (int64_t at = first * p->top_k; at < last * p->top_k; at++) {
            if (route->row[at] < 0) continue;
            int32_t expert = choice[at];
            route->row[at] = (int32_t)(stride > 0 ? group * stride + route->filling[expert] : route->kept[expert]);
            route->filling[expert]++;
            route->kept[expert]++;
        }
    }
}
