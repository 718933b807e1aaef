/* A communicator whose ranks are threads of one process, so that a sanitizer sees all of them.
 * In:  a number of ranks; each thread takes one of the communicators.
 * Out: both contracts of comm/comm.h. Everything is a message: a rank posts where its elements are, and whoever
 * receives them copies them from there. Nothing is copied early, so a sender that touches what is under way is a race.
 * A group's mailboxes have one mutex. What makes no sense aborts: tests make these calls.
 */
#ifndef FSM_TESTS_THREAD_COMM_H
#define FSM_TESTS_THREAD_COMM_H

#include "comm/op.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a table's slots, of collectives (tested with slot 0), and of what blocks. */
enum { THREAD_COLLECTIVE = FSM_COMM_SLOTS, THREAD_BLOCKING, THREAD_CHANNELS, THREAD_MOST_RANKS = 8 };

/* From one rank to another on one channel; at most one is under way. */
typedef struct thread_message {
    const void *bytes; /* the sender's */
    size_t size;
    bool under_way;
} thread_message;

typedef struct thread_receipt {
    void *bytes;
    size_t size;
    bool expected;
} thread_receipt;

/* What the ranks of a group share. */
typedef struct thread_group {
    int size, members; /* not destroyed yet */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    thread_message mail[THREAD_CHANNELS][THREAD_MOST_RANKS][THREAD_MOST_RANKS]; /* [to][from] */
} thread_group;

typedef struct thread_comm {
    fsm_comm base; /* first */
    thread_group *group;
    thread_receipt receipts[THREAD_CHANNELS][THREAD_MOST_RANKS]; /* [from] */
    double *sum, *parts; /* of an all-reduce of doubles: [sum_count], [size, sum_count] */
    int64_t sum_count;
} thread_comm;

static inline void thread_comm_check(bool good, const char *what)
{
    if (good) return;
    fprintf(stderr, "ranks as threads: %s\n", what);
    abort();
}

/* ---- messages ---- */

static inline void thread_comm_send(fsm_comm *comm, int channel, int to, const void *bytes, size_t size)
{
    thread_group *g = ((thread_comm *)comm)->group;
    pthread_mutex_lock(&g->lock);
    thread_message *m = &g->mail[channel][to][comm->rank];
    thread_comm_check(!m->under_way, "two messages one way at a time");
    *m = (thread_message){bytes, size, true};
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static inline void thread_comm_receive(fsm_comm *comm, int channel, int from, void *bytes, size_t size)
{
    thread_receipt *r = &((thread_comm *)comm)->receipts[channel][from];
    thread_comm_check(!r->expected, "two messages expected from a rank at a time");
    *r = (thread_receipt){bytes, size, true};
}

/* With the lock held: takes what has come; whether all has, and all that was sent is taken. */
static inline bool thread_comm_take(thread_comm *c, int channel)
{
    bool done = true;
    for (int r = 0; r < c->base.size; r++) {
        thread_message *m = &c->group->mail[channel][c->base.rank][r];
        thread_receipt *receipt = &c->receipts[channel][r];
        if (receipt->expected && m->under_way) {
            thread_comm_check(m->size == receipt->size, "a message is longer or shorter than expected");
            if (m->size > 0) memmove(receipt->bytes, m->bytes, m->size);
            m->under_way = receipt->expected = false;
            pthread_cond_broadcast(&c->group->changed);
        }
        done &= !receipt->expected && !c->group->mail[channel][r][c->base.rank].under_way;
    }
    return done;
}

static inline void thread_comm_wait(fsm_comm *comm)
{
    thread_comm *c = (thread_comm *)comm;
    pthread_mutex_lock(&c->group->lock);
    while (!thread_comm_take(c, THREAD_BLOCKING)) pthread_cond_wait(&c->group->changed, &c->group->lock);
    pthread_mutex_unlock(&c->group->lock);
}

/* ---- data ---- */

static inline fsmoe_status thread_post_send(fsm_comm *comm, int slot, int to, fsm_comm_type type, const void *elems,
                                            int64_t count)
{
    thread_comm_send(comm, slot, to, elems, fsm_comm_bytes(type, count));
    return FSMOE_OK;
}

static inline fsmoe_status thread_post_recv(fsm_comm *comm, int slot, int from, fsm_comm_type type, void *elems,
                                            int64_t count)
{
    thread_comm_receive(comm, slot, from, elems, fsm_comm_bytes(type, count));
    return FSMOE_OK;
}

static inline fsmoe_status thread_start_all_to_all(fsm_comm *comm, fsm_comm_type type, const void *send,
                                                   const int64_t *send_counts, void *recv, const int64_t *recv_counts)
{
    const char *from = send;
    char *to = recv;
    for (int r = 0; r < comm->size; r++) {
        thread_comm_receive(comm, THREAD_COLLECTIVE, r, to, fsm_comm_bytes(type, recv_counts[r]));
        thread_comm_send(comm, THREAD_COLLECTIVE, r, from, fsm_comm_bytes(type, send_counts[r]));
        if (to) to += fsm_comm_bytes(type, recv_counts[r]);
        if (from) from += fsm_comm_bytes(type, send_counts[r]);
    }
    return FSMOE_OK;
}

static inline fsmoe_status thread_start_all_gather(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                                   const int64_t *counts)
{
    char *to = recv;
    for (int r = 0; r < comm->size; r++) {
        thread_comm_receive(comm, THREAD_COLLECTIVE, r, to, fsm_comm_bytes(type, counts[r]));
        thread_comm_send(comm, THREAD_COLLECTIVE, r, send, fsm_comm_bytes(type, counts[comm->rank]));
        if (to) to += fsm_comm_bytes(type, counts[r]);
    }
    return FSMOE_OK;
}

static inline fsmoe_status thread_start_all_reduce_double(fsm_comm *comm, void *buffer, int64_t count)
{
    thread_comm *c = (thread_comm *)comm;
    c->parts = malloc(sizeof *c->parts * (size_t)(count * comm->size + 1));
    thread_comm_check(c->parts, "no memory");
    c->sum = buffer;
    c->sum_count = count;
    for (int r = 0; r < comm->size; r++) comm->blocks[r] = count;
    return thread_start_all_gather(comm, FSM_COMM_FP64, buffer, c->parts, comm->blocks);
}

/* sum [count] = that of parts [size, count], in the order of ranks */
static inline void thread_comm_add(int size, int64_t count, const double *parts, double *sum)
{
    for (int64_t i = 0; i < count; i++) {
        sum[i] = 0;
        for (int r = 0; r < size; r++) sum[i] += parts[r * count + i];
    }
}

static inline fsmoe_status thread_test(fsm_comm *comm, int slot, bool *done)
{
    thread_comm *c = (thread_comm *)comm;
    pthread_mutex_lock(&c->group->lock);
    bool taken[THREAD_CHANNELS];
    for (int channel = 0; channel <= THREAD_COLLECTIVE; channel++) taken[channel] = thread_comm_take(c, channel);
    pthread_mutex_unlock(&c->group->lock);
    *done = taken[slot] && (slot > 0 || taken[THREAD_COLLECTIVE]);
    if (*done && slot == 0 && c->parts) {
        thread_comm_add(comm->size, c->sum_count, c->parts, c->sum);
        free(c->parts);
        c->parts = NULL;
    }
    return FSMOE_OK;
}

static const fsm_data_table thread_comm_data = {
    .start_all_to_all = thread_start_all_to_all,
    .start_all_gather = thread_start_all_gather,
    .start_all_reduce_double = thread_start_all_reduce_double,
    .post_send = thread_post_send,
    .post_recv = thread_post_recv,
    .test = thread_test,
};

/* ---- control ---- */

static inline fsmoe_status thread_gather_bytes(fsm_comm *comm, const void *send, int64_t count, void *recv,
                                               const int64_t *counts)
{
    char *at = recv;
    thread_comm_send(comm, THREAD_BLOCKING, 0, send, (size_t)count);
    for (int r = 0; r < comm->size && comm->rank == 0; at += counts[r++])
        thread_comm_receive(comm, THREAD_BLOCKING, r, at, (size_t)counts[r]);
    thread_comm_wait(comm);
    return FSMOE_OK;
}

static inline fsmoe_status thread_broadcast_bytes(fsm_comm *comm, void *buffer, int64_t count, int root)
{
    for (int r = 0; r < comm->size; r++)
        if (comm->rank == root && r != root) thread_comm_send(comm, THREAD_BLOCKING, r, buffer, (size_t)count);
    if (comm->rank != root) thread_comm_receive(comm, THREAD_BLOCKING, root, buffer, (size_t)count);
    thread_comm_wait(comm);
    return FSMOE_OK;
}

/* `size` bytes of every rank to all; [size] each. */
static inline void thread_exchange(fsm_comm *comm, const void *send, size_t size, void *recv)
{
    for (int r = 0; r < comm->size; r++) {
        thread_comm_receive(comm, THREAD_BLOCKING, r, (char *)recv + (size_t)r * size, size);
        thread_comm_send(comm, THREAD_BLOCKING, r, send, size);
    }
    thread_comm_wait(comm);
}

static inline fsmoe_status thread_all_gather_int64(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv)
{
    thread_exchange(comm, send, sizeof *send * (size_t)count, recv);
    return FSMOE_OK;
}

static inline fsmoe_status thread_all_reduce_double(fsm_comm *comm, double *buffer, int64_t count)
{
    double *parts = malloc(sizeof *parts * (size_t)(count * comm->size + 1));
    thread_comm_check(parts, "no memory");
    thread_exchange(comm, buffer, sizeof *buffer * (size_t)count, parts);
    thread_comm_add(comm->size, count, parts, buffer);
    free(parts);
    return FSMOE_OK;
}

static inline fsmoe_status thread_barrier(fsm_comm *comm)
{
    char mine = 0, all[THREAD_MOST_RANKS];
    thread_exchange(comm, &mine, 1, all);
    return FSMOE_OK;
}

static inline fsm_comm *thread_comm_of(thread_group *group, int rank);
static inline thread_group *thread_group_create(int size);

/* The lowest member makes what they share, and the others hear where it is. */
static inline fsmoe_status thread_split(fsm_comm *comm, int color, fsm_comm **part)
{
    int colors[THREAD_MOST_RANKS], size = 0, rank = 0, lowest = -1;
    thread_group *made = NULL, *all[THREAD_MOST_RANKS];
    thread_exchange(comm, &color, sizeof color, colors);
    for (int r = 0; r < comm->size; r++) {
        if (colors[r] != color) continue;
        if (lowest < 0) lowest = r;
        rank += r < comm->rank;
        size++;
    }
    if (lowest == comm->rank) made = thread_group_create(size);
    thread_exchange(comm, &made, sizeof made, all);
    *part = thread_comm_of(all[lowest], rank);
    return FSMOE_OK;
}

static inline fsmoe_status thread_local_ranks(fsm_comm *comm, int *count, int *index)
{
    *count = comm->size;
    *index = comm->rank;
    return FSMOE_OK;
}

static inline void thread_abort(fsm_comm *comm, int exit_code)
{
    (void)comm;
    _Exit(exit_code);
}

static inline void thread_destroy(fsm_comm *comm)
{
    thread_comm *c = (thread_comm *)comm;
    thread_group *g = c->group;
    pthread_mutex_lock(&g->lock);
    bool last = --g->members == 0;
    pthread_mutex_unlock(&g->lock);
    if (last) {
        pthread_cond_destroy(&g->changed);
        pthread_mutex_destroy(&g->lock);
        free(g);
    }
    fsm_comm_scratch_destroy(comm);
    free(c);
}

static const fsm_control_table thread_comm_control = {
    .gather_bytes = thread_gather_bytes,
    .broadcast_bytes = thread_broadcast_bytes,
    .all_gather_int64 = thread_all_gather_int64,
    .all_reduce_double = thread_all_reduce_double,
    .barrier = thread_barrier,
    .split = thread_split,
    .local_ranks = thread_local_ranks,
    .abort = thread_abort,
    .destroy = thread_destroy,
};

/* ---- groups ---- */

static inline thread_group *thread_group_create(int size)
{
    thread_comm_check(size <= THREAD_MOST_RANKS, "too many ranks");
    thread_group *g = calloc(1, sizeof *g);
    thread_comm_check(g, "no memory");
    g->size = g->members = size;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
    return g;
}

/* The communicator of one rank; each rank takes its own, and destroys it with fsm_comm_destroy. */
static inline fsm_comm *thread_comm_of(thread_group *group, int rank)
{
    thread_comm *c = calloc(1, sizeof *c);
    thread_comm_check(c, "no memory");
    c->base = (fsm_comm){.control = &thread_comm_control,
                         .data = &thread_comm_data,
                         .rank = rank,
                         .size = group->size,
                         .launched_as = rank,
                         .any_thread = true,
                         .piece_bytes = FSM_COMM_PIECE_BYTES};
    c->group = group;
    thread_comm_check(fsm_comm_scratch_create(&c->base) == FSMOE_OK, "no memory");
    return &c->base;
}

#endif
