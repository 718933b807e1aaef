#include "plan/model_step.h"

#include "config/config.h"
#include "model/params.h"

#include <fsmoe/tokenizer.h>

fsmoe_status fsm_config_take_vocabulary(fsmoe_config *c)
{
    fsmoe_tokenizer *tokenizer;
    if (c->model.vocab_size > 0) return FSMOE_OK;
    FSM_TRY(fsmoe_tokenizer_create(c->data.tokenizer, &tokenizer));
    c->model.vocab_size = fsmoe_tokenizer_vocab_size(tokenizer);
    fsmoe_tokenizer_destroy(tokenizer);
    return FSMOE_OK;
}

fsmoe_status fsm_step_of_config(fsmoe_config *config, int nodes, int ranks_per_node, fsm_step_shape *shape)
{
    fsm_topo topo;
    fsm_params params;
    FSM_TRY(fsm_config_check(config));
    FSM_TRY(fsm_config_take_vocabulary(config));
    FSM_TRY(fsm_config_derive(config));
    FSM_TRY(fsm_topo_create(nodes, ranks_per_node, &config->parallel, 0, &topo));
    FSM_TRY(fsm_params_create(config, &topo, &params));
    int64_t samples = (config->train.micro_batch + topo.dp - 1) / topo.dp;
    fsmoe_status status = fsm_step_describe(config, &topo, &params, samples, true, shape);
    fsm_params_destroy(&params);
    return status;
}
