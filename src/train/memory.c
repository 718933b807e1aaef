/* What a training step takes of a rank's memory: <fsmoe/memory.h>. The rank is rank 0, which has as many tokens as any. */
#include <fsmoe/memory.h>

#include "config/config.h"
#include "cpu/cpu.h"
#include "model/model.h"
#include "train/batches.h"
#include "train/place.h"

fsmoe_status fsmoe_memory_of(const fsmoe_config *config, int nodes, int ranks_per_node, fsmoe_memory *memory)
{
    fsm_topo topo;
    fsm_model_memory model;
    fsm_ops *ops;
    FSM_TRY(fsm_topo_create(nodes, ranks_per_node, &config->parallel, 0, &topo));
    const fsm_model_options options = {.max_samples = fsm_batches_share(config->train.micro_batch, topo.dp),
                                       .training = true};
    if (fsm_model_is_absurd(config, options.max_samples)) {
        *memory = (fsmoe_memory){INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
        return FSMOE_OK;
    }
    FSM_TRY(fsm_cpu_ops_create(fsm_threads_of(config, ranks_per_node), fsm_ops_kind_of(config), &ops));
    fsmoe_status status = fsm_model_measure(config, ops, &topo, &options, &model);
    fsm_ops_destroy(ops);
    FSM_TRY(status);
    int64_t bytes = (int64_t)sizeof(float) * model.param_elems;
    *memory = (fsmoe_memory){.parameters = bytes,
                             .gradients = bytes,
                             .optimizer = 2 * bytes,
                             .activations = (int64_t)(model.fixed_bytes + model.pass_bytes[0])};
    return FSMOE_OK;
}
