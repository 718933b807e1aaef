#include "cpu/cpu.h"

#include "cpu/bf16.h"
#include "cpu/bf16_matmul.h"
#include "cpu/gemm.h"
#include "cpu/instance.h"
#include "cpu/slots.h"

#include <stdlib.h>

static const fsm_ops fast_table = {
    .name = "cpu",
    .row_bytes = sizeof(fsm_row),
    FSM_CPU_SHARED_SLOTS,
    .weight_create = fsm_cpu_weight_create,
    .weight_bytes = fsm_cpu_weight_bytes,
    .weight_update = fsm_cpu_weight_update,
    .weight_destroy = fsm_cpu_weight_destroy,
    .linear_forward = fsm_cpu_linear_forward,
    .linear_backward_input = fsm_cpu_linear_backward_input,
    .linear_backward_joined = fsm_cpu_linear_backward_joined,
    .linear_backward_weight = fsm_cpu_linear_backward_weight,
    .grouped = {.forward = fsm_cpu_grouped_forward,
                .backward_input = fsm_cpu_grouped_backward_input,
                .backward_weight = fsm_cpu_grouped_backward_weight},
    .rmsnorm_backward = fsm_cpu_rmsnorm_backward,
    .embedding_backward = fsm_cpu_embedding_backward,
};

fsmoe_status fsm_cpu_ops_create(int threads, fsm_cpu_kind kind, fsm_ops **ops)
{
    fsmoe_status status = FSMOE_OK;
    fsm_cpu *cpu = calloc(1, sizeof *cpu);
    if (!cpu) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the operations");
    cpu->ops = kind == FSM_CPU_CANONICAL ? fsm_cpu_canonical_table : fast_table;
    cpu->threads = threads;
    fsm_cpu_gemm_reserve(cpu);
    if (kind == FSM_CPU_BF16) status = fsm_cpu_use_bf16(cpu);
    if (status != FSMOE_OK) fsm_cpu_destroy(&cpu->ops);
    else *ops = &cpu->ops;
    return status;
}

void fsm_cpu_destroy(fsm_ops *self)
{
    fsm_cpu *cpu = (fsm_cpu *)self;
    free(cpu->spread);
    free(cpu->products);
    free(cpu->attention_work);
    free(cpu->wide);
    fsm_bf16_matmul_destroy(cpu->bf16);
    free(cpu);
}
