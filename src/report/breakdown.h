/* The section of a run's page on where the time of a step went, by kind of operation.
 * In:  the run folder's breakdown.json (run/breakdown.h), which may be absent.
 * Out: a table: calls, time, share of the step, floor, ratio; what was outside operations. Nothing when there is no
 *      file.
 */
#ifndef FSM_REPORT_BREAKDOWN_H
#define FSM_REPORT_BREAKDOWN_H

#include "base/status.h"

#include <stdio.h>

/* ERROR_FORMAT names the file and the key; ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_breakdown_section_write(FILE *out, const char *run_dir);

#endif
