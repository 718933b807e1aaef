/* One layer by its dimensions, as the paper counts it: the common case N_MP = N_ESP = ranks of a node, N_EP = nodes.
 * In:  B samples of L tokens, M, H, k, f, E, the expert's kind, N_ESP; the cluster's costs.
 * Out: the loads of its stages: n_a2a = k f B L M / N_ESP, n_ag = n_rs = k f B L M, and k f B L M H /
 *      N_ESP multiply-adds for each GEMM of the expert; backward has as many again for weight gradients.
 */
#ifndef FSM_PLAN_WINDOW_SIZES_H
#define FSM_PLAN_WINDOW_SIZES_H

#include "moe/layer.h"
#include "plan/window.h"

#include <stdint.h>

typedef struct fsm_layer_sizes {
    int64_t batch, seq_len, hidden, ffn_hidden, heads, top_k, esp_size, num_experts;
    double capacity_factor; /* 0: dropless, sized as if 2.0 */
    bool gated;             /* three GEMMs an expert (mixtral), else two (gpt) */
    double allreduce_elems; /* gradient that backward may send */
} fsm_layer_sizes;

/* The MoE layer alone, with no dense work. */
fsm_window fsm_window_of_sizes(const fsm_layer_sizes *sizes, const fsm_cluster *cluster, fsm_phase phase);

/* Adds the attention of N_MP = N_ESP ranks: 4 B L M^2 / N_MP multiply-adds in 4 GEMMs and 2 B L^2 M / N_MP in 2; twice
 * that backward. */
void fsm_window_add_attention(const fsm_layer_sizes *sizes, const fsm_cluster *cluster, fsm_phase phase,
                              fsm_window *layer);

#endif
