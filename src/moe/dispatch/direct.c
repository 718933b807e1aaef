/* The transport's own all-to-all: every rank sends to every rank. */
#include "moe/dispatch/alltoall.h"

const fsm_alltoall_kind fsm_alltoall_direct = {
    .name = "direct",
    .description = "one exchange over all ranks of the group",
    .source = "MPI_Alltoallv",
    .start = fsm_comm_start_all_to_all,
};
