/* What a chart does to a column of numbers before it draws it.
 * In:  x[count] and y[count]; NaN in y means no value.
 * Out: fewer points with the same shape, a smoothed copy, the median.
 */
#ifndef FSM_REPORT_SERIES_H
#define FSM_REPORT_SERIES_H

#include "base/status.h"

#include <stddef.h>

typedef struct fsm_points {
    double *x, *y; /* [count] each, one allocation held by x */
    size_t count;
} fsm_points;

/* At most `limit` (>= 4) of the points that have a value: the first, the last, and of each bucket of neighbours the
 * least and the greatest, so that no spike is lost. Free with fsm_points_destroy. ERROR_MEMORY. */
fsmoe_status fsm_series_thin(const double *x, const double *y, size_t count, size_t limit, fsm_points *points);
void fsm_points_destroy(fsm_points *points);

/* smooth[i] = mean of y over i - window/2 … i + window/2. Near the first point the window shrinks on both sides alike,
 * so a steep start is not flattened; near the last one only its right half does, so the end is not one noisy step. */
void fsm_series_smooth(const double *y, size_t count, size_t window, double *smooth);

/* The median of the values; NaN if there is none. ERROR_MEMORY. */
fsmoe_status fsm_series_median(const double *y, size_t count, double *median);

#endif
