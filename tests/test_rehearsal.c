/* Steps in rehearsal: tasks last what they cost, stretched; what one rank is late by, all of a collective are; nothing
 * adds up that is only a timer's; a large collective sends all of its elements, but never more than a round at once.
 * Ranks are threads, links are memory. Oracles: times put together by hand, a communicator that counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "rehearse/step.h"
#include "thread_comm.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TASKS = 400, MOST_RANKS = 2 };

/* What a rank rehearses and what came of it. */
typedef struct rank_run {
    fsm_comm *world;
    fsm_graph graph;
    double cost_s[MOST_TASKS], alpha_s[MOST_TASKS]; /* on the cluster */
    fsm_pace pace;
    fsm_line here;                                /* of all operations */
    double start_s, step_s;                       /* fsm_clock_s of its beginning; what it took */
    double ran_s[MOST_TASKS], ends_s[MOST_TASKS]; /* how long a task was seen to run; when it ended by its cost */
    fsmoe_status status;
} rank_run;

static int add(rank_run *r, fsm_task_kind kind, fsm_resource resource, double cost_s, double alpha_s)
{
    int last = r->graph.count - 1;
    fsm_task task = {.kind = kind, .phase = FSM_FORWARD, .resource = resource, .group = FSM_GROUP_WORLD, .size = 4};
    r->cost_s[r->graph.count] = cost_s;
    r->alpha_s[r->graph.count] = alpha_s;
    return fsm_graph_add(&r->graph, task, &last, last >= 0);
}

static void note_task(void *user, int index, double start_s, double end_s)
{
    rank_run *r = user;
    r->ran_s[index] = end_s - start_s;
}

/* Of the first task, which waits for nothing, it is known when it began. */
static fsmoe_status run_step(rank_run *r, fsm_exec *exec, fsm_links *links)
{
    const fsm_score score = {.graph = r->graph, .cost_s = r->cost_s, .alpha_s = r->alpha_s};
    const fsm_observer observer = {note_task, r};
    fsm_rehearsed_step step;
    fsmoe_status status = fsm_rehearsed_step_create(exec, links, r->graph.count, 4, &step);
    step.pace = r->pace;
    if (status == FSMOE_OK) status = fsm_rehearsed_step_run(&step, &score, &observer, &r->step_s);
    if (status == FSMOE_OK) memcpy(r->ends_s, step.ends_s, sizeof *r->ends_s * (size_t)r->graph.count);
    r->start_s = r->ends_s[0] - r->pace.stretch * r->cost_s[0];
    fsm_rehearsed_step_destroy(&step);
    return status;
}

static void *rehearse(void *user)
{
    rank_run *r = user;
    fsm_exec *exec;
    fsm_comm *groups[FSM_GROUP_COUNT];
    fsm_links links = {.world = r->world, .groups = groups};
    for (int g = 0; g < FSM_GROUP_COUNT; g++) groups[g] = r->world;
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        for (int g = 0; g < FSM_GROUP_COUNT; g++) links.lines[op][g] = r->here;
    r->status = fsm_exec_create(r->world->size > 1 ? FSM_PROGRESS_THREAD : FSM_PROGRESS_TASKS, &exec);
    for (int i = 0; r->status == FSMOE_OK && i < FSM_RESOURCE_COUNT; i++)
        r->status = fsm_collective_create(r->world->size, FSM_ROUND_ELEMS, &links.collectives[i]);
    if (r->status == FSMOE_OK) r->status = run_step(r, exec, &links);
    fsm_exec_destroy(exec);
    fsm_links_destroy(&links);
    return NULL;
}

/* All ranks at once; their graphs are gone afterwards. */
static void run_ranks(rank_run *ranks, int count)
{
    pthread_t threads[MOST_RANKS];
    for (int i = 0; i < count; i++) assert_int_equal(pthread_create(&threads[i], NULL, rehearse, &ranks[i]), 0);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < count; i++) {
        assert_int_equal(ranks[i].status, FSMOE_OK);
        fsm_graph_destroy(&ranks[i].graph);
    }
}

static rank_run open_rank(fsm_comm *world, double stretch)
{
    return (rank_run){.world = world, .pace = {.stretch = stretch, .filled = 0.95}, .here = {0, 1e-6}};
}

static const rank_run *run_alone(double stretch, int tasks, double cost_s)
{
    static rank_run r;
    fsm_comm *self;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    r = open_rank(self, stretch);
    for (int i = 0; i < tasks; i++) add(&r, i % 2 ? FSM_TASK_GATE : FSM_TASK_EXPERT, FSM_COMPUTE, cost_s, 0);
    run_ranks(&r, 1);
    fsm_comm_destroy(self);
    return &r;
}

/* ---- one rank ---- */

/* A task that begins late, because the one before it woke late, is the shorter for it: were each to last its cost, none
 * would be shorter, and lateness would add up. That holds however busy the machine is. */
static void test_rehearsal_makes_up_for_late_wake_ups(void **state)
{
    (void)state;
    const double cost_s = 100e-6, rounding_s = 1e-6; /* of sums of so many costs to the seconds that a machine is up */
    const rank_run *r = run_alone(4, MOST_TASKS, cost_s / 4);
    int shorter = 0;
    for (int i = 0; i < MOST_TASKS; i++) {
        double want_s = r->start_s + (i + 1) * cost_s;
        if (!(fabs(r->ends_s[i] - want_s) < rounding_s)) fail_msg("task %d ends %g s off", i, r->ends_s[i] - want_s);
        shorter += r->ran_s[i] < cost_s;
    }
    assert_true(r->step_s >= MOST_TASKS * cost_s);
    assert_true(shorter > MOST_TASKS / 4);
}

static void test_rehearsal_is_stretched(void **state)
{
    (void)state;
    assert_true(run_alone(1, 4, 1e-3)->step_s >= 4e-3);
    assert_true(run_alone(10, 4, 1e-3)->step_s >= 40e-3);
}

/* ---- two ranks ---- */

/* A gate, whose rank is late, and a collective of 14 ms, 4 of them alpha. */
static void run_two(fsm_task_kind kind, double late_s, rank_run *ranks)
{
    thread_group *group = thread_group_create(MOST_RANKS);
    for (int i = 0; i < MOST_RANKS; i++) {
        ranks[i] = open_rank(thread_comm_of(group, i), 1);
        add(&ranks[i], FSM_TASK_GATE, FSM_COMPUTE, i == 1 ? late_s : 0, 0);
        add(&ranks[i], kind, FSM_INTER, 14e-3, 4e-3);
    }
    run_ranks(ranks, MOST_RANKS);
    for (int i = 0; i < MOST_RANKS; i++) fsm_comm_destroy(ranks[i].world);
}

static const fsm_task_kind collectives[] = {FSM_TASK_A2A_DISPATCH, FSM_TASK_ALLGATHER, FSM_TASK_REDUCESCATTER,
                                            FSM_TASK_ALLREDUCE,    FSM_TASK_COUNTS,    FSM_TASK_SUMS};
enum { COLLECTIVES = sizeof collectives / sizeof *collectives };

/* However fast the links are here. A busy machine may not let a rank run when its time is over, but not for ever. */
static void test_rehearsal_collective_takes_its_cost(void **state)
{
    enum { ATTEMPTS = 200 };
    (void)state;
    static rank_run ranks[MOST_RANKS];
    for (int k = 0; k < COLLECTIVES; k++) {
        double best_s = 1;
        for (int attempt = 0; attempt < ATTEMPTS && best_s > 20e-3; attempt++) {
            run_two(collectives[k], 0, ranks);
            for (int i = 0; i < MOST_RANKS; i++) assert_true(ranks[i].step_s >= 14e-3);
            best_s = fmin(best_s, fmax(ranks[0].step_s, ranks[1].step_s));
        }
        if (best_s > 20e-3) fail_msg("%s took %g s", fsm_task_kind_name(collectives[k]), best_s);
    }
}

/* Messages of the rank that comes last leave after its alpha; the other waits for them, though its own time is over.
 * Which of the two begins its step first, and by how much, is the machine's affair. */
static void test_rehearsal_waits_for_the_last_rank(void **state)
{
    (void)state;
    static rank_run ranks[MOST_RANKS];
    for (int k = 0; k < COLLECTIVES; k++) {
        run_two(collectives[k], 40e-3, ranks);
        assert_true(ranks[0].start_s + ranks[0].step_s >= ranks[1].start_s + 44e-3);
        assert_true(ranks[1].step_s >= 54e-3);
    }
}

/* ---- rounds ---- */

/* One of two ranks. It moves nothing, says of every second look that all is there, and counts what it is to move. */
typedef struct counting_comm {
    fsm_comm base;            /* first */
    int64_t gathered, posted; /* elements of collectives; of messages, sent alone */
    int64_t most;             /* of one collective */
    int collectives, looks;
    bool under_way;
} counting_comm;

static void count_collective(fsm_comm *comm, const int64_t *counts)
{
    counting_comm *c = (counting_comm *)comm;
    int64_t elems = counts[0] + counts[1];
    assert_false(c->under_way); /* one at a time */
    c->under_way = true;
    c->collectives++;
    c->gathered += elems;
    if (elems > c->most) c->most = elems;
}

static fsmoe_status count_all_to_all(fsm_comm *comm, fsm_comm_type type, const void *send, const int64_t *send_counts,
                                     void *recv, const int64_t *recv_counts)
{
    (void)type, (void)send, (void)recv, (void)recv_counts;
    count_collective(comm, send_counts);
    return FSMOE_OK;
}

static fsmoe_status count_all_gather(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                     const int64_t *counts)
{
    (void)type, (void)send, (void)recv;
    count_collective(comm, counts);
    return FSMOE_OK;
}

static fsmoe_status count_send(fsm_comm *comm, int slot, int to, fsm_comm_type type, const void *elems, int64_t count)
{
    (void)slot, (void)to, (void)type, (void)elems;
    ((counting_comm *)comm)->posted += count;
    return FSMOE_OK;
}

static fsmoe_status expect_message(fsm_comm *comm, int slot, int from, fsm_comm_type type, void *elems, int64_t count)
{
    (void)comm, (void)slot, (void)from;
    memset(elems, 0, fsm_comm_bytes(type, count));
    return FSMOE_OK;
}

static fsmoe_status look(fsm_comm *comm, int slot, bool *done)
{
    counting_comm *c = (counting_comm *)comm;
    (void)slot;
    *done = ++c->looks % 2 == 0;
    if (*done) c->under_way = false;
    return FSMOE_OK;
}

static const fsm_data_table counting_table = {.start_all_to_all = count_all_to_all,
                                              .start_all_gather = count_all_gather,
                                              .post_send = count_send,
                                              .post_recv = expect_message,
                                              .test = look};

/* What it moved for that operation. */
static counting_comm count_rounds(fsm_cost_op op, int64_t elems)
{
    counting_comm c = {.base = {.data = &counting_table, .size = 2}};
    fsm_collective collective = {0};
    bool done = false;
    assert_int_equal(fsm_comm_scratch_create(&c.base), FSMOE_OK);
    assert_int_equal(fsm_collective_create(2, FSM_ROUND_ELEMS, &collective), FSMOE_OK);
    fsm_rounds rounds = {.collective = &collective, .group = &c.base, .op = op, .left = elems};
    assert_int_equal(fsm_rounds_start(&rounds), FSMOE_OK);
    while (!done) assert_int_equal(fsm_rounds_advance(&rounds, &done), FSMOE_OK);
    assert_false(c.under_way);
    fsm_collective_destroy(&collective);
    fsm_comm_scratch_destroy(&c.base);
    return c;
}

/* A sum sends a half, the other rank's; an all-reduce then gathers both. */
static void test_rehearsal_sends_large_collectives_in_rounds(void **state)
{
    (void)state;
    static const struct {
        fsm_cost_op op;
        int gathered, posted; /* halves of all elements */
    } cases[] = {{FSM_COST_ALLTOALL, 2, 0},
                 {FSM_COST_ALLGATHER, 2, 0},
                 {FSM_COST_REDUCESCATTER, 0, 1},
                 {FSM_COST_ALLREDUCE, 2, 1}};
    static const int halves[] = {1, 2, 3, 5, 8}; /* of a round */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < sizeof halves / sizeof *halves; k++) {
            int64_t half = (int64_t)halves[k] * FSM_ROUND_ELEMS / 4;
            counting_comm c = count_rounds(cases[i].op, 2 * half);
            assert_int_equal(c.gathered, cases[i].gathered * half);
            assert_int_equal(c.posted, cases[i].posted * half);
            assert_int_equal(c.collectives, cases[i].gathered > 0 ? (halves[k] + 1) / 2 : 0);
            assert_true(c.most <= FSM_ROUND_ELEMS);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rehearsal_makes_up_for_late_wake_ups),
        cmocka_unit_test(test_rehearsal_is_stretched),
        cmocka_unit_test(test_rehearsal_collective_takes_its_cost),
        cmocka_unit_test(test_rehearsal_waits_for_the_last_rank),
        cmocka_unit_test(test_rehearsal_sends_large_collectives_in_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
