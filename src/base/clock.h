/* The monotonic clock, in seconds, and sleeping by it; the time that threads have computed. */
#ifndef FSM_BASE_CLOCK_H
#define FSM_BASE_CLOCK_H

#include <errno.h>
#include <sched.h>
#include <time.h>

static inline double fsm_clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* What all threads of this process have computed. */
static inline double fsm_cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Seconds as the system's calls take them. */
static inline struct timespec fsm_clock_timespec(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds};
    time.tv_nsec = (long)(1e9 * (seconds - (double)time.tv_sec));
    return time;
}

/* Whatever signals come. */
static inline void fsm_clock_sleep_until(double when_s)
{
    struct timespec time = fsm_clock_timespec(when_s);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) continue;
}

/* Less when a signal comes. */
static inline void fsm_clock_sleep(double seconds)
{
    struct timespec time = fsm_clock_timespec(seconds);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

/* Between two looks at what has been waited for since start_s: at first others only run, since what is small arrives
 * soon; then this thread sleeps, so that who computes can. */
static inline void fsm_clock_nap(double start_s)
{
    double waited_s = fsm_clock_s() - start_s;
    if (waited_s < 100e-6) sched_yield();
    else fsm_clock_sleep(waited_s < 1e-3 ? 50e-6 : 200e-6);
}

#endif
