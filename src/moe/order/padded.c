/* Padded orders. Tutel's sparse one (Hwang et al. 2022): every expert gets T rows a capacity group from every rank,
 * unfilled ones zero, so that sizes are known before the gate runs. Dropless: T is this rank's largest count.
 * GShard's order (Lepikhin et al. 2020) has the same rows; tokens come into them by a product with a one-hot matrix. */
#include "moe/order/order.h"

static int64_t groups(const fsm_order_problem *p)
{
    return p->group > 0 ? (p->n + p->group - 1) / p->group : 0;
}

static int64_t max_rows_padded(const fsm_order_problem *problem)
{
    return groups(problem) * fsm_order_capacity(problem);
}

static int64_t max_rows_together_padded(const fsm_order_problem *problem, int64_t experts)
{
    return experts * max_rows_padded(problem);
}

static int64_t fixed_rows_padded(const fsm_order_problem *p)
{
    return p->capacity_factor == 0 ? -1 : max_rows_padded(p);
}

/* With a capacity nobody on the host need know how many rows hold a token. */
static void assign_padded(const fsm_ops *ops, const fsm_order_problem *p, const fsm_index *choice,
                          const fsm_real *weight, fsm_route *route)
{
    int64_t rows = fixed_rows_padded(p);
    bool dropless = rows < 0;
    fsm_order_place(ops, p, dropless ? 0 : fsm_order_capacity(p), choice, weight, route);
    if (dropless) fsm_route_read(ops, p->num_experts, route);
    for (int64_t e = 0; dropless && e < p->num_experts; e++)
        if (route->kept[e] > rows) rows = route->kept[e];
    for (int64_t e = 0; e < p->num_experts; e++) route->rows[e] = rows;
}

const fsm_order_kind fsm_order_tutel = {
    .name = "tutel",
    .description = "sparse gather and scatter into T rows an expert, padded",
    .source = "Hwang et al., Tutel, 2022",
    .max_rows = max_rows_padded,
    .max_rows_together = max_rows_together_padded,
    .assign = assign_padded,
    .fixed_rows = fixed_rows_padded,
};

const fsm_order_kind fsm_order_gshard = {
    .name = "gshard",
    .description = "products with one-hot matrices into T rows an expert, padded",
    .source = "Lepikhin et al., GShard, 2020",
    .max_rows = max_rows_padded,
    .max_rows_together = max_rows_together_padded,
    .assign = assign_padded,
    .fixed_rows = fixed_rows_padded,
    .dense = true,
};
