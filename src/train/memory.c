/* What a training step takes of a rank's memory: <fsmoe/memory.h>. The rank is rank 0, which has as many tokens as any. */
#include <fsmoe/memory.h>

#include "config/config.h"
#include "cpu/cpu.h"
#include "model/model.h"
#include "train/batches.h"
#include "train/place.h"

/* Layers of a step with their widest array, matrices of orders among them, have more than 2^50 elements: no machine holds
 * them, and sums of such sizes would overflow. */
static bool is_absurd(const fsmoe_config *config, int64_t samples)
{
    const fsmoe_model_config *m = &config->model;
    int gemms;
    int64_t columns;
    fsm_moe_products(&config->moe, samples * config->data.seq_len, &gemms, &columns);
    double widths[] = {(double)m->hidden, 2 * (double)m->ffn_hidden, (double)m->vocab_size,
                       (double)(m->num_heads * m->head_dim), (double)columns};
    double widest = 0, tokens = (double)samples * (double)config->data.seq_len;
    double rows = tokens * (double)config->moe.top_k * (1 + config->moe.capacity_factor);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) widest = widths[i] > widest ? widths[i] : widest;
    return rows * widest * (double)m->num_layers > 0x1p50;
}

fsmoe_status fsmoe_memory_of(const fsmoe_config *config, int nodes, int ranks_per_node, fsmoe_memory *memory)
{
    fsm_topo topo;
    fsm_model_memory model;
    fsm_ops *ops;
    FSM_TRY(fsm_topo_create(nodes, ranks_per_node, &config->parallel, 0, &topo));
    const fsm_model_options options = {.max_samples = fsm_batches_share(config->train.micro_batch, topo.dp),
                                       .training = true};
    if (is_absurd(config, options.max_samples)) {
        *memory = (fsmoe_memory){INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
        return FSMOE_OK;
    }
    FSM_TRY(fsm_cpu_ops_create(fsm_threads_of(config, ranks_per_node), config->parallel.canonical_sums, &ops));
    fsmoe_status status = fsm_model_measure(config, ops, &topo, &options, &model);
    fsm_ops_destroy(ops);
    FSM_TRY(status);
    int64_t bytes = (int64_t)sizeof(float) * model.param_elems;
    *memory = (fsmoe_memory){.parameters = bytes,
                             .gradients = bytes,
                             .optimizer = 2 * bytes,
                             .activations = (int64_t)fsm_model_buffer_bytes(&model, 1, 1, 0)};
    return FSMOE_OK;
}
