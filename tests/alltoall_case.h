/* All-to-alls of ranks on nodes: how many elements go from whom to whom, of all sorts, and what a rank does in a round.
 * In:  a shape of nodes, a seed; communicators of all ranks. Out: rounds of operations of every kind in a row, each of
 *      which says whether every element is where it belongs and nothing else was touched.
 */
#ifndef FSM_TESTS_ALLTOALL_CASE_H
#define FSM_TESTS_ALLTOALL_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "moe/dispatch/alltoall.h"
#include "thread_comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RANKS = THREAD_MOST_RANKS, KINDS = 3, ROUNDS = 12, GUARD = 8 };

static const char *const kind_names[KINDS] = {"2dh", "direct", "1dh"};

typedef struct shape {
    int nodes, local;
} shape;

static const shape shapes[] = {{2, 4}, {4, 2}, {2, 2}, {3, 2}, {2, 3}, {1, 4}, {4, 1}, {1, 1}};

/* ---- counts ---- */

static inline int64_t draw(uint64_t seed, int round, int64_t index)
{
    return (int64_t)(fsm_rng_bits(seed, FSM_RNG_TEST + (uint32_t)round, (uint64_t)index) >> 1);
}

/* Before MIXED_SEEDS rounds differ in sort; then they do not, so that memory is taken for that sort alone. */
enum { SORTS = 9, MIXED_SEEDS = 6 * SORTS, ALL_SEEDS = MIXED_SEEDS + SORTS };

static inline int sort_of(uint64_t seed, int round)
{
    return (int)((seed < MIXED_SEEDS ? seed + (uint64_t)round : seed) % SORTS);
}

/* Elements from s to d: even, uneven, few, none, from one rank, to one rank, of one pair; many, so that they are sent
 * when they are asked for; as many as memory is taken for. */
static inline int64_t count_of(uint64_t seed, int round, int size, int s, int d)
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

static inline int64_t elems_of(const plan *p, int round, int from, int to)
{
    int size = p->shape.nodes * p->shape.local;
    return round % 2 ? count_of(p->seed, round, size, to, from) : count_of(p->seed, round, size, from, to);
}

/* What an fsm_alltoall is told of all rounds. */
static inline void find_most(const plan *p, int64_t *rank_elems, int64_t *pair_elems)
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
static inline uint32_t bits_of(int round, int s, int d, int64_t i)
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

static inline fsm_topo topo_of(shape s, int ep, int esp, int index)
{
    const fsmoe_parallel_config parallel = {.ep_size = ep, .esp_size = esp, .mp_size = 1};
    fsm_topo topo;
    if (fsm_topo_create(s.nodes, s.local, &parallel, index, &topo) != FSMOE_OK) abort();
    return topo;
}

/* Elements of rows: those of even seeds are floats, of odd ones halves. */
static inline fsm_comm_type type_of(const rank *r)
{
    return r->plan->seed % 2 ? FSM_COMM_BF16 : FSM_COMM_FP32;
}

static inline size_t bytes_of(const rank *r, int64_t elems)
{
    return fsm_comm_bytes(type_of(r), elems);
}

static inline char *guarded(size_t bytes)
{
    char *array = malloc(bytes + GUARD);
    if (!array) abort();
    memset(array, 0x5a, bytes + GUARD);
    return array;
}

static inline bool guard_holds(const char *array, size_t bytes)
{
    for (size_t i = bytes; i < bytes + GUARD; i++)
        if (array[i] != 0x5a) return false;
    return true;
}

static inline void take(rank *r, fsm_memory *memory)
{
    int64_t rank_elems, pair_elems;
    find_most(r->plan, &rank_elems, &pair_elems);
    for (int k = 0; k < KINDS; k++) fsm_alltoall_take(memory, type_of(r), rank_elems, pair_elems, &r->alltoall[k]);
}

static inline void create_rank(const plan *p, fsm_comm *comm, rank *r)
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

static inline void destroy_rank(rank *r)
{
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < FSM_ALLTOALL_BUFFERS; i++) free(r->buffers[k][i]);
    fsm_memory_destroy(&r->memory);
}

static inline int64_t between(const void *user, int from, int to)
{
    const rank *r = user;
    return elems_of(r->plan, r->round, from, to);
}

/* Fills or checks the blocks of one direction; the other end of block i is rank i. */
static inline int64_t each_elem(const rank *r, const int64_t *counts, bool sent, char *blocks, bool fill)
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

static inline int64_t sum_of(const int64_t *counts, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += counts[i];
    return sum;
}

static inline fsm_alltoall *alltoall_of(rank *r)
{
    return &r->alltoall[(r->plan->seed / SORTS + (uint64_t)r->round) % KINDS];
}

static inline void prepare_round(rank *r)
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

static inline fsmoe_status start_round(rank *r)
{
    const fsm_alltoall_counts counts = {r->send_counts, r->recv_counts, between, r};
    r->under_way = true;
    return fsm_alltoall_start(alltoall_of(r), &r->op, type_of(r), r->send, r->recv, &counts);
}

static inline bool buffers_hold(rank *r)
{
    const fsm_alltoall *a = alltoall_of(r);
    bool hold = true;
    for (int i = 0; i < FSM_ALLTOALL_BUFFERS && a->kind->buffer_elems; i++)
        hold &= guard_holds(a->buffer[i], bytes_of(r, a->kind->buffer_elems(a)));
    return hold;
}

/* Whether everything is where it belongs, and nothing else was touched. */
static inline bool end_round(rank *r)
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

#endif
