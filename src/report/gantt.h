/* A Gantt picture of a planned step: what each resource does when.
 * In:  a graph and when each of its tasks starts and ends.
 * Out: one SVG that needs nothing else: a track a resource that has tasks, a rectangle a task, idle time the
 *      background; its phases and layers above, time in ms below, how busy each resource is at the track's end, what it
 *      waits for under it, a legend. Lanes are told apart by hatches.
 * Of thousands of tasks those too narrow to see share columns in which a hue's height is its time: busy time is
 * conserved.
 */
#ifndef FSM_REPORT_GANTT_H
#define FSM_REPORT_GANTT_H

#include "plan/simulate.h"

#include <stdio.h>

/* What stands around the tasks. */
typedef struct fsm_gantt_frame {
    const char *title, *subtitle; /* subtitle NULL: none */
    const double *load_s;         /* [FSM_RESOURCE_COUNT] of the plain step, to be told beside; NULL: none */
    double axis_s;    /* where the time axis ends, so that pictures compare; at least at the last task's end */
    bool inside_page; /* for an HTML page with fsm_gantt_write_style in it, in which many pictures may stand: without a
                         style sheet, a namespace or ids */
} fsm_gantt_frame;

/* The picture's text (malloc'd). A graph without tasks gives a picture that says so. ERROR_MEMORY. */
fsmoe_status fsm_gantt_text(const fsm_graph *graph, const fsm_timeline *timeline, const fsm_gantt_frame *frame,
                            char **svg);

/* The same into a file. ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_gantt_write(const fsm_graph *graph, const fsm_timeline *timeline, const fsm_gantt_frame *frame,
                             const char *path);

/* <style> of all pictures inside a page, and the hatches of as many lanes as any of them has. */
void fsm_gantt_write_style(FILE *out, int lanes);

#endif
