/* What a schedule cuts: one step of a model on one rank, as sizes.
 * In:  configuration, topology, the table of parameters. Out: the shape of a step.
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

/* What one pass works on: a micro-batch, or a part of it. */
typedef struct fsm_pass_size {
    int64_t n_group, n_local; /* tokens of the data-parallel group, and of this rank */
    double rows;              /* rows a rank sends, all experts: k f n_local (f = 0: k n_local) */
    int64_t nominal_rows;     /* T, what chunks are counted in */
    int order_gemms;          /* of one product that makes rows of tokens; 0: they are copied */
} fsm_pass_size;

/* No machine has more; sums of as many as there are lanes and spares do not overflow. */
#define FSM_STEP_MOST_BYTES ((int64_t)1 << 48)

/* Bytes of a rank's memory (step_memory.h). */
typedef struct fsm_step_memory {
    int64_t fixed;                /* parameters, gradients, optimizer, scratch; not what attention works in */
    int64_t whole;                /* a pass over a whole batch, which evaluation needs where training's lanes are */
    int64_t pass[FSM_MAX_LANES];  /* [parts - 1] the passes of one micro-batch together */
    int64_t spare[FSM_MAX_LANES]; /* [parts - 1] one more `spare` of theirs */
    int64_t most;                 /* that a plan may take in all; 0: the others are not known */
    bool asked;                   /* for that limit; else it is what one lane takes, with room for a spare */
} fsm_step_memory;

typedef struct fsm_step_shape {
    int num_layers, moe_every, micro_batches;
    bool training;
    bool early_update; /* an update follows its piece of gradient, and does not wait for the norm: nothing is clipped */
    bool experts_only; /* MoE layers alone: no attention, no ends, no update; for measuring a layer */
    bool with_losses;  /* of such a step: the layers' sums are exchanged before backward */
    int64_t hidden, ffn_hidden, vocab_size, seq_len;
    int64_t attention_width, qkv_width; /* of this rank */
    int64_t num_experts, top_k;
    int64_t n_group, n_local; /* of a whole micro-batch, as fsm_pass_size says */
    double rows;
    int64_t nominal_rows;
    int order_gemms;
    int most_parts;                                       /* that a micro-batch may be taken in; 0: one */
    fsm_pass_size part[FSM_MAX_LANES - 1][FSM_MAX_LANES]; /* [parts - 2][part] */
    int lanes;                                            /* that are wanted; 0: as many as are best */
    const char *why_parted; /* what forbids more parts, or NULL; static, and not in plan files */
    fsm_step_memory memory;
    bool
        micro_in_turn; /* parallel.canonical_sums: micro-batches add to gradients in their order, none beside another */
    int max_degree;    /* chunks at most; 0: as many as there are nominal rows and may be (FSM_MAX_CHUNKS) */
    int expert_gemms;
    int shared_gemms;                  /* of the shared experts */
    int64_t shared_width, order_width; /* columns of their matrices together: n_local M multiply-adds each */
    bool narrow_rows;                  /* rows are bf16: they travel as half as many elements as they have */
    int wire_divisor;                  /* of what dispatch and combine move, by hooks; 0: 1 */
    bool mixes;                        /* the gate makes those rows, and a score for each of its columns */
    int group_size[FSM_GROUP_COUNT];
    fsm_resource link[FSM_GROUP_COUNT];
    fsm_region regions[3];
    int region_count;
    fsm_gradient *gradients; /* owned; in the order of the array, so inside a region in the order they are finished */
    int gradient_count;      /* 0: all are finished at the end of backward */
} fsm_step_shape;

/* The step of a derived configuration. max_samples: of a micro-batch, of one data-parallel group. ERROR_MEMORY,
 * ERROR_CONFIG. */
fsmoe_status fsm_step_describe(const fsmoe_config *config, const fsm_topo *topo, const fsm_params *params,
                               int64_t max_samples, bool training, fsm_step_shape *shape);
void fsm_step_shape_destroy(fsm_step_shape *shape);

/* What so many elements of rows are in those of 4 bytes that costs of links are of. */
static inline double fsm_step_moved(const fsm_step_shape *shape, double elems)
{
    return shape->narrow_rows ? elems / 2 : elems;
}

/* The same of dispatch and combine, where hooks may have put rows closer together. */
static inline double fsm_step_exchanged(const fsm_step_shape *shape, double elems)
{
    return fsm_step_moved(shape, elems) / (shape->wire_divisor > 0 ? shape->wire_divisor : 1);
}

/* Part `part` of `parts` of a micro-batch; one part is all of it. */
fsm_pass_size fsm_step_part(const fsm_step_shape *shape, int parts, int part);

/* The MoE layers alone; no gradients are sent. */
void fsm_step_keep_experts(fsm_step_shape *shape);

/* The link that a schedule with one communication stream is on: between nodes if anything is. */
fsm_resource fsm_step_stream(const fsm_step_shape *shape);

/* Chunks a layer may be cut into. */
int fsm_step_max_degree(const fsm_step_shape *shape);

/* How far a region's gradients are finished by the time backward enters the MoE part of `layer` (its dense part, if
 * `dense`): by the sizes alone, before there is a graph. *next: the region's first gradient that was not finished
 * before, and `last` how far it was then; the two only grow while layers go down. */
int64_t fsm_step_finished(const fsm_step_shape *shape, int region, int layer, bool dense, int *next, int64_t last);

/* `degree` chunks of T rows, as even as they go; cuts [degree + 1]. */
void fsm_step_even_cuts(int64_t rows, int degree, int64_t *cuts);

/* Elements of the gradients that ranks sum. */
double fsm_step_summed_elems(const fsm_step_shape *shape);

#endif
