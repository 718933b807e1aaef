/* The transport's own all-to-all: every rank sends to every rank. */
#include "moe/dispatch/alltoall.h"

static void emit(fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    (void)a, (void)counts;
    fsm_stages_exchange(stages);
    fsm_stages_wait(stages, 0);
}

const fsm_alltoall_kind fsm_alltoall_direct = {
    .name = "direct",
    .description = "one exchange over all ranks of the group",
    .source = "MPI_Alltoallv",
    .emit = emit,
};
