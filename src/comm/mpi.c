/* Collectives over MPI (MPI-3.1; Open MPI and MPICH). The only file that includes mpi.h.
 * Counts above INT_MAX elements are refused: MPI-3.1 takes int counts.
 */
#include "comm/comm.h"

#include <limits.h>
#include <mpi.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct mpi_comm {
    fsm_comm base;
    MPI_Comm handle;
    int owns_mpi; /* the world: MPI_Finalize when destroyed */
    /* int copies of the caller's counts, so that no call allocates; [size] each */
    int *send_counts, *send_offsets, *recv_counts, *recv_offsets;
} mpi_comm;

static MPI_Comm handle(fsm_comm *comm)
{
    return ((mpi_comm *)comm)->handle;
}

static fsmoe_status translate(int code, const char *operation)
{
    if (code == MPI_SUCCESS) return FSMOE_OK;
    char text[MPI_MAX_ERROR_STRING] = "unknown";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return fsm_fail(FSMOE_ERROR_COMM, "%s failed: %s", operation, text);
}

static fsmoe_status check_count(int64_t count, const char *operation)
{
    if (count >= 0 && count <= INT_MAX) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_COMM, "%s of %lld elements: MPI takes at most %d", operation, (long long)count,
                    INT_MAX);
}

/* counts and running offsets as ints */
static fsmoe_status narrow(int size, const int64_t *counts, int *narrow_counts, int *offsets, const char *operation)
{
    int64_t at = 0;
    for (int i = 0; i < size; i++) {
        narrow_counts[i] = (int)counts[i];
        offsets[i] = (int)at;
        at += counts[i];
    }
    return check_count(at, operation);
}

static fsmoe_status mpi_all_to_all(fsm_comm *comm, const float *send, const int64_t *send_counts, float *recv,
                                   const int64_t *recv_counts)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(narrow(comm->size, send_counts, c->send_counts, c->send_offsets, "all-to-all"));
    FSM_TRY(narrow(comm->size, recv_counts, c->recv_counts, c->recv_offsets, "all-to-all"));
    return translate(MPI_Alltoallv(send, c->send_counts, c->send_offsets, MPI_FLOAT, recv, c->recv_counts,
                                   c->recv_offsets, MPI_FLOAT, c->handle),
                     "all-to-all");
}

static fsmoe_status mpi_all_gather(fsm_comm *comm, const float *send, float *recv, const int64_t *counts)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(narrow(comm->size, counts, c->recv_counts, c->recv_offsets, "all-gather"));
    const void *from = send == recv + c->recv_offsets[comm->rank] ? MPI_IN_PLACE : (const void *)send;
    return translate(MPI_Allgatherv(from, c->recv_counts[comm->rank], MPI_FLOAT, recv, c->recv_counts, c->recv_offsets,
                                    MPI_FLOAT, c->handle),
                     "all-gather");
}

static fsmoe_status mpi_all_gather_int64(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv)
{
    FSM_TRY(check_count(count, "all-gather"));
    return translate(MPI_Allgather(send, (int)count, MPI_INT64_T, recv, (int)count, MPI_INT64_T, handle(comm)),
                     "all-gather");
}

static fsmoe_status mpi_reduce_scatter(fsm_comm *comm, const float *send, float *recv, const int64_t *counts)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(narrow(comm->size, counts, c->recv_counts, c->recv_offsets, "reduce-scatter"));
    return translate(MPI_Reduce_scatter(send, recv, c->recv_counts, MPI_FLOAT, MPI_SUM, c->handle), "reduce-scatter");
}

static fsmoe_status mpi_all_reduce(fsm_comm *comm, float *buffer, int64_t count)
{
    for (int64_t at = 0; at < count; at += INT_MAX) {
        int part = (int)(count - at < INT_MAX ? count - at : INT_MAX);
        FSM_TRY(
            translate(MPI_Allreduce(MPI_IN_PLACE, buffer + at, part, MPI_FLOAT, MPI_SUM, handle(comm)), "all-reduce"));
    }
    return FSMOE_OK;
}

static fsmoe_status mpi_all_reduce_double(fsm_comm *comm, double *buffer, int64_t count)
{
    FSM_TRY(check_count(count, "all-reduce"));
    return translate(MPI_Allreduce(MPI_IN_PLACE, buffer, (int)count, MPI_DOUBLE, MPI_SUM, handle(comm)), "all-reduce");
}

static fsmoe_status mpi_gather_bytes(fsm_comm *comm, const void *send, int64_t count, void *recv, const int64_t *counts)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(check_count(count, "gather"));
    if (comm->rank == 0) FSM_TRY(narrow(comm->size, counts, c->recv_counts, c->recv_offsets, "gather"));
    return translate(MPI_Gatherv(send, (int)count, MPI_BYTE, recv, c->recv_counts, c->recv_offsets, MPI_BYTE, 0,
                                 c->handle),
                     "gather");
}

static fsmoe_status mpi_broadcast_bytes(fsm_comm *comm, void *buffer, int64_t count, int root)
{
    FSM_TRY(check_count(count, "broadcast"));
    return translate(MPI_Bcast(buffer, (int)count, MPI_BYTE, root, handle(comm)), "broadcast");
}

static fsmoe_status mpi_barrier(fsm_comm *comm)
{
    return translate(MPI_Barrier(handle(comm)), "barrier");
}

static void mpi_destroy(fsm_comm *comm)
{
    mpi_comm *c = (mpi_comm *)comm;
    free(c->send_counts);
    if (c->owns_mpi) MPI_Finalize();
    else if (c->handle != MPI_COMM_NULL) MPI_Comm_free(&c->handle);
    free(c);
}

static fsmoe_status wrap(MPI_Comm mpi, int owns_mpi, fsm_comm **comm);

static fsmoe_status mpi_split(fsm_comm *comm, int color, fsm_comm **group)
{
    MPI_Comm part = MPI_COMM_NULL;
    FSM_TRY(translate(MPI_Comm_split(handle(comm), color, comm->rank, &part), "split of a communicator"));
    return wrap(part, 0, group);
}

static fsmoe_status mpi_local_ranks(fsm_comm *comm, int *count, int *index)
{
    MPI_Comm node;
    FSM_TRY(
        translate(MPI_Comm_split_type(handle(comm), MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node), "split by node"));
    MPI_Comm_size(node, count);
    MPI_Comm_rank(node, index);
    MPI_Comm_free(&node);
    return FSMOE_OK;
}

static void mpi_abort(fsm_comm *comm, int exit_code)
{
    MPI_Abort(handle(comm), exit_code);
    _exit(exit_code);
}

static const fsm_comm_table mpi_table = {
    .name = "mpi",
    .all_to_all = mpi_all_to_all,
    .all_gather = mpi_all_gather,
    .all_gather_int64 = mpi_all_gather_int64,
    .reduce_scatter = mpi_reduce_scatter,
    .all_reduce = mpi_all_reduce,
    .all_reduce_double = mpi_all_reduce_double,
    .gather_bytes = mpi_gather_bytes,
    .broadcast_bytes = mpi_broadcast_bytes,
    .barrier = mpi_barrier,
    .split = mpi_split,
    .local_ranks = mpi_local_ranks,
    .abort = mpi_abort,
    .destroy = mpi_destroy,
};

static fsmoe_status wrap(MPI_Comm mpi, int owns_mpi, fsm_comm **comm)
{
    mpi_comm *c = calloc(1, sizeof *c);
    if (!c) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a communicator");
    c->base.table = &mpi_table;
    c->handle = mpi;
    c->owns_mpi = owns_mpi;
    MPI_Comm_rank(mpi, &c->base.rank);
    MPI_Comm_size(mpi, &c->base.size);
    MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN);
    size_t size = (size_t)c->base.size;
    c->send_counts = calloc(4 * size, sizeof(int));
    if (!c->send_counts) {
        free(c);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a communicator of %zu ranks", size);
    }
    c->send_offsets = c->send_counts + size;
    c->recv_counts = c->send_counts + 2 * size;
    c->recv_offsets = c->send_counts + 3 * size;
    *comm = &c->base;
    return FSMOE_OK;
}

int fsm_comm_launched_by_mpi(void)
{
    /* Open MPI, MPICH and Slurm say so in the environment; a process started alone never pays for MPI_Init. */
    static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "MPI_LOCALNRANKS"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (getenv(marks[i])) return 1;
    return 0;
}

/* With more ranks on a machine than cores, a rank that spins in MPI takes the core another needs to compute. */
static void yield_when_oversubscribed(void)
{
    const char *local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    if (local && atol(local) > sysconf(_SC_NPROCESSORS_ONLN)) setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
}

fsmoe_status fsm_comm_create_mpi(fsm_comm **world)
{
    yield_when_oversubscribed();
    int given = 0;
    FSM_TRY(translate(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given), "MPI_Init"));
    if (given < MPI_THREAD_FUNNELED) return fsm_fail(FSMOE_ERROR_COMM, "MPI gives no thread level FUNNELED");
    return wrap(MPI_COMM_WORLD, 1, world);
}
