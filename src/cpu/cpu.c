#include "cpu/cpu.h"

#include "cpu/slots.h"
#include "ops/ref.h"

/* fsm_ref_… are slots inherited from the reference. */
static const fsm_ops cpu_ops = {
    .name = "cpu",
    .gemm = fsm_cpu_gemm,
    .weight_create = fsm_cpu_weight_create,
    .weight_update = fsm_cpu_weight_update,
    .weight_destroy = fsm_cpu_weight_destroy,
    .linear_forward = fsm_cpu_linear_forward,
    .linear_backward_input = fsm_cpu_linear_backward_input,
    .linear_backward_joined = fsm_cpu_linear_backward_joined,
    .linear_backward_weight = fsm_cpu_linear_backward_weight,
    .rmsnorm_forward = fsm_cpu_rmsnorm_forward,
    .rmsnorm_backward = fsm_cpu_rmsnorm_backward,
    .layernorm_forward = fsm_cpu_layernorm_forward,
    .layernorm_backward = fsm_cpu_layernorm_backward,
    .rope = fsm_cpu_rope,
    .attention_work_bytes = fsm_cpu_attention_work_bytes,
    .attention_forward = fsm_cpu_attention_forward,
    .attention_backward = fsm_cpu_attention_backward,
    .gelu_forward = fsm_cpu_gelu_forward,
    .gelu_backward = fsm_cpu_gelu_backward,
    .swiglu_forward = fsm_cpu_swiglu_forward,
    .swiglu_backward = fsm_cpu_swiglu_backward,
    .embedding_forward = fsm_cpu_embedding_forward,
    .embedding_backward = fsm_cpu_embedding_backward,
    .cross_entropy = fsm_cpu_cross_entropy,
    .add = fsm_cpu_add,
    .scale = fsm_cpu_scale,
    .zero = fsm_cpu_zero,
    .softmax = fsm_cpu_softmax,
    .top_k = fsm_ref_top_k,
    .gather_rows = fsm_cpu_gather_rows,
    .combine_rows = fsm_cpu_combine_rows,
    .combine_rows_backward = fsm_cpu_combine_rows_backward,
    .sum_squares = fsm_cpu_sum_squares,
    .adamw = fsm_cpu_adamw,
};

const fsm_ops *fsm_cpu_ops(void)
{
    return &cpu_ops;
}
