/* One step as it was planned and as it ran: the file step_times.json of a run folder.
 * In:  the graph of the step, its planned times if there are any, and every rank's measured times.
 * Out: one value, which is written as JSON and read back to the same bits.
 * Times are seconds since the step began, 0 <= start_s <= end_s. A task that did not run has both 0; a task that takes
 * no time counts for nothing wherever these times are added up.
 */
#ifndef FSM_EXEC_STEP_TIMES_H
#define FSM_EXEC_STEP_TIMES_H

#include "plan/simulate.h"

#define FSM_STEP_TIMES_FILE "step_times.json"

typedef struct fsm_step_times {
    char schedule[32];
    int64_t step;
    fsm_graph graph; /* owned */
    bool has_planned;
    fsm_timeline planned; /* owned; all 0 without has_planned */
    double load_s[FSM_RESOURCE_COUNT]; /* what each has to do in the plain step, as planned; all 0: not known */
    int n_ranks;
    fsm_timeline *ranks; /* [n_ranks], owned; each with times of all tasks, and the latest end as makespan_s */
} fsm_step_times;

/* Copies `graph` and `planned` (NULL: none); the times of all ranks are 0 until they are set. n_ranks >= 1; a longer
 * name of a schedule is cut. `times` needs no destroying after an error. ERROR_MEMORY. */
fsmoe_status fsm_step_times_create(const fsm_graph *graph, const fsm_timeline *planned, const char *schedule,
                                   int64_t step, int n_ranks, fsm_step_times *times);
void fsm_step_times_destroy(fsm_step_times *times); /* {0} is fine */

/* Copies start_s[graph.count] and end_s[graph.count] of a rank and takes the latest end as its makespan. */
void fsm_step_times_set(fsm_step_times *times, int rank, const double *start_s, const double *end_s);

/* Replaces the file. ERROR_NUMERIC: a time that is not finite, is negative, or an end before its start (named by rank
 * and task); ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_step_times_write(const fsm_step_times *times, const char *path);

/* The caller destroys `times`; after an error it needs no destroying. ERROR_FORMAT names file and key; ERROR_IO,
 * ERROR_MEMORY. */
fsmoe_status fsm_step_times_read(const char *path, fsm_step_times *times);

/* The task whose times break the rules above, -1 when none does. */
int fsm_step_times_wrong_task(const fsm_graph *graph, const fsm_timeline *timeline);

#endif
