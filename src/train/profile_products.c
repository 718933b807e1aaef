/* Products of a model's weights, of which a table is measured without the model. */
#include "comm/world.h"
#include "config/config.h"
#include "train/products.h"
#include "train/same.h"

#include <fsmoe/profile.h>
#include <stdlib.h>

_Static_assert((int)FSMOE_PRODUCT_WAYS == FSM_PRODUCT_WAYS && (int)FSMOE_PRODUCTS_MOST == FSM_MOST_PRODUCTS,
               "the public table is the internal one");

const char *fsmoe_product_way(int index)
{
    return fsm_product_way_name((fsm_product_way)index);
}

static void read_table(const fsm_products *table, fsmoe_products *products)
{
    *products = (fsmoe_products){.threads = table->threads, .count = table->count};
    const fsm_expert_products *e = &table->experts;
    products->experts =
        (fsmoe_expert_products){e->count, e->rows, e->out, e->in, {e->gflops[0], e->gflops[1]}, e->side_by_side};
    for (int i = 0; i < table->count; i++) {
        const fsm_product *p = &table->items[i];
        fsmoe_product *to = &products->items[i];
        *to = (fsmoe_product){p->rows, p->out, p->in, p->backward, {0}, (int)p->chosen};
        for (int way = 0; way < FSM_PRODUCT_WAYS; way++) to->gflops[way] = p->gflops[way];
    }
}

fsmoe_status fsmoe_profile_products(fsmoe_world *world, fsmoe_config *config, double budget_s, fsmoe_products *products)
{
    fsm_comm *comm = world->comm;
    fsm_products *table = calloc(1, sizeof *table);
    fsmoe_status status = table ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a table of products");
    if (status == FSMOE_OK) status = fsm_config_check(config);
    if (status == FSMOE_OK) status = fsm_config_derive(config);
    status = fsm_comm_agree(comm, status);
    if (status == FSMOE_OK) status = fsm_same_config(comm, config);
    if (status == FSMOE_OK)
        status = fsm_products_measure_on_all(config, comm, budget_s > 0 ? budget_s : FSM_PRODUCTS_BUDGET_S, table);
    if (status == FSMOE_OK) read_table(table, products);
    free(table);
    return status;
}
