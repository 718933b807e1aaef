#include "model/model_parts.h"

void fsm_norm_forward(const fsm_pass *pass, const fsm_norm *norm, const fsm_norm_pass *saved, const float *x, float *y)
{
    const fsm_ops *ops = pass->model->ops;
    int64_t n = pass->n_local, hidden = fsm_pass_hidden(pass);
    float eps = (float)pass->model->config->model.norm_eps;
    if (norm->bias.value)
        ops->layernorm_forward(ops, n, hidden, eps, x, norm->gain.value, norm->bias.value, y, saved->mean, saved->rstd);
    else ops->rmsnorm_forward(ops, n, hidden, eps, x, norm->gain.value, y, saved->rstd);
}

void fsm_norm_backward(const fsm_pass *pass, const fsm_norm *norm, const fsm_norm_pass *saved, const float *x,
                       const float *dy, float *dx)
{
    const fsm_ops *ops = pass->model->ops;
    int64_t n = pass->n_local, hidden = fsm_pass_hidden(pass);
    if (norm->bias.value)
        ops->layernorm_backward(ops, n, hidden, x, norm->gain.value, saved->mean, saved->rstd, dy, dx, norm->gain.grad,
                                norm->bias.grad);
    else ops->rmsnorm_backward(ops, n, hidden, x, norm->gain.value, saved->rstd, dy, dx, norm->gain.grad);
}

fsmoe_status fsm_mp_start_allgather(const fsm_pass *pass, fsm_comm_op *op, const float *local, float *full)
{
    if (pass->model->topo.mp == 1) return FSMOE_OK;
    return fsm_comm_start_all_gather(op, pass->model->groups[FSM_GROUP_MP], FSM_COMM_FP32, local, full,
                                     pass->group_elems);
}

fsmoe_status fsm_mp_start_reducescatter(const fsm_pass *pass, fsm_comm_op *op, const float *full, float *local)
{
    if (pass->model->topo.mp == 1) return FSMOE_OK;
    return fsm_comm_start_reduce_scatter(op, pass->model->groups[FSM_GROUP_MP], FSM_COMM_FP32, full, local,
                                         pass->group_elems);
}
