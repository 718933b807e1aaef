/* The tracks of a Gantt picture: each resource's tasks on its background.
 * In:  a picture whose layout is decided.
 * Out: an SVG group a resource that has tasks, a rectangle a task or a column of many.
 */
#ifndef FSM_REPORT_GANTT_TRACKS_H
#define FSM_REPORT_GANTT_TRACKS_H

#include "exec/spans.h"
#include "plan/tracks.h"
#include "report/axis.h"
#include "report/gantt.h"

#include <stdio.h>

enum { FSM_GANTT_PLOT_PX = 1300, FSM_GANTT_TRACK_PX = 72, FSM_GANTT_TRACK_STEP_PX = 86 };

typedef struct fsm_gantt_picture {
    const fsm_graph *graph;
    const fsm_timeline *timeline;
    const fsm_gantt_frame *frame;
    fsm_spans spans;
    fsm_tracks tracks;
    double busy_s[FSM_RESOURCE_COUNT], end_ms;
    fsm_axis axis;  /* ms; from 0 to end_ms or, where the frame says so, beyond */
    int decimals;   /* of times in ms */
    double rows_px; /* of the longest range of rows as a label */
    int column_px;  /* of tasks drawn as one, a divisor of the plot's width; 0: every task is drawn for itself */
    double tracks_y, tracks_end_y, height;
} fsm_gantt_picture;

/* Pixels from the plot's left edge. */
double fsm_gantt_place(const fsm_gantt_picture *p, double time_s);

double fsm_gantt_rows_px(const fsm_graph *graph);

/* The first track's top left corner is at (x, p->tracks_y). */
void fsm_gantt_write_tracks(FILE *out, const fsm_gantt_picture *p, double x);

#endif
