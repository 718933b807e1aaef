/* Gates that run on the host: what such a kind reads and writes, as arrays of the host.
 * In:  a gate whose kind runs on the host; its passes where tensors are.
 * Out: the kind's forward and backward, on copies made before and written back after. Its operations are the
 * reference's. Where tensors are arrays of the host already, and rows fp32, there are no copies and the pass itself is
 * handed on.
 */
#ifndef FSM_MOE_GATE_ON_HOST_H
#define FSM_MOE_GATE_ON_HOST_H

#include "moe/gate/gate.h"

/* Whether passes in this memory are copied for the kind. */
bool fsm_gate_needs_host(const fsm_memory *memory, const fsm_gate *gate);

/* pass->host for up to max_tokens, with the kind's own. */
void fsm_gate_host_take(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass);

/* fsm_gate_kind.forward and backward. */
void fsm_gate_host_forward(fsm_gate_pass *pass);
void fsm_gate_host_backward(fsm_gate_pass *pass);

#endif
