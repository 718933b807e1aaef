/* What stands below each track of a Gantt picture: what its resource waits for.
 * In:  a picture whose layout is decided. Out: a line of text a resource that has tasks.
 */
#ifndef FSM_REPORT_GANTT_WAITS_H
#define FSM_REPORT_GANTT_WAITS_H

#include "report/gantt_picture.h"

/* Texts begin at x. */
void fsm_gantt_write_waits(FILE *out, const fsm_gantt_picture *p, double x);

#endif
