/* The monotonic clock, in seconds. */
#ifndef FSM_BASE_CLOCK_H
#define FSM_BASE_CLOCK_H

#include <time.h>

static inline double fsm_clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
