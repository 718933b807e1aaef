/* Every all-to-all algorithm gives the elements that were sent, bit for bit, for all shapes of nodes and all sorts of
 * counts, several operations in a row. Ranks are
 *   taken turns with: one thread moves all of them in random order, so that nothing may wait inside a call;
 *   threads, for the sanitizer;
 *   processes, under mpirun.
 */
#include "alltoall_case.h"
#include "comm/world.h"
#include "count_allocations.h"

#include <unistd.h>

static fsm_comm *world;

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
    };
    alarm(300); /* ranks that wait for each other would wait for ever */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(the_world);
    return failed;
}
