/* Why this degree: a table of the degrees around it, with what binds each.
 * In:  a window, what may be done with it, the plan. Out: lines of text. */
#ifndef FSM_PLAN_EXPLAIN_H
#define FSM_PLAN_EXPLAIN_H

#include "plan/window.h"

#include <stdio.h>

/* ERROR_MEMORY, ERROR_NUMERIC. */
fsmoe_status fsm_window_explain(const fsm_window *window, fsm_freedom freedom, int degree, const char *title,
                                FILE *out);

#endif
