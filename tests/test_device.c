/* Devices: memory, copies, fills, streams and events are what device.h promises of every kind; a touch of memory that
 * lies apart faults; the shuffled device keeps the order that streams and events ask for, and no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/device.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KINDS = 4, TOTAL = 1 << 20, SEEDS = 200 };

/* A device of each kind; what a shuffled one is over is destroyed with it. */
typedef struct pair {
    fsm_device *device, *below;
} pair;

static pair create(int kind, uint64_t seed)
{
    pair p = {0};
    fsm_device **first = kind < 2 ? &p.device : &p.below;
    if (kind % 2 == 0) assert_int_equal(fsm_device_create_host(first), FSMOE_OK);
    else assert_int_equal(fsm_device_create_apart(TOTAL, first), FSMOE_OK);
    if (kind >= 2) assert_int_equal(fsm_device_create_shuffled(p.below, seed, &p.device), FSMOE_OK);
    return p;
}

static void destroy(pair p)
{
    fsm_device_destroy(p.device);
    fsm_device_destroy(p.below);
}

static fsm_stream *create_stream(fsm_device *d)
{
    fsm_stream *stream;
    assert_int_equal(d->table->create_stream(d, &stream), FSMOE_OK);
    return stream;
}

static fsm_event *create_event(fsm_device *d)
{
    fsm_event *event;
    assert_int_equal(d->table->create_event(d, &event), FSMOE_OK);
    return event;
}

/* ---- memory ---- */

static void test_device_copies_and_fills_on_every_kind(void **state)
{
    (void)state;
    enum { BYTES = 10000 };
    static unsigned char there[BYTES], back[BYTES];
    for (int i = 0; i < BYTES; i++) there[i] = (unsigned char)(i * 7 + 1);
    for (int kind = 0; kind < KINDS; kind++) {
        pair p = create(kind, 3);
        const fsm_device_table *t = p.device->table;
        fsm_stream *s = create_stream(p.device);
        void *a, *b;
        assert_int_equal(t->allocate(p.device, BYTES, &a), FSMOE_OK);
        assert_int_equal(t->allocate(p.device, BYTES, &b), FSMOE_OK);
        assert_true((uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0);
        memset(back, 0, BYTES);
        assert_int_equal(t->copy(s, FSM_COPY_TO_DEVICE, a, there, BYTES), FSMOE_OK);
        assert_int_equal(t->fill(s, b, 0x5a, BYTES), FSMOE_OK);
        assert_int_equal(t->copy(s, FSM_COPY_WITHIN, (char *)b + 10, a, BYTES - 20), FSMOE_OK);
        assert_int_equal(t->copy(s, FSM_COPY_FROM_DEVICE, back, b, BYTES), FSMOE_OK);
        assert_int_equal(t->copy(s, FSM_COPY_FROM_DEVICE, NULL, NULL, 0), FSMOE_OK);
        assert_int_equal(t->synchronise(s), FSMOE_OK);
        assert_memory_equal(back + 10, there, BYTES - 20);
        for (int i = 0; i < 10; i++) assert_true(back[i] == 0x5a && back[BYTES - 1 - i] == 0x5a);
        t->free(p.device, a, BYTES);
        t->free(p.device, b, BYTES);
        t->free(p.device, NULL, BYTES);
        t->destroy_stream(s);
        destroy(p);
    }
}

static void test_device_says_how_much_memory_there_is(void **state)
{
    (void)state;
    size_t unused, total;
    void *a, *b;
    for (int kind = 0; kind < KINDS; kind++) {
        pair p = create(kind, 0);
        assert_int_equal(p.device->table->memory(p.device, &unused, &total), FSMOE_OK);
        assert_true(total > 0 && unused <= total);
        destroy(p);
    }
    pair p = create(1, 0);
    const fsm_device_table *t = p.device->table;
    assert_int_equal(t->allocate(p.device, TOTAL - 100, &a), FSMOE_OK);
    assert_int_equal(t->allocate(p.device, 101, &b), FSMOE_ERROR_MEMORY);
    assert_null(b);
    assert_int_equal(t->allocate(p.device, SIZE_MAX - 5, &b), FSMOE_ERROR_MEMORY);
    assert_int_equal(t->allocate(p.device, 100, &b), FSMOE_OK);
    assert_int_equal(t->memory(p.device, &unused, &total), FSMOE_OK);
    assert_true(total == TOTAL && unused == 0);
    t->free(p.device, a, TOTAL - 100);
    assert_int_equal(t->memory(p.device, &unused, &total), FSMOE_OK);
    assert_int_equal(unused, TOTAL - 100);
    t->free(p.device, b, 100);
    assert_int_equal(t->allocate(p.device, 0, &b), FSMOE_OK);
    t->free(p.device, b, 0);
    destroy(p);
}

static void test_device_without_cuda_says_so(void **state)
{
    (void)state;
    fsm_device *device;
    assert_int_equal(fsm_device_create_cuda(1, &device), FSMOE_ERROR_CONFIG);
    assert_null(device);
    assert_string_equal(fsmoe_last_error(), "CUDA device 1: this build of fsmoe has no CUDA");
}

/* ---- memory that lies apart ---- */

/* Whether a touch of `at` ends a process like this one. */
static bool faults(volatile char *at)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would say more and exit otherwise */
        *at = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void test_device_apart_faults_outside_of_enter_and_leave(void **state)
{
    (void)state;
    pair host = create(0, 0);
    void *near;
    assert_int_equal(host.device->table->allocate(host.device, 10, &near), FSMOE_OK);
    assert_false(faults(near));
    host.device->table->free(host.device, near, 10);
    destroy(host);
    for (int kind = 1; kind < KINDS; kind += 2) {
        pair p = create(kind, 0);
        fsm_device *d = p.device;
        fsm_stream *s = create_stream(d);
        void *a, *b;
        assert_int_equal(d->table->allocate(d, 9000, &a), FSMOE_OK);
        assert_true(faults(a) && faults((char *)a + 8999));
        fsm_device_enter(d);
        assert_int_equal(d->table->allocate(d, 10, &b), FSMOE_OK); /* as reachable as what was there */
        fsm_device_enter(d);
        fsm_device_leave(d); /* the inner pair */
        assert_false(faults(a) || faults((char *)a + 8999) || faults(b));
        ((char *)a)[17] = 3;
        fsm_device_leave(d);
        assert_true(faults(a) && faults(b));
        assert_int_equal(d->table->fill(s, b, 1, 10), FSMOE_OK);
        assert_int_equal(d->table->synchronise(s), FSMOE_OK);
        assert_true(faults(a) && faults(b)); /* after a copy or fill, too */
        fsm_device_enter(d);
        assert_true(((char *)a)[17] == 3 && ((char *)b)[9] == 1);
        fsm_device_leave(d);
        d->table->free(d, a, 9000);
        d->table->free(d, b, 10);
        d->table->destroy_stream(s);
        destroy(p);
    }
}

typedef struct visit {
    fsm_device *device;
    char *at;
} visit;

static void *visit_often(void *user)
{
    const visit *v = user;
    for (int i = 0; i < 2000; i++) {
        fsm_device_enter(v->device);
        *(volatile char *)v->at = (char)i;
        fsm_device_leave(v->device);
    }
    return NULL;
}

static void test_device_apart_lets_several_threads_in(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pair p = create(1, 0);
    pthread_t threads[THREADS];
    visit visits[THREADS];
    void *memory;
    assert_int_equal(p.device->table->allocate(p.device, THREADS, &memory), FSMOE_OK);
    for (int i = 0; i < THREADS; i++) {
        visits[i] = (visit){p.device, (char *)memory + i};
        assert_int_equal(pthread_create(&threads[i], NULL, visit_often, &visits[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_true(faults(memory));
    p.device->table->free(p.device, memory, THREADS);
    destroy(p);
}

static void test_device_apart_refuses_copies_in_the_wrong_direction(void **state)
{
    (void)state;
    pair p = create(1, 0), q;
    const fsm_device_table *t = p.device->table;
    fsm_stream *s = create_stream(p.device);
    char here[16] = {0};
    void *there;
    assert_int_equal(t->allocate(p.device, 16, &there), FSMOE_OK);
    for (int way = 0; way < 3; way++) {
        fsm_copy direction = (fsm_copy)way;
        assert_int_equal(t->copy(s, direction, here, here, 16), FSMOE_ERROR_INTERNAL);
        fsmoe_status want = direction == FSM_COPY_TO_DEVICE ? FSMOE_OK : FSMOE_ERROR_INTERNAL;
        assert_int_equal(t->copy(s, direction, there, here, 16), want);
        want = direction == FSM_COPY_FROM_DEVICE ? FSMOE_OK : FSMOE_ERROR_INTERNAL;
        assert_int_equal(t->copy(s, direction, here, there, 16), want);
        assert_int_equal(t->copy(s, direction, there, here, 17), FSMOE_ERROR_INTERNAL); /* longer than it is */
    }
    assert_int_equal(t->fill(s, here, 0, 16), FSMOE_ERROR_INTERNAL);
    /* what is done later fails later, and what is behind it is done all the same */
    assert_int_equal(fsm_device_create_shuffled(p.device, 1, &q.device), FSMOE_OK);
    fsm_stream *later = create_stream(q.device);
    fsmoe_status status = q.device->table->fill(later, here, 0, 16);
    if (status == FSMOE_OK) status = q.device->table->synchronise(later);
    assert_int_equal(status, FSMOE_ERROR_INTERNAL);
    assert_int_equal(q.device->table->fill(later, there, 0, 16), FSMOE_OK);
    assert_int_equal(q.device->table->synchronise(later), FSMOE_OK);
    q.device->table->destroy_stream(later);
    fsm_device_destroy(q.device);
    t->free(p.device, there, 16);
    t->destroy_stream(s);
    destroy(p);
}

/* ---- streams and events ---- */

/* What was done, in that order. */
typedef struct journal {
    int done[64], count;
} journal;

typedef struct note {
    journal *journal;
    int number, calls;  /* it is done at so many */
    fsm_stream *within; /* what it fills `byte` on */
    unsigned char *byte;
} note;

static bool write_down(void *user)
{
    note *n = user;
    if (--n->calls > 0) return false;
    if (n->within) assert_int_equal(n->within->device->table->fill(n->within, n->byte, 7, 1), FSMOE_OK);
    if (n->within) assert_int_equal(*n->byte, 7); /* part of this work, so it is done */
    n->journal->done[n->journal->count++] = n->number;
    return true;
}

static int place_of(const journal *j, int number)
{
    for (int i = 0; i < j->count; i++)
        if (j->done[i] == number) return i;
    fail_msg("%d was not done", number);
    return -1;
}

static void test_device_events_are_done_when_what_was_before_them_is(void **state)
{
    (void)state;
    for (int i = 0; i < KINDS * SEEDS; i++) {
        pair p = create(i % KINDS, (uint64_t)i);
        const fsm_device_table *t = p.device->table;
        fsm_stream *s = create_stream(p.device);
        fsm_event *first = create_event(p.device), *second = create_event(p.device);
        journal j = {0};
        note notes[2] = {{.journal = &j, .number = 1, .calls = 5}, {.journal = &j, .number = 2, .calls = 1}};
        double seconds = -1;
        bool done;
        assert_int_equal(t->elapsed(first, second, &seconds), FSMOE_ERROR_INTERNAL);
        assert_int_equal(t->wait(s, first), FSMOE_OK); /* never recorded: for nothing */
        assert_int_equal(t->record(first, s), FSMOE_OK);
        assert_int_equal(t->submit(s, write_down, &notes[0]), FSMOE_OK);
        assert_int_equal(t->record(second, s), FSMOE_OK);
        assert_int_equal(t->submit(s, write_down, &notes[1]), FSMOE_OK);
        do {
            assert_int_equal(t->query(second, &done), FSMOE_OK);
            assert_true(!done || j.count >= 1);
        } while (!done);
        assert_int_equal(t->query(first, &done), FSMOE_OK);
        assert_true(done);
        assert_int_equal(t->elapsed(first, second, &seconds), FSMOE_OK);
        assert_true(seconds >= 0 && seconds < 10);
        assert_int_equal(t->synchronise(s), FSMOE_OK);
        assert_true(j.count == 2 && j.done[0] == 1);
        t->destroy_event(first);
        t->destroy_event(second);
        t->destroy_event(NULL);
        t->destroy_stream(s);
        t->destroy_stream(NULL);
        destroy(p);
    }
}

/* Streams a and b: a does 0, 1, 2; b does 3, waits for 1, does 4. *order: how they came about, a digit each. */
static void run_two_streams(uint64_t seed, bool waits, journal *j)
{
    pair p = create(2, seed);
    const fsm_device_table *t = p.device->table;
    fsm_stream *a = create_stream(p.device), *b = create_stream(p.device);
    fsm_event *event = create_event(p.device);
    note notes[5];
    unsigned char byte = 0;
    *j = (journal){.count = 0};
    for (int i = 0; i < 5; i++) notes[i] = (note){.journal = j, .number = i, .calls = i == 1 ? 2 : 1};
    notes[2].within = a;
    notes[2].byte = &byte;
    for (int i = 0; i < 2; i++) assert_int_equal(t->submit(a, write_down, &notes[i]), FSMOE_OK);
    assert_int_equal(t->record(event, a), FSMOE_OK);
    assert_int_equal(t->submit(a, write_down, &notes[2]), FSMOE_OK);
    assert_int_equal(t->submit(b, write_down, &notes[3]), FSMOE_OK);
    if (waits) assert_int_equal(t->wait(b, event), FSMOE_OK);
    assert_int_equal(t->submit(b, write_down, &notes[4]), FSMOE_OK);
    assert_int_equal(t->synchronise(b), FSMOE_OK);
    assert_true(place_of(j, 3) < place_of(j, 4));
    assert_int_equal(t->synchronise(a), FSMOE_OK);
    assert_true(j->count == 5 && place_of(j, 0) < place_of(j, 1) && place_of(j, 1) < place_of(j, 2));
    t->destroy_event(event);
    t->destroy_stream(a);
    t->destroy_stream(b);
    destroy(p);
}

static void test_device_shuffled_keeps_what_events_ask_for_and_nothing_else(void **state)
{
    (void)state;
    journal j, again;
    int early = 0, overtaken = 0, orders = 0;
    uint64_t seen[SEEDS];
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        run_two_streams(seed, true, &j);
        assert_true(place_of(&j, 1) < place_of(&j, 4));
        run_two_streams(seed, true, &again);
        assert_memory_equal(&j, &again, sizeof j); /* a seed is an order */
        overtaken += place_of(&j, 4) < place_of(&j, 2);
        uint64_t number = 0;
        for (int i = 0; i < j.count; i++) number = number * 5 + (uint64_t)j.done[i];
        bool is_new = true;
        for (int i = 0; i < orders; i++) is_new &= seen[i] != number;
        if (is_new) seen[orders++] = number;
        run_two_streams(seed, false, &j);
        early += place_of(&j, 4) < place_of(&j, 0);
    }
    assert_int_equal(orders, 7); /* all that there are: 3 in four places when 4 is last, in three when 2 is */
    assert_true(overtaken > 10 && early > 10);
}

static void test_device_shuffled_says_when_an_event_cannot_come(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        pair p = create(2, seed);
        const fsm_device_table *t = p.device->table;
        fsm_stream *a = create_stream(p.device), *b = create_stream(p.device);
        fsm_event *event = create_event(p.device);
        journal j = {0};
        note never = {.journal = &j, .number = 1, .calls = 1000000};
        assert_int_equal(t->submit(a, write_down, &never), FSMOE_OK);
        assert_int_equal(t->record(event, a), FSMOE_OK);
        t->destroy_stream(a); /* with what is on it */
        assert_int_equal(t->wait(b, event), FSMOE_OK);
        assert_int_equal(t->synchronise(b), FSMOE_ERROR_INTERNAL);
        assert_int_equal(t->synchronise(b), FSMOE_OK);
        t->destroy_event(event);
        t->destroy_stream(b);
        destroy(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device_copies_and_fills_on_every_kind),
        cmocka_unit_test(test_device_says_how_much_memory_there_is),
        cmocka_unit_test(test_device_without_cuda_says_so),
        cmocka_unit_test(test_device_apart_faults_outside_of_enter_and_leave),
        cmocka_unit_test(test_device_apart_lets_several_threads_in),
        cmocka_unit_test(test_device_apart_refuses_copies_in_the_wrong_direction),
        cmocka_unit_test(test_device_events_are_done_when_what_was_before_them_is),
        cmocka_unit_test(test_device_shuffled_keeps_what_events_ask_for_and_nothing_else),
        cmocka_unit_test(test_device_shuffled_says_when_an_event_cannot_come),
    };
    alarm(300); /* what waits for an event that is lost waits for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
