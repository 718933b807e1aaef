/* Collectives over MPI (MPI-3.1; Open MPI and MPICH). The only file that includes mpi.h.
 * MPI-3.1 counts in ints. Bytes that are gathered or broadcast go in pieces; all else is refused above INT_MAX
 * elements.
 */
#include "comm/op.h"

#include "base/clock.h"

#include <limits.h>
#include <mpi.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct mpi_comm {
    fsm_comm base;
    MPI_Comm handle;
    int is_world; /* one of those that keep MPI from ending */
    int node;     /* of this rank, a number that no other node has */
    /* int copies of the caller's counts, which MPI reads until a collective ends; [size] each */
    int *send_counts, *send_offsets, *recv_counts, *recv_offsets;
    MPI_Request *requests[FSM_COMM_SLOTS]; /* [2 size] under way, and how many */
    int request_count[FSM_COMM_SLOTS];
} mpi_comm;

/* MPI is the process's, whatever we do: it begins once and ends once. */
static atomic_int open_worlds;
static pid_t begun_by;

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

static MPI_Request *next_request(mpi_comm *c, int slot)
{
    return &c->requests[slot][c->request_count[slot]++];
}

/* ---- data ---- */

/* bfloat16 only moves here (comm/sum.c adds). */
static MPI_Datatype name_of(fsm_comm_type type)
{
    const MPI_Datatype names[FSM_COMM_TYPES] = {[FSM_COMM_FP32] = MPI_FLOAT,
                                                [FSM_COMM_BF16] = MPI_UINT16_T,
                                                [FSM_COMM_INT64] = MPI_INT64_T,
                                                [FSM_COMM_FP64] = MPI_DOUBLE};
    return names[type];
}

static fsmoe_status mpi_start_all_to_all(fsm_comm *comm, fsm_comm_type type, const void *send,
                                         const int64_t *send_counts, void *recv, const int64_t *recv_counts)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(narrow(comm->size, send_counts, c->send_counts, c->send_offsets, "all-to-all"));
    FSM_TRY(narrow(comm->size, recv_counts, c->recv_counts, c->recv_offsets, "all-to-all"));
    return translate(MPI_Ialltoallv(send, c->send_counts, c->send_offsets, name_of(type), recv, c->recv_counts,
                                    c->recv_offsets, name_of(type), c->handle, next_request(c, 0)),
                     "all-to-all");
}

static fsmoe_status mpi_start_all_gather(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                         const int64_t *counts)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(narrow(comm->size, counts, c->recv_counts, c->recv_offsets, "all-gather"));
    const char *mine = (const char *)recv + fsm_comm_bytes(type, c->recv_offsets[comm->rank]);
    const void *from = send == mine ? MPI_IN_PLACE : send;
    return translate(MPI_Iallgatherv(from, c->recv_counts[comm->rank], name_of(type), recv, c->recv_counts,
                                     c->recv_offsets, name_of(type), c->handle, next_request(c, 0)),
                     "all-gather");
}

static fsmoe_status mpi_start_all_reduce_double(fsm_comm *comm, void *buffer, int64_t count)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(check_count(count, "all-reduce"));
    return translate(MPI_Iallreduce(MPI_IN_PLACE, buffer, (int)count, MPI_DOUBLE, MPI_SUM, c->handle,
                                    next_request(c, 0)),
                     "all-reduce");
}

static fsmoe_status mpi_post_send(fsm_comm *comm, int slot, int to, fsm_comm_type type, const void *elems,
                                  int64_t count)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(check_count(count, "send"));
    return translate(MPI_Isend(elems, (int)count, name_of(type), to, slot, c->handle, next_request(c, slot)), "send");
}

static fsmoe_status mpi_post_recv(fsm_comm *comm, int slot, int from, fsm_comm_type type, void *elems, int64_t count)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(check_count(count, "receive"));
    return translate(MPI_Irecv(elems, (int)count, name_of(type), from, slot, c->handle, next_request(c, slot)),
                     "receive");
}

static fsmoe_status mpi_test(fsm_comm *comm, int slot, bool *done)
{
    mpi_comm *c = (mpi_comm *)comm;
    int all = 1;
    FSM_TRY(translate(MPI_Testall(c->request_count[slot], c->requests[slot], &all, MPI_STATUSES_IGNORE), "a transfer"));
    if (all) c->request_count[slot] = 0;
    *done = all;
    return FSMOE_OK;
}

static const fsm_data_table mpi_data = {
    .start_all_to_all = mpi_start_all_to_all,
    .start_all_gather = mpi_start_all_gather,
    .start_all_reduce_double = mpi_start_all_reduce_double,
    .post_send = mpi_post_send,
    .post_recv = mpi_post_recv,
    .test = mpi_test,
};

/* ---- control: numbers ---- */

/* Blocking calls of MPI would spin, on a core that another rank may need. */
static fsmoe_status wait_napping(fsm_comm *comm)
{
    bool done;
    double start_s = fsm_clock_s();
    FSM_TRY(mpi_test(comm, 0, &done));
    while (!done) {
        fsm_clock_nap(start_s);
        FSM_TRY(mpi_test(comm, 0, &done));
    }
    return FSMOE_OK;
}

static fsmoe_status mpi_all_gather_int64(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv)
{
    mpi_comm *c = (mpi_comm *)comm;
    FSM_TRY(check_count(count, "all-gather"));
    FSM_TRY(translate(MPI_Iallgather(send, (int)count, MPI_INT64_T, recv, (int)count, MPI_INT64_T, c->handle,
                                     next_request(c, 0)),
                      "all-gather"));
    return wait_napping(comm);
}

static fsmoe_status mpi_all_reduce_double(fsm_comm *comm, double *buffer, int64_t count)
{
    FSM_TRY(mpi_start_all_reduce_double(comm, buffer, count));
    return wait_napping(comm);
}

/* ---- control: bytes, in pieces ---- */

enum { GATHER_TAG = FSM_COMM_SLOTS }; /* other messages have the numbers of slots */

/* How much of `count` bytes comes after `done` of them in one piece. */
static int piece_of(const fsm_comm *comm, int64_t count, int64_t done)
{
    int64_t left = count - done;
    return (int)(left < 0 ? 0 : left < comm->piece_bytes ? left : comm->piece_bytes);
}

static fsmoe_status send_pieces(fsm_comm *comm, const char *send, int64_t count)
{
    for (int64_t done = 0; done < count; done += comm->piece_bytes)
        FSM_TRY(translate(MPI_Send(send + done, piece_of(comm, count, done), MPI_BYTE, 0, GATHER_TAG, handle(comm)),
                          "gather"));
    return FSMOE_OK;
}

/* The piece after `done` bytes of every other rank; *any: some rank had one. */
static fsmoe_status receive_pieces(mpi_comm *c, char *recv, const int64_t *counts, int64_t done, bool *any)
{
    int n = 0;
    MPI_Request *requests = c->requests[0];
    for (int r = 0; r < c->base.size; recv += counts[r++]) {
        int bytes = piece_of(&c->base, counts[r], done);
        if (r == 0 || bytes == 0) continue;
        FSM_TRY(translate(MPI_Irecv(recv + done, bytes, MPI_BYTE, r, GATHER_TAG, c->handle, &requests[n++]), "gather"));
    }
    *any = n > 0;
    return translate(MPI_Waitall(n, requests, MPI_STATUSES_IGNORE), "gather");
}

static fsmoe_status mpi_gather_bytes(fsm_comm *comm, const void *send, int64_t count, void *recv, const int64_t *counts)
{
    if (comm->rank != 0) return send_pieces(comm, send, count);
    if (count > 0 && recv != send) memmove(recv, send, (size_t)count);
    bool any = true;
    for (int64_t done = 0; any; done += comm->piece_bytes)
        FSM_TRY(receive_pieces((mpi_comm *)comm, recv, counts, done, &any));
    return FSMOE_OK;
}

static fsmoe_status mpi_broadcast_bytes(fsm_comm *comm, void *buffer, int64_t count, int root)
{
    for (int64_t done = 0; done < count; done += comm->piece_bytes)
        FSM_TRY(translate(MPI_Bcast((char *)buffer + done, piece_of(comm, count, done), MPI_BYTE, root, handle(comm)),
                          "broadcast"));
    return FSMOE_OK;
}

static fsmoe_status mpi_barrier(fsm_comm *comm)
{
    return translate(MPI_Barrier(handle(comm)), "barrier");
}

static void release(mpi_comm *c)
{
    free(c->send_counts);
    free(c->requests[0]);
    fsm_comm_scratch_destroy(&c->base);
    free(c);
}

static void mpi_destroy(fsm_comm *comm)
{
    mpi_comm *c = (mpi_comm *)comm;
    if (c->handle != MPI_COMM_NULL) MPI_Comm_free(&c->handle);
    if (c->is_world) open_worlds--;
    release(c);
}

static fsmoe_status wrap(MPI_Comm mpi, int is_world, int node, fsm_comm **comm);

static fsmoe_status mpi_split(fsm_comm *comm, int color, fsm_comm **group)
{
    MPI_Comm part = MPI_COMM_NULL;
    FSM_TRY(translate(MPI_Comm_split(handle(comm), color, comm->rank, &part), "split of a communicator"));
    return wrap(part, 0, ((mpi_comm *)comm)->node, group);
}

static fsmoe_status mpi_local_ranks(fsm_comm *comm, int *count, int *index)
{
    mpi_comm *c = (mpi_comm *)comm;
    int *nodes = c->recv_counts; /* nothing is under way */
    *count = *index = 0;
    FSM_TRY(translate(MPI_Allgather(&c->node, 1, MPI_INT, nodes, 1, MPI_INT, c->handle), "exchange of nodes"));
    for (int r = 0; r < comm->size; r++) {
        *count += nodes[r] == c->node;
        *index += nodes[r] == c->node && r < comm->rank;
    }
    return FSMOE_OK;
}

static void mpi_abort(fsm_comm *comm, int exit_code)
{
    (void)comm;
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
}

static const fsm_control_table mpi_control = {
    .name = "mpi",
    .gather_bytes = mpi_gather_bytes,
    .broadcast_bytes = mpi_broadcast_bytes,
    .all_gather_int64 = mpi_all_gather_int64,
    .all_reduce_double = mpi_all_reduce_double,
    .barrier = mpi_barrier,
    .split = mpi_split,
    .local_ranks = mpi_local_ranks,
    .abort = mpi_abort,
    .destroy = mpi_destroy,
};

static fsmoe_status allocate(mpi_comm *c)
{
    size_t size = (size_t)c->base.size;
    c->send_counts = calloc(4 * size, sizeof(int));
    c->requests[0] = calloc(FSM_COMM_SLOTS * 2 * size, sizeof(MPI_Request));
    if (!c->send_counts || !c->requests[0])
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a communicator of %zu ranks", size);
    c->send_offsets = c->send_counts + size;
    c->recv_counts = c->send_counts + 2 * size;
    c->recv_offsets = c->send_counts + 3 * size;
    for (int slot = 1; slot < FSM_COMM_SLOTS; slot++) c->requests[slot] = c->requests[slot - 1] + 2 * size;
    return fsm_comm_scratch_create(&c->base);
}

static fsmoe_status wrap(MPI_Comm mpi, int is_world, int node, fsm_comm **comm)
{
    int level = MPI_THREAD_SINGLE;
    mpi_comm *c = calloc(1, sizeof *c);
    if (!c) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a communicator");
    c->base.control = &mpi_control;
    c->base.data = &mpi_data;
    c->handle = mpi;
    c->is_world = is_world;
    c->node = node;
    MPI_Comm_rank(mpi, &c->base.rank);
    MPI_Comm_size(mpi, &c->base.size);
    MPI_Comm_rank(MPI_COMM_WORLD, &c->base.launched_as);
    MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN);
    MPI_Query_thread(&level);
    c->base.any_thread = level >= MPI_THREAD_SERIALIZED;
    c->base.piece_bytes = FSM_COMM_PIECE_BYTES;
    fsmoe_status status = allocate(c);
    if (status != FSMOE_OK) {
        MPI_Comm_free(&c->handle);
        release(c);
        return status;
    }
    open_worlds += is_world;
    *comm = &c->base;
    return FSMOE_OK;
}

int fsm_comm_launched_by_mpi(void)
{
    int begun = 0;
    MPI_Initialized(&begun);
    if (begun) return 1;
    /* Open MPI, MPICH and Slurm say so in the environment; a process started alone never pays for MPI_Init. */
    static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "MPI_LOCALNRANKS"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (getenv(marks[i])) return 1;
    return 0;
}

/* With more ranks on a machine than cores, a rank that spins in MPI takes the core another needs to compute. Open MPI
 * is told by the environment, which is then again the program's own. */
static fsmoe_status init_mpi(int *given)
{
    static const char yield[] = "OMPI_MCA_mpi_yield_when_idle";
    const char *local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    bool tell = local && atol(local) > sysconf(_SC_NPROCESSORS_ONLN) && !getenv(yield);
    if (tell) setenv(yield, "1", 0);
    fsmoe_status status = translate(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, given), "MPI_Init");
    if (tell) unsetenv(yield);
    return status;
}

/* When the process exits, since it cannot begin again: a world may be created after the last was destroyed. Not while
 * one is open: a rank that gives up must not wait in MPI_Finalize for those that wait for it. Not in a forked child. */
static void end_mpi(void)
{
    int ended = 0;
    MPI_Finalized(&ended);
    if (!ended && open_worlds == 0 && begun_by == getpid()) MPI_Finalize();
}

/* Unless the program has begun it itself: then it also ends it. */
static fsmoe_status begin_mpi(void)
{
    int begun = 0, ended = 0, given = MPI_THREAD_SINGLE;
    MPI_Initialized(&begun);
    MPI_Finalized(&ended);
    if (ended) return fsm_fail(FSMOE_ERROR_COMM, "MPI has ended in this process and cannot begin again");
    if (begun) FSM_TRY(translate(MPI_Query_thread(&given), "query of the thread level"));
    else {
        FSM_TRY(init_mpi(&given));
        begun_by = getpid();
        if (atexit(end_mpi) != 0) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to end MPI when the process exits");
    }
    if (given < MPI_THREAD_FUNNELED) return fsm_fail(FSMOE_ERROR_COMM, "MPI gives no thread level FUNNELED");
    return FSMOE_OK;
}

/* ---- nodes ---- */

/* The ranks of this one's node: on one machine, unless whoever started them says by FSMOE_NODE, a whole number, which
 * node each is on: those of a virtual cluster (scripts/vcluster) each have a host of their own. */
static fsmoe_status split_by_node(MPI_Comm *node)
{
    const char *told = getenv("FSMOE_NODE");
    int mine = told && told[0] >= '0' && told[0] <= '9' ? atoi(told) : -1, least = -1;
    FSM_TRY(translate(MPI_Allreduce(&mine, &least, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD), "exchange of nodes"));
    int code = least >= 0 ? MPI_Comm_split(MPI_COMM_WORLD, mine, 0, node)
                          : MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, node);
    return translate(code, "split by node");
}

/* lowest [ranks]: the lowest rank of every rank's node. */
static fsmoe_status find_lowest(int *lowest)
{
    MPI_Comm node;
    int rank, mine;
    FSM_TRY(split_by_node(&node));
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    mine = rank;
    fsmoe_status status = translate(MPI_Bcast(&mine, 1, MPI_INT, 0, node), "exchange of nodes");
    MPI_Comm_free(&node);
    FSM_TRY(status);
    return translate(MPI_Allgather(&mine, 1, MPI_INT, lowest, 1, MPI_INT, MPI_COMM_WORLD), "exchange of nodes");
}

/* The world of its own that a group of all ranks has. Launchers may deal ranks out to nodes in turn (`mpirun --map-by
 * node`, Slurm's cyclic distribution). */
static fsmoe_status order_by_node(int size, int rank, const int *lowest, MPI_Comm *world)
{
    bool in_order = true;
    for (int r = 1; r < size; r++) in_order &= lowest[r] >= lowest[r - 1];
    if (in_order) return translate(MPI_Comm_dup(MPI_COMM_WORLD, world), "copy of the world");
    return translate(MPI_Comm_split(MPI_COMM_WORLD, 0, fsm_comm_number_by_node(size, lowest, rank), world),
                     "ordering of ranks by node");
}

fsmoe_status fsm_comm_create_mpi(fsm_comm **world)
{
    int size = 0, rank = 0;
    MPI_Comm own = MPI_COMM_NULL;
    FSM_TRY(begin_mpi());
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (size == 1) return fsm_comm_create_self(world); /* several threads may be in collectives of such worlds */
    int *lowest = calloc((size_t)size, sizeof *lowest);
    if (!lowest) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the nodes of %d ranks", size);
    fsmoe_status status = find_lowest(lowest);
    if (status == FSMOE_OK) status = order_by_node(size, rank, lowest, &own);
    if (status == FSMOE_OK) status = wrap(own, 1, lowest[rank], world);
    free(lowest);
    return status;
}
