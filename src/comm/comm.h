/* One group of ranks that act together, and what a transport fills: the control contract (comm/control.h) and the data
 * contract (comm/data.h), by default of the same transport (self.c, mpi.c). Another may be laid over a group for its
 * data: it replaces `data`, keeps its own in `data_state`, and takes leave in `detach`; a group made by a split has its
 * control's data. Threads: at most one thread at a time is in any call of any group of a job, which one may change
 * (`any_thread`), or it is always the thread that created the world.
 */
#ifndef FSM_COMM_COMM_H
#define FSM_COMM_COMM_H

#include "comm/control.h"
#include "comm/data.h"

struct fsm_comm {
    const fsm_control_table *control;
    const fsm_data_table *data;
    void *data_state; /* of a data transport that is not the control's */
    int rank, size;
    int launched_as; /* of the world: the number that the launcher has given this rank */
    bool any_thread; /* calls may come from one thread now and from another later */
    int64_t
        piece_bytes; /* of gather_bytes and broadcast_bytes, alike on all ranks: FSM_COMM_PIECE_BYTES, less in tests */
    struct fsm_device *device; /* that tensors are on, entered while they are moved; NULL: this machine's memory */
    int64_t *blocks;           /* [size] counts of a collective whose blocks are even (comm/op.c) */
    /* of sums (comm/sum.c); a group of one has none */
    int64_t segment_elems; /* the pieces that they are formed in */
    char *scratch;         /* [FSM_COMM_SLOTS, size, segment_elems] of FP32, or narrower */
};

/* Around whatever of communication touches tensors (NULL: none of a group); leave hands the status on. */
void fsm_comm_enter(fsm_comm *comm);
fsmoe_status fsm_comm_leave(fsm_comm *comm, fsmoe_status status);

/* The group of all ranks of this job: MPI's when the process was started by mpirun, else a group of one. Its ranks are
 * numbered node by node, whatever order the launcher placed them in; rank 0 is the launcher's. MPI is initialised here,
 * once a process, and finalised when the process exits with all such groups destroyed, unless the program has
 * initialised it itself. */
fsmoe_status fsm_comm_create_world(fsm_comm **world);
/* A group of one, whatever the job. */
fsmoe_status fsm_comm_create_self(fsm_comm **self);
void fsm_comm_destroy(fsm_comm *comm); /* NULL is fine */

#ifdef FSMOE_WITH_MPI
fsmoe_status fsm_comm_create_mpi(fsm_comm **world);
int fsm_comm_launched_by_mpi(void);
#endif

#endif
