/* The transport's own all-to-all: every rank sends to every rank. */
#include "moe/dispatch/alltoall.h"

static fsmoe_status run_direct(fsm_comm *comm, const float *send, const int64_t *send_counts, float *recv,
                               const int64_t *recv_counts)
{
    return comm->table->all_to_all(comm, send, send_counts, recv, recv_counts);
}

const fsm_alltoall_kind fsm_alltoall_direct = {
    .name = "direct",
    .description = "one exchange over all ranks of the group",
    .source = "MPI_Alltoallv",
    .run = run_direct,
};
