/* The threads driver: the caller's thread computes; communication is begun and moved along by one thread of the
 * executor, which sleeps while there is none and naps between two looks at what is under way. Where the transport does
 * not allow that thread, or there is one rank, the caller's thread moves it between its own tasks
 * (FSM_PROGRESS_TASKS). */
#define _GNU_SOURCE
#include "exec/driver.h"

#include "base/clock.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* The tasks of one resource, in the order of the graph. */
typedef struct stream {
    int next; /* the first that has not begun; graph->count: none */
    int now;  /* the one under way, -1: none; of links */
    fsm_comm_op op;
    double started_s;
} stream;

typedef struct threads {
    fsm_exec base; /* first */
    fsm_progress progress;
    double longest_nap_s;
    bool *done; /* [capacity] tasks */
    int capacity;
    /* the present run */
    fsm_job job;
    stream streams[FSM_RESOURCE_COUNT];
    int left; /* tasks that are not done */
    /* `lock` guards done, next, left and status while two threads run; each sleeps on its own condition */
    pthread_mutex_t lock;
    pthread_cond_t compute_wakes, links_wake;
    pthread_t thread;
    bool running, ends;
    bool moving; /* a link's task is in hand, without the lock */
} threads;

/* ---- who may begin ---- */

static bool is_ready(const threads *x, int index)
{
    const fsm_task *t = &x->job.graph->tasks[index];
    for (int e = t->after_first; e < t->after_first + t->after_count; e++)
        if (!x->done[x->job.graph->edges[e]]) return false;
    return true;
}

static int next_of(const threads *x, fsm_resource resource, int from)
{
    while (from < x->job.graph->count && x->job.graph->tasks[from].resource != resource) from++;
    return from;
}

/* Whether a link has nothing under way and something that may begin. */
static bool link_is_ready(const threads *x, int r)
{
    const stream *s = &x->streams[r];
    return s->now < 0 && s->next < x->job.graph->count && is_ready(x, s->next);
}

static bool compute_is_ready(const threads *x)
{
    const stream *s = &x->streams[FSM_COMPUTE];
    return s->next < x->job.graph->count && is_ready(x, s->next);
}

static bool some_link_is_ready(const threads *x)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (r != FSM_COMPUTE && link_is_ready(x, r)) return true;
    return false;
}

static bool something_is_under_way(const threads *x)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (r != FSM_COMPUTE && x->streams[r].now >= 0) return true;
    return false;
}

static void end_task(threads *x, int index)
{
    x->done[index] = true;
    x->left--;
}

/* ---- links ---- */

static fsmoe_status begin_task(threads *x, stream *s)
{
    s->started_s = fsm_clock_s();
    return fsm_job_begin(&x->job, s->now, &s->op);
}

static fsmoe_status finish_task(threads *x, const stream *s)
{
    FSM_TRY(fsm_job_finish(&x->job, s->now));
    fsm_job_tell(&x->job, s->now, s->started_s, fsm_clock_s());
    return FSMOE_OK;
}

/* Begins, moves or ends the link's task; *moved: one has begun or ended. With the lock held, which it leaves while it
 * communicates. */
static void move_link(threads *x, int r, bool *moved)
{
    stream *s = &x->streams[r];
    bool begins = s->now < 0, ended = false;
    if (begins && !link_is_ready(x, r)) return;
    if (begins) {
        s->now = s->next;
        s->next = next_of(x, (fsm_resource)r, s->next + 1);
    }
    x->moving = true;
    pthread_mutex_unlock(&x->lock);
    fsmoe_status status = begins ? begin_task(x, s) : FSMOE_OK;
    if (status == FSMOE_OK) status = fsm_comm_advance(&s->op, &ended);
    if (status == FSMOE_OK && ended) status = finish_task(x, s);
    pthread_mutex_lock(&x->lock);
    x->moving = false;
    *moved |= begins || ended;
    if (status != FSMOE_OK) fsm_exec_fail(&x->base, status);
    else if (ended) end_task(x, s->now);
    if (ended) s->now = -1;
    if (x->base.status != FSMOE_OK || (ended && (x->left == 0 || compute_is_ready(x))))
        pthread_cond_signal(&x->compute_wakes);
}

static bool move_links(threads *x)
{
    bool moved = false;
    for (int r = 0; r < FSM_RESOURCE_COUNT && x->base.status == FSMOE_OK; r++)
        if (r != FSM_COMPUTE) move_link(x, r, &moved);
    return moved;
}

/* Until nothing begins or ends any more. */
static void move_links_on(threads *x)
{
    while (move_links(x)) continue;
}

/* ---- naps ---- */

/* When an operation wants to be looked at whatever arrives. */
static double until_one_wakes_s(const threads *x, double now_s)
{
    double soonest_s = INFINITY;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        if (r == FSM_COMPUTE || x->streams[r].now < 0 || x->streams[r].op.wakes_s == 0) continue;
        soonest_s = fmin(soonest_s, fmax(x->streams[r].op.wakes_s - now_s, 0));
    }
    return soonest_s;
}

/* How long to look away from what is under way: a sixteenth of its age, so that its end is seen late by no more than
 * that; not less than a look costs, not more than what is in flight keeps a fast link busy. */
static double nap_s(const threads *x)
{
    const double least_s = 50e-6;
    double youngest_s = x->longest_nap_s * 16, now_s = fsm_clock_s();
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        if (r == FSM_COMPUTE || x->streams[r].now < 0) continue;
        youngest_s = fmin(youngest_s, now_s - x->streams[r].started_s);
    }
    return fmin(fmax(youngest_s / 16, least_s), until_one_wakes_s(x, now_s));
}

static void sleep_until_woken(pthread_cond_t *condition, pthread_mutex_t *lock, double seconds)
{
    struct timespec until = fsm_clock_timespec(fsm_clock_s() + seconds);
    pthread_cond_timedwait(condition, lock, &until);
}

/* With the lock held: until something may have changed for the links. */
static void wait_for_links(threads *x)
{
    if (something_is_under_way(x)) sleep_until_woken(&x->links_wake, &x->lock, nap_s(x));
    else pthread_cond_wait(&x->links_wake, &x->lock);
}

/* ---- the thread that communicates ---- */

/* It works for a few microseconds at a time and must do so at once, while the computing thread has its core for
 * milliseconds: real-time if the system allows that, else the best nice value it allows. */
static void hurry(void)
{
    const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_RR)};
    prctl(PR_SET_TIMERSLACK, 1000UL); /* naps of microseconds are not to be rounded up to 50 */
    if (pthread_setschedparam(pthread_self(), SCHED_RR, &lowest) == 0) return;
    setpriority(PRIO_PROCESS, (id_t)gettid(), -10);
}

static void *communicate(void *user)
{
    threads *x = user;
    hurry();
    pthread_mutex_lock(&x->lock);
    while (!x->ends) {
        bool idle = !x->running || x->base.status != FSMOE_OK;
        if (idle) pthread_cond_wait(&x->links_wake, &x->lock);
        /* what the computing thread has finished meanwhile may have made a link ready that was looked at before */
        else if (!move_links(x) && !some_link_is_ready(x)) wait_for_links(x);
    }
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

/* ---- compute ---- */

/* A collective of a group of one is begun and done at once. */
static fsmoe_status run_task(threads *x, int index)
{
    fsm_comm_op op;
    FSM_TRY(fsm_job_begin(&x->job, index, &op));
    FSM_TRY(fsm_comm_finish(&op));
    return fsm_job_finish(&x->job, index);
}

/* With the lock held: until the links have done something, or are done with what they had. */
static void wait_for_compute(threads *x)
{
    if (x->progress == FSM_PROGRESS_THREAD) pthread_cond_wait(&x->compute_wakes, &x->lock);
    else if (!move_links(x) && x->base.status == FSMOE_OK) sleep_until_woken(&x->compute_wakes, &x->lock, nap_s(x));
}

/* With the lock held. */
static void compute_next(threads *x)
{
    stream *s = &x->streams[FSM_COMPUTE];
    int index = s->next;
    pthread_mutex_unlock(&x->lock);
    double start_s = fsm_clock_s();
    fsmoe_status status = run_task(x, index);
    if (status == FSMOE_OK) fsm_job_tell(&x->job, index, start_s, fsm_clock_s());
    pthread_mutex_lock(&x->lock);
    if (status != FSMOE_OK) {
        fsm_exec_fail(&x->base, status);
        return;
    }
    end_task(x, index);
    s->next = next_of(x, FSM_COMPUTE, index + 1);
    if (x->progress == FSM_PROGRESS_TASKS) move_links_on(x);
    else if (some_link_is_ready(x)) pthread_cond_signal(&x->links_wake);
}

static void compute_all(threads *x)
{
    if (x->progress == FSM_PROGRESS_TASKS) move_links_on(x); /* what waits for nothing goes first */
    while (x->left > 0 && x->base.status == FSMOE_OK) {
        if (compute_is_ready(x)) compute_next(x);
        else wait_for_compute(x);
    }
    while (x->moving) pthread_cond_wait(&x->compute_wakes, &x->lock); /* after a failure */
}

/* ---- a run ---- */

static fsmoe_status threads_reserve(fsm_exec *exec, int tasks)
{
    threads *x = (threads *)exec;
    if (tasks <= x->capacity) return FSMOE_OK;
    bool *done = realloc(x->done, (size_t)tasks * sizeof *done);
    if (!done) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to run %d tasks", tasks);
    x->done = done;
    x->capacity = tasks;
    return FSMOE_OK;
}

static void threads_set_longest_nap(fsm_exec *exec, double seconds)
{
    ((threads *)exec)->longest_nap_s = seconds;
}

static void begin_run(threads *x, const fsm_job *job)
{
    x->job = *job;
    x->left = job->graph->count;
    x->base.status = FSMOE_OK;
    memset(x->done, 0, (size_t)job->graph->count * sizeof *x->done);
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        x->streams[r] = (stream){.next = next_of(x, (fsm_resource)r, 0), .now = -1};
    x->running = true;
    pthread_cond_signal(&x->links_wake);
}

static fsmoe_status threads_run(fsm_exec *exec, const fsm_job *job)
{
    threads *x = (threads *)exec;
    pthread_mutex_lock(&x->lock);
    begin_run(x, job);
    compute_all(x);
    x->running = false;
    fsmoe_status status = x->base.status;
    pthread_mutex_unlock(&x->lock);
    return status;
}

/* ---- the executor ---- */

static void threads_destroy(fsm_exec *exec)
{
    threads *x = (threads *)exec;
    if (x->progress == FSM_PROGRESS_THREAD) {
        pthread_mutex_lock(&x->lock);
        x->ends = true;
        pthread_cond_signal(&x->links_wake);
        pthread_mutex_unlock(&x->lock);
        pthread_join(x->thread, NULL);
    }
    pthread_cond_destroy(&x->compute_wakes);
    pthread_cond_destroy(&x->links_wake);
    pthread_mutex_destroy(&x->lock);
    free(x->done);
    free(x);
}

static const fsm_exec_driver driver = {
    .name = "threads",
    .destroy = threads_destroy,
    .reserve = threads_reserve,
    .set_longest_nap = threads_set_longest_nap,
    .run = threads_run,
};

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

fsmoe_status fsm_exec_create(fsm_progress progress, fsm_exec **exec)
{
    threads *x = calloc(1, sizeof *x);
    if (!x) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for an executor");
    x->base.driver = &driver;
    x->progress = progress;
    x->longest_nap_s = 250e-6;
    pthread_mutex_init(&x->lock, NULL);
    init_condition(&x->compute_wakes);
    init_condition(&x->links_wake);
    if (progress == FSM_PROGRESS_THREAD && pthread_create(&x->thread, NULL, communicate, x) != 0) {
        x->progress = FSM_PROGRESS_TASKS; /* there is nothing to join */
        threads_destroy(&x->base);
        return fsm_fail(FSMOE_ERROR_INTERNAL, "the system gives no thread for communication");
    }
    *exec = &x->base;
    return FSMOE_OK;
}
