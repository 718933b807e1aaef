/* A Gantt picture while it is made: what those who draw its parts share.
 * In:  a graph, its times, the frame. Out: where everything stands, in pixels.
 */
#ifndef FSM_REPORT_GANTT_PICTURE_H
#define FSM_REPORT_GANTT_PICTURE_H

#include "exec/spans.h"
#include "plan/tracks.h"
#include "plan/waits.h"
#include "report/axis.h"
#include "report/gantt.h"

enum { FSM_GANTT_WIDTH_PX = 1600, FSM_GANTT_MARGIN_PX = 36 };
enum { FSM_GANTT_PLOT_X = 168, FSM_GANTT_PLOT_PX = 1300 }; /* where time is drawn */
enum { FSM_GANTT_TRACK_PX = 72, FSM_GANTT_TRACK_STEP_PX = 98 };

/* A row of bars above the tracks. */
typedef struct fsm_gantt_row {
    fsm_span_level level;
    int lane;         /* -1: all lanes */
    int first, count; /* of its bars */
} fsm_gantt_row;

enum { FSM_GANTT_MOST_ROWS = FSM_SPAN_LEVEL_COUNT * FSM_MAX_LANES };

typedef struct fsm_gantt_bars {
    fsm_span *bars; /* owned; row after row, by time */
    int count;
    fsm_gantt_row rows[FSM_GANTT_MOST_ROWS]; /* from the top down */
    int row_count;
} fsm_gantt_bars;

typedef struct fsm_gantt_picture {
    const fsm_graph *graph;
    const fsm_timeline *timeline;
    const fsm_gantt_frame *frame;
    fsm_gantt_bars bars;
    fsm_tracks tracks;
    fsm_waits waits;
    double end_ms;
    fsm_axis axis;  /* ms; from 0 to end_ms or, where the frame says so, beyond */
    int decimals;   /* of times in ms */
    double rows_px; /* of the longest range of an expert's rows as a label */
    int column_px;  /* of tasks drawn as one, a divisor of the plot's width; 0: every task is drawn for itself */
    double tracks_y, tracks_end_y, height;
} fsm_gantt_picture;

/* Pixels from the plot's left edge. */
double fsm_gantt_place(const fsm_gantt_picture *p, double time_s);

/* A vertical line across all tracks, not across what is written between them. */
void fsm_gantt_write_rule(FILE *out, const fsm_gantt_picture *p, const char *class, double x);

#endif
