/* What stands above the tracks of a Gantt picture: micro-batches, phases and layers, as rows of bars.
 * In:  the spans of a step.
 * Out: a row a level; of layers one a lane. Lanes that never are in different phases (or micro-batches) at a time share
 *      that row.
 */
#ifndef FSM_REPORT_GANTT_BARS_H
#define FSM_REPORT_GANTT_BARS_H

#include "report/gantt_picture.h"

/* ERROR_MEMORY; `bars` then needs no destroying. */
fsmoe_status fsm_gantt_bars_create(const fsm_spans *spans, fsm_gantt_bars *bars);
void fsm_gantt_bars_destroy(fsm_gantt_bars *bars); /* {0} is fine */

/* The most layers in a row. */
int fsm_gantt_bars_most_layers(const fsm_gantt_bars *bars);

/* How high those rows are together that have a bar wide enough to be seen. */
double fsm_gantt_bars_px(const fsm_gantt_picture *p);

/* They end above the tracks. */
void fsm_gantt_write_bars(FILE *out, const fsm_gantt_picture *p);

/* Where all lanes end a phase, across all tracks. */
void fsm_gantt_write_phase_ends(FILE *out, const fsm_gantt_picture *p);

#endif
