/* The transport's own all-to-all: every rank sends to every rank. */
#include "moe/dispatch/alltoall.h"

static fsmoe_status start(fsm_alltoall *a, fsm_comm_op *op, const float *send, float *recv,
                          const fsm_alltoall_counts *counts)
{
    return fsm_comm_start_all_to_all(op, a->comm, FSM_COMM_FP32, send, counts->send, recv, counts->recv);
}

const fsm_alltoall_kind fsm_alltoall_direct = {
    .name = "direct",
    .description = "one exchange over all ranks of the group",
    .source = "MPI_Alltoallv",
    .start = start,
};
