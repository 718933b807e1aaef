/* Parameters into the places that use them. */
#include "model/model_parts.h"

static fsm_param_view view(const fsm_model *m, fsm_role role, int slot, int layer, int64_t expert)
{
    const fsm_param *param = fsm_params_find(&m->params, role, slot, layer);
    return param ? fsm_params_view(param, expert, m->values, m->grads) : (fsm_param_view){0};
}

static void bind_norm(const fsm_model *m, fsm_role role, int layer, fsm_norm *norm)
{
    norm->gain = view(m, role, 0, layer, 0);
    norm->bias = m->params.family->layernorm ? view(m, role + 1, 0, layer, 0) : (fsm_param_view){0};
}

static fsm_weight as_weight(fsm_param_view v)
{
    return (fsm_weight){v.value, v.rows, v.cols, NULL};
}

/* The specs from slot `first` on. */
static void bind_block(const fsm_model *m, fsm_role role, int first, int layer, int64_t expert, int shard,
                       fsm_linear *in, fsm_linear *out)
{
    fsm_param_view views[FSM_MAX_PARAMS_A_MODULE];
    for (int i = 0; i < FSM_MAX_PARAMS_A_MODULE; i++) views[i] = view(m, role, first + i, layer, expert);
    fsm_expert_find(m->config->moe.expert)->bind(&m->config->moe, views, shard, in, out);
}

static void bind_shared(const fsm_model *m, fsm_layer *l)
{
    const fsmoe_config *c = m->config;
    const fsm_experts *shared = &l->moe.shared.experts;
    fsm_param_spec specs[FSM_MAX_PARAMS_A_MODULE];
    int n = fsm_expert_find(c->moe.expert)->list_params(&c->moe, c->model.hidden, c->model.ffn_hidden, specs);
    for (int e = 0; e < l->moe.shared.count; e++)
        bind_block(m, FSM_ROLE_SHARED, e * n, l->index, 0, 0, &shared->in[e], &shared->out[e]);
    l->moe.shared.gate = view(m, FSM_ROLE_SHARED_GATE, 0, l->index, 0);
}

static void bind_moe(fsm_model *m, fsm_layer *l)
{
    for (int64_t e = 0; e < l->moe.local_experts; e++)
        bind_block(m, FSM_ROLE_EXPERT, 0, l->index, e, m->topo.esp_index, &l->moe.experts.in[e],
                   &l->moe.experts.out[e]);
    for (int i = 0; i < FSM_MAX_PARAMS_A_MODULE; i++) {
        l->moe.gate.params[i] = view(m, FSM_ROLE_GATE, i, l->index, 0);
        l->moe.gate.weights[i] = as_weight(l->moe.gate.params[i]);
    }
    bind_shared(m, l);
}

static void bind_layer(fsm_model *m, fsm_layer *l)
{
    bind_norm(m, FSM_ROLE_NORM1, l->index, &l->norm1);
    bind_norm(m, FSM_ROLE_NORM2, l->index, &l->norm2);
    l->qkv_grad = view(m, FSM_ROLE_Q, 0, l->index, 0);
    l->qkv = as_weight(l->qkv_grad);
    l->qkv.out = m->qkv_width;
    l->o_grad = view(m, FSM_ROLE_O, 0, l->index, 0);
    l->o = as_weight(l->o_grad);
    l->qkv_bias = view(m, FSM_ROLE_Q_BIAS, 0, l->index, 0);
    l->o_bias = view(m, FSM_ROLE_O_BIAS, 0, l->index, 0);
    if (l->is_moe) bind_moe(m, l);
    else bind_block(m, FSM_ROLE_FFN, 0, l->index, 0, m->topo.mp_index, &l->ffn_in, &l->ffn_out);
}

void fsm_model_bind(fsm_model *m)
{
    fsm_param_view embedding = view(m, FSM_ROLE_EMBEDDING, 0, -1, 0), positions = view(m, FSM_ROLE_POSITIONS, 0, -1, 0);
    fsm_param_view head = m->config->model.tie_embeddings ? embedding : view(m, FSM_ROLE_HEAD, 0, -1, 0);
    m->embedding = embedding.value;
    m->embedding_grad = embedding.grad;
    m->positions = positions.value;
    m->positions_grad = positions.grad;
    m->head = as_weight(head);
    m->head_grad = head.grad;
    bind_norm(m, FSM_ROLE_FINAL_NORM, -1, &m->final_norm);
    for (int i = 0; i < m->config->model.num_layers; i++) bind_layer(m, &m->layers[i]);
}
