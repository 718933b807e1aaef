/* Data of every type: what is moved arrives bit for bit and costs its own bytes; sums are as precise as comm/op.h says,
 * and the same bits on every rank. A transport laid over a group counts what it is given.
 * Runs alone (a group of one) and under mpirun.
 */
#include "base/bf16.h"
#include "base/rng.h"
#include "comm_case.h"

#include <math.h>
#include <string.h>

static const fsm_comm_type types[] = {FSM_COMM_FP32, FSM_COMM_BF16, FSM_COMM_INT64, FSM_COMM_FP64};

enum { TYPES = sizeof types / sizeof *types };

/* ---- a transport that counts what it is given, and hands it on ---- */

typedef struct counter {
    const fsm_data_table *below;
    int64_t posted_bytes, sums;
} counter;

static counter *counter_of(fsm_comm *comm)
{
    return comm->data_state;
}

static fsmoe_status counted_all_to_all(fsm_comm *comm, fsm_comm_type type, const void *send, const int64_t *send_counts,
                                       void *recv, const int64_t *recv_counts)
{
    return counter_of(comm)->below->start_all_to_all(comm, type, send, send_counts, recv, recv_counts);
}

static fsmoe_status counted_all_gather(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                       const int64_t *counts)
{
    return counter_of(comm)->below->start_all_gather(comm, type, send, recv, counts);
}

static fsmoe_status counted_send(fsm_comm *comm, int slot, int to, fsm_comm_type type, const void *elems, int64_t count)
{
    counter_of(comm)->posted_bytes += (int64_t)fsm_comm_bytes(type, count);
    return counter_of(comm)->below->post_send(comm, slot, to, type, elems, count);
}

static fsmoe_status counted_receive(fsm_comm *comm, int slot, int from, fsm_comm_type type, void *elems, int64_t count)
{
    return counter_of(comm)->below->post_recv(comm, slot, from, type, elems, count);
}

static fsmoe_status counted_test(fsm_comm *comm, int slot, bool *done)
{
    return counter_of(comm)->below->test(comm, slot, done);
}

/* Sums of its own, as a device has them: here nothing is added. */
static fsmoe_status counted_reduce_scatter(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                           const int64_t *counts)
{
    (void)type, (void)send, (void)recv, (void)counts;
    counter_of(comm)->sums++;
    return FSMOE_OK;
}

static fsmoe_status counted_all_reduce(fsm_comm *comm, fsm_comm_type type, void *buffer, int64_t count)
{
    (void)type, (void)buffer, (void)count;
    counter_of(comm)->sums++;
    return FSMOE_OK;
}

static void detach_counter(fsm_comm *comm)
{
    comm->data = counter_of(comm)->below;
    comm->data_state = NULL;
}

static const fsm_data_table counted = {
    .start_all_to_all = counted_all_to_all,
    .start_all_gather = counted_all_gather,
    .post_send = counted_send,
    .post_recv = counted_receive,
    .test = counted_test,
    .detach = detach_counter,
};

static void attach_counter(fsm_comm *comm, const fsm_data_table *table, counter *c)
{
    *c = (counter){.below = comm->data};
    comm->data_state = c;
    comm->data = table;
}

/* ---- bytes ---- */

/* Byte i of the block from s to d: any bits, those of NaN too. */
static unsigned char byte_of(int s, int d, size_t i)
{
    return (unsigned char)(fsm_rng_bits(11, FSM_RNG_TEST, (uint64_t)((s * MAX_RANKS + d) * 1000003) + i) >> 7);
}

static void fill_bytes(unsigned char *block, int s, int d, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) block[i] = byte_of(s, d, i);
}

static bool are_bytes(const unsigned char *block, int s, int d, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != byte_of(s, d, i)) return false;
    return true;
}

/* Room for all blocks, and a byte behind them that nobody sends. */
static unsigned char *room_for(fsm_comm_type type, const int64_t *counts, int n, size_t *bytes)
{
    int64_t elems = 0;
    for (int i = 0; i < n; i++) elems += counts[i];
    *bytes = fsm_comm_bytes(type, elems);
    unsigned char *room = malloc(*bytes + 1);
    if (!room) abort();
    memset(room, 0xa5, *bytes + 1);
    return room;
}

static bool all_to_all(fsm_comm *comm, fsm_comm_type type, int variant)
{
    fsm_comm_op op;
    int64_t send_counts[MAX_RANKS], recv_counts[MAX_RANKS];
    size_t sent, received, at = 0;
    for (int r = 0; r < comm->size; r++) {
        send_counts[r] = count_of(comm, variant, comm->rank, r);
        recv_counts[r] = count_of(comm, variant, r, comm->rank);
    }
    unsigned char *send = room_for(type, send_counts, comm->size, &sent);
    unsigned char *recv = room_for(type, recv_counts, comm->size, &received);
    for (int d = 0; d < comm->size; at += fsm_comm_bytes(type, send_counts[d++]))
        fill_bytes(send + at, comm->rank, d, fsm_comm_bytes(type, send_counts[d]));
    bool good = finished(fsm_comm_start_all_to_all(&op, comm, type, send, send_counts, recv, recv_counts), &op);
    at = 0;
    for (int s = 0; s < comm->size; at += fsm_comm_bytes(type, recv_counts[s++]))
        good &= are_bytes(recv + at, s, comm->rank, fsm_comm_bytes(type, recv_counts[s]));
    good &= recv[received] == 0xa5;
    free(send);
    free(recv);
    return good;
}

static bool all_gather(fsm_comm *comm, fsm_comm_type type, int variant, bool in_place)
{
    fsm_comm_op op;
    int64_t counts[MAX_RANKS];
    size_t total, at = 0, before = 0;
    for (int s = 0; s < comm->size; s++) counts[s] = count_of(comm, variant, s, 0);
    for (int s = 0; s < comm->rank; s++) before += fsm_comm_bytes(type, counts[s]);
    unsigned char *recv = room_for(type, counts, comm->size, &total);
    unsigned char *apart = room_for(type, counts, comm->size, &total), *send = in_place ? recv + before : apart;
    fill_bytes(send, comm->rank, 9, fsm_comm_bytes(type, counts[comm->rank]));
    bool good = finished(fsm_comm_start_all_gather(&op, comm, type, send, recv, counts), &op);
    for (int s = 0; s < comm->size; at += fsm_comm_bytes(type, counts[s++]))
        good &= are_bytes(recv + at, s, 9, fsm_comm_bytes(type, counts[s]));
    good &= recv[total] == 0xa5;
    free(recv);
    free(apart);
    return good;
}

static bool all_gather_even(fsm_comm *comm, fsm_comm_type type, int64_t count)
{
    fsm_comm_op op;
    int64_t counts[MAX_RANKS];
    size_t total, bytes = fsm_comm_bytes(type, count);
    for (int s = 0; s < comm->size; s++) counts[s] = count;
    unsigned char *recv = room_for(type, counts, comm->size, &total), *send = room_for(type, counts, 1, &total);
    fill_bytes(send, comm->rank, 7, bytes);
    bool good = finished(fsm_comm_start_all_gather_even(&op, comm, type, send, count, recv), &op);
    for (int s = 0; s < comm->size; s++) good &= are_bytes(recv + (size_t)s * bytes, s, 7, bytes);
    good &= recv[(size_t)comm->size * bytes] == 0xa5;
    free(recv);
    free(send);
    return good;
}

static bool check_moves(fsm_comm *comm)
{
    bool good = true;
    for (int t = 0; t < TYPES; t++)
        for (int v = 0; v < VARIANTS; v++) {
            good &= all_to_all(comm, types[t], v) || complain(comm, "all-to-all", t);
            good &= all_gather(comm, types[t], v, false) || complain(comm, "all-gather", t);
            good &= all_gather(comm, types[t], v, true) || complain(comm, "all-gather in place", t);
            good &= all_gather_even(comm, types[t], 100 * v) || complain(comm, "all-gather of even blocks", t);
        }
    return good;
}

/* One message each way between neighbours; *bytes: what the transport was given to send. */
static bool pass_on(fsm_comm *comm, fsm_comm_type type, int64_t count, int64_t *bytes)
{
    counter c;
    bool done = false;
    int to = (comm->rank + 1) % comm->size, from = (comm->rank + comm->size - 1) % comm->size;
    size_t total;
    unsigned char *send = room_for(type, &count, 1, &total), *recv = room_for(type, &count, 1, &total);
    fill_bytes(send, comm->rank, to, total);
    attach_counter(comm, &counted, &c);
    bool good = comm->data->post_recv(comm, 1, from, type, recv, count) == FSMOE_OK;
    good &= comm->data->post_send(comm, 1, to, type, send, count) == FSMOE_OK;
    while (good && !done) good &= comm->data->test(comm, 1, &done) == FSMOE_OK;
    comm->data->detach(comm);
    good &= are_bytes(recv, from, comm->rank, total) && recv[total] == 0xa5;
    *bytes = c.posted_bytes;
    free(send);
    free(recv);
    return good;
}

static bool check_message_bytes(fsm_comm *comm)
{
    static const int64_t size[TYPES] = {4, 2, 8, 8};
    bool good = true;
    for (int t = 0; t < TYPES && comm->size > 1; t++) {
        int64_t bytes;
        good &= pass_on(comm, types[t], 1234, &bytes) && bytes == 1234 * size[t];
    }
    return good || complain(comm, "messages of a type", 0);
}

/* ---- sums of bfloat16 ---- */

typedef uint16_t addend(int s, int64_t i);

/* So small that every sum over MAX_RANKS of them is a bfloat16. */
static uint16_t small_integer(int s, int64_t i)
{
    return fsm_to_bf16((float)((s + i) % 5 - 2));
}

static double drawn(int s, int64_t i)
{
    uint64_t bits = fsm_rng_bits(17, FSM_RNG_TEST, (uint64_t)(s * 10000019) + (uint64_t)i);
    return ldexp((double)(int64_t)bits, -63) * ldexp(1, (int)(bits % 7)); /* some cancel */
}

static uint16_t any_value(int s, int64_t i)
{
    return fsm_to_bf16((float)drawn(s, i));
}

/* In float, in the order of ranks, rounded once. */
static uint16_t rounded_sum(addend *value, int ranks, int64_t i)
{
    float sum = fsm_from_bf16(value(0, i));
    for (int s = 1; s < ranks; s++) sum += fsm_from_bf16(value(s, i));
    return fsm_to_bf16(sum);
}

/* Within half a unit of the result's last place, and what float additions add to that. */
static bool is_near(addend *value, int ranks, int64_t i, uint16_t got)
{
    double sum = 0, size = 0;
    for (int s = 0; s < ranks; s++) {
        sum += fsm_from_bf16(value(s, i));
        size += fabs(fsm_from_bf16(value(s, i)));
    }
    return fabs(fsm_from_bf16(got) - sum) <= ldexp(fabs(sum), -8) + ranks * ldexp(size, -23);
}

/* Elements [first, first + n) of the sum. */
static bool is_sum(addend *value, int ranks, int64_t first, int64_t n, const uint16_t *got)
{
    for (int64_t i = 0; i < n; i++)
        if (got[i] != rounded_sum(value, ranks, first + i) || !is_near(value, ranks, first + i, got[i])) return false;
    return true;
}

static uint16_t *make_halves(const fsm_comm *comm, addend *value, int64_t n)
{
    uint16_t *halves = malloc(sizeof *halves * (size_t)(n + 1));
    if (!halves) abort();
    for (int64_t i = 0; i < n; i++) halves[i] = value(comm->rank, i);
    halves[n] = 0x1234;
    return halves;
}

static bool all_reduce(fsm_comm *comm, addend *value, int64_t n)
{
    fsm_comm_op op;
    uint16_t *halves = make_halves(comm, value, n);
    bool good = finished(fsm_comm_start_all_reduce(&op, comm, FSM_COMM_BF16, halves, n), &op);
    good &= is_sum(value, comm->size, 0, n, halves) && halves[n] == 0x1234;
    free(halves);
    return good;
}

static bool reduce_scatter(fsm_comm *comm, addend *value, int variant)
{
    fsm_comm_op op;
    int64_t counts[MAX_RANKS], n = 0, first = 0;
    for (int d = 0; d < comm->size; d++) {
        counts[d] = count_of(comm, variant, 0, d);
        if (d < comm->rank) first += counts[d];
        n += counts[d];
    }
    uint16_t *send = make_halves(comm, value, n), *recv = make_halves(comm, value, counts[comm->rank]);
    bool good = finished(fsm_comm_start_reduce_scatter(&op, comm, FSM_COMM_BF16, send, recv, counts), &op);
    good &= is_sum(value, comm->size, first, counts[comm->rank], recv) && recv[counts[comm->rank]] == 0x1234;
    for (int64_t i = 0; i < n; i++) good &= send[i] == value(comm->rank, i);
    free(send);
    free(recv);
    return good;
}

/* Exact sums are exact, whatever the oracle. */
static bool check_small_integers(void)
{
    for (int64_t i = 0; i < 100; i++) {
        float sum = 0;
        for (int s = 0; s < MAX_RANKS; s++) sum += fsm_from_bf16(small_integer(s, i));
        if (fsm_from_bf16(rounded_sum(small_integer, MAX_RANKS, i)) != sum) return false;
    }
    return true;
}

static bool check_bf16_sums(fsm_comm *comm)
{
    addend *const values[] = {small_integer, any_value};
    const int64_t segments = comm->segment_elems * comm->size; /* 0 alone */
    const int64_t counts[] = {0, 1, 7, 5000, segments + 1, 5 * segments / 2 + 3};
    bool good = check_small_integers();
    for (int a = 0; a < 2; a++) {
        for (int v = 0; v < 6; v++)
            good &= all_reduce(comm, values[a], counts[v]) || complain(comm, "all-reduce of bfloat16", v);
        for (int v = 0; v < VARIANTS; v++)
            good &= reduce_scatter(comm, values[a], v) || complain(comm, "reduce-scatter of bfloat16", v);
    }
    return good;
}

/* What is not a number stays none, and infinity is one. */
static bool check_not_finite(fsm_comm *comm)
{
    fsm_comm_op op;
    uint16_t halves[64] = {0};
    for (int i = 0; i < 64; i++)
        halves[i] = fsm_to_bf16(comm->rank == comm->size - 1 && i % 2 ? (i % 4 == 1 ? NAN : INFINITY) : 1);
    bool good = finished(fsm_comm_start_all_reduce(&op, comm, FSM_COMM_BF16, halves, 64), &op);
    for (int i = 1; i < 64; i += 2)
        good &= i % 4 == 1 ? isnan(fsm_from_bf16(halves[i])) : isinf(fsm_from_bf16(halves[i]));
    for (int i = 0; i < 64; i += 2) good &= fsm_from_bf16(halves[i]) == (float)comm->size;
    return good || complain(comm, "infinity and NaN", 0);
}

/* ---- what sums cost, and whose they are ---- */

/* Bytes posted for a reduce-scatter of n elements a rank. */
static int64_t bytes_posted(fsm_comm *comm, fsm_comm_type type, int64_t n, bool *good)
{
    counter c;
    fsm_comm_op op;
    int64_t counts[MAX_RANKS];
    size_t total;
    for (int r = 0; r < comm->size; r++) counts[r] = n;
    unsigned char *send = room_for(type, counts, comm->size, &total), *recv = room_for(type, counts, 1, &total);
    attach_counter(comm, &counted, &c);
    *good &= finished(fsm_comm_start_reduce_scatter(&op, comm, type, send, recv, counts), &op);
    comm->data->detach(comm);
    free(send);
    free(recv);
    return c.posted_bytes;
}

static bool check_sum_bytes(fsm_comm *comm)
{
    const int64_t n = 70001;
    bool good = true;
    good &= bytes_posted(comm, FSM_COMM_FP32, n, &good) == 4 * n * (comm->size - 1);
    good &= bytes_posted(comm, FSM_COMM_BF16, n, &good) == 2 * n * (comm->size - 1);
    return good || complain(comm, "bytes of sums", 0);
}

static bool check_sums_of_the_transport(fsm_comm *comm)
{
    counter c;
    fsm_comm_op op;
    fsm_data_table table = counted;
    float values[2] = {1, 2};
    const int64_t counts[MAX_RANKS] = {0};
    table.start_reduce_scatter = counted_reduce_scatter;
    table.start_all_reduce = counted_all_reduce;
    attach_counter(comm, &table, &c);
    bool good = finished(fsm_comm_start_reduce_scatter(&op, comm, FSM_COMM_FP32, values, values, counts), &op);
    good &= finished(fsm_comm_start_all_reduce(&op, comm, FSM_COMM_BF16, values, 2), &op);
    good &= c.sums == 2 && c.posted_bytes == 0;
    good &= fsm_comm_start_all_reduce(&op, comm, FSM_COMM_INT64, values, 1) == FSMOE_ERROR_INTERNAL;
    good &= fsm_comm_start_reduce_scatter(&op, comm, FSM_COMM_FP64, values, values, counts) == FSMOE_ERROR_INTERNAL;
    comm->data->detach(comm);
    return good || complain(comm, "sums of the transport", 0);
}

GROUP_TEST(moves_every_type_bit_for_bit, check_moves)
GROUP_TEST(messages_cost_the_bytes_of_their_type, check_message_bytes)
GROUP_TEST(bf16_sums_are_rounded_once, check_bf16_sums)
GROUP_TEST(bf16_sums_keep_what_is_not_finite, check_not_finite)
GROUP_TEST(bf16_sums_cost_two_bytes_an_element, check_sum_bytes)
GROUP_TEST(sums_of_a_transport_replace_those_of_messages, check_sums_of_the_transport)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comm_moves_every_type_bit_for_bit),
        cmocka_unit_test(test_comm_messages_cost_the_bytes_of_their_type),
        cmocka_unit_test(test_comm_bf16_sums_are_rounded_once),
        cmocka_unit_test(test_comm_bf16_sums_keep_what_is_not_finite),
        cmocka_unit_test(test_comm_bf16_sums_cost_two_bytes_an_element),
        cmocka_unit_test(test_comm_sums_of_a_transport_replace_those_of_messages),
    };
    if (!enter_world()) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(the_world);
    return failed;
}
