/* The table of products that a training run computes by (train.products, cpu/products.h).
 * In:  a derived configuration, the world, the checkpoint that a run goes on from.
 * Out: a table, the same on all ranks; the file that keeps it in the run's folder and in every checkpoint. Results
 *      depend on the table, so a run that goes on takes the one it has.
 */
#ifndef FSM_TRAIN_PRODUCTS_H
#define FSM_TRAIN_PRODUCTS_H

#include "comm/comm.h"
#include "cpu/products.h"

#include <fsmoe/config.h>

#define FSM_PRODUCTS_FILE "products.json"

enum { FSM_MOST_SHAPES = 8, FSM_RUN_PRODUCTS_BYTES = 256 };

/* Half a second finds the best way of every shape that matters. */
#define FSM_PRODUCTS_BUDGET_S 0.5

/* [out, in] of the weights of this layout's experts, attention and head; the router's is too narrow to matter.
 * ERROR_CONFIG: there is no such expert. */
fsmoe_status fsm_list_product_shapes(const fsmoe_config *config, int64_t shapes[FSM_MOST_SHAPES][2], int *count);

/* Whether the run measures its products; sums in one fixed order go one way alone, and so do rows of bf16 that are
 * multiplied as they are. */
bool fsm_measures_products(const fsmoe_config *config);

/* The table that would take the most memory: every weight has copies. What is measured is not known before it is.
 * Likewise. */
fsmoe_status fsm_products_of_most_memory(const fsmoe_config *config, fsm_products *table);

/* Measures the products of the configuration's weights on all ranks at once, each with its own threads, as a step loads
 * the machine; all get rank 0's table. Collective. ERROR_CONFIG, ERROR_MEMORY, ERROR_COMM. */
fsmoe_status fsm_products_measure_on_all(const fsmoe_config *config, fsm_comm *world, double budget_s,
                                         fsm_products *table);

/* The run's table, which the caller frees; NULL where train.products is fixed. That of the `checkpoint` (NULL: there is
 * none), if it is of as many threads and has all shapes; else measured, as above. `told`: a sentence about it.
 * Collective. ERROR_FORMAT names the file; ERROR_CONFIG: ranks have other configurations; ERROR_MEMORY, ERROR_IO. */
fsmoe_status fsm_run_products_begin(const fsmoe_config *config, fsm_comm *world, const char *checkpoint,
                                    fsm_products **table, char told[FSM_RUN_PRODUCTS_BYTES]);

/* FOLDER/products.json; without a table there is none afterwards. ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_run_products_save(const fsm_products *table, const char *folder);

#endif
