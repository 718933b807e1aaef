#include "moe/dispatch/stages.h"

#include <assert.h>
#include <string.h>

void fsm_stages_take(fsm_arena *arena, int64_t most, fsm_stages *stages)
{
    *stages = (fsm_stages){.list = FSM_ARENA_ARRAY(arena, fsm_alltoall_stage, most), .most = most};
}

/* ---- the list ---- */

/* What there is no room for is counted, and refused when the list is started. */
static void append(fsm_stages *stages, fsm_alltoall_stage stage)
{
    if (stages->count < stages->most) stages->list[stages->count] = stage;
    stages->count++;
}

static bool goes_on(fsm_spot end, int64_t elems, fsm_spot at)
{
    return end.region == at.region && end.at + elems == at.at;
}

static fsm_alltoall_stage *last_copy(const fsm_stages *stages)
{
    if (stages->count == 0 || stages->count > stages->most) return NULL;
    fsm_alltoall_stage *last = &stages->list[stages->count - 1];
    return last->act == FSM_ALLTOALL_COPY ? last : NULL;
}

void fsm_stages_copy(fsm_stages *stages, fsm_spot *from, fsm_spot *to, int64_t elems)
{
    fsm_alltoall_stage *last = last_copy(stages);
    assert(to->region != FSM_REGION_SEND);
    if (elems == 0) return;
    if (last && goes_on(last->from, last->elems, *from) && goes_on(last->to, last->elems, *to)) last->elems += elems;
    else append(stages, (fsm_alltoall_stage){.act = FSM_ALLTOALL_COPY, .from = *from, .to = *to, .elems = elems});
    from->at += elems;
    to->at += elems;
}

void fsm_stages_send(fsm_stages *stages, int slot, int peer, fsm_spot from, int64_t elems)
{
    if (elems == 0) return;
    append(stages,
           (fsm_alltoall_stage){.act = FSM_ALLTOALL_SEND, .slot = slot, .peer = peer, .from = from, .elems = elems});
}

void fsm_stages_recv(fsm_stages *stages, int slot, int peer, fsm_spot to, int64_t elems)
{
    assert(to.region != FSM_REGION_SEND);
    if (elems == 0) return;
    append(stages,
           (fsm_alltoall_stage){.act = FSM_ALLTOALL_RECV, .slot = slot, .peer = peer, .to = to, .elems = elems});
}

void fsm_stages_exchange(fsm_stages *stages)
{
    append(stages, (fsm_alltoall_stage){.act = FSM_ALLTOALL_EXCHANGE});
}

void fsm_stages_wait(fsm_stages *stages, int slot)
{
    append(stages, (fsm_alltoall_stage){.act = FSM_ALLTOALL_WAIT, .slot = slot});
}

/* ---- the interpreter ---- */

static char *at(const fsm_stages *stages, fsm_spot spot)
{
    return stages->region[spot.region] + fsm_comm_bytes(stages->type, spot.at);
}

static void copy(const fsm_stages *stages, fsm_comm *comm, const fsm_alltoall_stage *s)
{
    size_t bytes = fsm_comm_bytes(stages->type, s->elems);
    if (comm->data->copy) comm->data->copy(comm, at(stages, s->to), at(stages, s->from), bytes);
    else memcpy(at(stages, s->to), at(stages, s->from), bytes);
}

/* All but a wait. */
static fsmoe_status begin_stage(const fsm_stages *stages, fsm_comm *comm, const fsm_alltoall_stage *s)
{
    switch (s->act) {
    case FSM_ALLTOALL_SEND:
        return comm->data->post_send(comm, s->slot, s->peer, stages->type, at(stages, s->from), s->elems);
    case FSM_ALLTOALL_RECV:
        return comm->data->post_recv(comm, s->slot, s->peer, stages->type, at(stages, s->to), s->elems);
    case FSM_ALLTOALL_EXCHANGE:
        return comm->data->start_all_to_all(comm, stages->type, stages->region[FSM_REGION_SEND], stages->send_counts,
                                            stages->region[FSM_REGION_RECV], stages->recv_counts);
    default:
        copy(stages, comm, s);
        return FSMOE_OK;
    }
}

static fsmoe_status run_to_wait(fsm_stages *stages, fsm_comm *comm)
{
    for (; stages->next < stages->count && stages->list[stages->next].act != FSM_ALLTOALL_WAIT; stages->next++)
        FSM_TRY(begin_stage(stages, comm, &stages->list[stages->next]));
    return FSMOE_OK;
}

static fsmoe_status advance(fsm_comm_op *op, bool *done)
{
    fsm_stages *stages = op->object;
    for (*done = true; stages->next < stages->count;) {
        FSM_TRY(op->comm->data->test(op->comm, stages->list[stages->next].slot, done));
        if (!*done) return FSMOE_OK;
        stages->next++;
        FSM_TRY(run_to_wait(stages, op->comm));
    }
    return FSMOE_OK;
}

fsmoe_status fsm_stages_start(fsm_stages *stages, fsm_comm_op *op, fsm_comm *comm, const fsm_stages_arrays *arrays)
{
    *op = (fsm_comm_op){.comm = comm, .advance = advance, .object = stages};
    if (stages->count > stages->most)
        return fsm_fail(FSMOE_ERROR_INTERNAL, "an all-to-all of %lld stages, where memory is taken for %lld",
                        (long long)stages->count, (long long)stages->most);
    stages->type = arrays->type;
    stages->region[FSM_REGION_SEND] = (char *)arrays->send; /* only read */
    stages->region[FSM_REGION_RECV] = arrays->recv;
    for (int i = 0; i < FSM_ALLTOALL_BUFFERS; i++) stages->region[FSM_REGION_BUFFER + i] = arrays->buffers[i];
    stages->send_counts = arrays->send_counts;
    stages->recv_counts = arrays->recv_counts;
    stages->next = 0;
    fsm_comm_enter(comm);
    return fsm_comm_leave(comm, run_to_wait(stages, comm));
}
