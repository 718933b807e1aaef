/* The tracks of a Gantt picture: each resource's tasks on its background.
 * In:  a picture whose layout is decided.
 * Out: an SVG group a resource that has tasks, a rectangle a task or a column of many, hatched by lane.
 */
#ifndef FSM_REPORT_GANTT_TRACKS_H
#define FSM_REPORT_GANTT_TRACKS_H

#include "report/gantt_picture.h"

double fsm_gantt_rows_px(const fsm_graph *graph);

/* The first track's top left corner is at (x, p->tracks_y). */
void fsm_gantt_write_tracks(FILE *out, const fsm_gantt_picture *p, double x);

#endif
