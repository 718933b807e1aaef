/* What a program outside needs to add a gate, an order, an all-to-all, an expert or a hook of its own: the contracts
 * that the library's own kinds are written to, and functions that make the kind known by its name in the configuration.
 * docs/extending.md has an example of each. A kind's struct must stay; adding comes first in a program, before
 * configurations are read, from one thread. ERROR_CONFIG: there is a kind of that name, more than 16 are added, or it
 * was compiled against contracts of another version than the library's.
 * These contracts may change between minor versions, and then have another version; <fsmoe/...> does not.
 */
#ifndef FSM_MOE_EXTEND_H
#define FSM_MOE_EXTEND_H

#include "base/rng.h"
#include "moe/dispatch/alltoall.h"
#include "moe/expert/expert.h"
#include "moe/gate/router.h"
#include "moe/hook/hook.h"
#include "moe/order/order.h"

/* Of all the contracts together; a struct that grows or a function that changes makes it another. */
#define FSM_EXTEND_VERSION 2

#define fsm_add_gate(kind) fsm_add_gate_v(kind, FSM_EXTEND_VERSION)
#define fsm_add_order(kind) fsm_add_order_v(kind, FSM_EXTEND_VERSION)
#define fsm_add_alltoall(kind) fsm_add_alltoall_v(kind, FSM_EXTEND_VERSION)
#define fsm_add_expert(kind) fsm_add_expert_v(kind, FSM_EXTEND_VERSION)
#define fsm_add_hook(kind) fsm_add_hook_v(kind, FSM_EXTEND_VERSION)

/* version: that of the contracts which the kind was compiled against. */
FSMOE_API fsmoe_status fsm_add_gate_v(const fsm_gate_kind *kind, int version);
FSMOE_API fsmoe_status fsm_add_order_v(const fsm_order_kind *kind, int version);
FSMOE_API fsmoe_status fsm_add_alltoall_v(const fsm_alltoall_kind *kind, int version);
FSMOE_API fsmoe_status fsm_add_expert_v(const fsm_expert_kind *kind, int version);
FSMOE_API fsmoe_status fsm_add_hook_v(const fsm_hook_kind *kind, int version);

#endif
