#include "cpu/cpu.h"

#include "cpu/slots.h"

static const fsm_ops cpu_ops = {
    .name = "cpu",
    FSM_CPU_SHARED_SLOTS,
    .weight_create = fsm_cpu_weight_create,
    .weight_update = fsm_cpu_weight_update,
    .weight_destroy = fsm_cpu_weight_destroy,
    .linear_forward = fsm_cpu_linear_forward,
    .linear_backward_input = fsm_cpu_linear_backward_input,
    .linear_backward_joined = fsm_cpu_linear_backward_joined,
    .linear_backward_weight = fsm_cpu_linear_backward_weight,
    .rmsnorm_backward = fsm_cpu_rmsnorm_backward,
    .embedding_backward = fsm_cpu_embedding_backward,
};

const fsm_ops *fsm_cpu_ops(void)
{
    return &cpu_ops;
}
