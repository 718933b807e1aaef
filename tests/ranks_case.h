/* Ranks that are threads of one process, each with a communicator of its own, and the text that they train on.
 * In:  what a rank does, and what each is given. Out: done by all. A rank that fails ends the program, since the others
 *      would wait for it. open_tokens and close_tokens go around a program's tests, and end what waits for ever.
 */
#ifndef FSM_TESTS_RANKS_CASE_H
#define FSM_TESTS_RANKS_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "thread_comm.h"

#include <fsmoe/tokens.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RANKS = 4 };

static fsmoe_tokens *tokens;

/* What one rank does; `own` is what it alone is given. */
typedef fsmoe_status rank_work(fsm_comm *comm, void *own);

typedef struct rank_thread {
    const char *what;
    rank_work *work;
    fsm_comm *comm; /* which ends with its work */
    void *own;
    pthread_t thread;
} rank_thread;

static inline void *be_rank(void *user)
{
    const rank_thread *t = user;
    if (t->work(t->comm, t->own) != FSMOE_OK) {
        fprintf(stderr, "%s, rank %d: %s\n", t->what, t->comm->rank, fsmoe_last_error());
        abort();
    }
    fsm_comm_destroy(t->comm);
    return NULL;
}

/* `count` ranks; rank r is given element r of `owns`, each of own_bytes. */
static inline void run_ranks(const char *what, int count, rank_work *work, void *owns, size_t own_bytes)
{
    rank_thread threads[THREAD_MOST_RANKS];
    thread_group *group = thread_group_create(count);
    for (int r = 0; r < count; r++)
        threads[r] = (rank_thread){what, work, thread_comm_of(group, r), (char *)owns + (size_t)r * own_bytes, 0};
    for (int r = 0; r < count; r++) assert_int_equal(pthread_create(&threads[r].thread, NULL, be_rank, &threads[r]), 0);
    for (int r = 0; r < count; r++) pthread_join(threads[r].thread, NULL);
}

/* The one rank that there is, in the thread of the test, which may fail it. */
static inline void run_alone(const char *what, rank_work *work, void *own)
{
    rank_thread self = {.what = what, .work = work, .own = own};
    assert_int_equal(fsm_comm_create_self(&self.comm), FSMOE_OK);
    be_rank(&self);
}

/* ---- around a program's tests ---- */

static inline int open_tokens(void **state)
{
    static const char *const text = FSMOE_SOURCE_DIR "/data/austen/persuasion.txt";
    fsmoe_tokenizer *tokenizer;
    (void)state;
    alarm(500); /* ranks that wait for each other would wait for ever */
    if (fsmoe_tokenizer_create("bytes", &tokenizer) != FSMOE_OK) return -1;
    fsmoe_status status = fsmoe_tokens_open(&text, 1, tokenizer, &tokens);
    fsmoe_tokenizer_destroy(tokenizer);
    return status == FSMOE_OK ? 0 : -1;
}

static inline int close_tokens(void **state)
{
    (void)state;
    fsmoe_tokens_close(tokens);
    return 0;
}

#endif
