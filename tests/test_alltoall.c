/* Every all-to-all algorithm gives the elements that were sent, bit for bit, for all shapes of nodes and all sorts of
 * counts, several operations in a row. Ranks are
 *   taken turns with: one thread moves all of them in random order, so that nothing may wait inside a call;
 *   threads, for the sanitizer;
 *   processes, under mpirun.
 */
#include "base/rng.h"
#include "comm/world.h"
#include "count_allocations.h"
#include "moe/dispatch/alltoall.h"
#include "thread_comm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST_RANKS = THREAD_MOST_RANKS, KINDS = 3, ROUNDS = 12, GUARD = 8 };

static const char *const kind_names[KINDS] = {"2dh", "direct", "1dh"};

static fsm_comm *world;

typedef struct shape {
    int nodes, local;
} shape;

static const shape shapes[] = {{2, 4}, {4, 2}, {2, 2}, {3, 2}, {2, 3}, {1, 4}, {4, 1}, {1, 1}};

/* ---- counts ---- */

static int64_t draw(uint64_t seed, int round, int64_t index)
{
    return (int64_t)(fsm_rng_bits(seed, FSM_RNG_TEST + (uint32_t)round, (uint64_t)index) >> 1);
}

/* Before MIXED_SEEDS rounds differ in sort; then they do not, so that memory is taken for that sort alone. */
enum { SORTS = 9, MIXED_SEEDS = 6 * SORTS, ALL_SEEDS = MIXED_SEEDS + SORTS };

static int sort_of(uint64_t seed, int round)
{
    return (int)((seed < MIXED_SEEDS ? seed + (uint64_t)round : seed) % SORTS);
}

/* Elements from s to d: even, uneven, few, none, from one rank, to one rank, of one pair; many, so that they are sent
 * when they are asked for; as many as memory is taken for. */
static int64_t count_of(uint64_t seed, int round, int size, int s, int d)
{
    int64_t whole = draw(seed, round, 0), each = draw(seed, round, 100 + s * size + d);
    int first = (int)(draw(seed, round, 1) % size), second = (int)(draw(seed, round, 2) % size);
    switch (sort_of(seed, round)) {
    case 0:
        return whole % 40;
    case 1:
        return each % 50;
    case 2:
        return each % 4 ? 0 : each % 61;
    case 3:
        return 0;
    case 4:
        return s == first ? 50 : 0;
    case 5:
        return d == first ? 50 : 0;
    case 6:
        return s == first && d == second ? 70 : 0;
    case 7:
        return 2000 + each % 3000;
    default:
        return 5000;
    }
}

/* One case: in odd rounds elements go back, as a combine's do. */
typedef struct plan {
    uint64_t seed;
    shape shape;
} plan;

static int64_t elems_of(const plan *p, int round, int from, int to)
{
    int size = p->shape.nodes * p->shape.local;
    return round % 2 ? count_of(p->seed, round, size, to, from) : count_of(p->seed, round, size, from, to);
}

/* What an fsm_alltoall is told of all rounds. */
static void find_most(const plan *p, int64_t *rank_elems, int64_t *pair_elems)
{
    int size = p->shape.nodes * p->shape.local;
    *rank_elems = *pair_elems = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (int s = 0; s < size; s++) {
            int64_t sum = 0;
            for (int d = 0; d < size; d++) {
                int64_t n = count_of(p->seed, round, size, s, d);
                sum += n;
                if (n > *pair_elems) *pair_elems = n;
            }
            if (sum > *rank_elems) *rank_elems = sum;
        }
}

/* Any bits, those of NaN too. */
static uint32_t bits_of(int round, int s, int d, int64_t i)
{
    uint32_t x = (uint32_t)(((round * MOST_RANKS + s) * MOST_RANKS + d) * 100003 + i) * 2654435761u;
    return x ^ x >> 15;
}

/* ---- one rank ---- */

typedef struct rank {
    const plan *plan;
    fsm_comm *comm;
    fsm_memory memory;
    fsm_alltoall alltoall[KINDS];
    char *buffers[KINDS][FSM_ALLTOALL_BUFFERS]; /* each with GUARD bytes behind it */
    /* the present round */
    int round;
    bool under_way;
    fsm_comm_op op;
    int64_t send_counts[MOST_RANKS], recv_counts[MOST_RANKS];
    char *send, *recv;
} rank;

static fsm_topo topo_of(shape s, int ep, int esp, int index)
{
    const fsmoe_parallel_config parallel = {.ep_size = ep, .esp_size = esp, .mp_size = 1};
    fsm_topo topo;
    if (fsm_topo_create(s.nodes, s.local, &parallel, index, &topo) != FSMOE_OK) abort();
    return topo;
}

/* Elements of rows: those of even seeds are floats, of odd ones halves. */
static fsm_comm_type type_of(const rank *r)
{
    return r->plan->seed % 2 ? FSM_COMM_BF16 : FSM_COMM_FP32;
}

static size_t bytes_of(const rank *r, int64_t elems)
{
    return fsm_comm_bytes(type_of(r), elems);
}

static char *guarded(size_t bytes)
{
    char *array = malloc(bytes + GUARD);
    if (!array) abort();
    memset(array, 0x5a, bytes + GUARD);
    return array;
}

static bool guard_holds(const char *array, size_t bytes)
{
    for (size_t i = bytes; i < bytes + GUARD; i++)
        if (array[i] != 0x5a) return false;
    return true;
}

static void take(rank *r, fsm_memory *memory)
{
    int64_t rank_elems, pair_elems;
    find_most(r->plan, &rank_elems, &pair_elems);
    for (int k = 0; k < KINDS; k++) fsm_alltoall_take(memory, type_of(r), rank_elems, pair_elems, &r->alltoall[k]);
}

static void create_rank(const plan *p, fsm_comm *comm, rank *r)
{
    fsm_memory measure = fsm_memory_measure(FSM_REAL_BYTES);
    fsm_topo topo = topo_of(p->shape, comm->size, 1, comm->rank);
    *r = (rank){.plan = p, .comm = comm};
    for (int k = 0; k < KINDS; k++)
        if (fsm_alltoall_select(kind_names[k], &topo, comm, &r->alltoall[k]) != FSMOE_OK) abort();
    take(r, &measure);
    if (fsm_memory_create(&measure, &r->memory) != FSMOE_OK) abort();
    take(r, &r->memory);
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < FSM_ALLTOALL_BUFFERS && r->alltoall[k].kind->buffer_elems; i++)
            r->alltoall[k].buffer[i] = r->buffers[k][i] =
                guarded(bytes_of(r, r->alltoall[k].kind->buffer_elems(&r->alltoall[k])));
}

static void destroy_rank(rank *r)
{
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < FSM_ALLTOALL_BUFFERS; i++) free(r->buffers[k][i]);
    fsm_memory_destroy(&r->memory);
}

static int64_t between(const void *user, int from, int to)
{
    const rank *r = user;
    return elems_of(r->plan, r->round, from, to);
}

/* Fills or checks the blocks of one direction; the other end of block i is rank i. */
static int64_t each_elem(const rank *r, const int64_t *counts, bool sent, char *blocks, bool fill)
{
    int64_t at = 0, wrong = 0;
    for (int other = 0; other < r->comm->size; other++)
        for (int64_t i = 0; i < counts[other]; i++, at++) {
            uint32_t bits =
                sent ? bits_of(r->round, r->comm->rank, other, i) : bits_of(r->round, other, r->comm->rank, i);
            if (fill) memcpy(blocks + bytes_of(r, at), &bits, bytes_of(r, 1));
            else wrong += memcmp(blocks + bytes_of(r, at), &bits, bytes_of(r, 1)) != 0;
        }
    return wrong;
}

static int64_t sum_of(const int64_t *counts, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += counts[i];
    return sum;
}

static fsm_alltoall *alltoall_of(rank *r)
{
    return &r->alltoall[(r->plan->seed / SORTS + (uint64_t)r->round) % KINDS];
}

static void prepare_round(rank *r)
{
    int size = r->comm->size;
    for (int other = 0; other < size; other++) {
        r->send_counts[other] = elems_of(r->plan, r->round, r->comm->rank, other);
        r->recv_counts[other] = elems_of(r->plan, r->round, other, r->comm->rank);
    }
    r->send = guarded(bytes_of(r, sum_of(r->send_counts, size)));
    r->recv = guarded(bytes_of(r, sum_of(r->recv_counts, size)));
    each_elem(r, r->send_counts, true, r->send, true);
}

static fsmoe_status start_round(rank *r)
{
    const fsm_alltoall_counts counts = {r->send_counts, r->recv_counts, between, r};
    r->under_way = true;
    return fsm_alltoall_start(alltoall_of(r), &r->op, type_of(r), r->send, r->recv, &counts);
}

static bool buffers_hold(rank *r)
{
    const fsm_alltoall *a = alltoall_of(r);
    bool hold = true;
    for (int i = 0; i < FSM_ALLTOALL_BUFFERS && a->kind->buffer_elems; i++)
        hold &= guard_holds(a->buffer[i], bytes_of(r, a->kind->buffer_elems(a)));
    return hold;
}

/* Whether everything is where it belongs, and nothing else was touched. */
static bool end_round(rank *r)
{
    int64_t sent = sum_of(r->send_counts, r->comm->size), received = sum_of(r->recv_counts, r->comm->size);
    int64_t wrong = each_elem(r, r->recv_counts, false, r->recv, false);
    bool good = wrong == 0 && guard_holds(r->recv, bytes_of(r, received)) && buffers_hold(r) &&
                guard_holds(r->send, bytes_of(r, sent)) && each_elem(r, r->send_counts, true, r->send, false) == 0;
    if (!good)
        fprintf(stderr, "rank %d, %d nodes of %d, seed %d, round %d, %s: %lld of %lld elements are wrong\n",
                r->comm->rank, r->plan->shape.nodes, r->plan->shape.local, (int)r->plan->seed, r->round,
                alltoall_of(r)->kind->name, (long long)wrong, (long long)received);
    free(r->send);
    free(r->recv);
    r->under_way = false;
    r->round++;
    return good;
}

/* ---- ranks that take turns ---- */

/* Begins, moves or ends what the rank is at; false: something is wrong, or it allocates. */
static bool move_rank(rank *r)
{
    bool done = false;
    if (!r->under_way) prepare_round(r);
    long before = n_allocations;
    fsmoe_status status = r->under_way ? fsm_comm_advance(&r->op, &done) : start_round(r);
    if (status != FSMOE_OK || n_allocations != before) return false;
    return !done || end_round(r);
}

/* Some ranks are often rounds ahead of others. */
static bool take_turns(rank *ranks, int size, uint64_t seed)
{
    int left = size;
    for (uint64_t turn = 0; left > 0; turn++) {
        rank *r = &ranks[fsm_rng_bits(seed, FSM_RNG_TEST + 99, turn) % (uint64_t)size];
        if (r->round == ROUNDS) continue;
        if (turn == 1000000) return false; /* they wait for each other */
        if (!move_rank(r)) return false;
        left -= r->round == ROUNDS;
    }
    return true;
}

static bool check_turns(const plan *p)
{
    int size = p->shape.nodes * p->shape.local;
    thread_group *group = thread_group_create(size);
    rank ranks[MOST_RANKS];
    for (int i = 0; i < size; i++) create_rank(p, thread_comm_of(group, i), &ranks[i]);
    bool good = take_turns(ranks, size, p->seed);
    if (!good) fprintf(stderr, "%d nodes of %d, seed %d\n", p->shape.nodes, p->shape.local, (int)p->seed);
    for (int i = 0; i < size; i++) {
        destroy_rank(&ranks[i]);
        fsm_comm_destroy(ranks[i].comm);
    }
    return good;
}

static void test_alltoall_algorithms_deliver_every_bit_and_never_wait(void **state)
{
    (void)state;
    if (world->size > 1) skip();
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (uint64_t seed = 0; seed < ALL_SEEDS; seed++) {
            const plan p = {seed, shapes[s]};
            assert_true(check_turns(&p));
        }
}

/* ---- ranks that are threads or processes ---- */

static bool run_rounds(const plan *p, fsm_comm *comm)
{
    rank r;
    bool good = true;
    create_rank(p, comm, &r);
    while (good && r.round < ROUNDS) {
        prepare_round(&r);
        good = start_round(&r) == FSMOE_OK && fsm_comm_finish(&r.op) == FSMOE_OK && end_round(&r);
    }
    destroy_rank(&r);
    return good;
}

typedef struct thread_rank {
    const plan *plan;
    fsm_comm *comm;
    pthread_t thread;
} thread_rank;

static void *run_thread(void *user)
{
    thread_rank *t = user;
    if (!run_rounds(t->plan, t->comm)) abort(); /* the others wait for it */
    fsm_comm_destroy(t->comm);
    return NULL;
}

static void test_alltoall_ranks_as_threads(void **state)
{
    (void)state;
    if (world->size > 1) skip();
    static const shape of_eight[] = {{2, 4}, {4, 2}};
    for (int i = 0; i < 2; i++)
        for (uint64_t seed = 0; seed < ALL_SEEDS; seed += 7) {
            const plan p = {seed, of_eight[i]};
            thread_group *group = thread_group_create(8);
            thread_rank threads[8];
            for (int r = 0; r < 8; r++) {
                threads[r] = (thread_rank){.plan = &p, .comm = thread_comm_of(group, r)};
                assert_int_equal(pthread_create(&threads[r].thread, NULL, run_thread, &threads[r]), 0);
            }
            for (int r = 0; r < 8; r++) pthread_join(threads[r].thread, NULL);
        }
}

static void test_alltoall_ranks_as_processes(void **state)
{
    (void)state;
    for (int local = 1; local <= world->size; local++)
        for (uint64_t seed = 0; seed < ALL_SEEDS && world->size % local == 0; seed++) {
            const plan p = {seed, {world->size / local, local}};
            if (!run_rounds(&p, world)) world->control->abort(world, 1);
        }
}

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
    if (world->size > 1) skip();
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
    if (world->size > 1) skip();
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
    if (world->size > 1) skip();
    for (int kind = 0; kind < KINDS; kind += 2) {
        int n = 0;
        while (run_spied((shape){2, 2}, kind, n) != FSMOE_OK) {
            assert_string_equal(fsmoe_last_error(), "the link is down");
            n++;
        }
        assert_int_equal(n, kind == 0 ? 8 : 6);
    }
}

/* ---- what is refused ---- */

static void emit_many(fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    (void)a, (void)counts;
    for (int i = 0; i < 9; i++) fsm_stages_wait(stages, 0);
}

/* A kind that has not said how many stages it needs has four a rank, and four more. */
static void test_alltoall_more_stages_than_memory_are_refused(void **state)
{
    (void)state;
    static const fsm_alltoall_kind many = {.name = "many", .emit = emit_many};
    const int64_t none[1] = {0};
    const fsm_alltoall_counts counts = {none, none, NULL, NULL};
    fsm_memory measure = {0}, memory;
    fsm_comm_op op;
    fsm_alltoall a = {.kind = &many, .size = 1};
    assert_int_equal(fsm_comm_create_self(&a.comm), FSMOE_OK);
    fsm_alltoall_take(&measure, FSM_COMM_FP32, 1, 1, &a);
    assert_int_equal(fsm_memory_create(&measure, &memory), FSMOE_OK);
    fsm_alltoall_take(&memory, FSM_COMM_FP32, 1, 1, &a);
    assert_int_equal(fsm_alltoall_start(&a, &op, FSM_COMM_FP32, NULL, NULL, &counts), FSMOE_ERROR_INTERNAL);
    assert_non_null(strstr(fsmoe_last_error(), "9 stages, where memory is taken for 8"));
    fsm_memory_destroy(&memory);
    fsm_comm_destroy(a.comm);
}

static fsmoe_status select_on(const char *name, shape s, int ep, int esp, int index, fsm_alltoall *a)
{
    fsm_topo topo = topo_of(s, ep, esp, index);
    return fsm_alltoall_select(name, &topo, NULL, a);
}

/* Ranks 0, 2, 4 exchange, two of them on the first node and one on the second. */
static void test_alltoall_uneven_nodes_are_refused_by_those_that_pass_on(void **state)
{
    (void)state;
    fsm_alltoall a;
    for (int index = 0; index < 6; index++) {
        assert_int_equal(select_on("direct", (shape){2, 3}, 3, 2, index, &a), FSMOE_OK);
        for (int kind = 0; kind < KINDS; kind += 2) {
            assert_int_equal(select_on(kind_names[kind], (shape){2, 3}, 3, 2, index, &a), FSMOE_ERROR_LAYOUT);
            assert_non_null(strstr(fsmoe_last_error(), kind_names[kind]));
            assert_non_null(
                strstr(fsmoe_last_error(), index % 2 == index / 3 ? "one node holds 2" : "one node holds 1"));
            assert_non_null(strstr(fsmoe_last_error(), "parallel.ep_size"));
        }
    }
}

/* Three groups of four on nodes of six: the middle one's ranks are two on each node. */
static void test_alltoall_each_group_finds_its_own_nodes(void **state)
{
    (void)state;
    fsm_alltoall a;
    for (int index = 0; index < 12; index++) {
        assert_int_equal(select_on("2dh", (shape){2, 6}, 4, 1, index, &a), FSMOE_OK);
        bool middle = index / 4 == 1;
        assert_int_equal(a.nodes, middle ? 2 : 1);
        assert_int_equal(a.local, middle ? 2 : 4);
        assert_string_equal(a.kind->name, middle ? "2dh" : "direct");
    }
    assert_int_equal(select_on("1dh", (shape){2, 4}, 4, 2, 5, &a), FSMOE_OK);
    assert_true(a.nodes == 2 && a.local == 2 && a.kind == &fsm_alltoall_1dh);
}

static void test_alltoall_unknown_names_are_refused(void **state)
{
    (void)state;
    fsm_alltoall a;
    assert_int_equal(select_on("3dh", (shape){2, 2}, 4, 1, 0, &a), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "moe.alltoall: no all-to-all is named '3dh'"));
}

int main(void)
{
    fsmoe_world *the_world;
    if (fsmoe_world_create(&the_world) != FSMOE_OK) return 1;
    world = the_world->comm;
    if (world->size > MOST_RANKS) return 1;
    if (world->rank > 0 && !freopen("/dev/null", "w", stdout)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alltoall_algorithms_deliver_every_bit_and_never_wait),
        cmocka_unit_test(test_alltoall_ranks_as_threads),
        cmocka_unit_test(test_alltoall_ranks_as_processes),
        cmocka_unit_test(test_alltoall_hierarchical_ones_cross_nodes_only_where_they_should),
        cmocka_unit_test(test_alltoall_costs_the_bytes_of_its_type),
        cmocka_unit_test(test_alltoall_more_stages_than_memory_are_refused),
        cmocka_unit_test(test_alltoall_failures_of_messages_are_passed_on),
        cmocka_unit_test(test_alltoall_uneven_nodes_are_refused_by_those_that_pass_on),
        cmocka_unit_test(test_alltoall_each_group_finds_its_own_nodes),
        cmocka_unit_test(test_alltoall_unknown_names_are_refused),
    };
    alarm(300); /* ranks that wait for each other would wait for ever */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(the_world);
    return failed;
}
