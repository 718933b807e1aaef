#include "signals.h"

#include "command.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* A launcher and a terminal may both send what was asked for once, and not to all ranks at the same time. */
static const double same_request_s = 1;

/* With a rank that has died the present step never ends, and nobody but this process may know. Its patience counts in the
 * longest time between two questions whether to stop: a step and all that goes with it. */
static const double least_patience_s = 5, patience_steps = 3;

typedef enum phase { BEFORE_STEPS, IN_STEPS, AFTER_STEPS } phase;

static struct {
    sigset_t signals;
    bool speaks, alone;
    int64_t steps;
    /* between two steps only */
    double asked_last_s, longest_s;
    int stopped_by;
    int64_t stopped_after;
    /* of both threads */
    pthread_mutex_t lock;
    phase phase;
    int requested_by; /* the first signal */
    double requested_s, patience_s;
    bool waits;  /* for the end of the step in which it came */
    bool pauses; /* something that may take much longer than a step goes on between two of them */
} run = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static const char *name_of(int number)
{
    return number == SIGINT ? "SIGINT" : number == SIGTERM ? "SIGTERM" : "SIGUSR1";
}

/* ---- the thread that waits for signals ---- */

/* Below the line of progress, if there is one. */
static void tell(const char *sentence)
{
    if (isatty(STDERR_FILENO)) fputc('\n', stderr);
    command_note(sentence);
}

static void end_at_once(int number)
{
    signal(number, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &run.signals, NULL);
    raise(number);
}

/* Nothing of MPI's can be used by this thread; a launcher ends a job of which a rank fails. */
static void give_up(void)
{
    tell("error: was asked to stop, but the step does not end: communication has stopped, a rank may have died");
    _exit(fsmoe_status_exit_code(FSMOE_ERROR_COMM));
}

static void request(int number)
{
    run.requested_by = number;
    run.requested_s = now_s();
    run.patience_s = patience_steps * fmax(run.longest_s, run.requested_s - run.asked_last_s);
    if (run.patience_s < least_patience_s) run.patience_s = least_patience_s;
}

static void take(int number)
{
    if (run.phase == BEFORE_STEPS) end_at_once(number);
    if (run.requested_by != 0 && now_s() - run.requested_s > same_request_s) end_at_once(number);
    if (run.requested_by != 0) return;
    request(number);
    run.waits = !run.alone && run.phase == IN_STEPS && run.longest_s > 0; /* nobody knows how long a first step takes */
    if (!run.speaks) return;
    tell(run.phase == IN_STEPS
             ? "stops after this step and saves; another signal ends it at once"
             : "all steps are done; what is saved at the end is being written; another signal ends it at once");
}

/* The next signal; 0 when the patience is at its end before. */
static int wait_for_signal(bool waits, double until_s)
{
    for (;;) {
        double left_s = until_s - now_s();
        if (left_s < 0) left_s = 0;
        struct timespec left = {.tv_sec = (time_t)left_s};
        left.tv_nsec = (long)(1e9 * (left_s - (double)left.tv_sec));
        int number = waits ? sigtimedwait(&run.signals, NULL, &left) : sigwaitinfo(&run.signals, NULL);
        if (number > 0) return number;
        if (errno == EAGAIN) return 0;
    }
}

static void *watch(void *unused)
{
    for (;;) {
        pthread_mutex_lock(&run.lock);
        bool waits = run.waits;
        double until_s = run.requested_s + run.patience_s;
        pthread_mutex_unlock(&run.lock);
        int number = wait_for_signal(waits, until_s);
        pthread_mutex_lock(&run.lock);
        if (number > 0) take(number);
        else if (run.waits && run.pauses) run.requested_s = now_s();
        else if (run.waits) give_up();
        pthread_mutex_unlock(&run.lock);
    }
    return unused;
}

/* ---- the thread that trains ---- */

/* Who started this process with a signal ignored, as nohup and `&` in a script do, wants it ignored. */
static void add_signal(int number)
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN) sigaddset(&run.signals, number);
}

void signals_begin(void)
{
    pthread_t thread;
    sigemptyset(&run.signals);
    add_signal(SIGINT);
    add_signal(SIGTERM);
    add_signal(SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &run.signals, NULL);
    if (pthread_create(&thread, NULL, watch, NULL) == 0) pthread_detach(thread);
    else pthread_sigmask(SIG_UNBLOCK, &run.signals, NULL); /* signals end the process then, as ever */
}

void signals_prepare(const fsmoe_world *world, int64_t steps)
{
    run.speaks = fsmoe_world_rank(world) == 0;
    run.alone = fsmoe_world_size(world) == 1;
    run.steps = steps;
}

static void measure_step(void)
{
    double now = now_s();
    if (run.phase == IN_STEPS && now - run.asked_last_s > run.longest_s) run.longest_s = now - run.asked_last_s;
    run.asked_last_s = now;
}

void signals_on_pause(void *user, bool begins)
{
    (void)user;
    pthread_mutex_lock(&run.lock);
    run.pauses = begins;
    if (!begins) run.asked_last_s = now_s();
    pthread_mutex_unlock(&run.lock);
}

int signals_should_stop(void *user, int64_t step)
{
    (void)user;
    pthread_mutex_lock(&run.lock);
    measure_step();
    int wanted_by = run.requested_by;
    run.phase = step < run.steps || wanted_by ? IN_STEPS : AFTER_STEPS;
    pthread_mutex_unlock(&run.lock);
    return wanted_by;
}

void signals_on_stop(void *user, int reason, int64_t step)
{
    (void)user;
    pthread_mutex_lock(&run.lock);
    if (run.requested_by == 0) request(reason); /* it came to another rank, and may still come to this one */
    run.phase = IN_STEPS;
    run.waits = false;
    pthread_mutex_unlock(&run.lock);
    run.stopped_by = reason;
    run.stopped_after = step;
}

int signals_stopped_by(void)
{
    return run.stopped_by;
}

void signals_tell(void)
{
    char text[128];
    snprintf(text, sizeof text, "stopped by %s after step %lld; saved; resume with --resume", name_of(run.stopped_by),
             (long long)run.stopped_after);
    command_note(text);
}
