/* The one-dimensional hierarchical all-to-all: every rank gives what it sends to its node's first, the leader; leaders
 * exchange; every rank gets what it receives from its leader.
 * Between nodes there are nodes (nodes - 1) messages in all, the fewest there can be; in return a leader passes on all
 * that its node sends and receives.
 * (m, l): the rank of number l on node m; leaders are (m, 0). On a leader
 *   passing[0] [local, size]: elements from (my node, l) to every rank
 *   passing[1] [size, local]: elements from every rank to (my node, l)
 *   regions: INSIDE what was gathered, then what is scattered; OUT what goes to other leaders; IN what came from all nodes
 */
#include "moe/dispatch/hierarchy.h"

#include <assert.h>

enum { INSIDE = FSM_REGION_BUFFER, OUT, IN };
enum { INSIDE_SLOT, OUTSIDE_SLOT }; /* of messages */

static int leader_of(const fsm_alltoall *a)
{
    return a->comm->rank / a->local * a->local;
}

static int64_t buffer_elems(const fsm_alltoall *a)
{
    return fsm_alltoall_most(a, a->local, a->nodes * a->local); /* a model may be measured before there is a comm */
}

/* Of a leader: what it gathers and scatters, and copies of blocks sorted by node, then by number. */
static int64_t most_stages(const fsm_alltoall *a)
{
    return 2 * a->local + 2 * a->nodes + (int64_t)a->local * (a->nodes + a->size) + 3;
}

/* ---- everybody else ---- */

/* Its messages with the leader are all there is. */
static void emit_member(const fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    const fsm_spot send = {FSM_REGION_SEND, 0}, recv = {FSM_REGION_RECV, 0};
    fsm_stages_recv(stages, INSIDE_SLOT, leader_of(a), recv, fsm_blocks_sum(counts->recv, a->size, 1));
    fsm_stages_send(stages, INSIDE_SLOT, leader_of(a), send, fsm_blocks_sum(counts->send, a->size, 1));
}

/* ---- a leader ---- */

static int64_t gathered_from(const fsm_alltoall *a, int l)
{
    return fsm_blocks_sum(a->passing[0] + l * a->size, a->size, 1);
}

static int64_t scattered_to(const fsm_alltoall *a, int l)
{
    return fsm_blocks_sum(a->passing[1] + l, a->size, a->local);
}

/* What my node sends to another one. */
static int64_t to_node(const fsm_alltoall *a, int m)
{
    int64_t n = 0;
    for (int l = 0; l < a->local; l++) n += fsm_blocks_sum(a->passing[0] + l * a->size + m * a->local, a->local, 1);
    return n;
}

static int64_t from_node(const fsm_alltoall *a, int m)
{
    return fsm_blocks_sum(a->passing[1] + m * a->local * a->local, a->local * a->local, 1);
}

static void find_passing(fsm_alltoall *a, const fsm_alltoall_counts *counts)
{
    int size = a->size, first = a->comm->rank;
    for (int l = 0; l < a->local; l++)
        for (int r = 0; r < size; r++) {
            a->passing[0][l * size + r] = counts->between(counts->user, first + l, r);
            a->passing[1][r * a->local + l] = counts->between(counts->user, r, first + l);
        }
    for (int i = 0; i < 2; i++) assert(fsm_blocks_sum(a->passing[i], a->local * size, 1) <= buffer_elems(a));
}

static void gather(const fsm_alltoall *a, fsm_stages *stages)
{
    fsm_spot own = {FSM_REGION_SEND, 0}, to = {INSIDE, 0};
    fsm_stages_copy(stages, &own, &to, gathered_from(a, 0));
    for (int l = 1; l < a->local; l++) {
        int64_t n = gathered_from(a, l);
        fsm_stages_recv(stages, INSIDE_SLOT, a->comm->rank + l, to, n);
        to.at += n;
    }
    fsm_stages_wait(stages, INSIDE_SLOT);
}

/* Where the blocks of each node go: among what is sent to it, but my own node's among what comes from all, which is where the
 * receives put theirs. */
static void receive_nodes(const fsm_alltoall *a, fsm_stages *stages)
{
    int mine = a->comm->rank / a->local;
    fsm_spot out = {OUT, 0}, in = {IN, 0};
    for (int m = 0; m < a->nodes; m++) {
        int64_t n = from_node(a, m);
        a->place[m] = m == mine ? in : out;
        if (m != mine) out.at += to_node(a, m);
        if (m != mine) fsm_stages_recv(stages, OUTSIDE_SLOT, m * a->local, in, n);
        in.at += n;
    }
}

/* Sorts what was gathered by node, and sends it there. */
static void exchange(const fsm_alltoall *a, fsm_stages *stages)
{
    int mine = a->comm->rank / a->local;
    fsm_spot from = {INSIDE, 0};
    receive_nodes(a, stages);
    for (int i = 0; i < a->local * a->size; i++)
        fsm_stages_copy(stages, &from, &a->place[i % a->size / a->local], a->passing[0][i]);
    for (int i = 1; i < a->nodes; i++) {
        int m = (mine + i) % a->nodes;
        int64_t n = to_node(a, m);
        fsm_stages_send(stages, OUTSIDE_SLOT, m * a->local, fsm_spot_before(a->place[m], n), n);
    }
    fsm_stages_wait(stages, OUTSIDE_SLOT);
}

/* Sorts what came from all nodes by destination, and sends it there. */
static void scatter(const fsm_alltoall *a, fsm_stages *stages)
{
    fsm_spot from = {IN, 0}, out = {INSIDE, 0};
    a->place[0] = (fsm_spot){FSM_REGION_RECV, 0};
    for (int l = 1; l < a->local; l++) {
        a->place[l] = out;
        out.at += scattered_to(a, l);
    }
    for (int i = 0; i < a->size * a->local; i++)
        fsm_stages_copy(stages, &from, &a->place[i % a->local], a->passing[1][i]);
    for (int l = 1; l < a->local; l++) {
        int64_t n = scattered_to(a, l);
        fsm_stages_send(stages, INSIDE_SLOT, a->comm->rank + l, fsm_spot_before(a->place[l], n), n);
    }
}

static void emit_leader(fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    find_passing(a, counts);
    gather(a, stages);
    exchange(a, stages);
    scatter(a, stages);
}

/* ---- all ---- */

static void emit(fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    if (leader_of(a) == a->comm->rank) emit_leader(a, counts, stages);
    else emit_member(a, counts, stages);
    fsm_stages_wait(stages, INSIDE_SLOT);
}

const fsm_alltoall_kind fsm_alltoall_1dh = {
    .name = "1dh",
    .description = "one rank a node gathers, exchanges with those of other nodes, and scatters",
    .source = "HetuMoE, arXiv 2203.14685",
    .buffer_elems = buffer_elems,
    .most_stages = most_stages,
    .emit = emit,
};
