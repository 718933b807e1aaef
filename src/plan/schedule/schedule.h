/* A schedule: a function from the sizes of a step and the costs of a cluster to a task graph. One file and one row of
 * the table each.
 * In:  the step's shape, the cluster's costs. Out: a whole-step graph, every gradient piece included; or the degrees
 * of one layer. Nothing numerical is decided here: whatever the schedule, a step gives the same gradients up to
 * rounding.
 */
#ifndef FSM_PLAN_SCHEDULE_H
#define FSM_PLAN_SCHEDULE_H

#include "plan/recipe.h"

typedef struct fsm_schedule {
    const char *name, *description, *source;
    fsm_freedom freedom; /* what it may do with a layer; its lower bounds are about that */
    bool needs_costs;    /* build wants a cluster */
    fsmoe_status (*build)(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph);
    /* One generalised layer of a long model, [0] forward and [1] backward: its dense work, then its MoE part; the
     * all-reduce is of the layer before. bound_s: no plan of this schedule is faster. NULL: it plans whole steps
     * alone. */
    fsmoe_status (*plan_layer)(const fsm_window layer[2], fsm_window_plan plan[2]);
} fsm_schedule;

/* By name; the paper's own choices, "fsmoe-paper", are found, too, though they are not in the list below. */
const fsm_schedule *fsm_schedule_find(const char *name);

/* The same; ERROR_CONFIG names the nearest one. */
fsmoe_status fsm_schedule_named(const char *name, const fsm_schedule **schedule);

/* All of them, those of layers before those of whole steps, each from the plainest to the best; NULL after the last. */
extern const fsm_schedule *const fsm_schedules[];
extern const fsm_schedule fsm_schedule_dsmoe, fsm_schedule_tutel, fsm_schedule_tutel_improved,
    fsm_schedule_pipemoe_lina, fsm_schedule_fsmoe_no_iio, fsm_schedule_fsmoe, fsm_schedule_fsmoe_x,
    fsm_schedule_two_batch, fsm_schedule_megatron_overlap, fsm_schedule_flowmoe, fsm_schedule_fsmoe_lanes;

/* Every layer in `degree` even chunks a direction, chunk after chunk, gradients after backward: dsmoe is degree 1. */
fsmoe_status fsm_schedule_in_order(const fsm_step_shape *shape, int forward_degree, int backward_degree,
                                   fsm_graph *graph);

/* A step in which gradients fill whatever time the links have, with the best degrees for that; and never slower than
 * the schedules in `others` (NULL after the last). */
fsmoe_status fsm_schedule_fill(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_freedom freedom,
                               const fsm_schedule *const *others, fsm_graph *graph);

/* Keeps the faster of *best, which takes *best_s, and `tried`, which is taken over, whatever happens. ERROR_MEMORY,
 * ERROR_NUMERIC. */
fsmoe_status fsm_schedule_keep_faster(const fsm_cluster *cluster, fsm_graph tried, fsm_graph *best, double *best_s);

/* The same with the graphs of `others` (NULL after the last) that fit into memory and have as many lanes as are wanted,
 * every collective on its own link unless there is one stream. */
fsmoe_status fsm_schedule_try_others(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_freedom freedom,
                                     const fsm_schedule *const *others, fsm_graph *best, double *best_s);

/* How many lanes, and chunks a layer forward and backward; 0: as many as are best. */
typedef struct fsm_lanes_wanted {
    int lanes, degree[2];
} fsm_lanes_wanted;

/* The best step in lanes of those that are wanted; fsmoe-lanes is free in all three, and takes another schedule's step
 * where that is better. ERROR_CONFIG: the step cannot be taken so; ERROR_MEMORY, ERROR_NUMERIC. *graph needs no
 * destroying then. */
fsmoe_status fsm_schedule_in_lanes(const fsm_step_shape *shape, const fsm_cluster *cluster,
                                   const fsm_lanes_wanted *wanted, fsm_graph *graph);

/* What a plan must promise more than a plainer one, as a share of its time: what costs of overlap are off by, where
 * they have been measured; else 0. */
double fsm_schedule_risk(const fsm_cluster *cluster);

/* What is in *graph, or the step in order where that is faster: streams that overlap slow one another. Where that has
 * been measured, overlap must gain 3 % or more, for measured costs are not exact. On failure *graph is destroyed. */
fsmoe_status fsm_schedule_or_in_order(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph);

#endif
