/* Hooks are told: of rows where they travel, of what comes into a layer and of what goes out. They look at the host's
 * memory; where tensors lie elsewhere they are copied there and back. */
#include "moe/layer_parts.h"

#include <assert.h>

/* The pairs that each expert gets, where they must be known. */
static const int64_t *kept_of(const fsm_ops *ops, const fsm_moe_pass *pass)
{
    if (pass->gate.gate->kind->mixes) return pass->route.rows;
    fsm_route_read(ops, pass->gate.gate->num_experts, (fsm_route *)&pass->route);
    return pass->route.kept;
}

static void call_hooks(const fsm_ops *ops, const fsm_moe_pass *pass, fsm_matrix tensor, fsm_hook_call *call)
{
    const size_t elem_bytes = tensor.elem == FSM_ELEM_ROW ? (size_t)ops->row_bytes : FSM_REAL_BYTES;
    if (ops->on_host) {
        call->data = tensor.at;
        fsm_hooks_call(pass->moe->hooks, call);
        return;
    }
    call->data = pass->staging->hook_rows[call->point];
    ops->read(ops, elem_bytes * (size_t)(call->rows * call->width), tensor.at, call->data);
    fsm_hooks_call(pass->moe->hooks, call);
    ops->write(ops, elem_bytes * (size_t)(call->rows * call->width), call->data, tensor.at);
}

int64_t fsm_moe_tell(const fsm_ops *ops, const fsm_moe_pass *pass, fsm_hook_point point, fsm_phase phase, int chunk,
                     int64_t rows, fsm_matrix data, int64_t width)
{
    if (pass->moe->hooks->count == 0) return width;
    fsm_hook_call call = {.point = point,
                          .phase = phase,
                          .training = pass->gate.input.training,
                          .lane = pass->lane,
                          .layer = (int)pass->gate.input.layer,
                          .chunk = chunk,
                          .rows = rows,
                          .hidden = pass->moe->hidden,
                          .width = width,
                          .num_experts = pass->gate.gate->num_experts,
                          .kept =
                              point == FSM_HOOK_BEFORE_MOE_START && phase == FSM_FORWARD ? NULL : kept_of(ops, pass)};
    call_hooks(ops, pass, data, &call);
    assert(call.width > 0 && call.width <= pass->moe->hidden);
    return call.width;
}
