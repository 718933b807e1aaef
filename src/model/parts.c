#include "comm/rows.h"
#include "model/model_parts.h"

void fsm_norm_forward(const fsm_pass *pass, const fsm_norm *norm, const fsm_norm_pass *saved, const fsm_real *x,
                      fsm_row *y)
{
    const fsm_ops *ops = pass->model->ops;
    int64_t n = pass->n_local, hidden = fsm_pass_hidden(pass);
    float eps = (float)pass->model->config->model.norm_eps;
    if (norm->bias.value)
        ops->layernorm_forward(ops, n, hidden, eps, x, norm->gain.value, norm->bias.value, y, saved->mean, saved->rstd);
    else ops->rmsnorm_forward(ops, n, hidden, eps, x, norm->gain.value, y, saved->rstd);
}

void fsm_norm_backward(const fsm_pass *pass, const fsm_norm *norm, const fsm_norm_pass *saved, const fsm_real *x,
                       const fsm_real *dy, fsm_real *dx)
{
    const fsm_ops *ops = pass->model->ops;
    int64_t n = pass->n_local, hidden = fsm_pass_hidden(pass);
    if (norm->bias.value)
        ops->layernorm_backward(ops, n, hidden, x, norm->gain.value, saved->mean, saved->rstd, dy, dx, norm->gain.grad,
                                norm->bias.grad);
    else ops->rmsnorm_backward(ops, n, hidden, x, norm->gain.value, saved->rstd, dy, dx, norm->gain.grad);
}

fsmoe_status fsm_mp_start_gather_rows(const fsm_pass *pass, fsm_comm_op *op, const fsm_row *local, fsm_row *full)
{
    if (pass->model->topo.mp == 1) return FSMOE_OK;
    return fsm_comm_start_all_gather(op, pass->model->groups[FSM_GROUP_MP], fsm_row_type(pass->model->ops->row_bytes),
                                     local, full, pass->group_elems);
}

fsmoe_status fsm_mp_start_allgather(const fsm_pass *pass, fsm_comm_op *op, const fsm_real *local, fsm_real *full)
{
    if (pass->model->topo.mp == 1) return FSMOE_OK;
    return fsm_comm_start_all_gather(op, pass->model->groups[FSM_GROUP_MP], FSM_COMM_FP32, local, full,
                                     pass->group_elems);
}

fsmoe_status fsm_mp_start_reducescatter(const fsm_pass *pass, fsm_comm_op *op, const fsm_real *full, fsm_real *local)
{
    if (pass->model->topo.mp == 1) return FSMOE_OK;
    return fsm_comm_start_reduce_scatter(op, pass->model->groups[FSM_GROUP_MP], FSM_COMM_FP32, full, local,
                                         pass->group_elems);
}
