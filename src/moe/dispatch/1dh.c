/* The one-dimensional hierarchical all-to-all: every rank gives what it sends to its node's first, the leader; leaders
 * exchange; every rank gets what it receives from its leader.
 * Between nodes there are nodes (nodes - 1) messages in all, the fewest there can be; in return a leader passes on all
 * that its node sends and receives.
 * (m, l): the rank of number l on node m; leaders are (m, 0). On a leader
 *   passing[0] [local, size]: elements from (my node, l) to every rank
 *   passing[1] [size, local]: elements from every rank to (my node, l)
 *   buffers: 0 what was gathered, then what is scattered; 1 what goes to other leaders; 2 what came from all nodes
 */
#include "moe/dispatch/hierarchy.h"

#include <assert.h>

enum { GATHER, EXCHANGE, SCATTER }; /* stages */
enum { INSIDE_SLOT, OUTSIDE_SLOT }; /* of messages */

static int leader_of(const fsm_alltoall *a)
{
    return a->comm->rank / a->local * a->local;
}

static int64_t buffer_elems(const fsm_alltoall *a)
{
    return fsm_alltoall_most(a, a->local, a->nodes * a->local); /* a model may be measured before there is a comm */
}

/* ---- everybody else ---- */

/* Its messages with the leader are all there is. */
static fsmoe_status start_member(fsm_alltoall *a)
{
    int size = a->comm->size;
    a->stage = SCATTER;
    FSM_TRY(fsm_blocks_recv(a, INSIDE_SLOT, leader_of(a), a->recv, fsm_blocks_sum(a->recv_counts, size, 1)));
    return fsm_blocks_send(a, INSIDE_SLOT, leader_of(a), a->send, fsm_blocks_sum(a->send_counts, size, 1));
}

/* ---- a leader ---- */

static int64_t gathered_from(const fsm_alltoall *a, int l)
{
    return fsm_blocks_sum(a->passing[0] + l * a->comm->size, a->comm->size, 1);
}

static int64_t scattered_to(const fsm_alltoall *a, int l)
{
    return fsm_blocks_sum(a->passing[1] + l, a->comm->size, a->local);
}

/* What my node sends to another one. */
static int64_t to_node(const fsm_alltoall *a, int m)
{
    int64_t n = 0;
    for (int l = 0; l < a->local; l++)
        n += fsm_blocks_sum(a->passing[0] + l * a->comm->size + m * a->local, a->local, 1);
    return n;
}

static int64_t from_node(const fsm_alltoall *a, int m)
{
    return fsm_blocks_sum(a->passing[1] + m * a->local * a->local, a->local * a->local, 1);
}

static void find_passing(fsm_alltoall *a, const fsm_alltoall_counts *counts)
{
    int size = a->comm->size, first = a->comm->rank;
    for (int l = 0; l < a->local; l++)
        for (int r = 0; r < size; r++) {
            a->passing[0][l * size + r] = counts->between(counts->user, first + l, r);
            a->passing[1][r * a->local + l] = counts->between(counts->user, r, first + l);
        }
    for (int i = 0; i < 2; i++) assert(fsm_blocks_sum(a->passing[i], a->local * size, 1) <= buffer_elems(a));
}

static fsmoe_status start_leader(fsm_alltoall *a, const fsm_alltoall_counts *counts)
{
    float *at = a->buffer[0];
    const float *own = a->send;
    find_passing(a, counts);
    fsm_block_move(&own, &at, gathered_from(a, 0));
    for (int l = 1; l < a->local; l++) {
        int64_t n = gathered_from(a, l);
        FSM_TRY(fsm_blocks_recv(a, INSIDE_SLOT, a->comm->rank + l, at, n));
        at += n;
    }
    return FSMOE_OK;
}

/* Sorts what was gathered by node, and sends it there; my own node's part goes among what comes from all. */
static fsmoe_status exchange(fsm_alltoall *a)
{
    int mine = a->comm->rank / a->local;
    float *out = a->buffer[1], *in = a->buffer[2];
    const float *from = a->buffer[0];
    for (int m = 0; m < a->nodes; m++) {
        int64_t n = from_node(a, m);
        a->place[m] = m == mine ? in : out;
        if (m != mine) out += to_node(a, m);
        if (m != mine) FSM_TRY(fsm_blocks_recv(a, OUTSIDE_SLOT, m * a->local, in, n));
        in += n;
    }
    for (int i = 0; i < a->local * a->comm->size; i++)
        fsm_block_move(&from, &a->place[i % a->comm->size / a->local], a->passing[0][i]);
    for (int i = 1; i < a->nodes; i++) {
        int m = (mine + i) % a->nodes;
        int64_t n = to_node(a, m);
        FSM_TRY(fsm_blocks_send(a, OUTSIDE_SLOT, m * a->local, a->place[m] - n, n));
    }
    return FSMOE_OK;
}

/* Sorts what came from all nodes by destination, and sends it there. */
static fsmoe_status scatter(fsm_alltoall *a)
{
    float *out = a->buffer[0];
    const float *from = a->buffer[2];
    a->place[0] = a->recv;
    for (int l = 1; l < a->local; l++) {
        a->place[l] = out;
        out += scattered_to(a, l);
    }
    for (int i = 0; i < a->comm->size * a->local; i++) fsm_block_move(&from, &a->place[i % a->local], a->passing[1][i]);
    for (int l = 1; l < a->local; l++) {
        int64_t n = scattered_to(a, l);
        FSM_TRY(fsm_blocks_send(a, INSIDE_SLOT, a->comm->rank + l, a->place[l] - n, n));
    }
    return FSMOE_OK;
}

/* ---- all ---- */

static fsmoe_status advance(fsm_comm_op *op, bool *done)
{
    fsm_alltoall *a = op->object;
    if (a->stage == GATHER) {
        FSM_TRY(a->comm->data->test(a->comm, INSIDE_SLOT, done));
        if (!*done) return FSMOE_OK;
        FSM_TRY(exchange(a));
        a->stage = EXCHANGE;
    }
    if (a->stage == EXCHANGE) {
        FSM_TRY(a->comm->data->test(a->comm, OUTSIDE_SLOT, done));
        if (!*done) return FSMOE_OK;
        FSM_TRY(scatter(a));
        a->stage = SCATTER;
    }
    return a->comm->data->test(a->comm, INSIDE_SLOT, done);
}

static fsmoe_status start(fsm_alltoall *a, fsm_comm_op *op, const float *send, float *recv,
                          const fsm_alltoall_counts *counts)
{
    fsm_blocks_begin(a, op, send, recv, counts, advance);
    return leader_of(a) == a->comm->rank ? start_leader(a, counts) : start_member(a);
}

const fsm_alltoall_kind fsm_alltoall_1dh = {
    .name = "1dh",
    .description = "one rank a node gathers, exchanges with those of other nodes, and scatters",
    .source = "HetuMoE, arXiv 2203.14685",
    .buffer_elems = buffer_elems,
    .start = start,
};
