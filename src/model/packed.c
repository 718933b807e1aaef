/* What copies of weights take, in the layout that products read fastest: of every weight that fsm_model_create has made
 * copies of, by its shape as it is multiplied with, which joins several parameters. */
#include "model/model_parts.h"

static size_t bytes_of(const fsm_model *m, int64_t out, int64_t in)
{
    return m->ops->weight_bytes(m->ops, out, in);
}

/* Without values. */
static fsm_param_view shape_of(const fsm_model *m, fsm_role role, int slot, int layer)
{
    const fsm_param *p = fsm_params_find(&m->params, role, slot, layer);
    return p ? (fsm_param_view){.rows = p->rows, .cols = p->cols} : (fsm_param_view){0};
}

/* A feed-forward block, the parameters from `first` on. */
static size_t block_bytes(const fsm_model *m, fsm_role role, int first, int layer)
{
    fsm_param_view views[FSM_MAX_PARAMS_A_MODULE];
    fsm_linear in, out;
    for (int i = 0; i < FSM_MAX_PARAMS_A_MODULE; i++) views[i] = shape_of(m, role, first + i, layer);
    fsm_expert_find(m->config->moe.expert)->bind(&m->config->moe, views, 0, &in, &out);
    return bytes_of(m, in.weight.out, in.weight.in) + bytes_of(m, out.weight.out, out.weight.in);
}

static size_t moe_bytes(const fsm_model *m, const fsm_moe *moe, int layer)
{
    const fsmoe_config *c = m->config;
    fsm_param_spec specs[FSM_MAX_PARAMS_A_MODULE];
    int n = fsm_expert_find(c->moe.expert)->list_params(&c->moe, c->model.hidden, c->model.ffn_hidden, specs);
    size_t bytes = (size_t)moe->local_experts * block_bytes(m, FSM_ROLE_EXPERT, 0, layer);
    for (int i = 0; fsm_model_packs_gates(m) && i < FSM_MAX_PARAMS_A_MODULE; i++) {
        fsm_param_view gate = shape_of(m, FSM_ROLE_GATE, i, layer);
        bytes += bytes_of(m, gate.rows, gate.cols);
    }
    for (int e = 0; e < moe->shared.count; e++) bytes += block_bytes(m, FSM_ROLE_SHARED, e * n, layer);
    return bytes;
}

static size_t layer_bytes(const fsm_model *m, const fsm_layer *l)
{
    fsm_param_view q = shape_of(m, FSM_ROLE_Q, 0, l->index), o = shape_of(m, FSM_ROLE_O, 0, l->index);
    size_t attention = bytes_of(m, m->qkv_width, q.cols) + bytes_of(m, o.rows, o.cols);
    return attention + (l->is_moe ? moe_bytes(m, &l->moe, l->index) : block_bytes(m, FSM_ROLE_FFN, 0, l->index));
}

size_t fsm_model_packed_bytes(const fsm_model *m)
{
    fsm_role head = m->config->model.tie_embeddings ? FSM_ROLE_EMBEDDING : FSM_ROLE_HEAD;
    fsm_param_view shape = shape_of(m, head, 0, -1);
    if (!m->ops) return 0;
    size_t bytes = bytes_of(m, shape.rows, shape.cols);
    for (int i = 0; i < m->config->model.num_layers; i++) bytes += layer_bytes(m, &m->layers[i]);
    return bytes;
}
