/* A rhythm: in which order the tasks of one layer, of all lanes, are taken; found on a few layers, and then kept
 * through all of them.
 * In:  a step's shape, the cluster's costs, over how many lanes and in how many chunks a layer goes.
 * Out: how much earlier than its way to the end says each of a layer's tasks is taken; the time that it makes.
 * Lanes that are alike would do the same at the same time, and leave two resources waiting for the third. What a rhythm
 * does is to set them apart.
 */
#ifndef FSM_PLAN_RHYTHM_H
#define FSM_PLAN_RHYTHM_H

#include "plan/builder.h"
#include "plan/cost.h"
#include "plan/list.h"

/* Of one direction. */
typedef struct fsm_rhythm {
    int degree;
    double period_s; /* the unit of shifts */
    double shift[FSM_TASK_KIND_COUNT][FSM_MAX_LANES][FSM_LANE_CHUNKS];
    double direction_s; /* what the direction takes with it, all layers, without gradients that are sent */
} fsm_rhythm;

/* The best distance between lanes that are otherwise alike. ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_rhythm_begin(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes, fsm_phase phase,
                              int degree, fsm_rhythm *rhythm);

/* So many attempts at a better one. ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_rhythm_improve(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_lanes lanes,
                                fsm_phase phase, int attempts, fsm_rhythm *rhythm);

/* Runs a whole step in these rhythms: of tasks that they say nothing of, weight gradients come after all others, and
 * gradients are sent last. With so many attempts at better ones for this very step. ERROR_MEMORY. */
fsmoe_status fsm_rhythm_run(const fsm_step_shape *shape, fsm_rhythm *forward, fsm_rhythm *backward, int attempts,
                            fsm_list *list);

#endif
