/* The one table of a model's parameters: names, global shapes, this rank's shard, where it lies, who else has it.
 * In:  configuration and topology.
 * Out: a flat list; parameters, gradients and the optimizer's two moments are arrays of `elems` floats laid out alike.
 * The array is ordered by the group over which gradients are summed (a region a group), and inside a region by when
 * backward finishes them: head, last layer, …, first layer, embeddings. So an all-reduce piece is a slice.
 */
#ifndef FSM_MODEL_PARAMS_H
#define FSM_MODEL_PARAMS_H

#include "model/family.h"
#include "moe/param.h"
#include "topo/topo.h"

#include <fsmoe/config.h>

typedef struct fsm_param {
    fsm_role role;
    int slot;                       /* which spec of the role's module */
    int layer;                      /* -1: none */
    char name[160];                 /* {expert} still in it when experts > 0 */
    fsm_param_spec spec;            /* global shape, of one expert if it is an expert's */
    fsm_group shard_group;          /* ranks it is split over; meaningless when spec.shard is NONE */
    fsm_group sum_group;            /* ranks whose gradients are summed */
    bool owned;                     /* this rank counts it in the gradient norm and writes it to files */
    bool joined;                    /* lies right after the one before, unaligned */
    int64_t experts, first_expert;  /* local experts, 0: not an expert's */
    int64_t rows, cols, row0, col0; /* this rank's block of the global tensor */
    int64_t offset;                 /* in the array, of the first local expert */
    int64_t expert_stride;
    uint32_t number; /* stream of the initial values */
} fsm_param;

typedef struct fsm_region {
    fsm_group group;
    int64_t first, last;
} fsm_region;

typedef struct fsm_params {
    const fsm_family *family;
    fsm_param *items;
    int count;
    int64_t elems; /* floats of one array on this rank */
    fsm_region regions[3];
    int region_count;
} fsm_params;

/* `config` must be derived and checked. ERROR_LAYOUT for shapes the groups do not divide; ERROR_MEMORY also for more
 * parameters than can be addressed. On failure there is nothing to destroy. */
fsmoe_status fsm_params_create(const fsmoe_config *config, const fsm_topo *topo, fsm_params *params);
/* The same without places in an array: for names and shapes alone, of however many parameters. */
fsmoe_status fsm_params_list(const fsmoe_config *config, const fsm_topo *topo, fsm_params *params);
void fsm_params_destroy(fsm_params *params);

/* The parameter, or NULL when the model has none such. */
const fsm_param *fsm_params_find(const fsm_params *params, fsm_role role, int slot, int layer);

/* The block of `param` that local expert `expert` (0 for others) has in an array. */
fsm_param_view fsm_params_view(const fsm_param *param, int64_t expert, fsm_real *values, fsm_real *grads);

/* The tensor's full name for global expert `expert` (ignored when it is not an expert's). */
void fsm_param_name(const fsm_param *param, int64_t expert, char name[160]);

/* Initial values of this rank's shards: element i of a tensor depends on the seed and i alone, not on the layout.
 * Weights N(0, init_std^2), those that write into the residual stream divided by sqrt(2 num_layers) (GPT-2).
 * ERROR_MEMORY. */
fsmoe_status fsm_params_init(const fsm_params *params, const fsmoe_config *config, const fsm_ops *ops,
                             fsm_real *values);

/* Parameters of the whole model, and those one token goes through: where the gate mixes, all. */
void fsm_params_totals(const fsm_params *params, const fsmoe_config *config, int64_t *total, int64_t *active);

/* Layers n - 1, 2n - 1, … have experts, n = model.moe_every; the first of them is MoE layer 0. */
static inline bool fsm_layer_is_moe(int64_t moe_every, int layer)
{
    return (layer + 1) % moe_every == 0;
}

static inline int fsm_layer_moe_index(int64_t moe_every, int layer)
{
    return (int)((layer + 1) / moe_every) - 1;
}

/* Its inverse. */
static inline int fsm_layer_of_moe(int64_t moe_every, int moe_index)
{
    return (int)((moe_index + 1) * moe_every) - 1;
}

#endif
