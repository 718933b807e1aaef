/* What a program outside needs to add a gate, an order, an all-to-all, an expert or a hook of its own: the contracts that
 * the library's own kinds are written to, and functions that make the kind known by its name in the configuration.
 * docs/extending.md has an example of each. A kind's struct must stay; adding comes first in a program, before
 * configurations are read, from one thread. ERROR_CONFIG: there is a kind of that name, or more than 16 are added.
 * These contracts may change between minor versions; <fsmoe/...> does not.
 */
#ifndef FSM_MOE_EXTEND_H
#define FSM_MOE_EXTEND_H

#include "base/rng.h"
#include "moe/dispatch/alltoall.h"
#include "moe/expert/expert.h"
#include "moe/gate/router.h"
#include "moe/hook/hook.h"
#include "moe/order/order.h"

FSMOE_API fsmoe_status fsm_add_gate(const fsm_gate_kind *kind);
FSMOE_API fsmoe_status fsm_add_order(const fsm_order_kind *kind);
FSMOE_API fsmoe_status fsm_add_alltoall(const fsm_alltoall_kind *kind);
FSMOE_API fsmoe_status fsm_add_expert(const fsm_expert_kind *kind);
FSMOE_API fsmoe_status fsm_add_hook(const fsm_hook_kind *kind);

#endif
