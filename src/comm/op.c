#include "comm/op.h"

#include "base/clock.h"
#include "comm/sum.h"
#include "device/device.h"

void fsm_comm_enter(fsm_comm *comm)
{
    if (comm && comm->device) fsm_device_enter(comm->device);
}

fsmoe_status fsm_comm_leave(fsm_comm *comm, fsmoe_status status)
{
    if (comm && comm->device) fsm_device_leave(comm->device);
    return status;
}

fsmoe_status fsm_comm_advance(fsm_comm_op *op, bool *done)
{
    *done = true;
    if (!op->advance) return FSMOE_OK;
    fsm_comm_enter(op->comm);
    return fsm_comm_leave(op->comm, op->advance(op, done));
}

fsmoe_status fsm_comm_finish(fsm_comm_op *op)
{
    bool done;
    double start_s = fsm_clock_s();
    FSM_TRY(fsm_comm_advance(op, &done));
    while (!done) {
        fsm_clock_nap(start_s);
        FSM_TRY(fsm_comm_advance(op, &done));
    }
    return FSMOE_OK;
}

/* ---- the transport's collectives ---- */

static fsmoe_status advance_collective(fsm_comm_op *op, bool *done)
{
    return op->comm->data->test(op->comm, 0, done);
}

static void begin(fsm_comm_op *op, fsm_comm *comm)
{
    *op = (fsm_comm_op){.comm = comm, .advance = advance_collective};
    fsm_comm_enter(comm);
}

fsmoe_status fsm_comm_start_all_to_all(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                       const int64_t *send_counts, void *recv, const int64_t *recv_counts)
{
    begin(op, comm);
    return fsm_comm_leave(comm, comm->data->start_all_to_all(comm, type, send, send_counts, recv, recv_counts));
}

fsmoe_status fsm_comm_start_all_gather(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                       void *recv, const int64_t *counts)
{
    begin(op, comm);
    return fsm_comm_leave(comm, comm->data->start_all_gather(comm, type, send, recv, counts));
}

fsmoe_status fsm_comm_start_all_gather_even(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                            int64_t count, void *recv)
{
    for (int r = 0; r < comm->size; r++) comm->blocks[r] = count;
    return fsm_comm_start_all_gather(op, comm, type, send, recv, comm->blocks);
}

/* ---- sums: the transport's own, where it has them ---- */

static fsmoe_status check_summed(fsm_comm_type type)
{
    if (type == FSM_COMM_FP32 || type == FSM_COMM_BF16) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_INTERNAL, "no sum is made of elements of type %d", (int)type);
}

fsmoe_status fsm_comm_start_reduce_scatter(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                           void *recv, const int64_t *counts)
{
    FSM_TRY(check_summed(type));
    begin(op, comm);
    if (comm->data->start_reduce_scatter)
        return fsm_comm_leave(comm, comm->data->start_reduce_scatter(comm, type, send, recv, counts));
    return fsm_comm_leave(comm, fsm_sum_start_reduce_scatter(op, comm, type, send, recv, counts));
}

fsmoe_status fsm_comm_start_all_reduce(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, void *buffer, int64_t count)
{
    if (type != FSM_COMM_FP64) FSM_TRY(check_summed(type));
    begin(op, comm);
    if (type == FSM_COMM_FP64) return fsm_comm_leave(comm, comm->data->start_all_reduce_double(comm, buffer, count));
    if (comm->data->start_all_reduce)
        return fsm_comm_leave(comm, comm->data->start_all_reduce(comm, type, buffer, count));
    return fsm_comm_leave(comm, fsm_sum_start_all_reduce(op, comm, type, buffer, count));
}
