/* The two-dimensional hierarchical all-to-all: first the ranks of a node exchange among themselves, each taking what
 * goes to ranks of its own number on any node; then ranks of the same number exchange between nodes.
 * A rank sends nodes - 1 messages between nodes, each of `local` blocks, rather than (nodes - 1) local; in return most
 * of what it sends travels inside its node too.
 * (m, l): the rank of number l on node m. passing[0] [local, nodes]: elements from (my node, l) to (m, my number).
 */
#include "moe/dispatch/hierarchy.h"

#include <assert.h>

enum { WITHIN, BETWEEN }; /* stages, and the slots of their messages */

static int node_of(const fsm_alltoall *a)
{
    return a->comm->rank / a->local;
}

static int number_of(const fsm_alltoall *a)
{
    return a->comm->rank % a->local;
}

/* All that a rank sends; what passes, of `local` ranks to `nodes` others, is never more. */
static int64_t buffer_elems(const fsm_alltoall *a)
{
    return fsm_alltoall_most(a, 1, a->nodes * a->local); /* a model may be measured before there is a comm */
}

/* What I send to all ranks of a number. */
static int64_t to_number(const fsm_alltoall *a, int l)
{
    return fsm_blocks_sum(a->send_counts + l, a->nodes, a->local);
}

/* What I send on to a node. */
static int64_t to_node(const fsm_alltoall *a, int m)
{
    return fsm_blocks_sum(a->passing[0] + m, a->local, a->nodes);
}

static void find_passing(fsm_alltoall *a, const fsm_alltoall_counts *counts)
{
    int first = node_of(a) * a->local, mine = number_of(a);
    for (int l = 0; l < a->local; l++)
        for (int m = 0; m < a->nodes; m++)
            a->passing[0][l * a->nodes + m] = counts->between(counts->user, first + l, m * a->local + mine);
    assert(fsm_blocks_sum(a->passing[0], a->comm->size, 1) <= buffer_elems(a));
    assert(fsm_blocks_sum(a->send_counts, a->comm->size, 1) <= buffer_elems(a));
}

/* Receives of both stages. What comes from within lies in buffer 1 by number, my own part too; what comes from other
 * nodes is in its place at once, since the ranks of a node are neighbours. */
static fsmoe_status post_receives(fsm_alltoall *a)
{
    float *at = a->buffer[1];
    for (int l = 0; l < a->local; l++) {
        int64_t n = fsm_blocks_sum(a->passing[0] + l * a->nodes, a->nodes, 1);
        if (l == number_of(a)) a->place[l] = at;
        else FSM_TRY(fsm_blocks_recv(a, WITHIN, node_of(a) * a->local + l, at, n));
        at += n;
    }
    at = a->recv;
    for (int m = 0; m < a->nodes; m++) {
        int64_t n = fsm_blocks_sum(a->recv_counts + m * a->local, a->local, 1);
        if (m != node_of(a)) FSM_TRY(fsm_blocks_recv(a, BETWEEN, m * a->local + number_of(a), at, n));
        at += n;
    }
    return FSMOE_OK;
}

/* Sorts what I send by number, and sends it to the node's others. */
static fsmoe_status send_within(fsm_alltoall *a)
{
    float *at = a->buffer[0];
    const float *from = a->send;
    int first = node_of(a) * a->local, mine = number_of(a);
    for (int l = 0; l < a->local; l++) {
        if (l == mine) continue;
        a->place[l] = at;
        at += to_number(a, l);
    }
    for (int d = 0; d < a->comm->size; d++) fsm_block_move(&from, &a->place[d % a->local], a->send_counts[d]);
    for (int i = 1; i < a->local; i++) {
        int l = (mine + i) % a->local;
        int64_t n = to_number(a, l);
        FSM_TRY(fsm_blocks_send(a, WITHIN, first + l, a->place[l] - n, n));
    }
    return FSMOE_OK;
}

/* Sorts what came from within by node, and sends it there; my own node's part is in its place. */
static fsmoe_status send_between(fsm_alltoall *a)
{
    float *at = a->buffer[0];
    const float *from = a->buffer[1];
    int mine = node_of(a);
    for (int m = 0; m < a->nodes; m++) {
        a->place[m] = m == mine ? a->recv + fsm_blocks_sum(a->recv_counts, mine * a->local, 1) : at;
        if (m != mine) at += to_node(a, m);
    }
    for (int i = 0; i < a->comm->size; i++) fsm_block_move(&from, &a->place[i % a->nodes], a->passing[0][i]);
    for (int i = 1; i < a->nodes; i++) {
        int m = (mine + i) % a->nodes;
        int64_t n = to_node(a, m);
        FSM_TRY(fsm_blocks_send(a, BETWEEN, m * a->local + number_of(a), a->place[m] - n, n));
    }
    return FSMOE_OK;
}

static fsmoe_status advance(fsm_comm_op *op, bool *done)
{
    fsm_alltoall *a = op->object;
    if (a->stage == WITHIN) {
        FSM_TRY(a->comm->data->test(a->comm, WITHIN, done));
        if (!*done) return FSMOE_OK;
        FSM_TRY(send_between(a));
        a->stage = BETWEEN;
    }
    return a->comm->data->test(a->comm, BETWEEN, done);
}

static fsmoe_status start(fsm_alltoall *a, fsm_comm_op *op, const float *send, float *recv,
                          const fsm_alltoall_counts *counts)
{
    fsm_blocks_begin(a, op, send, recv, counts, advance);
    find_passing(a, counts);
    FSM_TRY(post_receives(a));
    return send_within(a);
}

const fsm_alltoall_kind fsm_alltoall_2dh = {
    .name = "2dh",
    .description = "an exchange inside nodes, then one between ranks of the same number on their nodes",
    .source = "Tutel, MLSys 2023; DeepSpeed-MoE, ICML 2022",
    .buffer_elems = buffer_elems,
    .start = start,
};
