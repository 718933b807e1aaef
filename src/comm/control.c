#include "comm/control.h"

#include "comm/comm.h"

#include <string.h>

fsmoe_status fsm_comm_all_gather_int64(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv)
{
    return comm->control->all_gather_int64(comm, send, count, recv);
}

fsmoe_status fsm_comm_all_reduce_double(fsm_comm *comm, double *buffer, int64_t count)
{
    return comm->control->all_reduce_double(comm, buffer, count);
}

fsmoe_status fsm_comm_agree(fsm_comm *comm, fsmoe_status mine)
{
    if (comm->size == 1) return mine;
    double failed = mine != FSMOE_OK;
    FSM_TRY(fsm_comm_all_reduce_double(comm, &failed, 1));
    if (failed == 0) return FSMOE_OK;

    int first = -1;
    for (int rank = 0; rank < comm->size && first < 0; rank++) {
        int64_t code = comm->rank == rank ? (int64_t)mine : 0;
        FSM_TRY(comm->control->broadcast_bytes(comm, &code, sizeof code, rank));
        if (code != FSMOE_OK) {
            first = rank;
            mine = (fsmoe_status)code;
        }
    }
    char text[1024] = {0};
    if (comm->rank == first) strncpy(text, fsmoe_last_error(), sizeof text - 1);
    FSM_TRY(comm->control->broadcast_bytes(comm, text, sizeof text, first));
    return fsm_fail(mine, "%s", text);
}

int fsm_comm_number_by_node(int size, const int *lowest, int rank)
{
    int before = 0;
    for (int other = 0; other < size; other++)
        before += lowest[other] < lowest[rank] || (lowest[other] == lowest[rank] && other < rank);
    return before;
}

fsmoe_status fsm_comm_find_nodes(fsm_comm *comm, int *nodes, int *ranks_per_node)
{
    int count, index;
    FSM_TRY(comm->control->local_ranks(comm, &count, &index));
    double sums[2] = {count, (double)count * count};
    FSM_TRY(fsm_comm_all_reduce_double(comm, sums, 2));
    if (sums[0] != (double)count * comm->size || sums[1] != (double)count * count * comm->size)
        return fsm_fail(FSMOE_ERROR_LAYOUT,
                        "the nodes hold different numbers of ranks (%d here): start as many on each, or set "
                        "parallel.ranks_per_node to "
                        "a number that divides all of them",
                        count);
    *ranks_per_node = count;
    *nodes = comm->size / count;
    return FSMOE_OK;
}
