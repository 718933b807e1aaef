/* The issue driver: on streams that work at once, and on streams that an adversary shuffles, no task begins before what
 * it waits for and what is before it on its resource, on random graphs and on those of every schedule; and the
 * adversary is one: where any wait for an event is left out, and no other implies it, some seed has the order that it
 * forbids. */
#define DRAW_SEED 61
#include "count_allocations.h"
#include "exec/exec.h"
#include "random_step.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_TASKS = 1500, MOST_WAITS = 2 * MOST_TASKS }; /* a task has two resources to wait for */

/* ---- tasks that look whether it is their time ---- */

typedef enum stage { BEGIN, ADVANCE, FINISH, STAGES } stage;

typedef struct play play;

typedef struct fake_task {
    play *of;
    int index, before; /* on its resource; -1: none */
    int advances;
    bool begun, ended;
    int told;
    double start_s, end_s;
} fake_task;

struct play {
    const fsm_graph *graph;
    fake_task tasks[MOST_TASKS];
    fsm_stream *streams[FSM_RESOURCE_COUNT], *now;
    int faults;
    const char *fault; /* the first */
    int fail_at;       /* -1: nothing fails */
    stage fail_in;
};

static play the_play; /* large */

static void expect(play *p, bool good, const char *what)
{
    if (!good && p->faults++ == 0) p->fault = what;
}

/* A run of `graph`, at its beginning. */
static play *open_play(const fsm_graph *graph)
{
    play *p = &the_play;
    int last[FSM_RESOURCE_COUNT] = {-1, -1, -1};
    assert_true(graph->count <= MOST_TASKS);
    p->graph = graph;
    p->faults = 0;
    p->fail_at = -1;
    memset(p->streams, 0, sizeof p->streams);
    for (int i = 0; i < graph->count; i++) {
        int *before = &last[graph->tasks[i].resource];
        p->tasks[i] = (fake_task){.of = p, .index = i, .before = *before, .advances = i * 7 % 3};
        *before = i;
    }
    return p;
}

static void use_stream(void *object, fsm_resource resource, fsm_stream *stream)
{
    play *p = object;
    if (!p->streams[resource]) p->streams[resource] = stream;
    expect(p, p->streams[resource] == stream, "a resource has two streams");
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        expect(p, r == (int)resource || p->streams[r] != stream, "two resources have a stream");
    p->now = stream;
}

static fsmoe_status stage_of(fake_task *t, stage now, bool ends)
{
    play *p = t->of;
    const fsm_task *task = &p->graph->tasks[t->index];
    expect(p, p->now == p->streams[task->resource], "another stream is in use");
    if (t->index == p->fail_at && now == p->fail_in) return fsm_fail(FSMOE_ERROR_NUMERIC, "task %d fails", t->index);
    expect(p, !t->ended, "goes on after its end");
    t->ended = ends;
    return FSMOE_OK;
}

static fake_task *begin(play *p, const fsm_task *task)
{
    fake_task *t = &p->tasks[task - p->graph->tasks];
    for (int e = task->after_first; e < task->after_first + task->after_count; e++)
        expect(p, p->tasks[p->graph->edges[e]].ended, "begins before what it waits for has ended");
    if (t->before >= 0) expect(p, p->tasks[t->before].ended, "overtakes its stream");
    expect(p, !t->begun, "begins twice");
    t->begun = true;
    return t;
}

static fsmoe_status run(void *object, const fsm_task *task)
{
    return stage_of(begin(object, task), BEGIN, true);
}

static bool is_finished_apart(const fsm_task *task)
{
    return task->phase == FSM_BACKWARD;
}

static fsmoe_status advance(fsm_comm_op *op, bool *done)
{
    fake_task *t = op->object;
    *done = --t->advances <= 0;
    return stage_of(t, ADVANCE, *done && !is_finished_apart(&t->of->graph->tasks[t->index]));
}

static fsmoe_status start(void *object, const fsm_task *task, fsm_comm_op *op)
{
    fake_task *t = begin(object, task);
    if (t->advances > 0) *op = (fsm_comm_op){.advance = advance, .object = t};
    return stage_of(t, BEGIN, t->advances == 0 && !is_finished_apart(task));
}

static fsmoe_status finish(void *object, const fsm_task *task)
{
    play *p = object;
    fake_task *t = &p->tasks[task - p->graph->tasks];
    expect(p, t->begun && t->advances <= 0, "is finished before it is there");
    return stage_of(t, FINISH, true);
}

/* Forward tasks run; update tasks are collectives, backward tasks collectives with a finish. */
static const fsm_task_table *table(void)
{
    static fsm_task_table t = {.use_stream = use_stream};
    for (int kind = 0; kind < FSM_TASK_KIND_COUNT; kind++) {
        t.run[kind][FSM_FORWARD] = run;
        t.start[kind][FSM_UPDATE] = t.start[kind][FSM_BACKWARD] = start;
        t.finish[kind][FSM_BACKWARD] = finish;
    }
    return &t;
}

static void note(void *user, int index, double start_s, double end_s)
{
    fake_task *t = &((play *)user)->tasks[index];
    t->told++;
    t->start_s = start_s;
    t->end_s = end_s;
}

static fsmoe_status run_play(fsm_exec *exec, play *p)
{
    const fsm_observer observer = {note, p};
    return fsm_exec_run(exec, p->graph, table(), p, &observer, 1);
}

static void check_times(const play *p, const fake_task *t)
{
    const fsm_task *task = &p->graph->tasks[t->index];
    assert_true(t->told == 1 && t->start_s <= t->end_s);
    for (int e = task->after_first; e < task->after_first + task->after_count; e++)
        assert_true(t->start_s >= p->tasks[p->graph->edges[e]].end_s - 1e-9);
    if (t->before >= 0) assert_true(t->start_s >= p->tasks[t->before].end_s - 1e-9);
}

static void check_done(const play *p)
{
    if (p->faults > 0) fail_msg("%d faults of %d tasks; the first: a task %s", p->faults, p->graph->count, p->fault);
    for (int i = 0; i < p->graph->count; i++) {
        assert_true(p->tasks[i].ended);
        check_times(p, &p->tasks[i]);
    }
}

/* ---- executors on devices ---- */

typedef struct issuer {
    fsm_device *host, *device; /* the host, or shuffled streams over it */
    fsm_exec *exec;
} issuer;

enum { AT_ONCE = -1 };

static issuer open_issuer(int seed)
{
    issuer x = {0};
    assert_int_equal(fsm_device_create_host(&x.host), FSMOE_OK);
    x.device = x.host;
    if (seed != AT_ONCE) assert_int_equal(fsm_device_create_shuffled(x.host, (uint64_t)seed, &x.device), FSMOE_OK);
    assert_int_equal(fsm_exec_create_issue(x.device, &x.exec), FSMOE_OK);
    return x;
}

static void close_issuer(issuer x)
{
    fsm_exec_destroy(x.exec);
    if (x.device != x.host) fsm_device_destroy(x.device);
    fsm_device_destroy(x.host);
}

static void check_graph_runs(issuer x, const fsm_graph *graph)
{
    play *p = open_play(graph);
    if (run_play(x.exec, p) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    check_done(p);
}

/* ---- random graphs ---- */

static fsm_graph random_graph(int tasks)
{
    fsm_graph graph = {0};
    for (int i = 0; i < tasks; i++) {
        int after[6], n = 0;
        for (int64_t edges = draw(4); i > 0 && n < edges; n++)
            after[n] = draw(8) ? (int)(i - 1 - draw(i < 6 ? i : 6)) : -1;
        fsm_task task = {.kind = (fsm_task_kind)draw(FSM_TASK_KIND_COUNT),
                         .phase = (fsm_phase)draw(FSM_PHASE_COUNT),
                         .resource = (fsm_resource)draw(FSM_RESOURCE_COUNT)};
        fsm_graph_add(&graph, task, after, n);
    }
    assert_int_equal(fsm_graph_check(&graph), FSMOE_OK);
    return graph;
}

static void test_issue_runs_random_graphs_in_every_order_that_events_allow(void **state)
{
    (void)state;
    for (int seed = AT_ONCE; seed < 100; seed++) {
        issuer x = open_issuer(seed);
        for (int i = 0; i < 20; i++) {
            fsm_graph graph = random_graph((int)draw(i % 5 ? 12 : 100));
            check_graph_runs(x, &graph);
            fsm_graph_destroy(&graph);
        }
        close_issuer(x);
    }
}

static void test_issue_failure_reaches_the_caller_and_leaves_an_executor_that_works(void **state)
{
    (void)state;
    for (int seed = AT_ONCE; seed < 200; seed++) {
        issuer x = open_issuer(seed);
        fsm_graph graph = random_graph(1 + (int)draw(30));
        bool cut[30] = {false};
        char sentence[64];
        play *p = open_play(&graph);
        p->fail_at = (int)draw(graph.count);
        if (graph.tasks[p->fail_at].phase == FSM_BACKWARD) p->fail_in = draw(2) ? FINISH : BEGIN;
        else p->fail_in = BEGIN;
        snprintf(sentence, sizeof sentence, "task %d fails", p->fail_at);
        assert_int_equal(run_play(x.exec, p), FSMOE_ERROR_NUMERIC);
        assert_string_equal(fsmoe_last_error(), sentence);
        assert_int_equal(p->faults, 0);
        for (int i = p->fail_at; i < graph.count; i++) {
            const fsm_task *t = &graph.tasks[i];
            cut[i] = i == p->fail_at || (p->tasks[i].before >= 0 && cut[p->tasks[i].before]);
            for (int e = t->after_first; e < t->after_first + t->after_count; e++) cut[i] |= cut[graph.edges[e]];
            if (cut[i]) assert_true(!p->tasks[i].ended && p->tasks[i].told == 0);
            if (cut[i] && i > p->fail_at) assert_false(p->tasks[i].begun);
        }
        for (int i = 0; i < graph.count; i++) assert_int_equal(p->tasks[i].told, p->tasks[i].ended);
        check_graph_runs(x, &graph);
        fsm_graph_destroy(&graph);
        close_issuer(x);
    }
}

static void test_issue_allocates_nothing_in_a_run(void **state)
{
    (void)state;
    if (!COUNTS_ALLOCATIONS) skip();
    fsm_graph graph = random_graph(200);
    issuer x = open_issuer(AT_ONCE);
    assert_int_equal(fsm_exec_reserve(x.exec, graph.count), FSMOE_OK);
    long before = n_allocations;
    check_graph_runs(x, &graph);
    assert_int_equal(n_allocations - before, 0);
    close_issuer(x);
    fsm_graph_destroy(&graph);
}

/* ---- tasks that enqueue, on device memory ---- */

/* A byte of device memory a task: its number, or the byte of the first task it waits for. */
typedef struct enqueuer {
    const fsm_graph *graph;
    fsm_stream *now;
    unsigned char *bytes; /* of the device */
} enqueuer;

static void enqueue_on(void *object, fsm_resource resource, fsm_stream *stream)
{
    (void)resource;
    ((enqueuer *)object)->now = stream;
}

static fsmoe_status enqueue_byte(void *object, const fsm_task *task)
{
    const enqueuer *q = object;
    const fsm_device_table *device = q->now->device->table;
    int index = (int)(task - q->graph->tasks);
    if (task->after_count == 0) return device->fill(q->now, q->bytes + index, (unsigned char)index, 1);
    return device->copy(q->now, FSM_COPY_WITHIN, q->bytes + index, q->bytes + q->graph->edges[task->after_first], 1);
}

static void check_enqueued(fsm_device *device, const fsm_graph *graph, const fsm_task_table *enqueues)
{
    enum { TASKS = 100 };
    const fsm_device_table *d = device->table;
    unsigned char want[TASKS], got[TASKS];
    fsm_exec *exec;
    fsm_stream *stream;
    void *bytes;
    assert_int_equal(d->allocate(device, TASKS, &bytes), FSMOE_OK);
    assert_int_equal(d->create_stream(device, &stream), FSMOE_OK);
    assert_int_equal(fsm_exec_create_issue(device, &exec), FSMOE_OK);
    enqueuer q = {.graph = graph, .bytes = bytes};
    if (fsm_exec_run(exec, graph, enqueues, &q, NULL, 0) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_int_equal(d->copy(stream, FSM_COPY_FROM_DEVICE, got, bytes, (size_t)graph->count), FSMOE_OK);
    assert_int_equal(d->synchronise(stream), FSMOE_OK);
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        want[i] = t->after_count > 0 ? want[graph->edges[t->after_first]] : (unsigned char)i;
        assert_int_equal(got[i], want[i]);
    }
    fsm_exec_destroy(exec);
    d->destroy_stream(stream);
    d->free(device, bytes, TASKS);
}

static void test_issue_tells_tasks_the_stream_to_enqueue_on(void **state)
{
    (void)state;
    fsm_task_table enqueues = {.use_stream = enqueue_on};
    fsm_device *apart, *device;
    for (int kind = 0; kind < FSM_TASK_KIND_COUNT; kind++)
        for (int phase = 0; phase < FSM_PHASE_COUNT; phase++) enqueues.run[kind][phase] = enqueue_byte;
    assert_int_equal(fsm_device_create_apart(0, &apart), FSMOE_OK);
    for (int seed = AT_ONCE; seed < 50; seed++) {
        fsm_graph graph = random_graph(100);
        device = apart;
        if (seed != AT_ONCE) assert_int_equal(fsm_device_create_shuffled(apart, (uint64_t)seed, &device), FSMOE_OK);
        check_enqueued(device, &graph, &enqueues);
        if (seed != AT_ONCE) fsm_device_destroy(device);
        fsm_graph_destroy(&graph);
    }
    fsm_device_destroy(apart);
}

/* ---- graphs of schedules ---- */

static void use_graphs_of_schedules(int shapes, int most_tasks, void (*use)(const fsm_graph *graph))
{
    for (int used = 0; used < shapes;) {
        fsm_step_shape shape = random_shape();
        fsm_cluster cluster;
        fsm_graph plain;
        random_cluster(&cluster);
        assert_int_equal(fsm_schedule_in_order(&shape, 1, 1, &plain), FSMOE_OK);
        bool fits = plain.count <= most_tasks && plain.count > most_tasks / 4;
        fsm_graph_destroy(&plain);
        for (int k = 0; fits && fsm_schedules[k]; k++) {
            fsm_graph graph;
            if (fsm_schedules[k]->build(&shape, &cluster, &graph) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
            if (graph.count <= MOST_TASKS) use(&graph);
            fsm_graph_destroy(&graph);
        }
        used += fits;
        fsm_cluster_destroy(&cluster);
        fsm_step_shape_destroy(&shape);
    }
}

static void run_under_many_seeds(const fsm_graph *graph)
{
    for (int seed = AT_ONCE; seed < 12; seed++) {
        issuer x = open_issuer(seed);
        check_graph_runs(x, graph);
        close_issuer(x);
    }
}

static void test_issue_runs_every_schedule_in_every_order_that_events_allow(void **state)
{
    (void)state;
    use_graphs_of_schedules(12, 300, run_under_many_seeds);
}

/* ---- a wait that is left out ---- */

/* Listens to what a driver asks of a device, and forgets one wait. */
typedef struct spy {
    fsm_device_table table;
    const fsm_device_table *real;
    int submitted; /* tasks */
    int waits;
    int leaves_out; /* this wait, -1: none */
    int task[MOST_WAITS], before[MOST_WAITS];
    struct {
        const fsm_event *event;
        int submitted;
    } records[2 * MOST_TASKS + 1];
    int record_count;
} spy;

static spy the_spy;

static fsmoe_status spy_submit(fsm_stream *stream, fsm_work work, void *user)
{
    the_spy.submitted++;
    return the_spy.real->submit(stream, work, user);
}

static fsmoe_status spy_record(fsm_event *event, fsm_stream *stream)
{
    the_spy.records[the_spy.record_count].event = event;
    the_spy.records[the_spy.record_count++].submitted = the_spy.submitted;
    return the_spy.real->record(event, stream);
}

/* The task is the one to be submitted next; what it waits for was submitted last when the event was recorded. */
static fsmoe_status spy_wait(fsm_stream *stream, const fsm_event *event)
{
    spy *s = &the_spy;
    int r = s->record_count - 1, k = s->waits++;
    while (r >= 0 && s->records[r].event != event) r--;
    assert_true(r >= 0 && k < MOST_WAITS);
    s->task[k] = s->submitted;
    s->before[k] = s->records[r].submitted - 1;
    return k == s->leaves_out ? FSMOE_OK : s->real->wait(stream, event);
}

/* Runs the graph without one wait; whether some task began too early. */
static bool is_wrong_without(const fsm_graph *graph, int wait, int seed)
{
    issuer x = open_issuer(seed);
    spy *s = &the_spy;
    s->real = x.device->table;
    s->table = *s->real;
    s->table.submit = spy_submit;
    s->table.record = spy_record;
    s->table.wait = spy_wait;
    s->submitted = s->waits = s->record_count = 0;
    s->leaves_out = wait;
    x.device->table = &s->table;
    play *p = open_play(graph);
    if (run_play(x.exec, p) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    x.device->table = s->real;
    close_issuer(x);
    return p->faults > 0;
}

/* Whether the task of a wait begins after what it waits for by what the streams and the other waits say. */
static bool is_implied(const fsm_graph *graph, int wait)
{
    static bool later[MOST_TASKS]; /* than what it waits for */
    const spy *s = &the_spy;
    int from = s->before[wait], at = 0;
    open_play(graph); /* the order on resources */
    for (int i = 0; i <= s->task[wait]; i++) {
        later[i] = i == from || (the_play.tasks[i].before >= 0 && later[the_play.tasks[i].before]);
        for (; at < s->waits && s->task[at] == i; at++) later[i] |= at != wait && later[s->before[at]];
    }
    return later[s->task[wait]];
}

static int implied, caught, runs_needed;

/* One seed of twelve is sure to find it (src/device/shuffled.c). */
static void leave_out_each_wait(const fsm_graph *graph)
{
    enum { SEEDS = 150, SEEDS_IMPLIED = 10 };
    assert_false(is_wrong_without(graph, -1, AT_ONCE));
    for (int wait = 0; wait < the_spy.waits; wait++) {
        bool wrong = false, needs_it = !is_implied(graph, wait);
        int seed = 0, most = needs_it ? SEEDS : SEEDS_IMPLIED;
        for (; seed < most && !wrong; seed++) wrong = is_wrong_without(graph, wait, seed);
        if (wrong != needs_it)
            fail_msg("without wait %d of %d, of task %d for task %d, %s", wait, the_spy.waits, the_spy.task[wait],
                     the_spy.before[wait], needs_it ? "no seed finds anything" : "which is implied, a task is early");
        caught += wrong;
        implied += !needs_it;
        runs_needed += wrong ? seed : 0;
    }
}

static void test_issue_without_any_one_wait_is_caught(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        fsm_graph graph = random_graph(20);
        leave_out_each_wait(&graph);
        fsm_graph_destroy(&graph);
    }
    use_graphs_of_schedules(3, 120, leave_out_each_wait);
    print_message("%d waits left out and caught, after %.1f seeds on average; %d implied by others\n", caught,
                  (double)runs_needed / caught, implied);
    assert_true(caught > 1000 && implied > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_issue_runs_random_graphs_in_every_order_that_events_allow),
        cmocka_unit_test(test_issue_failure_reaches_the_caller_and_leaves_an_executor_that_works),
        cmocka_unit_test(test_issue_allocates_nothing_in_a_run),
        cmocka_unit_test(test_issue_tells_tasks_the_stream_to_enqueue_on),
        cmocka_unit_test(test_issue_runs_every_schedule_in_every_order_that_events_allow),
        cmocka_unit_test(test_issue_without_any_one_wait_is_caught),
    };
    alarm(300); /* a task that nothing ends is waited for for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
