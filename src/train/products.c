#include "train/products.h"

#include "base/file.h"
#include "config/config.h"
#include "moe/expert/expert.h"
#include "train/backend.h"
#include "train/place.h"
#include "train/same.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fsmoe_status fsm_list_product_shapes(const fsmoe_config *c, int64_t shapes[FSM_MOST_SHAPES][2], int *count)
{
    const fsm_expert_kind *expert;
    const fsmoe_model_config *m = &c->model;
    FSM_TRY(fsm_expert_select(&c->moe, &expert));
    const int64_t esp = c->parallel.esp_size > 0 ? c->parallel.esp_size : 1;
    const int64_t mp = c->parallel.mp_size > 0 ? c->parallel.mp_size : 1;
    const int64_t width = m->ffn_hidden / esp, heads = m->num_heads / mp, kv_heads = m->num_kv_heads / mp;
    const int64_t wanted[][2] = {{expert->pre_width * width, m->hidden},
                                 {m->hidden, width},
                                 {(heads + 2 * kv_heads) * m->head_dim, m->hidden},
                                 {m->hidden, heads * m->head_dim},
                                 {m->vocab_size, m->hidden}};
    _Static_assert(sizeof wanted <= sizeof(int64_t[FSM_MOST_SHAPES][2]), "shapes have room");
    memcpy(shapes, wanted, sizeof wanted);
    *count = (int)(sizeof wanted / sizeof *wanted);
    return FSMOE_OK;
}

/* As many rows as an expert gets on average; none where rows are bf16, whose experts go in turn. */
static fsm_expert_products experts_of(const fsmoe_config *c, const int64_t shape[2], int ranks)
{
    const int64_t ep = c->parallel.ep_size > 0 ? c->parallel.ep_size : 1;
    const int64_t esp = c->parallel.esp_size > 0 ? c->parallel.esp_size : 1;
    const bool rows_are_float = fsm_config_row_bytes(c) == FSM_REAL_BYTES;
    const int64_t choices = c->train.micro_batch * c->data.seq_len * c->moe.top_k;
    return (fsm_expert_products){.count = c->moe.num_experts / ep,
                                 .rows = rows_are_float ? choices * ep * esp / (c->moe.num_experts * ranks) : 0,
                                 .out = shape[0],
                                 .in = shape[1]};
}

static bool wants_measured(const fsmoe_config *config)
{
    return strcmp(config->train.products, "measured") == 0;
}

bool fsm_measures_products(const fsmoe_config *config)
{
    bool others_multiply = fsm_ops_kind_of(config) == FSM_CPU_BF16 && fsm_backend_multiplies_bf16();
    return wants_measured(config) && !config->parallel.canonical_sums && !others_multiply;
}

fsmoe_status fsm_products_of_most_memory(const fsmoe_config *config, fsm_products *table)
{
    int64_t shapes[FSM_MOST_SHAPES][2];
    FSM_TRY(fsm_list_product_shapes(config, shapes, &table->count));
    for (int i = 0; i < table->count; i++)
        table->items[i] = (fsm_product){.out = shapes[i][0], .in = shapes[i][1], .chosen = FSM_PRODUCT_PACKED};
    return FSMOE_OK;
}

/* ---- a run's table ---- */

static fsmoe_status measure(const fsmoe_config *config, int ranks, int threads, double budget_s, fsm_products *table)
{
    int64_t shapes[FSM_MOST_SHAPES][2];
    int count;
    FSM_TRY(fsm_list_product_shapes(config, shapes, &count));
    const fsm_expert_products experts = experts_of(config, shapes[0], ranks);
    return fsm_backend_measure_products(threads, count, (const int64_t(*)[2])shapes, &experts, budget_s, table);
}

fsmoe_status fsm_products_measure_on_all(const fsmoe_config *config, fsm_comm *world, double budget_s,
                                         fsm_products *table)
{
    int threads;
    FSM_TRY(fsm_count_threads(config, world, &threads));
    FSM_TRY(fsm_comm_agree(world, measure(config, world->size, threads, budget_s, table)));
    return world->control->broadcast_bytes(world, table, sizeof *table, 0);
}

/* A checkpoint without a table is of a run that had none. Rank 0. */
static fsmoe_status read_kept(const char *checkpoint, fsm_products *table, bool *found)
{
    char path[FSM_PATH_BYTES], *text;
    size_t size;
    *found = false;
    if (!checkpoint) return FSMOE_OK;
    FSM_TRY(fsm_file_path(checkpoint, FSM_PRODUCTS_FILE, path));
    if (!fsm_file_exists(path)) return FSMOE_OK;
    FSM_TRY(fsm_file_read(path, &text, &size));
    fsmoe_status status = fsm_products_parse(text, path, table);
    free(text);
    *found = status == FSMOE_OK;
    return status;
}

/* Whether a table is of this layout: of as many threads, and with every weight that it has. */
static bool fits(const fsm_products *table, const int64_t (*shapes)[2], int count, int threads)
{
    for (int i = 0; i < count; i++)
        if (!fsm_products_ways(table, shapes[i][0], shapes[i][1])) return false;
    return table->threads == threads;
}

static fsmoe_status take_kept(const fsmoe_config *config, const char *checkpoint, int threads, fsm_products *table,
                              int64_t *found, int64_t *taken)
{
    int64_t shapes[FSM_MOST_SHAPES][2];
    int count;
    bool is_there;
    FSM_TRY(fsm_list_product_shapes(config, shapes, &count));
    FSM_TRY(read_kept(checkpoint, table, &is_there));
    *found = is_there;
    *taken = is_there && fits(table, (const int64_t(*)[2])shapes, count, threads);
    return FSMOE_OK;
}

static void tell(const fsm_products *table, const char *from, char told[FSM_RUN_PRODUCTS_BYTES])
{
    int others = 0;
    for (int i = 0; i < table->count; i++) others += table->items[i].chosen != FSM_PRODUCT_SGEMM;
    snprintf(told, FSM_RUN_PRODUCTS_BYTES, "products %s: %d of %d go another way than sgemm, experts' %s", from, others,
             table->count, table->experts.side_by_side ? "side by side" : "in turn");
}

static fsmoe_status fill(const fsmoe_config *config, fsm_comm *world, const char *checkpoint, fsm_products *table,
                         char told[FSM_RUN_PRODUCTS_BYTES])
{
    int threads;
    int64_t kept[2] = {0, 0}; /* found, taken */
    FSM_TRY(fsm_count_threads(config, world, &threads));
    fsmoe_status status = FSMOE_OK;
    if (world->rank == 0) status = take_kept(config, checkpoint, threads, table, &kept[0], &kept[1]);
    FSM_TRY(fsm_comm_agree(world, status));
    FSM_TRY(world->control->broadcast_bytes(world, kept, sizeof kept, 0));
    if (kept[1]) FSM_TRY(world->control->broadcast_bytes(world, table, sizeof *table, 0));
    else FSM_TRY(fsm_products_measure_on_all(config, world, FSM_PRODUCTS_BUDGET_S, table));
    tell(table,
         kept[1]   ? "as measured at the run's beginning"
         : kept[0] ? "measured anew, since threads or shapes are others"
                   : "measured now",
         told);
    return FSMOE_OK;
}

fsmoe_status fsm_run_products_begin(const fsmoe_config *config, fsm_comm *world, const char *checkpoint,
                                    fsm_products **table, char told[FSM_RUN_PRODUCTS_BYTES])
{
    *table = NULL;
    told[0] = 0;
    FSM_TRY(fsm_same_config(world, config)); /* or some would measure, and others not */
    if (wants_measured(config) && !fsm_measures_products(config))
        snprintf(told, FSM_RUN_PRODUCTS_BYTES, "train.products measured: there is one way alone %s",
                 config->parallel.canonical_sums ? "with parallel.canonical_sums" : "for rows of bf16");
    if (!fsm_measures_products(config)) return FSMOE_OK;
    fsm_products *made = calloc(1, sizeof *made);
    fsmoe_status status = made ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a table of products");
    status = fsm_comm_agree(world, status);
    if (status == FSMOE_OK) status = fill(config, world, checkpoint, made, told);
    if (status == FSMOE_OK) *table = made;
    else free(made);
    return status;
}

fsmoe_status fsm_run_products_save(const fsm_products *table, const char *folder)
{
    char path[FSM_PATH_BYTES], *text;
    FSM_TRY(fsm_file_path(folder, FSM_PRODUCTS_FILE, path));
    if (!table) return fsm_file_remove_tree(path); /* of an earlier part of the run, which measured */
    FSM_TRY(fsm_products_text(table, &text));
    fsmoe_status status = fsm_file_replace(path, text, strlen(text));
    free(text);
    return status;
}
