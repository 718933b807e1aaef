/* The log of a run: steps rise, and so do those with expert loads, which are among them. */
#include "json_mutator.h"
#include "report/log.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_log log;
    if (fsm_log_read(fuzz_file(0, data, size), &log) != FSMOE_OK) return 0;
    for (size_t i = 1; i < log.count; i++) FUZZ_CLAIM(log.columns[FSM_LOG_STEP][i] > log.columns[FSM_LOG_STEP][i - 1]);
    FUZZ_CLAIM(log.n_loads <= log.count);
    for (size_t i = 1; i < log.n_loads; i++) FUZZ_CLAIM(log.load_step[i] > log.load_step[i - 1]);
    for (size_t i = 0; i < log.n_loads * log.n_layers * log.n_experts; i++) /* all of them are there */
        FUZZ_CLAIM(log.load[i] == log.load[i] || isnan(log.load[i]));
    for (int c = 0; c < FSM_LOG_COLUMN_COUNT; c++) {
        double last = fsm_log_last(&log, (fsm_log_column)c);
        FUZZ_CLAIM(isnan(last) || log.count > 0);
    }
    fsm_log_destroy(&log);
    return 0;
}
