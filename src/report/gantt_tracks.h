/* The tracks of a Gantt picture: each resource's tasks on its background.
 * In:  a picture whose layout is decided.
 * Out: an SVG group a resource that has tasks, a rectangle a task or a column of many, hatched by lane; below it what the
 *      resource waits for.
 */
#ifndef FSM_REPORT_GANTT_TRACKS_H
#define FSM_REPORT_GANTT_TRACKS_H

#include "report/gantt_picture.h"

double fsm_gantt_rows_px(const fsm_graph *graph);

/* The first track's top left corner is at (x, p->tracks_y). */
void fsm_gantt_write_tracks(FILE *out, const fsm_gantt_picture *p, double x);

/* Under each track what its resource waits for. */
void fsm_gantt_write_waits(FILE *out, const fsm_gantt_picture *p, double x);

/* "waits 2.1 ms for a2a_combine.forward, …; 0.3 ms after its last task" */
enum { FSM_GANTT_WAITS_BYTES = 512 };
void fsm_gantt_waits_text(const fsm_resource_waits *waits, char text[FSM_GANTT_WAITS_BYTES]);

#endif
