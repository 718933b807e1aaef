/* What a schedule cuts: one step of a model on one rank, as sizes; and the builder that strings its tasks together.
 * In:  configuration, topology, the regions of the gradient array.
 * Out: a graph. Data dependencies are written here once; a schedule only decides degrees and order.
 * Sizes are elements for collectives and multiply-adds for compute (docs/equations.md).
 */
#ifndef FSM_PLAN_STEP_H
#define FSM_PLAN_STEP_H

#include "model/params.h"
#include "plan/graph.h"

typedef struct fsm_step_shape {
    int num_layers, moe_every, micro_batches;
    bool training;
    int64_t hidden, ffn_hidden, vocab_size, seq_len;
    int64_t attention_width, qkv_width; /* of this rank */
    int64_t n_group, n_local;           /* tokens of a micro-batch */
    int64_t num_experts, top_k;
    double rows;          /* rows a rank sends in a micro-batch, all experts: k f n_local (f = 0: k n_local) */
    int64_t nominal_rows; /* T, what chunks are counted in */
    int expert_gemms;
    int group_size[FSM_GROUP_COUNT];
    fsm_resource link[FSM_GROUP_COUNT];
    fsm_region regions[3];
    int region_count;
} fsm_step_shape;

/* The step of a derived configuration. max_samples: of a micro-batch, of one data-parallel group. */
void fsm_step_describe(const fsmoe_config *config, const fsm_topo *topo, const fsm_params *params, int64_t max_samples,
                       int64_t nominal_rows, bool training, fsm_step_shape *shape);

/* A graph under construction. `last` is the task that the next one in the chain waits for. */
typedef struct fsm_step_builder {
    const fsm_step_shape *shape;
    fsm_graph *graph;
    int last, micro;
} fsm_step_builder;

/* Forward or backward of one layer; chunks of its nominal rows at cuts[0 … degree]. */
void fsm_step_layer(fsm_step_builder *builder, fsm_phase phase, int layer, int degree, const int64_t *cuts);
void fsm_step_begin(fsm_step_builder *builder); /* embedding */
void fsm_step_loss(fsm_step_builder *builder);  /* head, sums, and in training the head's backward */
void fsm_step_end(fsm_step_builder *builder);   /* embedding backward */
/* The update, all-reduces included, one piece a region, after everything. */
void fsm_step_update(fsm_step_builder *builder);

/* `degree` chunks of T rows, as even as they go; cuts [degree + 1]. */
void fsm_step_even_cuts(int64_t rows, int degree, int64_t *cuts);

#endif
