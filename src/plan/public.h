/* What is behind a fsmoe_plan. */
#ifndef FSM_PLAN_PUBLIC_H
#define FSM_PLAN_PUBLIC_H

#include "plan/plan.h"

#include <fsmoe/plan.h>

struct fsmoe_plan {
    fsm_plan plan;
    fsm_cluster cluster;
    char *path;                                           /* it was read from; NULL: made here */
    int nodes, ranks_per_node;                            /* 0: not known */
    char other_layout[2 * FSM_CLUSTER_LAYOUT_BYTES + 64]; /* "": none */
};

#endif
