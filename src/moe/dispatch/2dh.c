/* The two-dimensional hierarchical all-to-all: first the ranks of a node exchange among themselves, each taking what
 * goes to ranks of its own number on any node; then ranks of the same number exchange between nodes.
 * A rank sends nodes - 1 messages between nodes, each of `local` blocks, rather than (nodes - 1) local; in return most
 * of what it sends travels inside its node too.
 * (m, l): the rank of number l on node m. passing[0] [local, nodes]: elements from (my node, l) to (m, my number).
 */
#include "moe/dispatch/hierarchy.h"

#include <assert.h>

enum { SORTED = FSM_REGION_BUFFER, ARRIVED };
enum { WITHIN, BETWEEN }; /* slots of messages */

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

/* Receives of both exchanges, and what is sorted and sent for either. */
static int64_t most_stages(const fsm_alltoall *a)
{
    return 2 * a->size + 2 * a->local + 2 * a->nodes + 2;
}

/* What I send to all ranks of a number. */
static int64_t to_number(const fsm_alltoall *a, const fsm_alltoall_counts *counts, int l)
{
    return fsm_blocks_sum(counts->send + l, a->nodes, a->local);
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
    assert(fsm_blocks_sum(a->passing[0], a->size, 1) <= buffer_elems(a));
    assert(fsm_blocks_sum(counts->send, a->size, 1) <= buffer_elems(a));
}

/* What comes from within lies by number, my own part too; what comes from other nodes is in its place at once, since the ranks of
 * a node are neighbours. */
static void receive(const fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    fsm_spot to = {ARRIVED, 0};
    for (int l = 0; l < a->local; l++) {
        int64_t n = fsm_blocks_sum(a->passing[0] + l * a->nodes, a->nodes, 1);
        if (l == number_of(a)) a->place[l] = to;
        else fsm_stages_recv(stages, WITHIN, node_of(a) * a->local + l, to, n);
        to.at += n;
    }
    to = (fsm_spot){FSM_REGION_RECV, 0};
    for (int m = 0; m < a->nodes; m++) {
        int64_t n = fsm_blocks_sum(counts->recv + m * a->local, a->local, 1);
        if (m != node_of(a)) fsm_stages_recv(stages, BETWEEN, m * a->local + number_of(a), to, n);
        to.at += n;
    }
}

/* Sorts what I send by number, and sends it to the node's others. */
static void send_within(const fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    fsm_spot from = {FSM_REGION_SEND, 0}, to = {SORTED, 0};
    int first = node_of(a) * a->local, mine = number_of(a);
    for (int l = 0; l < a->local; l++) {
        if (l == mine) continue;
        a->place[l] = to;
        to.at += to_number(a, counts, l);
    }
    for (int d = 0; d < a->size; d++) fsm_stages_copy(stages, &from, &a->place[d % a->local], counts->send[d]);
    for (int i = 1; i < a->local; i++) {
        int l = (mine + i) % a->local;
        int64_t n = to_number(a, counts, l);
        fsm_stages_send(stages, WITHIN, first + l, fsm_spot_before(a->place[l], n), n);
    }
    fsm_stages_wait(stages, WITHIN);
}

/* Sorts what came from within by node, and sends it there; my own node's part is in its place. */
static void send_between(const fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    fsm_spot from = {ARRIVED, 0}, to = {SORTED, 0};
    int mine = node_of(a);
    for (int m = 0; m < a->nodes; m++) {
        a->place[m] = m == mine ? (fsm_spot){FSM_REGION_RECV, fsm_blocks_sum(counts->recv, mine * a->local, 1)} : to;
        if (m != mine) to.at += to_node(a, m);
    }
    for (int i = 0; i < a->size; i++) fsm_stages_copy(stages, &from, &a->place[i % a->nodes], a->passing[0][i]);
    for (int i = 1; i < a->nodes; i++) {
        int m = (mine + i) % a->nodes;
        int64_t n = to_node(a, m);
        fsm_stages_send(stages, BETWEEN, m * a->local + number_of(a), fsm_spot_before(a->place[m], n), n);
    }
    fsm_stages_wait(stages, BETWEEN);
}

static void emit(fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    find_passing(a, counts);
    receive(a, counts, stages);
    send_within(a, counts, stages);
    send_between(a, counts, stages);
}

const fsm_alltoall_kind fsm_alltoall_2dh = {
    .name = "2dh",
    .description = "an exchange inside nodes, then one between ranks of the same number on their nodes",
    .source = "Tutel, MLSys 2023; DeepSpeed-MoE, ICML 2022",
    .buffer_elems = buffer_elems,
    .most_stages = most_stages,
    .emit = emit,
};
