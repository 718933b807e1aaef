/* The layers of the FSMoE paper's section 6.
 * In:  a number, the cluster whose nodes and ranks they are laid over. Out: a layer's sizes.
 * B {1, 2, 4} x heads {8, 16, 32} x L {512, 1024, 2048} (4 ranks a node: {256, 512, 1024}) x M {1024, 2048, 4096} x H/M
 * {2, 3, 4} x f {1.2, 2.4, dropless} x {gpt, mixtral}, k = 2.
 */
#ifndef FSM_PLAN_PAPER_LAYERS_H
#define FSM_PLAN_PAPER_LAYERS_H

#include "plan/window_sizes.h"

#include <stdio.h>

enum { FSM_PAPER_LAYERS = 1458 };

/* Its all-reduce is of the layer before, whose gradient is as large as its own: 4 M^2 / N_MP elements of the dense
 * part, 2.5 M^2 / N_MP with grouped queries (Mixtral). */
fsm_layer_sizes fsm_paper_layer(int number, const fsm_cluster *cluster);

/* A table over all of them: rows into a CSV file, which is replaced in one step, and a summary, malloc'd, of what
 * `grid` has seen then. Errors as of reading a cluster, writing a file, and of plan_all. */
typedef struct fsm_paper_table {
    fsmoe_status (*plan_all)(void *grid, const fsm_cluster *cluster, FILE *csv);
    void (*print_summary)(const void *grid, const fsm_cluster *cluster, FILE *out);
} fsm_paper_table;

fsmoe_status fsm_paper_write(const fsm_paper_table *table, void *grid, const char *cluster_path, const char *csv_path,
                             char **summary);

const char *fsm_paper_expert_name(const fsm_layer_sizes *sizes); /* "gpt", "mixtral" */

#endif
