/* A heat map of how the tokens spread over the experts, in inline SVG.
 * In:  the expert loads of a log.
 * Out: a <figure>: a row an expert of each layer, time to the right, colour by load relative to an even share 1/E.
 * Few steps and few experts have a cell each; many are averaged over time, so that the picture stays small.
 */
#ifndef FSM_REPORT_HEATMAP_H
#define FSM_REPORT_HEATMAP_H

#include "report/log.h"

#include <stdio.h>

/* Draws the map; nothing when the log has no expert loads. ERROR_MEMORY. */
fsmoe_status fsm_heatmap_write(FILE *out, const fsm_log *log);

/* The colour of a load relative to an even share: 0 (half of it or less) … 5 (even) … 10 (twice or more), even steps in
 * the logarithm. */
int fsm_heatmap_colour(double relative);

#endif
