/* A group of one rank: every collective is the identity, a copy when the two arrays differ. */
#include "comm/comm.h"

#include <stdlib.h>
#include <string.h>

typedef struct self_comm {
    fsm_comm base; /* first */
    int64_t blocks[1];
} self_comm;

static void copy(void *to, const void *from, size_t bytes)
{
    if (to != from && bytes > 0) memmove(to, from, bytes);
}

/* ---- data ---- */

static fsmoe_status self_start_all_to_all(fsm_comm *comm, fsm_comm_type type, const void *send,
                                          const int64_t *send_counts, void *recv, const int64_t *recv_counts)
{
    (void)comm, (void)recv_counts;
    copy(recv, send, fsm_comm_bytes(type, send_counts[0]));
    return FSMOE_OK;
}

static fsmoe_status self_start_all_gather(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                          const int64_t *counts)
{
    (void)comm;
    copy(recv, send, fsm_comm_bytes(type, counts[0]));
    return FSMOE_OK;
}

static fsmoe_status self_start_all_reduce_double(fsm_comm *comm, void *buffer, int64_t count)
{
    (void)comm, (void)buffer, (void)count;
    return FSMOE_OK;
}

static fsmoe_status self_message(fsm_comm *comm)
{
    (void)comm;
    return fsm_fail(FSMOE_ERROR_INTERNAL, "a group of one rank has nobody to send to");
}

static fsmoe_status self_post_send(fsm_comm *comm, int slot, int to, fsm_comm_type type, const void *elems,
                                   int64_t count)
{
    (void)slot, (void)to, (void)type, (void)elems, (void)count;
    return self_message(comm);
}

static fsmoe_status self_post_recv(fsm_comm *comm, int slot, int from, fsm_comm_type type, void *elems, int64_t count)
{
    (void)slot, (void)from, (void)type, (void)elems, (void)count;
    return self_message(comm);
}

static fsmoe_status self_test(fsm_comm *comm, int slot, bool *done)
{
    (void)comm, (void)slot;
    *done = true;
    return FSMOE_OK;
}

static const fsm_data_table self_data = {
    .start_all_to_all = self_start_all_to_all,
    .start_all_gather = self_start_all_gather,
    .start_all_reduce_double = self_start_all_reduce_double,
    .post_send = self_post_send,
    .post_recv = self_post_recv,
    .test = self_test,
};

/* ---- control ---- */

static fsmoe_status self_gather_bytes(fsm_comm *comm, const void *send, int64_t count, void *recv,
                                      const int64_t *counts)
{
    (void)comm, (void)counts;
    copy(recv, send, (size_t)count);
    return FSMOE_OK;
}

static fsmoe_status self_broadcast_bytes(fsm_comm *comm, void *buffer, int64_t count, int root)
{
    (void)comm, (void)buffer, (void)count, (void)root;
    return FSMOE_OK;
}

static fsmoe_status self_all_gather_int64(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv)
{
    (void)comm;
    copy(recv, send, sizeof *recv * (size_t)count);
    return FSMOE_OK;
}

static fsmoe_status self_all_reduce_double(fsm_comm *comm, double *buffer, int64_t count)
{
    (void)comm, (void)buffer, (void)count;
    return FSMOE_OK;
}

static fsmoe_status self_barrier(fsm_comm *comm)
{
    (void)comm;
    return FSMOE_OK;
}

static fsmoe_status self_split(fsm_comm *comm, int color, fsm_comm **group)
{
    (void)comm, (void)color;
    return fsm_comm_create_self(group);
}

static fsmoe_status self_local_ranks(fsm_comm *comm, int *count, int *index)
{
    (void)comm;
    *count = 1;
    *index = 0;
    return FSMOE_OK;
}

static void self_abort(fsm_comm *comm, int exit_code)
{
    (void)comm;
    _Exit(exit_code);
}

static void self_destroy(fsm_comm *comm)
{
    free(comm);
}

static const fsm_control_table self_control = {
    .name = "self",
    .gather_bytes = self_gather_bytes,
    .broadcast_bytes = self_broadcast_bytes,
    .all_gather_int64 = self_all_gather_int64,
    .all_reduce_double = self_all_reduce_double,
    .barrier = self_barrier,
    .split = self_split,
    .local_ranks = self_local_ranks,
    .abort = self_abort,
    .destroy = self_destroy,
};

fsmoe_status fsm_comm_create_self(fsm_comm **self)
{
    self_comm *comm = malloc(sizeof *comm);
    if (!comm) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a communicator");
    comm->base = (fsm_comm){.control = &self_control,
                            .data = &self_data,
                            .rank = 0,
                            .size = 1,
                            .any_thread = true,
                            .piece_bytes = FSM_COMM_PIECE_BYTES,
                            .blocks = comm->blocks};
    *self = &comm->base;
    return FSMOE_OK;
}
