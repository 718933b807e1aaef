/* The activations of experts, one row of the table in activation.c each.
 * In:  pre [n, H], or [n, 2H] of a gated one, the half that is gated first.
 * Out: act [n, H]; backward: dpre, laid out as pre, from dact [n, H]; dpre may be pre.
 * Equations and sources stand beside the operations of the same names (ops/ops.h).
 */
#ifndef FSM_MOE_EXPERT_ACTIVATION_H
#define FSM_MOE_EXPERT_ACTIVATION_H

#include <fsmoe/export.h>

#include "ops/ops.h"

typedef struct fsm_activation {
    const char *name;
    bool gated;
    void (*forward)(const fsm_ops *ops, int64_t n, int64_t width, const fsm_row *pre, fsm_row *act);
    void (*backward)(const fsm_ops *ops, int64_t n, int64_t width, const fsm_row *pre, const fsm_row *dact,
                     fsm_row *dpre);
} fsm_activation;

FSMOE_API const fsm_activation *fsm_activation_find(const char *name);
const fsm_activation *fsm_activation_at(int index); /* in the order of the table; NULL after the last */

#endif
