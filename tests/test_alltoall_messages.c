/* What all-to-all algorithms ask of the transport: which ranks send to which, how many bytes are sent and copied, and
 * that a message which fails fails the operation. Oracle: counts by the definition of each algorithm. */
#include "alltoall_case.h"

#include <unistd.h>

/* ---- who sends to whom ---- */

static int messages[MOST_RANKS][MOST_RANKS], collectives, messages_left; /* that do not fail */
static int64_t sent_bytes[MOST_RANKS], copied_bytes[MOST_RANKS];

static fsmoe_status spy_post_send(fsm_comm *comm, int slot, int to, fsm_comm_type type, const void *elems,
                                  int64_t count)
{
    if (messages_left-- == 0) return fsm_fail(FSMOE_ERROR_COMM, "the link is down");
    messages[comm->rank][to]++;
    sent_bytes[comm->rank] += (int64_t)fsm_comm_bytes(type, count);
    return thread_post_send(comm, slot, to, type, elems, count);
}

static fsmoe_status spy_start_all_to_all(fsm_comm *comm, fsm_comm_type type, const void *send,
                                         const int64_t *send_counts, void *recv, const int64_t *recv_counts)
{
    collectives++;
    return thread_start_all_to_all(comm, type, send, send_counts, recv, recv_counts);
}

static void spy_copy(fsm_comm *comm, void *to, const void *from, size_t bytes)
{
    copied_bytes[comm->rank] += (int64_t)bytes;
    memcpy(to, from, bytes);
}

/* One operation of one kind with elements for everyone, until it is done or fails, which ranks are then left in. */
static fsmoe_status run_spied(shape s, int kind, int most_messages)
{
    const plan p = {(uint64_t)(SORTS * kind + 7), s};
    int size = s.nodes * s.local, left = size;
    fsm_data_table spied = thread_comm_data;
    thread_group *group = thread_group_create(size);
    rank ranks[MOST_RANKS];
    fsmoe_status status = FSMOE_OK;
    memset(messages, 0, sizeof messages);
    memset(sent_bytes, 0, sizeof sent_bytes);
    memset(copied_bytes, 0, sizeof copied_bytes);
    collectives = 0;
    messages_left = most_messages;
    spied.post_send = spy_post_send;
    spied.start_all_to_all = spy_start_all_to_all;
    spied.copy = spy_copy;
    for (int i = 0; i < size; i++) {
        create_rank(&p, thread_comm_of(group, i), &ranks[i]);
        ranks[i].comm->data = &spied;
        prepare_round(&ranks[i]);
        if (status == FSMOE_OK) status = start_round(&ranks[i]);
    }
    for (int i = 0; left > 0 && status == FSMOE_OK; i = (i + 1) % size) {
        bool done;
        if (!ranks[i].under_way) continue;
        status = fsm_comm_advance(&ranks[i].op, &done);
        if (status == FSMOE_OK && done) assert_true(end_round(&ranks[i]));
        left -= !ranks[i].under_way;
    }
    for (int i = 0; i < size; i++) {
        if (ranks[i].round == 0) { /* it has not ended */
            free(ranks[i].send);
            free(ranks[i].recv);
        }
        destroy_rank(&ranks[i]);
        fsm_comm_destroy(ranks[i].comm);
    }
    return status;
}

/* Messages from s to d, by the definition of each algorithm. */
static int expected_1dh(int local, int s, int d)
{
    bool together = s / local == d / local;
    if (s == d) return 0;
    return together ? s % local == 0 || d % local == 0 : s % local == 0 && d % local == 0;
}

static int expected_2dh(int local, int s, int d)
{
    return s != d && (s / local == d / local || s % local == d % local);
}

static int expected_none(int local, int s, int d)
{
    (void)local, (void)s, (void)d;
    return 0;
}

static void test_alltoall_hierarchical_ones_cross_nodes_only_where_they_should(void **state)
{
    (void)state;
    int (*const expected[KINDS])(int local, int s, int d) = {expected_2dh, expected_none, expected_1dh};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = 0; kind < KINDS; kind++) {
            int local = shapes[i].local, size = shapes[i].nodes * local;
            bool flat = local == 1 || shapes[i].nodes == 1 || strcmp(kind_names[kind], "direct") == 0;
            assert_int_equal(run_spied(shapes[i], kind, 1000), FSMOE_OK);
            assert_int_equal(collectives, flat ? size : 0);
            for (int s = 0; s < size; s++)
                for (int d = 0; d < size; d++) assert_int_equal(messages[s][d], flat ? 0 : expected[kind](local, s, d));
        }
}

/* Elements that a rank sends and copies on two nodes of two, by the definition of each algorithm; s -> d: count_of. */
static int64_t elems_sent_2dh(const plan *p, int me)
{
    int64_t n = 0;
    int node = me / 2, number = me % 2;
    for (int m = 0; m < 2; m++) n += elems_of(p, 0, me, 2 * m + 1 - number);
    for (int s = 2 * node; s < 2 * node + 2; s++) n += elems_of(p, 0, s, 2 * (1 - node) + number);
    return n;
}

/* Every element is copied where it sets out, and once more where it is passed on. */
static int64_t elems_copied_2dh(const plan *p, int me)
{
    int64_t n = 0;
    for (int d = 0; d < 4; d++) n += elems_of(p, 0, me, d);
    for (int s = me / 2 * 2; s < me / 2 * 2 + 2; s++)
        for (int m = 0; m < 2; m++) n += elems_of(p, 0, s, 2 * m + me % 2);
    return n;
}

/* Messages and copies are all that the transport sees, and the bytes are those of the type. */
static void test_alltoall_costs_the_bytes_of_its_type(void **state)
{
    (void)state;
    const shape two_by_two = {2, 2};
    const plan p = {7, two_by_two}; /* of 2dh; halves */
    assert_int_equal(run_spied(two_by_two, 0, 1000), FSMOE_OK);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(sent_bytes[r], 2 * elems_sent_2dh(&p, r));
        assert_int_equal(copied_bytes[r], 2 * elems_copied_2dh(&p, r));
    }
}

/* Every message made to fail in turn. */
static void test_alltoall_failures_of_messages_are_passed_on(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind += 2) {
        int n = 0;
        while (run_spied((shape){2, 2}, kind, n) != FSMOE_OK) {
            assert_string_equal(fsmoe_last_error(), "the link is down");
            n++;
        }
        assert_int_equal(n, kind == 0 ? 8 : 6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alltoall_hierarchical_ones_cross_nodes_only_where_they_should),
        cmocka_unit_test(test_alltoall_costs_the_bytes_of_its_type),
        cmocka_unit_test(test_alltoall_failures_of_messages_are_passed_on),
    };
    alarm(300); /* ranks that wait for each other would wait for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
