/* What a training step takes of a rank's memory: <fsmoe/memory.h>. The rank is rank 0, which has as many tokens as any. */
#include <fsmoe/memory.h>

#include "config/config.h"
#include "cpu/cpu.h"
#include "model/model.h"
#include "train/batches.h"

fsmoe_status fsmoe_memory_of(const fsmoe_config *config, int nodes, int ranks_per_node, fsmoe_memory *memory)
{
    fsm_topo topo;
    fsm_model_memory model;
    FSM_TRY(fsm_topo_create(nodes, ranks_per_node, &config->parallel, 0, &topo));
    const fsm_ops *ops = config->parallel.canonical_sums ? fsm_cpu_canonical_ops() : fsm_cpu_ops();
    const fsm_model_options options = {.max_samples = fsm_batches_share(config->train.micro_batch, topo.dp),
                                       .training = true};
    FSM_TRY(fsm_model_measure(config, ops, &topo, &options, &model));
    int64_t bytes = (int64_t)sizeof(float) * model.param_elems;
    *memory = (fsmoe_memory){.parameters = bytes,
                             .gradients = bytes,
                             .optimizer = 2 * bytes,
                             .activations = (int64_t)model.buffer_bytes};
    return FSMOE_OK;
}
