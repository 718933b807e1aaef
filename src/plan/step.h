/* What a schedule cuts: one step of a model on one rank, as sizes; and the builder that strings its tasks together.
 * In:  configuration, topology, the table of parameters.
 * Out: a graph. Data dependencies are written here once; a schedule only decides degrees, order and where gradients go.
 * Sizes are elements for collectives and multiply-adds for compute (docs/equations.md).
 */
#ifndef FSM_PLAN_STEP_H
#define FSM_PLAN_STEP_H

#include "model/params.h"
#include "plan/graph.h"
#include "plan/pipeline.h"

/* A run of a region's gradients that one task of backward finishes. */
typedef struct fsm_gradient {
    int region;
    int64_t first, last;
    int layer;           /* -1: none */
    fsm_task_kind after; /* in backward, of the last micro-batch; all its chunks */
} fsm_gradient;

typedef struct fsm_step_shape {
    int num_layers, moe_every, micro_batches;
    bool training;
    bool early_update; /* an update follows its piece of gradient, and does not wait for the norm: nothing is clipped */
    bool experts_only; /* MoE layers alone: no attention, no ends, no update; for measuring a layer */
    bool with_losses;  /* of such a step: the layers' sums are exchanged before backward */
    int64_t hidden, ffn_hidden, vocab_size, seq_len;
    int64_t attention_width, qkv_width; /* of this rank */
    int64_t n_group, n_local;           /* tokens of a micro-batch */
    int64_t num_experts, top_k;
    double rows;          /* rows a rank sends in a micro-batch, all experts: k f n_local (f = 0: k n_local) */
    int64_t nominal_rows; /* T, what chunks are counted in */
    int max_degree;       /* chunks at most; 0: as many as there are nominal rows and may be (FSM_MAX_CHUNKS) */
    int expert_gemms;
    int shared_gemms, order_gemms;     /* of the shared experts; of one product that makes rows of tokens, 0: copied */
    int64_t shared_width, order_width; /* columns of their matrices together: n_local M multiply-adds each */
    bool mixes;                        /* the gate makes those rows, and a score for each of its columns */
    int group_size[FSM_GROUP_COUNT];
    fsm_resource link[FSM_GROUP_COUNT];
    fsm_region regions[3];
    int region_count;
    fsm_gradient *gradients; /* owned; in the order of the array, so inside a region in the order they are finished */
    int gradient_count;      /* 0: all are finished at the end of backward */
} fsm_step_shape;

/* The step of a derived configuration. max_samples: of a micro-batch, of one data-parallel group. ERROR_MEMORY. */
fsmoe_status fsm_step_describe(const fsmoe_config *config, const fsm_topo *topo, const fsm_params *params,
                               int64_t max_samples, int64_t nominal_rows, bool training, fsm_step_shape *shape);
void fsm_step_shape_destroy(fsm_step_shape *shape);

/* The MoE layers alone; no gradients are sent. */
void fsm_step_keep_experts(fsm_step_shape *shape);

/* The link that a schedule with one communication stream is on: between nodes if anything is. */
fsm_resource fsm_step_stream(const fsm_step_shape *shape);

/* Chunks a layer may be cut into. */
int fsm_step_max_degree(const fsm_step_shape *shape);

/* A slice of a region that is all-reduced on its own. */
typedef struct fsm_piece {
    int region;
    int64_t first, last;
} fsm_piece;

enum { FSM_MAX_PIECES = 64 }; /* at one place */

/* How one layer is cut in one direction, and which gradients are sent meanwhile. */
typedef struct fsm_layer_cut {
    int degree;
    const int64_t *cuts;   /* [degree + 1] of the nominal rows */
    const fsm_slot *slots; /* [slot_count] the order of its tasks; NULL: chunk after chunk */
    int slot_count;
    bool one_link; /* dispatches and allgathers take turns: gradients go after the last of both */
    bool split;    /* reducescatter does not wait for weight_grad */
    fsm_piece pieces[2]
                    [FSM_MAX_PIECES]; /* sent [0] between the dispatches and the combines, [1] while dense work runs */
    int piece_count[2];
} fsm_layer_cut;

/* A graph under construction. `last` is the task that the next one in the chain waits for. */
typedef struct fsm_step_builder {
    const fsm_step_shape *shape;
    fsm_graph *graph;
    int last, micro;
    bool one_stream;     /* every collective on the all-to-alls' stream */
    bool after_backward; /* gradients are sent when backward has ended, though they may be finished before */
    int *finished;       /* [gradient_count] the task that finished a gradient, -1: not yet; owned */
    int *of_layer;       /* [gradient_count] gradients by layer, and where each layer's begin [num_layers + 3]; owned */
    int *layer_first;
    int64_t most_elems; /* of a piece after backward; 0: any */
    int64_t sent[3];    /* of each region, up to here */
} fsm_step_builder;

/* ERROR_MEMORY. end frees what begin made, and checks the graph. */
fsmoe_status fsm_step_builder_begin(const fsm_step_shape *shape, bool one_stream, fsm_graph *graph,
                                    fsm_step_builder *builder);
fsmoe_status fsm_step_builder_end(fsm_step_builder *builder);

/* Where MP's collectives are on the stream of the all-to-alls, gradients are sent beside attention itself, after its
 * allgather; else from the start of the dense part on. */
bool fsm_step_sends_beside_attention(const fsm_step_shape *shape, bool one_stream);

/* Forward or backward of one layer; the cut's pieces are sent in backward alone. */
void fsm_step_layer(fsm_step_builder *builder, fsm_phase phase, int layer, const fsm_layer_cut *cut);
void fsm_step_begin(fsm_step_builder *builder); /* embedding */
void fsm_step_loss(fsm_step_builder *builder);  /* head, sums, and in training the head's backward */
void fsm_step_end(fsm_step_builder *builder);   /* embedding backward */
/* The update: what was not sent yet is all-reduced, one piece a region, after everything. The optimizer follows the
 * gradient norm, region by region, or with early_update each piece. */
void fsm_step_update(fsm_step_builder *builder);

/* How far a region's gradients are finished by the time backward enters the MoE part of `layer` (its dense part, if
 * `dense`): by the sizes alone, before there is a graph. *next: the region's first gradient that was not finished
 * before, and `last` how far it was then; the two only grow while layers go down. */
int64_t fsm_step_finished(const fsm_step_shape *shape, int region, int layer, bool dense, int *next, int64_t last);

/* `degree` chunks of T rows, as even as they go; cuts [degree + 1]. */
void fsm_step_even_cuts(int64_t rows, int degree, int64_t *cuts);

#endif
