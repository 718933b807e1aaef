/* log.jsonl: a JSON object a step, appended.
 * In:  the folder; where training stands; one record a step.
 * Out: lines that are whole; what a resumed run does again is kept in log.cut.jsonl and said, nothing is cut in
 *      silence.
 */
#ifndef FSM_RUN_LOG_H
#define FSM_RUN_LOG_H

#include "model/model.h"

#include <fsmoe/train.h>
#include <stdio.h>

typedef struct fsm_run_log {
    const char *dir; /* borrowed */
    FILE *file;
} fsm_run_log;

/* What opening a log did to it. */
typedef struct fsm_run_log_cut {
    int64_t lines, first_step, last_step; /* steps after the present one, now in log.cut.jsonl */
    int64_t odd_lines;                    /* that are no step's, and stay */
    bool torn;                            /* the last line had no end, and is in log.cut.jsonl too */
    int64_t last_kept;                    /* the last step that the log still has; 0: none */
} fsm_run_log_cut;

/* Opens the log for appending after `step`. ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_run_log_open(const char *dir, int64_t step, fsm_run_log *log, fsm_run_log_cut *cut);

/* One line. `sums`: of the step, all ranks; warning: a sentence about the step, or NULL. */
fsmoe_status fsm_run_log_step(fsm_run_log *log, const fsmoe_train_progress *progress, const fsm_model *model,
                              const double *sums, const char *warning);

/* Until it returns, lines may be lost should the machine stop. */
fsmoe_status fsm_run_log_sync(fsm_run_log *log);
fsmoe_status fsm_run_log_close(fsm_run_log *log);

#endif
