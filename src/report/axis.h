/* An axis: its range, its ticks, and where a value lies on it.
 * In:  the least and the greatest value to show.
 * Out: round ticks (1, 2, 2.5 or 5 times a power of ten) and positions between 0 and 1.
 */
#ifndef FSM_REPORT_AXIS_H
#define FSM_REPORT_AXIS_H

#include "report/number.h"

#include <stdbool.h>
#include <stddef.h>

enum { FSM_AXIS_MAX_TICKS = 32 };

typedef struct fsm_axis {
    double low, high; /* low < high */
    double step;      /* between ticks; 0 on a logarithmic axis */
    bool logarithmic;
    size_t n_ticks;
    double ticks[FSM_AXIS_MAX_TICKS];
} fsm_axis;

/* An axis of values, stretched to ticks at both ends, about `want` of them; low == high is widened. */
fsm_axis fsm_axis_values(double low, double high, size_t want);

/* The same, logarithmic; 0 < low. */
fsm_axis fsm_axis_logarithmic(double low, double high);

/* An axis of step numbers from first to last exactly, ticks at whole numbers. */
fsm_axis fsm_axis_steps(double first, double last, size_t want);

/* 0 at low, 1 at high, clamped. */
double fsm_axis_place(const fsm_axis *axis, double value);

/* The label of tick i. */
char *fsm_axis_label(const fsm_axis *axis, size_t i, char out[FSM_NUMBER_BYTES]);

#endif
