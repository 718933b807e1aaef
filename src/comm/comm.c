#include "comm/comm.h"

fsmoe_status fsm_comm_create_world(fsm_comm **world)
{
#ifdef FSMOE_WITH_MPI
    if (fsm_comm_launched_by_mpi()) return fsm_comm_create_mpi(world);
#endif
    return fsm_comm_create_self(world);
}

void fsm_comm_destroy(fsm_comm *comm)
{
    if (!comm) return;
    if (comm->data->detach) comm->data->detach(comm);
    comm->control->destroy(comm);
}
