/* What run.json says about a run.
 * In:  the file's path; it may be absent.
 * Out: texts and numbers by key, and the layout of ranks checked.
 */
#ifndef FSM_REPORT_RUN_H
#define FSM_REPORT_RUN_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct fsm_run {
    json_t *root; /* NULL without a file */
    bool has_layout;
    int64_t nodes, ranks_per_node, ranks; /* ranks = nodes · ranks_per_node; one rank without a layout */
    int64_t dp, mp, ep, esp, edp;         /* sizes of the groups; mp, ep and esp · ep divide ranks */
} fsm_run;

/* ERROR_FORMAT names the file and the key; ERROR_IO. */
fsmoe_status fsm_run_read(const char *path, fsm_run *run);
void fsm_run_destroy(fsm_run *run);

/* NULL when the key is absent or is no string; the run owns the text. */
const char *fsm_run_text(const fsm_run *run, const char *key);

/* NaN when the key is absent or is no number. */
double fsm_run_number(const fsm_run *run, const char *key);

#endif
