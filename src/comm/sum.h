/* Sums made of messages, in host memory: those of comm/op.h where a transport has none of its own.
 * In:  as of comm/op.h; FP32 or BF16. Out: an operation under way.
 */
#ifndef FSM_COMM_SUM_H
#define FSM_COMM_SUM_H

#include "comm/op.h"

fsmoe_status fsm_sum_start_reduce_scatter(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                          void *recv, const int64_t *counts);
fsmoe_status fsm_sum_start_all_reduce(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, void *buffer, int64_t count);

#endif
