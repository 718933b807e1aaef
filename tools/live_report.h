/* The report of a run, renewed while it goes on.
 * In:  the run's folder, steps as they are done. Out: run.dir/report.html, never much older than a minute, for at most
 * a hundredth of the time and a second at once; where that is too little, made at the end.
 */
#ifndef FSMOE_TOOLS_LIVE_REPORT_H
#define FSMOE_TOOLS_LIVE_REPORT_H

#include <fsmoe/fsmoe.h>

typedef struct live_report {
    const char *run_dir;
    int64_t steps; /* done by this process */
    double renewed_s, took_s;
    bool failed; /* it was said, and is not tried again before the end */
} live_report;

void live_report_begin(live_report *report, const char *run_dir);
void live_report_on_step(live_report *report);

/* The last time; nothing where no step was done. */
fsmoe_status live_report_end(live_report *report);

#endif
