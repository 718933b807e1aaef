/* What tests of windows share: times in the right order, and what every plan of a window must be. */
#ifndef FSM_TESTS_WINDOW_CASE_H
#define FSM_TESTS_WINDOW_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plan/window.h"

#include <string.h>

static const double CLOSE = 1e-9; /* sums in another order, relative */

static inline void assert_at_most(double x_s, double y_s)
{
    if (!(x_s <= y_s * (1 + CLOSE) + 1e-300)) fail_msg("%.17g s is more than %.17g s", x_s, y_s);
}

static inline void check_plan(const fsm_window *w, const fsm_window_plan *plan)
{
    static const char *const names[] = {"inter", "intra", "compute", "path", "stream"};
    bool named = false;
    for (int i = 0; i < 5; i++) named |= plan->binding && strcmp(plan->binding, names[i]) == 0;
    assert_true(named);
    assert_true(plan->degree >= 1 && plan->degree <= w->max_degree);
    assert_true(plan->moe_s >= 0 && plan->makespan_s >= plan->bound_s && plan->bound_s >= 0);
    assert_at_most(plan->moe_s + w->dense_s, plan->makespan_s);
}

#endif
