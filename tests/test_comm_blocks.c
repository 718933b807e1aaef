/* What is moved arrives: all-to-all, all-gather, messages, bytes gathered and broadcast, on the world and on groups.
 * Oracle: every element tells who sent it to whom, and what stands behind a block is as it was.
 * Runs alone (a group of one) and under mpirun.
 */
#include "comm_case.h"

#include <limits.h>
#include <string.h>
#include <sys/mman.h>

static bool is_block(const float *block, int s, int d, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (block[i] != value_of(s, d, i)) return false;
    return true;
}

/* ---- collectives ---- */

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
    bool good =
        finished(fsm_comm_start_all_to_all(&op, comm, FSM_COMM_FP32, send, send_counts, recv, recv_counts), &op);
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
    bool good = finished(fsm_comm_start_all_gather(&op, comm, FSM_COMM_FP32, send, recv, counts), &op);
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

/* Bytes of rank s: s + i, as many as count_of says. */
static bool gather_bytes(fsm_comm *comm, int variant)
{
    int64_t counts[MAX_RANKS], total = 0, mine = count_of(comm, variant, comm->rank, 1);
    for (int s = 0; s < comm->size; s++) total += counts[s] = count_of(comm, variant, s, 1);
    unsigned char *send = calloc((size_t)mine + 1, 1), *recv = comm->rank == 0 ? malloc((size_t)total + 1) : NULL;
    if (!send || (comm->rank == 0 && !recv)) abort();
    for (int64_t i = 0; i < mine; i++) send[i] = (unsigned char)(comm->rank + i);
    bool good = comm->control->gather_bytes(comm, send, mine, recv, comm->rank == 0 ? counts : NULL) == FSMOE_OK;
    const unsigned char *at = recv;
    for (int s = 0; s < comm->size && recv; s++)
        for (int64_t i = 0; i < counts[s]; i++) good &= *at++ == (unsigned char)(s + i);
    free(send);
    free(recv);
    return good;
}

/* Bytes go in pieces, which may be of any size: as large as a block or a few of them, no divisor of one, a byte. */
static const int64_t piece_bytes[] = {FSM_COMM_PIECE_BYTES, 1000, 64, 7, 1};

static bool check_in_pieces(fsm_comm *comm, bool (*check)(fsm_comm *comm))
{
    bool good = true;
    for (size_t i = 0; i < sizeof piece_bytes / sizeof *piece_bytes; i++) {
        comm->piece_bytes = piece_bytes[i];
        good &= check(comm);
    }
    comm->piece_bytes = FSM_COMM_PIECE_BYTES;
    return good;
}

static bool gather_all(fsm_comm *comm)
{
    bool good = true;
    for (int v = 0; v < VARIANTS; v++) good &= gather_bytes(comm, v) || complain(comm, "gather of bytes", v);
    return good;
}

static bool check_gather_bytes(fsm_comm *comm)
{
    return check_in_pieces(comm, gather_all);
}

static bool broadcast_all(fsm_comm *comm)
{
    const int64_t sizes[] = {0, 1, 1000, 20000};
    static char buffer[20001];
    bool good = true;
    for (int root = 0; root < comm->size; root++)
        for (int v = 0; v < 4; v++) {
            memset(buffer, comm->rank == root ? 'a' + root : '?', sizeof buffer);
            good &= comm->control->broadcast_bytes(comm, buffer, sizes[v], root) == FSMOE_OK;
            for (int64_t i = 0; i < sizes[v]; i++) good &= buffer[i] == 'a' + root;
            if (comm->rank != root) good &= buffer[sizes[v]] == '?';
        }
    return good || complain(comm, "broadcast", 0);
}

static bool check_broadcast_bytes(fsm_comm *comm)
{
    return check_in_pieces(comm, broadcast_all);
}

/* ---- messages ---- */

static int64_t message_count(int slot, int s, int d)
{
    return slot == 0 ? (s + 2 * d) % 4 : 1000 * (s + 1) + d;
}

static bool wait_for_slot(fsm_comm *comm, int slot)
{
    bool done = false;
    while (!done)
        if (comm->data->test(comm, slot, &done) != FSMOE_OK) return false;
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
        good &= comm->data->post_recv(comm, slot, r, FSM_COMM_FP32, recv + r * room, in) == FSMOE_OK;
        good &= comm->data->post_send(comm, slot, r, FSM_COMM_FP32, send + r * room, out) == FSMOE_OK;
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
        return comm->data->test(comm, 1, &done) == FSMOE_OK && done;
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

/* ---- limits ---- */

/* Of these bytes, which no int counts, only a few are memory: those of the pages that hold one. */
enum { MARK_STEP = 1 << 26 };
static const int64_t beyond_int = ((int64_t)1 << 31) + 12345;

static char *reserve(int64_t bytes)
{
    void *at = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) abort();
    return at;
}

static void mark(char *bytes, int64_t count, int of)
{
    for (int64_t i = 0; i < count; i += MARK_STEP) bytes[i] = (char)(1 + of + i / MARK_STEP);
    bytes[count - 1] = (char)(101 + of);
}

static bool is_marked(const char *bytes, int64_t count, int of)
{
    bool good = bytes[count - 1] == (char)(101 + of) && bytes[count - 2] == 0;
    for (int64_t i = 0; i < count - 1; i += MARK_STEP)
        good &= bytes[i] == (char)(1 + of + i / MARK_STEP) && bytes[i + 1] == 0;
    return good;
}

/* Two ranks: the last gives more than an int counts to the first, and gets it back. */
static bool gather_and_broadcast_much(fsm_comm *comm)
{
    int last = comm->size - 1;
    int64_t counts[2] = {100, 100}, mine;
    counts[last] = beyond_int;
    mine = counts[comm->rank];
    char *send = reserve(mine), *recv = reserve(beyond_int + 100);
    mark(send, mine, comm->rank);
    bool good = comm->control->gather_bytes(comm, send, mine, recv, counts) == FSMOE_OK;
    char *of_last = recv + (last > 0 ? counts[0] : 0);
    if (comm->rank == 0) good &= is_marked(recv, counts[0], 0) && is_marked(of_last, counts[last], last);
    char *back = comm->rank == 0 ? of_last : send;
    if (comm->rank != 0) memset(send, 0, 200);
    good &= comm->control->broadcast_bytes(comm, back, beyond_int, 0) == FSMOE_OK;
    good &= is_marked(back, beyond_int, last);
    munmap(send, (size_t)mine);
    munmap(recv, (size_t)beyond_int + 100);
    return good;
}

static void test_comm_bytes_beyond_int_arrive(void **state)
{
    (void)state;
    fsm_comm *pair;
    if (!getenv("FSMOE_TEST_LONG")) skip(); /* takes 4 GiB */
    if (!all_true(world->control->split(world, world->rank / 2, &pair) == FSMOE_OK)) fail_msg("%s", fsmoe_last_error());
    bool good = world->rank > 1 || gather_and_broadcast_much(pair) || complain(pair, "2 GiB", 0);
    fsm_comm_destroy(pair);
    assert_true(all_true(good));
}

/* MPI counts in ints: more is refused before anything is touched. A group of one has no such limit. */
static bool check_count_limit(fsm_comm *comm)
{
    if (strcmp(comm->control->name, "mpi") != 0) return true;
    fsm_comm_op op;
    int64_t many = (int64_t)INT_MAX + 1, counts[MAX_RANKS] = {0}, halves[MAX_RANKS] = {0};
    halves[0] = many / 2;
    halves[comm->size - 1] += many / 2 + 1;
    bool good = fsm_comm_all_gather_int64(comm, NULL, many, NULL) == FSMOE_ERROR_COMM;
    good &= strstr(fsmoe_last_error(), "2147483648") != NULL;
    good &= fsm_comm_all_reduce_double(comm, NULL, many) == FSMOE_ERROR_COMM;
    good &= fsm_comm_start_all_to_all(&op, comm, FSM_COMM_FP32, NULL, halves, NULL, counts) == FSMOE_ERROR_COMM;
    good &= fsm_comm_start_all_gather(&op, comm, FSM_COMM_FP32, NULL, NULL, halves) == FSMOE_ERROR_COMM;
    good &= comm->data->post_send(comm, 1, 0, FSM_COMM_FP32, NULL, many) == FSMOE_ERROR_COMM;
    good &= comm->data->post_recv(comm, 1, 0, FSM_COMM_FP32, NULL, many) == FSMOE_ERROR_COMM;
    return good || complain(comm, "limit of counts", 0);
}

GROUP_TEST(all_to_all_delivers_every_block, check_all_to_all)
GROUP_TEST(all_gather_delivers_in_place_and_apart, check_all_gather)
GROUP_TEST(all_gather_int64_keeps_every_bit, check_all_gather_int64)
GROUP_TEST(messages_of_both_slots_are_kept_apart, check_messages)
GROUP_TEST(gather_bytes_reaches_rank_0_in_order, check_gather_bytes)
GROUP_TEST(broadcast_bytes_reaches_all_from_any_root, check_broadcast_bytes)
GROUP_TEST(counts_beyond_int_are_refused, check_count_limit)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comm_all_to_all_delivers_every_block),
        cmocka_unit_test(test_comm_all_gather_delivers_in_place_and_apart),
        cmocka_unit_test(test_comm_all_gather_int64_keeps_every_bit),
        cmocka_unit_test(test_comm_messages_of_both_slots_are_kept_apart),
        cmocka_unit_test(test_comm_gather_bytes_reaches_rank_0_in_order),
        cmocka_unit_test(test_comm_broadcast_bytes_reaches_all_from_any_root),
        cmocka_unit_test(test_comm_bytes_beyond_int_arrive),
        cmocka_unit_test(test_comm_counts_beyond_int_are_refused),
    };
    if (!enter_world()) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(the_world);
    return failed;
}
