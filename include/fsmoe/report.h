/* The report of a run: one HTML page that opens offline and shows how the training went.
 * In:  a run folder with log.jsonl and, when they are there, config.yaml and run.json.
 * Out: report.html in the same folder, replaced atomically; inline SVG, no scripts, nothing from a network.
 */
#ifndef FSMOE_REPORT_H
#define FSMOE_REPORT_H

#include <fsmoe/status.h>

/* Writes run_dir/report.html. Safe while the run still writes: a torn last line of the log is left out, and where a
 * resumed run logged a step again, the later line counts. One caller at a time a folder; threads may use several.
 * ERROR_IO: the log cannot be read or the page not written; ERROR_FORMAT: a malformed line of the log (named by file
 * and line), a malformed run.json, or a log without a single step; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_report_write(const char *run_dir);

#endif
