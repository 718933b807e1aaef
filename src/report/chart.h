/* A line chart in inline SVG.
 * In:  series over a common x axis of step numbers.
 * Out: a <figure> that is as wide as its place: the SVG's plot stretches, its text does not.
 * Needs the style sheet of fsm_html_begin. Any number of points becomes at most a thousand a series.
 */
#ifndef FSM_REPORT_CHART_H
#define FSM_REPORT_CHART_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { FSM_CHART_MAX_SERIES = 4 };

typedef enum fsm_chart_kind {
    FSM_CHART_LINE,  /* labelled with its last value */
    FSM_CHART_FAINT, /* a thin line behind the others, no label */
    FSM_CHART_DOTS   /* a labelled line through dots */
} fsm_chart_kind;

typedef struct fsm_chart_series {
    const char *name;
    fsm_chart_kind kind;
    int colour;      /* 0 … 3 */
    const double *x; /* [count] increasing, borrowed */
    const double *y; /* [count] borrowed; NaN: no value; on a logarithmic axis what is not positive is left out */
    size_t count;
} fsm_chart_series;

typedef struct fsm_chart {
    const char *id; /* of the figure: letters, digits, hyphens */
    const char *title;
    const char *unit;   /* beside the title; NULL: none */
    const char *x_name; /* under the x axis */
    int height_px;      /* of the plot without its labels */
    bool from_zero;     /* the y axis includes 0 */
    bool logarithmic;
    double even; /* a dashed line at this y; NaN: none */
    size_t n_series;
    fsm_chart_series series[FSM_CHART_MAX_SERIES];
} fsm_chart;

/* Draws the chart; nothing at all when no series has a value. ERROR_MEMORY. */
fsmoe_status fsm_chart_write(FILE *out, const fsm_chart *chart);

/* Whether the positive ones of y span more than this factor. */
bool fsm_chart_spans(const double *y, size_t count, double factor);

#endif
