/* Tokens sorted by expert, variable rows an expert, no padding (MegaBlocks' idea, Gale et al. 2022). With a capacity
 * factor, what lacks a place is dropped as by the padded kinds, but no empty row is sent or computed. */
#include "moe/order/order.h"

#include <string.h>

static int64_t max_rows_sorted(const fsm_order_problem *p)
{
    int64_t groups = p->group > 0 ? (p->n + p->group - 1) / p->group : 0;
    int64_t rows = groups * fsm_order_capacity(p);
    return rows < p->n ? rows : p->n;
}

/* A token sends at most one row to an expert, and as many rows as it has choices in all. */
static int64_t max_rows_together_sorted(const fsm_order_problem *p, int64_t experts)
{
    int64_t by_expert = experts * max_rows_sorted(p);
    int64_t by_token = p->n * (p->choices < experts ? p->choices : experts);
    return by_expert < by_token ? by_expert : by_token;
}

static void assign_sorted(const fsm_ops *ops, const fsm_order_problem *p, const fsm_index *choice,
                          const fsm_real *weight, fsm_route *route)
{
    fsm_order_fill(ops, p, 0, choice, weight, route);
    memcpy(route->rows, route->kept, sizeof *route->rows * (size_t)p->num_experts);
}

const fsm_order_kind fsm_order_sorted = {
    .name = "sorted",
    .description = "sorted by expert, variable rows, no padding",
    .source = "Gale et al., MegaBlocks, 2022",
    .max_rows = max_rows_sorted,
    .max_rows_together = max_rows_together_sorted,
    .assign = assign_sorted,
};
