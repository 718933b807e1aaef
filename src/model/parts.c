#include "model/model_parts.h"

void fsm_norm_forward(const fsm_model *model, fsm_norm *norm, const float *x, float *y)
{
    int64_t n = model->n_local, hidden = model->config->model.hidden;
    float eps = (float)model->config->model.norm_eps;
    if (norm->bias.value)
        model->ops->layernorm_forward(model->ops, n, hidden, eps, x, norm->gain.value, norm->bias.value, y, norm->mean,
                                      norm->rstd);
    else model->ops->rmsnorm_forward(model->ops, n, hidden, eps, x, norm->gain.value, y, norm->rstd);
}

void fsm_norm_backward(const fsm_model *model, fsm_norm *norm, const float *x, const float *dy, float *dx)
{
    int64_t n = model->n_local, hidden = model->config->model.hidden;
    if (norm->bias.value)
        model->ops->layernorm_backward(model->ops, n, hidden, x, norm->gain.value, norm->mean, norm->rstd, dy, dx,
                                       norm->gain.grad, norm->bias.grad);
    else model->ops->rmsnorm_backward(model->ops, n, hidden, x, norm->gain.value, norm->rstd, dy, dx, norm->gain.grad);
}

fsmoe_status fsm_mp_start_allgather(fsm_model *model, fsm_comm_op *op, const float *local, float *full)
{
    if (model->topo.mp == 1) return FSMOE_OK;
    return fsm_comm_start_all_gather(op, model->groups[FSM_GROUP_MP], local, full, model->group_elems);
}

fsmoe_status fsm_mp_start_reducescatter(fsm_model *model, fsm_comm_op *op, const float *full, float *local)
{
    if (model->topo.mp == 1) return FSMOE_OK;
    return fsm_comm_start_reduce_scatter(op, model->groups[FSM_GROUP_MP], full, local, model->group_elems);
}
