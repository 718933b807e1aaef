/* One step in rehearsal: a table of tasks for the executor, beside a model's own (train/tasks.c).
 * In:  a graph, what its tasks cost on the cluster, how they are paced; groups, links whose rates are known.
 * Out: the graph run by the executor, as rehearsal.h says.
 */
#ifndef FSM_REHEARSE_STEP_H
#define FSM_REHEARSE_STEP_H

#include "exec/exec.h"
#include "rehearse/links.h"

typedef struct fsm_pace {
    double stretch; /* times as long as on the cluster, at least 1 */
    double filled;  /* what messages take of a collective's time after its alpha; the rest is waited for */
    double share;   /* of the machines' cores that ranks and packets took in a trial; 0: there was none */
} fsm_pace;

/* A graph and what its tasks cost, [graph.count]: all in all, and of that what comes before a message is sent. */
typedef struct fsm_score {
    fsm_graph graph;      /* borrowed, or a beginning of one */
    const double *cost_s; /* borrowed */
    double *alpha_s;      /* owned */
} fsm_score;

typedef struct fsm_rehearsed_step fsm_rehearsed_step;

/* A stream's collective under way. */
typedef struct fsm_rehearsed_part {
    fsm_rehearsed_step *step;
    int64_t *numbers; /* of small exchanges; owned */
    /* the present one */
    const fsm_task *task;
    double begins_s, ends_s;   /* fsm_clock_s: the first message, and at the earliest its end */
    bool begun, arrived, late; /* it was looked at after its end, and was not there */
    fsm_rounds rounds;
} fsm_rehearsed_part;

struct fsm_rehearsed_step {
    fsm_exec *exec;   /* borrowed */
    fsm_links *links; /* borrowed */
    fsm_pace pace;
    double *ends_s; /* [most tasks] of a task that is done: when it ended by its cost, seen at once; owned */
    /* the present step */
    const fsm_score *score;
    double free_s[FSM_RESOURCE_COUNT]; /* that of the latest task of a stream */
    fsm_rehearsed_part parts[FSM_RESOURCE_COUNT];
};

/* Few numbers, which are sent as they are, whatever the pace. */
bool fsm_is_small_exchange(fsm_task_kind kind);

/* Room for steps of at most so many tasks, whose largest small exchange is of so many numbers. It must not move.
 * ERROR_MEMORY; destroy it even then. */
fsmoe_status fsm_rehearsed_step_create(fsm_exec *exec, fsm_links *links, int most_tasks, int64_t most_numbers,
                                       fsm_rehearsed_step *step);
void fsm_rehearsed_step_destroy(fsm_rehearsed_step *step); /* {0} is fine */

/* Runs it once: all ranks begin together. *step_s: what it took here, stretched. Collective; errors as of
 * fsm_exec_run. */
fsmoe_status fsm_rehearsed_step_run(fsm_rehearsed_step *step, const fsm_score *score, const fsm_observer *observer,
                                    double *step_s);

#endif
