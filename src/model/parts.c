#include "model/model_parts.h"

void fsm_norm_forward(const fsm_model *model, fsm_norm *norm, const float *x, float *y)
{
    int64_t n = model->n_local, hidden = model->config->model.hidden;
    float eps = (float)model->config->model.norm_eps;
    if (norm->bias.value)
        model->ops->layernorm_forward(n, hidden, eps, x, norm->gain.value, norm->bias.value, y, norm->mean, norm->rstd);
    else model->ops->rmsnorm_forward(n, hidden, eps, x, norm->gain.value, y, norm->rstd);
}

void fsm_norm_backward(const fsm_model *model, fsm_norm *norm, const float *x, const float *dy, float *dx)
{
    int64_t n = model->n_local, hidden = model->config->model.hidden;
    if (norm->bias.value)
        model->ops->layernorm_backward(n, hidden, x, norm->gain.value, norm->mean, norm->rstd, dy, dx, norm->gain.grad,
                                       norm->bias.grad);
    else model->ops->rmsnorm_backward(n, hidden, x, norm->gain.value, norm->rstd, dy, dx, norm->gain.grad);
}

static void group_elems(const fsm_model *model, int64_t *elems)
{
    for (int i = 0; i < model->topo.mp; i++) elems[i] = model->group_tokens[i] * model->config->model.hidden;
}

fsmoe_status fsm_mp_allgather(fsm_model *model, const float *local, float *full)
{
    if (model->topo.mp == 1) return FSMOE_OK;
    int64_t elems[FSM_MAX_MP];
    group_elems(model, elems);
    fsm_comm *mp = model->groups[FSM_GROUP_MP];
    return mp->table->all_gather(mp, local, full, elems);
}

fsmoe_status fsm_mp_reducescatter(fsm_model *model, const float *full, float *local)
{
    if (model->topo.mp == 1) return FSMOE_OK;
    int64_t elems[FSM_MAX_MP];
    group_elems(model, elems);
    fsm_comm *mp = model->groups[FSM_GROUP_MP];
    return mp->table->reduce_scatter(mp, full, local, elems);
}
