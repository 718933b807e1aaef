/* The executor against an interpreter that does one task after another: random graphs, failures anywhere, many short
 * runs. A task's value is made of the values it waits for and of that of the task before it on its stream, so that any
 * other order gives other values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DRAW_SEED 47
#include "base/clock.h"
#include "draws.h"
#include "exec/exec.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a case: a graph, what its tasks do, and what came of it ---- */

enum { MAX_TASKS = 48 };

typedef enum stage { RUN, START, ADVANCE, FINISH, STAGES } stage;

typedef struct fake_case fake_case;

/* What a task does; as a collective under way it is found by its communicator. */
typedef struct fake_task {
    fsm_comm comm; /* first */
    fake_case *owner;
    int index, before; /* the task before it on its stream, -1: none */
    int advances;      /* it is done at this one, 0: at the start */
    double lasts_s;    /* or so long after its start */
    bool wakes;        /* it says when that will be */
    double started_s;
    int advanced;
    uint64_t value;
    atomic_int begun, ended;
    int told[2]; /* how often each observer heard of it */
    double start_s, end_s;
} fake_task;

struct fake_case {
    fsm_graph graph;
    fake_task tasks[MAX_TASKS];
    uint64_t wanted[MAX_TASKS];
    int fail_at; /* -1: nothing fails */
    stage fail_in;
    bool threaded; /* the links' tasks are another thread's */
    pthread_t caller;
    atomic_int faults;
};

/* Assertions jump, which no other thread may: faults are counted. */
static void expect(fake_case *c, bool good, const char *what, int index)
{
    if (good) return;
    if (atomic_fetch_add(&c->faults, 1) == 0) fprintf(stderr, "task %d of %d: %s\n", index, c->graph.count, what);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15)) * 0xbf58476d1ce4e5b9;
    return x ^ x >> 29;
}

/* values: of all tasks before this one, `stride` bytes apart */
static uint64_t value_of(const fake_case *c, int index, const uint64_t *first, size_t stride)
{
#define VALUE(i) (*(const uint64_t *)((const char *)first + (size_t)(i)*stride))
    const fsm_task *t = &c->graph.tasks[index];
    uint64_t value = mix(1, (uint64_t)index);
    for (int e = t->after_first; e < t->after_first + t->after_count; e++) value = mix(value, VALUE(c->graph.edges[e]));
    return c->tasks[index].before < 0 ? value : mix(value, VALUE(c->tasks[index].before));
#undef VALUE
}

static fake_task *begin(fake_case *c, const fsm_task *task)
{
    int index = (int)(task - c->graph.tasks);
    fake_task *t = &c->tasks[index];
    bool mine = pthread_equal(pthread_self(), c->caller);
    for (int e = task->after_first; e < task->after_first + task->after_count; e++)
        expect(c, atomic_load(&c->tasks[c->graph.edges[e]].ended) == 1, "begins before what it waits for ended", index);
    if (t->before >= 0) expect(c, atomic_load(&c->tasks[t->before].ended) == 1, "overtakes its stream", index);
    expect(c, atomic_fetch_add(&t->begun, 1) == 0, "begins twice", index);
    expect(c, mine == (task->resource == FSM_COMPUTE || !c->threaded), "is on the wrong thread", index);
    return t;
}

/* Tasks that end have their value. */
static fsmoe_status fail_or_end(fake_case *c, fake_task *t, stage now, bool ends)
{
    if (t->index == c->fail_at && now == c->fail_in)
        return fsm_fail(FSMOE_ERROR_NUMERIC, "task %d fails in stage %d", t->index, now);
    if (!ends) return FSMOE_OK;
    t->value = value_of(c, t->index, &c->tasks[0].value, sizeof c->tasks[0]);
    expect(c, atomic_fetch_add(&t->ended, 1) == 0, "ends twice", t->index);
    return FSMOE_OK;
}

static fsmoe_status run(void *object, const fsm_task *task)
{
    fake_task *t = begin(object, task);
    if (t->lasts_s > 0) fsm_clock_sleep(t->lasts_s);
    return fail_or_end(object, t, RUN, true);
}

static bool is_finished_apart(const fsm_task *task)
{
    return task->phase == FSM_BACKWARD;
}

static fsmoe_status advance(fsm_comm_op *op, bool *done)
{
    fake_task *t = (fake_task *)op->comm;
    fake_case *c = t->owner;
    expect(c, atomic_load(&t->begun) == 1 && atomic_load(&t->ended) == 0, "is advanced out of its time", t->index);
    *done = ++t->advanced >= t->advances && fsm_clock_s() >= t->started_s + t->lasts_s;
    return fail_or_end(c, t, ADVANCE, *done && !is_finished_apart(&c->graph.tasks[t->index]));
}

static bool is_at_once(const fake_task *t)
{
    return t->advances == 0 && t->lasts_s == 0;
}

static fsmoe_status start(void *object, const fsm_task *task, fsm_comm_op *op)
{
    fake_task *t = begin(object, task);
    bool at_once = is_at_once(t);
    t->started_s = fsm_clock_s();
    if (!at_once) *op = (fsm_comm_op){.comm = &t->comm, .advance = advance};
    if (t->wakes) op->wakes_s = t->started_s + t->lasts_s;
    return fail_or_end(object, t, START, at_once && !is_finished_apart(task));
}

static fsmoe_status finish(void *object, const fsm_task *task)
{
    fake_case *c = object;
    fake_task *t = &c->tasks[task - c->graph.tasks];
    bool complete = is_at_once(t) ? t->advanced == 0 : t->advanced >= t->advances && t->advanced > 0;
    expect(c, atomic_load(&t->begun) == 1 && complete, "is finished before it is there", t->index);
    return fail_or_end(c, t, FINISH, true);
}

/* Forward tasks run; update tasks are collectives, backward tasks collectives with a finish. */
static const fsm_task_table *table(void)
{
    static fsm_task_table t;
    for (int kind = 0; kind < FSM_TASK_KIND_COUNT; kind++) {
        t.run[kind][FSM_FORWARD] = run;
        t.start[kind][FSM_UPDATE] = t.start[kind][FSM_BACKWARD] = start;
        t.finish[kind][FSM_BACKWARD] = finish;
    }
    return &t;
}

/* ---- making cases ---- */

static void add_task(fake_case *c, fsm_task task, int advances, const int *after, int n)
{
    int index = fsm_graph_add(&c->graph, task, after, n), before = index - 1;
    while (before >= 0 && c->graph.tasks[before].resource != task.resource) before--;
    c->tasks[index] = (fake_task){.owner = c, .index = index, .before = before, .advances = advances};
}

static void open_case(fake_case *c)
{
    c->graph = (fsm_graph){0};
    c->fail_at = -1;
    c->caller = pthread_self();
    atomic_store(&c->faults, 0);
}

static void close_case(fake_case *c)
{
    fsm_graph_destroy(&c->graph);
}

/* `resources`: how many of them there are from `first` on. */
static void draw_case(fake_case *c, int tasks, int first, int resources)
{
    open_case(c);
    for (int i = 0; i < tasks; i++) {
        int after[6], n = 0;
        for (int64_t edges = draw(4); i > 0 && n < edges; n++)
            after[n] = draw(8) ? (int)(i - 1 - draw(i < 6 ? i : 6)) : -1;
        fsm_task task = {.kind = (fsm_task_kind)draw(FSM_TASK_KIND_COUNT),
                         .phase = (fsm_phase)draw(FSM_PHASE_COUNT),
                         .resource = (fsm_resource)((first + draw(resources)) % FSM_RESOURCE_COUNT)};
        add_task(c, task, (int)(draw(2) * draw(4)), after, n);
        if (draw(8) == 0) c->tasks[i].lasts_s = 1e-6 * (double)draw(200);
    }
    assert_int_equal(fsm_graph_check(&c->graph), FSMOE_OK);
    for (int i = 0; i < tasks; i++) c->wanted[i] = value_of(c, i, c->wanted, sizeof c->wanted[0]);
}

/* ---- running them ---- */

static void note(fake_case *c, int observer, int index, double start_s, double end_s)
{
    fake_task *t = &c->tasks[index];
    t->told[observer]++;
    t->start_s = start_s;
    t->end_s = end_s;
}

static void note_first(void *user, int index, double start_s, double end_s)
{
    note(user, 0, index, start_s, end_s);
}

static void note_second(void *user, int index, double start_s, double end_s)
{
    note(user, 1, index, start_s, end_s);
}

static fsmoe_status run_case(fsm_exec *exec, fsm_progress progress, fake_case *c)
{
    const fsm_observer observers[2] = {{note_first, c}, {note_second, c}};
    c->threaded = progress == FSM_PROGRESS_THREAD;
    return fsm_exec_run(exec, &c->graph, table(), c, observers, 2);
}

static void check_times(const fake_case *c, int i)
{
    const fake_task *t = &c->tasks[i];
    const fsm_task *task = &c->graph.tasks[i];
    assert_true(t->told[0] == 1 && t->told[1] == 1);
    assert_true(t->start_s > 0 && t->start_s <= t->end_s);
    for (int e = task->after_first; e < task->after_first + task->after_count; e++)
        assert_true(t->start_s >= c->tasks[c->graph.edges[e]].end_s);
    if (t->before >= 0) assert_true(t->start_s >= c->tasks[t->before].end_s);
}

static void check_done(const fake_case *c)
{
    assert_int_equal(atomic_load(&c->faults), 0);
    for (int i = 0; i < c->graph.count; i++) {
        assert_int_equal(atomic_load(&c->tasks[i].ended), 1);
        assert_true(c->tasks[i].value == c->wanted[i]);
        check_times(c, i);
    }
}

static fsm_exec *create(fsm_progress progress)
{
    fsm_exec *exec;
    assert_int_equal(fsm_exec_create(progress, &exec), FSMOE_OK);
    return exec;
}

static fake_case the_case; /* large */

static const fsm_progress both[] = {FSM_PROGRESS_THREAD, FSM_PROGRESS_TASKS};

static void test_exec_equals_one_task_after_another(void **state)
{
    (void)state;
    enum { GRAPHS = 2000 };
    for (int mode = 0; mode < 2; mode++) {
        fsm_exec *exec = create(both[mode]);
        for (int i = 0; i < GRAPHS; i++) {
            draw_case(&the_case, (int)draw(i % 8 ? 12 : MAX_TASKS + 1), 0, FSM_RESOURCE_COUNT);
            if (run_case(exec, both[mode], &the_case) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
            check_done(&the_case);
            close_case(&the_case);
        }
        fsm_exec_destroy(exec);
    }
}

static void test_exec_runs_graphs_of_one_resource_and_of_links_only(void **state)
{
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        fsm_exec *exec = create(both[mode]);
        for (int first = 0; first < FSM_RESOURCE_COUNT; first++)
            for (int resources = 1; resources <= 2; resources++)
                for (int i = 0; i < 20; i++) {
                    draw_case(&the_case, 10, first, resources);
                    assert_int_equal(run_case(exec, both[mode], &the_case), FSMOE_OK);
                    check_done(&the_case);
                    close_case(&the_case);
                }
        fsm_exec_destroy(exec);
    }
}

static void test_exec_runs_an_empty_graph(void **state)
{
    (void)state;
    const fsm_graph empty = {0};
    for (int mode = 0; mode < 2; mode++) {
        fsm_exec *exec = create(both[mode]);
        assert_int_equal(fsm_exec_run(exec, &empty, table(), NULL, NULL, 0), FSMOE_OK);
        fsm_exec_destroy(exec);
    }
    fsm_exec_destroy(NULL);
}

/* ---- failures ---- */

/* A stage that the task has; its last advance is one. */
static stage draw_stage(const fake_case *c, int index)
{
    static const bool has[FSM_PHASE_COUNT][STAGES] = {
        [FSM_FORWARD] = {[RUN] = true},
        [FSM_BACKWARD] = {[START] = true, [ADVANCE] = true, [FINISH] = true},
        [FSM_UPDATE] = {[START] = true, [ADVANCE] = true},
    };
    for (;;) {
        stage s = (stage)draw(STAGES);
        if (has[c->graph.tasks[index].phase][s] && (s != ADVANCE || c->tasks[index].advances > 0)) return s;
    }
}

/* What waits for the task that failed, or is behind it on its stream, has not begun, nor what waits for that. */
static void check_failed(const fake_case *c)
{
    bool cut[MAX_TASKS] = {false};
    assert_int_equal(atomic_load(&c->faults), 0);
    for (int i = c->fail_at; i < c->graph.count; i++) {
        const fsm_task *t = &c->graph.tasks[i];
        cut[i] = i == c->fail_at || (c->tasks[i].before >= 0 && cut[c->tasks[i].before]);
        for (int e = t->after_first; e < t->after_first + t->after_count; e++) cut[i] |= cut[c->graph.edges[e]];
        if (cut[i]) assert_true(atomic_load(&c->tasks[i].ended) == 0 && c->tasks[i].told[0] == 0);
        if (cut[i] && i > c->fail_at) assert_int_equal(atomic_load(&c->tasks[i].begun), 0);
    }
}

static void test_exec_failure_reaches_the_caller_and_leaves_an_executor_that_works(void **state)
{
    (void)state;
    char sentence[64];
    int seen[STAGES] = {0};
    for (int mode = 0; mode < 2; mode++) {
        fsm_exec *exec = create(both[mode]);
        for (int i = 0; i < 400; i++) {
            draw_case(&the_case, 1 + (int)draw(16), 0, FSM_RESOURCE_COUNT);
            the_case.fail_at = (int)draw(the_case.graph.count);
            the_case.fail_in = draw_stage(&the_case, the_case.fail_at);
            seen[the_case.fail_in]++;
            snprintf(sentence, sizeof sentence, "task %d fails in stage %d", the_case.fail_at, the_case.fail_in);
            fsm_fail(FSMOE_ERROR_INTERNAL, "an older failure");
            assert_int_equal(run_case(exec, both[mode], &the_case), FSMOE_ERROR_NUMERIC);
            assert_string_equal(fsmoe_last_error(), sentence);
            check_failed(&the_case);
            close_case(&the_case);
            if (i % 2) { /* or a failure after a failure */
                draw_case(&the_case, 8, 0, FSM_RESOURCE_COUNT);
                assert_int_equal(run_case(exec, both[mode], &the_case), FSMOE_OK);
                check_done(&the_case);
                close_case(&the_case);
            }
            if (i % 100 == 0) { /* destroyed right after a failure */
                fsm_exec_destroy(exec);
                exec = create(both[mode]);
            }
        }
        fsm_exec_destroy(exec);
    }
    for (int s = 0; s < STAGES; s++) assert_true(seen[s] > 20);
}

/* ---- many short runs ---- */

/* compute, a link, compute, the other link: each wakes the other thread. */
static void draw_relay(fake_case *c, int i)
{
    static const fsm_resource resources[] = {FSM_COMPUTE, FSM_INTRA, FSM_COMPUTE, FSM_INTER};
    open_case(c);
    for (int at = 0; at < 1 + i % 4; at++) {
        int after = at - 1;
        add_task(c, (fsm_task){.phase = i % 3 ? FSM_FORWARD : FSM_BACKWARD, .resource = resources[(at + i / 4) % 4]}, 0,
                 &after, 1);
    }
    for (int at = 0; at < c->graph.count; at++) c->wanted[at] = value_of(c, at, c->wanted, sizeof c->wanted[0]);
}

static void test_exec_ten_thousand_short_runs_lose_no_wake_up(void **state)
{
    (void)state;
    alarm(60); /* a lost wake-up waits for ever */
    for (int mode = 0; mode < 2; mode++) {
        fsm_exec *exec = create(both[mode]);
        for (int i = 0; i < 10000; i++) {
            draw_relay(&the_case, i);
            assert_int_equal(run_case(exec, both[mode], &the_case), FSMOE_OK);
            check_done(&the_case);
            close_case(&the_case);
        }
        fsm_exec_destroy(exec);
    }
    alarm(0);
}

/* ---- overlap ---- */

/* Two collectives and a computation of 20 ms each, which need nothing of each other: 20 ms, not 60. */
static void test_exec_links_and_compute_overlap(void **state)
{
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        fsm_exec *exec = create(both[mode]);
        double best_s = 1;
        for (int attempt = 0; attempt < 5 && best_s >= 0.03; attempt++) { /* machines have bad moments */
            open_case(&the_case);
            add_task(&the_case, (fsm_task){.phase = FSM_UPDATE, .resource = FSM_INTRA}, 1, NULL, 0);
            add_task(&the_case, (fsm_task){.phase = FSM_UPDATE, .resource = FSM_INTER}, 1, NULL, 0);
            add_task(&the_case, (fsm_task){.phase = FSM_FORWARD, .resource = FSM_COMPUTE}, 1, NULL, 0);
            for (int i = 0; i < 3; i++) {
                the_case.tasks[i].lasts_s = 0.02;
                the_case.wanted[i] = value_of(&the_case, i, the_case.wanted, sizeof the_case.wanted[0]);
            }
            double start_s = fsm_clock_s();
            assert_int_equal(run_case(exec, both[mode], &the_case), FSMOE_OK);
            double took_s = fsm_clock_s() - start_s;
            check_done(&the_case);
            close_case(&the_case);
            assert_true(took_s >= 0.02);
            if (took_s < best_s) best_s = took_s;
        }
        fsm_exec_destroy(exec);
        /* moved by the caller, links are begun after the computation, and overlap each other */
        assert_true(best_s < (both[mode] == FSM_PROGRESS_THREAD ? 0.035 : 0.055));
    }
}

/* ---- naps ---- */

/* A collective of 0.2 s that says so: without that, a look at 17/16 of the one before finds its end up to 12 ms
 * late. */
static double run_one_that_wakes(fsm_exec *exec, fsm_progress progress)
{
    open_case(&the_case);
    add_task(&the_case, (fsm_task){.phase = FSM_UPDATE, .resource = FSM_INTER}, 1, NULL, 0);
    the_case.tasks[0].lasts_s = 0.2;
    the_case.tasks[0].wakes = true;
    the_case.wanted[0] = value_of(&the_case, 0, the_case.wanted, sizeof the_case.wanted[0]);
    double start_s = fsm_clock_s();
    assert_int_equal(run_case(exec, progress, &the_case), FSMOE_OK);
    double took_s = fsm_clock_s() - start_s;
    check_done(&the_case);
    close_case(&the_case);
    return took_s;
}

static void test_exec_long_naps_end_when_an_operation_wakes(void **state)
{
    (void)state;
    enum { ATTEMPTS = 5 };
    for (int mode = 0; mode < 2; mode++) {
        int in_time = 0;
        fsm_exec *exec = create(both[mode]);
        fsm_exec_set_longest_nap(exec, 1);
        for (int attempt = 0; attempt < ATTEMPTS; attempt++) in_time += run_one_that_wakes(exec, both[mode]) <= 0.202;
        assert_true(in_time >= ATTEMPTS - 1); /* machines have bad moments; by luck a look is in time once, not often */
        fsm_exec_destroy(exec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec_equals_one_task_after_another),
        cmocka_unit_test(test_exec_runs_graphs_of_one_resource_and_of_links_only),
        cmocka_unit_test(test_exec_runs_an_empty_graph),
        cmocka_unit_test(test_exec_failure_reaches_the_caller_and_leaves_an_executor_that_works),
        cmocka_unit_test(test_exec_ten_thousand_short_runs_lose_no_wake_up),
        cmocka_unit_test(test_exec_links_and_compute_overlap),
        cmocka_unit_test(test_exec_long_naps_end_when_an_operation_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
