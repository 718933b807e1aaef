/* Products of a model's weights, of which a table is measured without the model. */
#include "config/config.h"
#include "cpu/cpu.h"
#include "cpu/products.h"
#include "moe/expert/expert.h"
#include "train/place.h"

#include <fsmoe/profile.h>
#include <stdlib.h>

static const double BUDGET_S = 0.5;
enum { MOST_SHAPES = 8 };

_Static_assert((int)FSMOE_PRODUCT_WAYS == FSM_PRODUCT_WAYS && (int)FSMOE_PRODUCTS_MOST == FSM_MOST_PRODUCTS,
               "the public table is the internal one");

const char *fsmoe_product_way(int index)
{
    return fsm_product_way_name((fsm_product_way)index);
}

/* [out, in] of this layout's experts, attention and head; the router's is too narrow to matter. */
static int list_shapes(const fsmoe_config *c, const fsm_expert_kind *expert, int64_t shapes[MOST_SHAPES][2])
{
    const fsmoe_model_config *m = &c->model;
    const int64_t esp = c->parallel.esp_size > 0 ? c->parallel.esp_size : 1;
    const int64_t mp = c->parallel.mp_size > 0 ? c->parallel.mp_size : 1;
    const int64_t width = m->ffn_hidden / esp, heads = m->num_heads / mp, kv_heads = m->num_kv_heads / mp;
    const int64_t wanted[][2] = {{expert->pre_width * width, m->hidden},
                                 {m->hidden, width},
                                 {(heads + 2 * kv_heads) * m->head_dim, m->hidden},
                                 {m->hidden, heads * m->head_dim},
                                 {m->vocab_size, m->hidden}};
    int count = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++, count++)
        shapes[count][0] = wanted[i][0], shapes[count][1] = wanted[i][1];
    return count;
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
    const fsm_expert_kind *expert;
    int64_t shapes[MOST_SHAPES][2];
    fsm_ops *ops = NULL;
    fsm_products *table = malloc(sizeof *table);
    fsmoe_status status = table ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a table of products");
    if (status == FSMOE_OK) status = fsm_config_check(config);
    if (status == FSMOE_OK) status = fsm_config_derive(config);
    if (status == FSMOE_OK) status = fsm_expert_select(&config->moe, &expert);
    if (status == FSMOE_OK) status = fsm_cpu_ops_create(fsm_threads_of(config, 1), false, &ops);
    if (status == FSMOE_OK)
        status = fsm_products_measure(ops, list_shapes(config, expert, shapes), (const int64_t(*)[2])shapes,
                                      budget_s > 0 ? budget_s : BUDGET_S, table);
    if (status == FSMOE_OK) read_table(table, products, count);
    fsm_ops_destroy(ops);
    free(table);
    return status;
}
