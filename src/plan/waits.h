/* What the resources of a step do, and what they wait for.
 * In:  a graph, when each of its tasks starts and ends: planned, simulated or measured.
 * Out: of each resource how long it works, and what its idle time went by with.
 * From a task that its resource was idle before, the way leads back to what it waited for last (its dependencies, and
 * the one before it on its resource), from there to what that waited for, and so on until the resource was busy. Each
 * task on that way is waited for as long as it took: a task that takes no time hands on what it waited for itself.
 */
#ifndef FSM_PLAN_WAITS_H
#define FSM_PLAN_WAITS_H

#include "plan/simulate.h"

/* What is waited for, all tasks of a kind and phase together. */
typedef struct fsm_wait {
    fsm_task_kind kind;
    fsm_phase phase;
    double seconds;
    int times;   /* tasks that were waited for, each as often as it was */
    int longest; /* the task that was waited for longest at once, and how long */
    double longest_s;
} fsm_wait;

enum { FSM_MOST_WAITS = FSM_TASK_KIND_COUNT * FSM_PHASE_COUNT };

/* idle_s = late_s + done_s + the seconds of all waits. */
typedef struct fsm_resource_waits {
    double busy_s, idle_s;          /* together the step; what runs twice at a time counts once */
    double late_s;                  /* idle though the next task could have begun; 0 in what is planned */
    double done_s;                  /* idle after its last task */
    fsm_wait waits[FSM_MOST_WAITS]; /* [count] the longest first */
    int count;
} fsm_resource_waits;

typedef struct fsm_waits {
    fsm_resource_waits of[FSM_RESOURCE_COUNT];
} fsm_waits;

/* A task that did not run takes no time. ERROR_MEMORY. */
fsmoe_status fsm_waits_find(const fsm_graph *graph, const fsm_timeline *timeline, fsm_waits *waits);

#endif
