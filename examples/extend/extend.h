/* The kinds of this example. */
#ifndef EXAMPLE_EXTEND_H
#define EXAMPLE_EXTEND_H

/* Their loops are over arrays: kinds that run on the host. */
#define FSM_TENSORS_OPEN

#include <moe/extend.h>

extern const fsm_gate_kind my_gate;
extern const fsm_order_kind my_order;
extern const fsm_alltoall_kind my_alltoall;
extern const fsm_expert_kind my_expert;
extern const fsm_hook_kind my_hook;
extern int64_t sent_elems;

#endif
