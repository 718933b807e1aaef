/* An order: sorted by expert, rows of an expert padded to whole blocks of 8, as block-sparse products like them. */
#include "extend.h"

enum { BLOCK = 8 };

static int64_t in_blocks(int64_t rows)
{
    return (rows + BLOCK - 1) / BLOCK * BLOCK;
}

static int64_t max_rows(const fsm_order_problem *problem)
{
    int64_t groups = problem->group > 0 ? (problem->n + problem->group - 1) / problem->group : 0;
    return in_blocks(groups * fsm_order_capacity(problem));
}

static int64_t max_rows_together(const fsm_order_problem *problem, int64_t experts)
{
    return experts * max_rows(problem);
}

static void assign(const fsm_ops *ops, const fsm_order_problem *problem, const fsm_index *choice,
                   const fsm_real *weight, fsm_route *route)
{
    fsm_order_fill(ops, problem, 0, choice, weight, route);
    for (int64_t e = 0; e < problem->num_experts; e++) route->rows[e] = in_blocks(route->kept[e]);
}

const fsm_order_kind my_order = {
    .name = "blocks",
    .description = "sorted by expert, in blocks of 8 rows",
    .source = "examples/extend",
    .max_rows = max_rows,
    .max_rows_together = max_rows_together,
    .assign = assign,
};
