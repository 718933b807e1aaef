/* As what rows of a table of operations travel. In: bytes of an element of a row (fsm_ops, fsm_memory). Out: the
 * type. */
#ifndef FSM_COMM_ROWS_H
#define FSM_COMM_ROWS_H

#include "comm/data.h"
#include "ops/tensor.h"

static inline fsm_comm_type fsm_row_type(int64_t row_bytes)
{
    return row_bytes == FSM_REAL_BYTES ? FSM_COMM_FP32 : FSM_COMM_BF16;
}

#endif
