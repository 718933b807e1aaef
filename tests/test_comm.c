/* Every collective of the contract against values computed locally, on the world and on split groups.
 * Runs alone (a group of one) and under mpirun. Values are whole numbers that a float holds exactly, so == is right.
 * All ranks decide together whether a test passed: a failed assertion on one would leave the others waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "comm/groups.h"
#include "comm/op.h"
#include "comm/world.h"

#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RANKS = 64, VARIANTS = 5 };

static fsmoe_world *the_world;
static fsm_comm *world;

static bool all_true(bool mine)
{
    double failures = !mine;
    if (fsm_comm_all_reduce_double(world, &failures, 1) != FSMOE_OK) world->table->abort(world, 1);
    return failures == 0;
}

static bool complain(const fsm_comm *comm, const char *what, int variant)
{
    fprintf(stderr, "rank %d of %d (%s): %s, variant %d: %s\n", comm->rank, comm->size, comm->table->name, what,
            variant, fsmoe_last_error());
    return false;
}

/* Runs a check on the world, its halves, its odd and even ranks, an uneven split, and on groups of one. */
static void check_on_groups(bool (*check)(fsm_comm *comm))
{
    const int colors[] = {world->rank * 2 / world->size, world->rank % 2, world->rank > 0, world->rank};
    bool passed = check(world);
    for (size_t i = 0; i < sizeof colors / sizeof *colors; i++) {
        fsm_comm *group;
        if (!all_true(world->table->split(world, colors[i], &group) == FSMOE_OK))
            fail_msg("split %zu: %s", i, fsmoe_last_error());
        passed &= check(group);
        fsm_comm_destroy(group);
    }
    fsm_comm *self;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    passed &= check(self);
    fsm_comm_destroy(self);
    assert_true(all_true(passed));
}

/* ---- values ---- */

/* Elements from rank s to rank d: none at all, unequal with some zero, only from rank 0, only to the last, many. */
static int64_t count_of(const fsm_comm *comm, int variant, int s, int d)
{
    switch (variant) {
    case 0:
        return 0;
    case 1:
        return (3 * s + 5 * d + s * d) % 7;
    case 2:
        return s == 0 ? d + 2 : 0;
    case 3:
        return d == comm->size - 1 ? 4 : 0;
    default:
        return 3000 + 100 * s + 10 * d;
    }
}

static float value_of(int s, int d, int64_t i)
{
    return (float)(10000 * s + 1000 * d + i % 997);
}

/* The counts of one direction, and room for all of their elements, filled with what nobody sends. */
static float *make_blocks(int64_t *counts, int n, int64_t *total)
{
    *total = 0;
    for (int i = 0; i < n; i++) *total += counts[i];
    float *blocks = malloc(sizeof(float) * (size_t)(*total + 1));
    if (!blocks) abort();
    for (int64_t i = 0; i <= *total; i++) blocks[i] = -1;
    return blocks;
}

static void fill_block(float *block, int s, int d, int64_t count)
{
    for (int64_t i = 0; i < count; i++) block[i] = value_of(s, d, i);
}

static bool is_block(const float *block, int s, int d, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (block[i] != value_of(s, d, i)) return false;
    return true;
}

/* ---- collectives ---- */

static bool finished(fsmoe_status started, fsm_comm_op *op)
{
    return started == FSMOE_OK && fsm_comm_finish(op) == FSMOE_OK;
}

static bool all_to_all(fsm_comm *comm, int variant)
{
    fsm_comm_op op;
    int64_t send_counts[MAX_RANKS], recv_counts[MAX_RANKS], sent, received, at = 0;
    for (int r = 0; r < comm->size; r++) {
        send_counts[r] = count_of(comm, variant, comm->rank, r);
        recv_counts[r] = count_of(comm, variant, r, comm->rank);
    }
    float *send = make_blocks(send_counts, comm->size, &sent), *recv = make_blocks(recv_counts, comm->size, &received);
    for (int d = 0; d < comm->size; at += send_counts[d++]) fill_block(send + at, comm->rank, d, send_counts[d]);
    bool good = finished(fsm_comm_start_all_to_all(&op, comm, send, send_counts, recv, recv_counts), &op);
    at = 0;
    for (int s = 0; s < comm->size; at += recv_counts[s++]) good &= is_block(recv + at, s, comm->rank, recv_counts[s]);
    good &= recv[received] == -1;
    free(send);
    free(recv);
    return good;
}

static bool check_all_to_all(fsm_comm *comm)
{
    bool good = true;
    for (int v = 0; v < VARIANTS; v++) good &= all_to_all(comm, v) || complain(comm, "all-to-all", v);
    return good;
}

static bool all_gather(fsm_comm *comm, int variant, bool in_place)
{
    fsm_comm_op op;
    int64_t counts[MAX_RANKS], total, at = 0, mine = 0;
    for (int s = 0; s < comm->size; s++) {
        counts[s] = count_of(comm, variant, s, 0);
        if (s < comm->rank) mine += counts[s];
    }
    float *recv = make_blocks(counts, comm->size, &total), *apart = make_blocks(counts, comm->size, &total);
    float *send = in_place ? recv + mine : apart;
    fill_block(send, comm->rank, 9, counts[comm->rank]);
    bool good = finished(fsm_comm_start_all_gather(&op, comm, send, recv, counts), &op);
    for (int s = 0; s < comm->size; at += counts[s++]) good &= is_block(recv + at, s, 9, counts[s]);
    good &= recv[total] == -1;
    free(recv);
    free(apart);
    return good;
}

static bool check_all_gather(fsm_comm *comm)
{
    bool good = true;
    for (int v = 0; v < VARIANTS; v++) {
        good &= all_gather(comm, v, false) || complain(comm, "all-gather", v);
        good &= all_gather(comm, v, true) || complain(comm, "all-gather in place", v);
    }
    return good;
}

static bool check_all_gather_int64(fsm_comm *comm)
{
    int64_t send[5], recv[5 * MAX_RANKS];
    bool good = true;
    for (int64_t count = 0; count <= 5; count++) {
        for (int64_t i = 0; i < count; i++) send[i] = INT64_MAX - 10 * comm->rank - i;
        good &= fsm_comm_all_gather_int64(comm, send, count, recv) == FSMOE_OK;
        for (int64_t i = 0; i < count * comm->size; i++) good &= recv[i] == INT64_MAX - 10 * (i / count) - i % count;
    }
    return good || complain(comm, "all-gather of int64", 0);
}

/* Block r of the sum: every rank s adds value(s, r, i). */
static bool reduce_scatter(fsm_comm *comm, int variant)
{
    fsm_comm_op op;
    int64_t counts[MAX_RANKS], total, at = 0;
    for (int d = 0; d < comm->size; d++) counts[d] = count_of(comm, variant, 0, d);
    float *send = make_blocks(counts, comm->size, &total), *recv = make_blocks(counts, comm->size, &total);
    for (int d = 0; d < comm->size; at += counts[d++]) fill_block(send + at, comm->rank, d, counts[d]);
    bool good = finished(fsm_comm_start_reduce_scatter(&op, comm, send, recv, counts), &op);
    for (int64_t i = 0; i < counts[comm->rank]; i++) {
        float sum = 0;
        for (int s = 0; s < comm->size; s++) sum += value_of(s, comm->rank, i);
        good &= recv[i] == sum;
    }
    good &= recv[counts[comm->rank]] == -1;
    free(send);
    free(recv);
    return good;
}

static bool check_reduce_scatter(fsm_comm *comm)
{
    bool good = true;
    for (int v = 0; v < VARIANTS; v++) good &= reduce_scatter(comm, v) || complain(comm, "reduce-scatter", v);
    return good;
}

/* Sums that round must be the same bits everywhere. */
static bool same_everywhere(fsm_comm *comm, double mine)
{
    int64_t bits, all[MAX_RANKS];
    memcpy(&bits, &mine, sizeof bits);
    if (fsm_comm_all_gather_int64(comm, &bits, 1, all) != FSMOE_OK) return false;
    for (int r = 0; r < comm->size; r++)
        if (all[r] != bits) return false;
    return true;
}

/* Every third element rounds; the others are whole numbers. */
static double addend(int s, int64_t i)
{
    return value_of(s, 1, i) + (i % 3 == 0 ? 0.1 : 0);
}

/* In the order of ranks: sums of floats to the bit. */
static float sum_in_order(int ranks, int64_t i)
{
    float sum = (float)addend(0, i);
    for (int s = 1; s < ranks; s++) sum += (float)addend(s, i);
    return sum;
}

static bool all_reduce(fsm_comm *comm, int64_t count)
{
    fsm_comm_op op;
    float *floats = malloc(sizeof *floats * (size_t)(count + 1));
    if (!floats) abort();
    for (int64_t i = 0; i < count; i++) floats[i] = (float)addend(comm->rank, i);
    floats[count] = -1;
    bool good = finished(fsm_comm_start_all_reduce(&op, comm, floats, count), &op);
    for (int64_t i = 0; i < count; i++) good &= floats[i] == sum_in_order(comm->size, i);
    good &= floats[count] == -1;
    free(floats);
    return good;
}

static bool all_reduce_double(fsm_comm *comm, int count)
{
    double *doubles = malloc(sizeof *doubles * (size_t)(count + 1)), digest = 0;
    if (!doubles) abort();
    for (int i = 0; i < count; i++) doubles[i] = addend(comm->rank, i);
    doubles[count] = -1;
    bool good = fsm_comm_all_reduce_double(comm, doubles, count) == FSMOE_OK;
    for (int i = 0; i < count; i++) {
        double sum = 0, allowed = i % 3 == 0 ? 1 : 0;
        for (int s = 0; s < comm->size; s++) sum += addend(s, i);
        good &= fabs(doubles[i] - sum) <= allowed * 1e-15 * sum * comm->size;
        digest += doubles[i] * (1.0 + i);
    }
    good &= doubles[count] == -1;
    free(doubles);
    good &= same_everywhere(comm, digest);
    return good;
}

/* Blocks on both sides of the segments that they travel in. */
static bool check_all_reduce(fsm_comm *comm)
{
    const int64_t segments = comm->segment_elems * comm->size; /* 0 alone */
    const int64_t counts[] = {0, 1, 7, 5000, segments, segments + 1, 5 * segments / 2 + 3};
    bool good = true;
    for (int v = 0; v < 7; v++) good &= all_reduce(comm, counts[v]) || complain(comm, "all-reduce", v);
    for (int v = 0; v < 4; v++)
        good &= all_reduce_double(comm, (int)counts[v]) || complain(comm, "all-reduce of doubles", v);
    return good;
}

/* Blocks of two and a half segments and more, of exactly two, and none for the last rank. */
static int64_t long_count(const fsm_comm *comm, int d)
{
    const int64_t segment = comm->size > 1 ? comm->segment_elems : 1000;
    return d == comm->size - 1 && d > 0 ? 0 : d % 2 ? 2 * segment : 5 * segment / 2 + d;
}

static bool check_long_reduce_scatter(fsm_comm *comm)
{
    fsm_comm_op op;
    int64_t counts[MAX_RANKS] = {0}, total, first = 0;
    for (int d = 0; d < comm->size; d++) counts[d] = long_count(comm, d);
    for (int d = 0; d < comm->rank; d++) first += counts[d];
    int64_t mine = counts[comm->rank];
    float *send = make_blocks(counts, comm->size, &total), *recv = malloc(sizeof(float) * (size_t)(mine + 1));
    if (!recv) abort();
    recv[mine] = -1;
    for (int64_t i = 0; i < total; i++) send[i] = (float)addend(comm->rank, i);
    bool good = finished(fsm_comm_start_reduce_scatter(&op, comm, send, recv, counts), &op);
    for (int64_t i = 0; i < mine; i++) good &= recv[i] == sum_in_order(comm->size, first + i);
    good &= recv[mine] == -1;
    for (int64_t i = 0; i < total; i++) good &= send[i] == (float)addend(comm->rank, i);
    free(send);
    free(recv);
    return good || complain(comm, "reduce-scatter in segments", 0);
}

/* ---- several under way ---- */

static bool advance_all(fsm_comm_op *ops, int n)
{
    bool all[8] = {0};
    for (int left = n; left > 0;)
        for (int i = 0; i < n; i++) {
            if (all[i]) continue;
            if (fsm_comm_advance(&ops[i], &all[i]) != FSMOE_OK) return false;
            left -= all[i];
        }
    return true;
}

/* Operations of the world, its halves and its odd and even ranks, begun in one order and moved by one thread in
 * another: none waits for another one's end. */
static void test_comm_operations_of_several_groups_are_under_way_at_once(void **state)
{
    (void)state;
    enum { GROUPS = 3, COUNT = 200000 };
    fsm_comm *groups[GROUPS] = {world, NULL, NULL};
    fsm_comm_op ops[GROUPS];
    float *buffers[GROUPS];
    bool good = world->table->split(world, world->rank * 2 / world->size, &groups[1]) == FSMOE_OK;
    good &= world->table->split(world, world->rank % 2, &groups[2]) == FSMOE_OK;
    if (!all_true(good)) fail_msg("split: %s", fsmoe_last_error());
    for (int g = 0; g < GROUPS; g++) {
        buffers[g] = malloc(sizeof(float) * COUNT);
        if (!buffers[g]) abort();
        for (int64_t i = 0; i < COUNT; i++) buffers[g][i] = (float)addend(groups[g]->rank, i);
    }
    for (int i = 0; i < GROUPS; i++) { /* odd ranks the other way round */
        int g = world->rank % 2 ? GROUPS - 1 - i : i;
        good &= fsm_comm_start_all_reduce(&ops[g], groups[g], buffers[g], COUNT) == FSMOE_OK;
    }
    good = good && advance_all(ops, GROUPS);
    for (int g = 0; g < GROUPS; g++) {
        for (int64_t i = 0; i < COUNT; i++) good &= buffers[g][i] == sum_in_order(groups[g]->size, i);
        free(buffers[g]);
        if (g > 0) fsm_comm_destroy(groups[g]);
    }
    assert_true(all_true(good));
}

static int64_t message_count(int slot, int s, int d)
{
    return slot == 0 ? (s + 2 * d) % 4 : 1000 * (s + 1) + d;
}

static bool wait_for_slot(fsm_comm *comm, int slot)
{
    bool done = false;
    while (!done)
        if (comm->table->test(comm, slot, &done) != FSMOE_OK) return false;
    return true;
}

static bool post_messages(fsm_comm *comm, int slot, float *send, float *recv, int64_t room)
{
    bool good = true;
    for (int r = 0; r < comm->size; r++) {
        int64_t in = message_count(slot, r, comm->rank), out = message_count(slot, comm->rank, r);
        if (r == comm->rank) continue;
        fill_block(send + r * room, comm->rank, r + 20 * slot, out);
        recv[r * room + in] = -1;
        good &= comm->table->post_recv(comm, slot, r, recv + r * room, in) == FSMOE_OK;
        good &= comm->table->post_send(comm, slot, r, send + r * room, out) == FSMOE_OK;
    }
    return good;
}

static bool check_messages_of(const fsm_comm *comm, int slot, const float *recv, int64_t room)
{
    bool good = true;
    for (int r = 0; r < comm->size; r++) {
        int64_t in = message_count(slot, r, comm->rank);
        if (r == comm->rank) continue;
        good &= is_block(recv + r * room, r, comm->rank + 20 * slot, in) && recv[r * room + in] == -1;
    }
    return good;
}

/* Both slots are under way, the second posted first by odd ranks, and waited for in either order, twice. */
static bool check_messages(fsm_comm *comm)
{
    if (comm->size == 1) { /* there is nobody to send to */
        bool done = false;
        return comm->table->test(comm, 1, &done) == FSMOE_OK && done;
    }
    const int64_t room = 1000 * (MAX_RANKS + 1);
    float *memory = malloc(sizeof(float) * (size_t)(4 * room * comm->size));
    if (!memory) abort();
    bool good = true;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < FSM_COMM_SLOTS; i++) {
            int slot = comm->rank % 2 ? 1 - i : i;
            float *at = memory + 2 * slot * room * comm->size;
            good &= post_messages(comm, slot, at, at + room * comm->size, room);
        }
        for (int i = 0; i < FSM_COMM_SLOTS && good; i++) {
            int slot = round ? i : 1 - i;
            good = wait_for_slot(comm, slot);
            good &= check_messages_of(comm, slot, memory + (2 * slot + 1) * room * comm->size, room);
        }
    }
    free(memory);
    return good || complain(comm, "messages", 0);
}

/* The tree that op.h describes: neighbours first, then pairs of pairs; ranks [first, first + span) below this node.
 */
static float tree_sum(int first, int span, int size, int64_t i)
{
    if (span == 1) return (float)addend(first, i);
    float left = tree_sum(first, span / 2, size, i);
    return first + span / 2 < size ? left + tree_sum(first + span / 2, span / 2, size, i) : left;
}

/* Bit for bit; sizes on both sides of the piece that is sent at once. */
static bool check_all_reduce_tree(fsm_comm *comm)
{
    fsm_comm_op op;
    const int64_t sizes[] = {0, 1, 1000, FSM_TREE_ELEMS, FSM_TREE_ELEMS + 3};
    int64_t counts[MAX_RANKS];
    float *scratch = malloc(sizeof(float) * (size_t)comm->size * FSM_TREE_ELEMS);
    float *buffer = malloc(sizeof(float) * (FSM_TREE_ELEMS + 4));
    if (!scratch || !buffer) abort();
    bool good = true;
    for (int v = 0; v < 5; v++) {
        for (int64_t i = 0; i < sizes[v]; i++) buffer[i] = (float)addend(comm->rank, i);
        buffer[sizes[v]] = -1;
        good &= finished(fsm_comm_start_all_reduce_tree(&op, comm, buffer, sizes[v], scratch, counts), &op);
        for (int64_t i = 0; i < sizes[v]; i++) good &= buffer[i] == tree_sum(0, MAX_RANKS, comm->size, i);
        good &= buffer[sizes[v]] == -1;
    }
    free(scratch);
    free(buffer);
    return good || complain(comm, "all-reduce by tree", 0);
}

/* Bytes of rank s: s + i, as many as count_of says. */
static bool gather_bytes(fsm_comm *comm, int variant)
{
    int64_t counts[MAX_RANKS], total = 0, mine = count_of(comm, variant, comm->rank, 1);
    for (int s = 0; s < comm->size; s++) total += counts[s] = count_of(comm, variant, s, 1);
    unsigned char *send = calloc((size_t)mine + 1, 1), *recv = comm->rank == 0 ? malloc((size_t)total + 1) : NULL;
    if (!send || (comm->rank == 0 && !recv)) abort();
    for (int64_t i = 0; i < mine; i++) send[i] = (unsigned char)(comm->rank + i);
    bool good = comm->table->gather_bytes(comm, send, mine, recv, comm->rank == 0 ? counts : NULL) == FSMOE_OK;
    const unsigned char *at = recv;
    for (int s = 0; s < comm->size && recv; s++)
        for (int64_t i = 0; i < counts[s]; i++) good &= *at++ == (unsigned char)(s + i);
    free(send);
    free(recv);
    return good;
}

static bool check_gather_bytes(fsm_comm *comm)
{
    bool good = true;
    for (int v = 0; v < VARIANTS; v++) good &= gather_bytes(comm, v) || complain(comm, "gather of bytes", v);
    return good;
}

static bool check_broadcast_bytes(fsm_comm *comm)
{
    const int64_t sizes[] = {0, 1, 1000, 100000};
    static char buffer[100001];
    bool good = true;
    for (int root = 0; root < comm->size; root++)
        for (int v = 0; v < 4; v++) {
            memset(buffer, comm->rank == root ? 'a' + root : '?', sizeof buffer);
            good &= comm->table->broadcast_bytes(comm, buffer, sizes[v], root) == FSMOE_OK;
            for (int64_t i = 0; i < sizes[v]; i++) good &= buffer[i] == 'a' + root;
            if (comm->rank != root) good &= buffer[sizes[v]] == '?';
        }
    return good || complain(comm, "broadcast", 0);
}

/* Nobody leaves before the last one came: the last rank comes late. One clock, since tests run on one machine. */
static bool check_barrier(fsm_comm *comm)
{
    const struct timespec late = {0, 20000000};
    int64_t span_ns[2], all_ns[2 * MAX_RANKS];
    if (comm->rank == comm->size - 1) nanosleep(&late, NULL);
    span_ns[0] = (int64_t)(1e9 * fsm_clock_s());
    bool good = comm->table->barrier(comm) == FSMOE_OK;
    span_ns[1] = (int64_t)(1e9 * fsm_clock_s());
    good &= fsm_comm_all_gather_int64(comm, span_ns, 2, all_ns) == FSMOE_OK;
    for (int a = 0; a < comm->size; a++)
        for (int b = 0; b < comm->size; b++) good &= all_ns[2 * a + 1] >= all_ns[2 * b];
    return good || complain(comm, "barrier", 0);
}

/* ---- groups ---- */

/* Members of a split are the world's ranks of one colour, in order. */
static bool check_split_by(int color)
{
    fsm_comm *group;
    int64_t mine[2] = {color, world->rank}, all[2 * MAX_RANKS], members[MAX_RANKS];
    if (fsm_comm_all_gather_int64(world, mine, 2, all) != FSMOE_OK) return false;
    if (world->table->split(world, color, &group) != FSMOE_OK) return false;
    bool good = fsm_comm_all_gather_int64(group, &mine[1], 1, members) == FSMOE_OK;
    int n = 0;
    for (int r = 0; r < world->size; r++) {
        if (all[2 * r] != color) continue;
        good &= n < group->size && members[n] == r;
        if (r == world->rank) good &= group->rank == n;
        n++;
    }
    good &= group->size == n;
    fsm_comm_destroy(group);
    return good;
}

static void test_comm_split_keeps_the_order_of_ranks(void **state)
{
    (void)state;
    const int colors[] = {
        0, world->rank % 2, world->rank / 2, world->rank % 3, 7 - world->rank, world->rank == 1 ? 5 : 3};
    for (size_t i = 0; i < sizeof colors / sizeof *colors; i++)
        if (!all_true(check_split_by(colors[i]))) fail_msg("split %zu", i);
}

static bool check_groups_of(const fsm_topo *topo)
{
    fsm_comm *groups[FSM_GROUP_COUNT];
    bool good = fsm_groups_create(world, topo, groups) == FSMOE_OK;
    if (!good) return complain(world, "groups", 0);
    good &= groups[FSM_GROUP_WORLD] == world;
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        int64_t mine = fsm_topo_group_color(topo, (fsm_group)g), all[MAX_RANKS];
        good &= groups[g]->size == fsm_topo_group_size(topo, (fsm_group)g);
        good &= groups[g]->rank == fsm_topo_group_index(topo, (fsm_group)g);
        good &= fsm_comm_all_gather_int64(groups[g], &mine, 1, all) == FSMOE_OK;
        for (int r = 0; r < groups[g]->size; r++) good &= all[r] == mine;
    }
    fsm_groups_destroy(groups);
    return good || complain(world, "groups", 1);
}

static void test_comm_groups_match_the_topology(void **state)
{
    (void)state;
    for (int ep = 1; ep <= world->size; ep++)
        for (int esp = 1; ep * esp <= world->size; esp++)
            for (int mp = 1; mp <= world->size; mp++) {
                if (world->size % (ep * esp) || world->size % mp) continue;
                fsmoe_parallel_config parallel = {.ep_size = ep, .esp_size = esp, .mp_size = mp};
                fsm_topo topo;
                assert_int_equal(fsm_topo_create(1, world->size, &parallel, world->rank, &topo), FSMOE_OK);
                if (!all_true(check_groups_of(&topo))) fail_msg("ep %d esp %d mp %d", ep, esp, mp);
            }
}

/* ---- agreement ---- */

/* Ranks of `failing` (a bit each) fail, each in its own way; all must hear of the lowest. */
static bool agree_when(fsm_comm *comm, unsigned failing)
{
    static const fsmoe_status codes[] = {FSMOE_ERROR_NUMERIC, FSMOE_ERROR_IO, FSMOE_ERROR_CONFIG, FSMOE_ERROR_MEMORY};
    char want[64];
    int lowest = -1;
    for (int r = comm->size - 1; r >= 0; r--)
        if (failing >> r & 1) lowest = r;
    fsm_fail(FSMOE_ERROR_INTERNAL, "an older failure");
    fsmoe_status mine = FSMOE_OK;
    if (failing >> comm->rank & 1) mine = fsm_fail(codes[comm->rank % 4], "rank %d could not", comm->rank);
    fsmoe_status agreed = fsm_comm_agree(comm, mine);
    if (lowest < 0) return agreed == FSMOE_OK;
    snprintf(want, sizeof want, "rank %d could not", lowest);
    return agreed == codes[lowest % 4] && strcmp(fsmoe_last_error(), want) == 0;
}

static bool check_agree(fsm_comm *comm)
{
    int bits = comm->size < 5 ? comm->size : 5;
    bool good = true;
    for (unsigned failing = 0; failing < 1u << bits; failing++)
        good &= agree_when(comm, failing) || complain(comm, "agreement", (int)failing);
    return good;
}

/* ---- nodes ---- */

/* As many nodes as there are host names. */
static bool check_find_nodes(fsm_comm *comm)
{
    int64_t name[8] = {0}, names[8 * MAX_RANKS];
    int nodes, ranks_per_node, distinct = 0;
    gethostname((char *)name, sizeof name - 1);
    bool good = fsm_comm_all_gather_int64(comm, name, 8, names) == FSMOE_OK;
    for (int r = 0; r < comm->size; r++) {
        bool seen = false;
        for (int other = 0; other < r; other++) seen |= memcmp(names + 8 * r, names + 8 * other, sizeof name) == 0;
        distinct += !seen;
    }
    good &= fsm_comm_find_nodes(comm, &nodes, &ranks_per_node) == FSMOE_OK;
    good &= nodes == distinct && nodes * ranks_per_node == comm->size;
    return good || complain(comm, "nodes", 0);
}

static bool check_local_ranks(fsm_comm *comm)
{
    int count, index;
    bool good = comm->table->local_ranks(comm, &count, &index) == FSMOE_OK;
    int64_t mine = index, all[MAX_RANKS];
    good &= count >= 1 && index >= 0 && index < count;
    good &= fsm_comm_all_gather_int64(comm, &mine, 1, all) == FSMOE_OK;
    if (count == comm->size) /* all on one machine: everyone has a number of its own */
        for (int r = 0; r < comm->size; r++) good &= all[r] == r;
    return good || complain(comm, "local ranks", 0);
}

/* ---- limits ---- */

/* MPI counts in ints: more is refused before anything is touched. A group of one has no such limit. */
static bool check_count_limit(fsm_comm *comm)
{
    if (strcmp(comm->table->name, "mpi") != 0) return true;
    fsm_comm_op op;
    int64_t many = (int64_t)INT_MAX + 1, counts[MAX_RANKS] = {0}, halves[MAX_RANKS] = {0};
    halves[0] = many / 2;
    halves[comm->size - 1] += many / 2 + 1;
    bool good = fsm_comm_all_gather_int64(comm, NULL, many, NULL) == FSMOE_ERROR_COMM;
    good &= strstr(fsmoe_last_error(), "2147483648") != NULL;
    good &= fsm_comm_all_reduce_double(comm, NULL, many) == FSMOE_ERROR_COMM;
    good &= comm->table->broadcast_bytes(comm, NULL, many, 0) == FSMOE_ERROR_COMM;
    good &= fsm_comm_start_all_to_all(&op, comm, NULL, halves, NULL, counts) == FSMOE_ERROR_COMM;
    good &= fsm_comm_start_all_gather(&op, comm, NULL, NULL, halves) == FSMOE_ERROR_COMM;
    good &= comm->table->post_send(comm, 1, 0, NULL, many) == FSMOE_ERROR_COMM;
    good &= comm->table->post_recv(comm, 1, 0, NULL, many) == FSMOE_ERROR_COMM;
    return good || complain(comm, "limit of counts", 0);
}

#define GROUP_TEST(name, check)                \
    static void test_comm_##name(void **state) \
    {                                          \
        (void)state;                           \
        check_on_groups(check);                \
    }
GROUP_TEST(all_to_all_delivers_every_block, check_all_to_all)
GROUP_TEST(all_gather_delivers_in_place_and_apart, check_all_gather)
GROUP_TEST(all_gather_int64_keeps_every_bit, check_all_gather_int64)
GROUP_TEST(reduce_scatter_sums_blocks, check_reduce_scatter)
GROUP_TEST(reduce_scatter_of_many_segments_adds_in_the_order_of_ranks, check_long_reduce_scatter)
GROUP_TEST(all_reduce_adds_in_the_order_of_ranks, check_all_reduce)
GROUP_TEST(messages_of_both_slots_are_kept_apart, check_messages)
GROUP_TEST(all_reduce_tree_adds_neighbours_first, check_all_reduce_tree)
GROUP_TEST(gather_bytes_reaches_rank_0_in_order, check_gather_bytes)
GROUP_TEST(broadcast_bytes_reaches_all_from_any_root, check_broadcast_bytes)
GROUP_TEST(barrier_holds_until_the_last_comes, check_barrier)
GROUP_TEST(agree_gives_all_the_lowest_failure, check_agree)
GROUP_TEST(find_nodes_counts_hosts, check_find_nodes)
GROUP_TEST(local_ranks_are_numbered, check_local_ranks)
GROUP_TEST(counts_beyond_int_are_refused, check_count_limit)

static void test_comm_world_is_what_the_public_header_says(void **state)
{
    (void)state;
    bool good = fsmoe_world_rank(the_world) == world->rank && fsmoe_world_size(the_world) == world->size;
    fsmoe_status mine = world->rank == world->size - 1 ? fsm_fail(FSMOE_ERROR_FORMAT, "the last rank") : FSMOE_OK;
    good &= fsmoe_world_agree(the_world, mine) == FSMOE_ERROR_FORMAT;
    good &= strcmp(fsmoe_last_error(), "the last rank") == 0;
    good &= fsmoe_world_agree(the_world, FSMOE_OK) == FSMOE_OK;
    assert_true(all_true(good));
}

int main(void)
{
    if (fsmoe_world_create(&the_world) != FSMOE_OK) return 1;
    world = the_world->comm;
    if (world->size > MAX_RANKS) return 1;
    if (world->rank > 0 && !freopen("/dev/null", "w", stdout)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comm_all_to_all_delivers_every_block),
        cmocka_unit_test(test_comm_all_gather_delivers_in_place_and_apart),
        cmocka_unit_test(test_comm_all_gather_int64_keeps_every_bit),
        cmocka_unit_test(test_comm_reduce_scatter_sums_blocks),
        cmocka_unit_test(test_comm_reduce_scatter_of_many_segments_adds_in_the_order_of_ranks),
        cmocka_unit_test(test_comm_all_reduce_adds_in_the_order_of_ranks),
        cmocka_unit_test(test_comm_messages_of_both_slots_are_kept_apart),
        cmocka_unit_test(test_comm_operations_of_several_groups_are_under_way_at_once),
        cmocka_unit_test(test_comm_all_reduce_tree_adds_neighbours_first),
        cmocka_unit_test(test_comm_gather_bytes_reaches_rank_0_in_order),
        cmocka_unit_test(test_comm_broadcast_bytes_reaches_all_from_any_root),
        cmocka_unit_test(test_comm_barrier_holds_until_the_last_comes),
        cmocka_unit_test(test_comm_split_keeps_the_order_of_ranks),
        cmocka_unit_test(test_comm_groups_match_the_topology),
        cmocka_unit_test(test_comm_agree_gives_all_the_lowest_failure),
        cmocka_unit_test(test_comm_find_nodes_counts_hosts),
        cmocka_unit_test(test_comm_local_ranks_are_numbered),
        cmocka_unit_test(test_comm_counts_beyond_int_are_refused),
        cmocka_unit_test(test_comm_world_is_what_the_public_header_says),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(the_world);
    return failed;
}
