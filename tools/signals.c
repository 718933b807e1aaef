#include "signals.h"

#include "command.h"
#include "patience.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* A launcher and a terminal may both send what was asked for once, and not to all ranks at the same time. */
static const double same_request_s = 1;

static struct {
    sigset_t signals;
    int rank, ranks;
    /* of the thread that trains */
    int stopped_by;
    int64_t stopped_after;
    /* of both threads */
    pthread_mutex_t lock;
    patience patience;
    int64_t step;     /* steps done */
    int requested_by; /* the first signal; 0: none */
    double requested_s;
} run = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static const struct {
    int number;
    const char *name;
} known[] = {{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGUSR1, "SIGUSR1"}, {SIGHUP, "SIGHUP"}, {SIGPIPE, "SIGPIPE"}};
enum { KNOWN = sizeof known / sizeof *known };

static const char *name_of(int number)
{
    for (int i = 0; i < KNOWN; i++)
        if (known[i].number == number) return known[i].name;
    return "a signal";
}

/* ---- the thread that waits ---- */

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

static void describe_wait(char text[256], const char *prefix, const char *suffix)
{
    static const char *const doings[] = {
        [FSMOE_TRAIN_STARTS] = "starting",      [FSMOE_TRAIN_STEPS] = "in a step",
        [FSMOE_TRAIN_EVALUATES] = "evaluating", [FSMOE_TRAIN_SAVES] = "saving",
        [FSMOE_TRAIN_PLANS] = "planning anew",  [FSMOE_TRAIN_ENDS] = "ending",
    };
    const patience *p = &run.patience;
    double longest_s = p->stage == FSMOE_TRAIN_STEPS ? p->longest_step_s : p->longest_pause_s;
    snprintf(text, 256, "%srank %d has been %s for %.0f s after step %lld (the longest took %.3g s so far)%s", prefix,
             run.rank, doings[p->stage], now_s() - p->since_s, (long long)run.step, longest_s, suffix);
}

/* Nothing of MPI's can be used by this thread; a launcher ends a job of which a rank fails. */
static void give_up(void)
{
    char text[256];
    describe_wait(text, "error: was asked to stop, but ", ": communication has stopped, a rank may have died");
    tell(text);
    _exit(fsmoe_status_exit_code(FSMOE_ERROR_COMM));
}

/* Should rank 0 be the one that hangs, rank 1 says so. */
static void tell_wait(void)
{
    char text[256];
    if (run.rank > 1) return;
    describe_wait(text, "", ": a rank may be stopped or hang; a signal ends the run");
    tell(text);
}

static void look(void)
{
    if (run.ranks <= 1) return; /* there is nobody to wait for */
    patience_verdict verdict = patience_look(&run.patience, now_s());
    if (verdict == PATIENCE_GIVE_UP) give_up();
    if (verdict == PATIENCE_TELL) tell_wait();
}

static void request(int number)
{
    run.requested_by = number;
    run.requested_s = now_s();
    patience_ask(&run.patience, run.requested_s);
}

static void take(int number)
{
    fsmoe_train_stage stage = run.patience.stage;
    if (stage == FSMOE_TRAIN_STARTS) end_at_once(number);
    if (run.requested_by != 0 && now_s() - run.requested_s > same_request_s) end_at_once(number);
    if (run.requested_by != 0) return;
    request(number);
    if (run.rank != 0) return;
    tell(stage == FSMOE_TRAIN_ENDS ? "all steps are done, and the end is being written; another signal ends it at once"
                                   : "stops after this step; another signal ends it at once");
}

/* The next signal; 0: none for a while, and the run is to be looked at. */
static int wait_for_signal(void)
{
    const struct timespec a_while = {.tv_nsec = 500000000};
    int number = sigtimedwait(&run.signals, NULL, &a_while);
    return number > 0 ? number : 0;
}

static void *watch(void *unused)
{
    for (;;) {
        int number = wait_for_signal();
        pthread_mutex_lock(&run.lock);
        if (number > 0) take(number);
        look();
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
    patience_enter(&run.patience, FSMOE_TRAIN_STARTS, 0, now_s());
    sigemptyset(&run.signals);
    for (int i = 0; i < KNOWN; i++)
        if (known[i].number != SIGPIPE) add_signal(known[i].number);
    signal(SIGPIPE, SIG_IGN); /* writing fails instead, which signals_lost_reader is told of */
    pthread_sigmask(SIG_BLOCK, &run.signals, NULL);
    if (pthread_create(&thread, NULL, watch, NULL) == 0) pthread_detach(thread);
    else pthread_sigmask(SIG_UNBLOCK, &run.signals, NULL); /* signals end the process then, as ever */
}

void signals_prepare(const fsmoe_world *world)
{
    pthread_mutex_lock(&run.lock);
    run.rank = fsmoe_world_rank(world);
    run.ranks = fsmoe_world_size(world);
    pthread_mutex_unlock(&run.lock);
}

void signals_on_stage(void *user, fsmoe_train_stage stage, int64_t step, double usual_s)
{
    (void)user;
    pthread_mutex_lock(&run.lock);
    patience_enter(&run.patience, stage, usual_s, now_s());
    run.step = step;
    pthread_mutex_unlock(&run.lock);
}

int signals_should_stop(void *user, int64_t step)
{
    (void)user, (void)step;
    pthread_mutex_lock(&run.lock);
    int wanted_by = run.requested_by;
    pthread_mutex_unlock(&run.lock);
    return wanted_by;
}

void signals_on_stop(void *user, int reason, int64_t step)
{
    (void)user;
    pthread_mutex_lock(&run.lock);
    if (run.requested_by == 0) request(reason); /* it came to another rank, and may still come to this one */
    pthread_mutex_unlock(&run.lock);
    run.stopped_by = reason;
    run.stopped_after = step;
}

void signals_lost_reader(void)
{
    pthread_mutex_lock(&run.lock);
    if (run.requested_by == 0) request(SIGPIPE);
    pthread_mutex_unlock(&run.lock);
}

int signals_stopped_by(void)
{
    return run.stopped_by;
}

void signals_tell(const char *resume_command)
{
    char text[4096];
    snprintf(text, sizeof text, "stopped by %s after step %lld; saved; resume with %s", name_of(run.stopped_by),
             (long long)run.stopped_after, resume_command);
    command_note(text);
}
