/* Products of a model's weights, of which a table is measured without the model. */
#include "config/config.h"
#include "train/backend.h"
#include "train/place.h"
#include "train/products.h"

#include <fsmoe/profile.h>
#include <stdlib.h>

_Static_assert((int)FSMOE_PRODUCT_WAYS == FSM_PRODUCT_WAYS && (int)FSMOE_PRODUCTS_MOST == FSM_MOST_PRODUCTS,
               "the public table is the internal one");

const char *fsmoe_product_way(int index)
{
    return fsm_product_way_name((fsm_product_way)index);
}

static void read_table(const fsm_products *table, fsmoe_product *products, int *count)
{
    for (int i = 0; i < table->count; i++) {
        const fsm_product *p = &table->items[i];
        products[i] = (fsmoe_product){p->rows, p->out, p->in, p->backward, {0}, (int)p->chosen};
        for (int way = 0; way < FSM_PRODUCT_WAYS; way++) products[i].gflops[way] = p->gflops[way];
    }
    *count = table->count;
}

fsmoe_status fsmoe_profile_products(fsmoe_config *config, double budget_s, fsmoe_product products[FSMOE_PRODUCTS_MOST],
                                    int *count)
{
    int64_t shapes[FSM_MOST_SHAPES][2];
    int shape_count;
    fsm_products *table = malloc(sizeof *table);
    fsmoe_status status = table ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a table of products");
    if (status == FSMOE_OK) status = fsm_config_check(config);
    if (status == FSMOE_OK) status = fsm_config_derive(config);
    if (status == FSMOE_OK) status = fsm_list_product_shapes(config, shapes, &shape_count);
    if (status == FSMOE_OK)
        status = fsm_backend_measure_products(fsm_threads_of(config, 1), shape_count, (const int64_t(*)[2])shapes,
                                              budget_s > 0 ? budget_s : FSM_PRODUCTS_BUDGET_S, table);
    if (status == FSMOE_OK) read_table(table, products, count);
    free(table);
    return status;
}
