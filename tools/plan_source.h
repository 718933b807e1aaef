/* What a command plans: a model on a cluster.
 * In:  what argp hands over. Out: the options of fsmoe_plan_create, and plans.
 */
#ifndef FSMOE_TOOLS_PLAN_SOURCE_H
#define FSMOE_TOOLS_PLAN_SOURCE_H

#include "config_source.h"

enum { PLAN_SOURCE_KEY_CLUSTER = 3000, PLAN_SOURCE_KEY_NODES, PLAN_SOURCE_KEY_RANKS, PLAN_SOURCE_KEY_SCHEDULE };

#define PLAN_SOURCE_OPTIONS                                                                                          \
    {"cluster", PLAN_SOURCE_KEY_CLUSTER, "FILE", 0, "What operations cost: from fsmoe profile or fsmoe cluster", 0}, \
        {"nodes", PLAN_SOURCE_KEY_NODES, "N", 0, "Nodes to plan for (parallel.nodes, else the cluster file's)", 0},  \
        {"ranks-per-node", PLAN_SOURCE_KEY_RANKS, "R", 0, "Ranks on a node, likewise", 0},                           \
        {"schedule", PLAN_SOURCE_KEY_SCHEDULE, "NAME", 0, "One schedule, of those in docs/planner.md", 0},           \
        CONFIG_SOURCE_OPTION

typedef struct plan_source {
    config_source config; /* config.path: the one argument */
    fsmoe_plan_options options;
    const char *schedule; /* NULL: not given */
} plan_source;

/* Takes the options above, and the argument, called `name`; ARGP_ERR_UNKNOWN for other keys. */
error_t plan_source_parse(plan_source *source, const char *name, int key, char *value, struct argp_state *state);

/* The configuration read anew, since planning completes it, and planned. The caller destroys the plan. */
fsmoe_status plan_source_create(const plan_source *source, const char *schedule, fsmoe_plan **plan,
                                fsmoe_memory *memory); /* memory: NULL, or what a rank takes */

/* Says that the costs are of another layout than the plan's, where they are known to be. */
void plan_source_warn(const fsmoe_plan *plan);

#endif
