/* The section of a run's page that compares one step as it was planned with the step as it ran.
 * In:  the run folder's step_times.json (exec/step_times.h), which may be absent.
 * Out: a table of how much communication was hidden and how far the step is above its load, planned and on each rank;
 *      the Gantt picture of the plan above the ranks' on one time axis. Nothing when there is no file.
 */
#ifndef FSM_REPORT_MEASURED_H
#define FSM_REPORT_MEASURED_H

#include "base/status.h"

#include <stdio.h>

/* ERROR_FORMAT names the file and the key; ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_measured_write(FILE *out, const char *run_dir);

#endif
