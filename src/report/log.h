/* The log of a run in memory, a column a quantity.
 * In:  log.jsonl, one JSON object a step.
 * Out: arrays as long as there are steps, and the expert loads of the steps that logged them.
 * A last line without its newline that does not parse is a write in progress or a crash, and is left out.
 * A step that comes again (a resumed run) replaces what was logged from that step on.
 */
#ifndef FSM_REPORT_LOG_H
#define FSM_REPORT_LOG_H

#include "base/status.h"

#include <stddef.h>

/* X(name, key, key inside that object or NULL) */
#define FSM_LOG_COLUMN_LIST(X)            \
    X(STEP, "step", NULL)                 \
    X(LOSS, "loss", NULL)                 \
    X(VAL_LOSS, "val_loss", NULL)         \
    X(AUX_LOSS, "aux_loss", NULL)         \
    X(Z_LOSS, "z_loss", NULL)             \
    X(LR, "lr", NULL)                     \
    X(GRAD_NORM, "grad_norm", NULL)       \
    X(TOKENS_PER_S, "tokens_per_s", NULL) \
    X(STEP_S, "step_s", NULL)             \
    X(FLOPS_PER_S, "flops_per_s", NULL)   \
    X(PEAK_SHARE, "peak_share", NULL)     \
    X(DROPPED_FRAC, "dropped_frac", NULL) \
    X(LOAD_MIN, "expert_load", "min")     \
    X(LOAD_MEAN, "expert_load", "mean")   \
    X(LOAD_MAX, "expert_load", "max")

typedef enum fsm_log_column {
#define FSM_LOG_ENUM(name, key, inner) FSM_LOG_##name,
    FSM_LOG_COLUMN_LIST(FSM_LOG_ENUM)
#undef FSM_LOG_ENUM
        FSM_LOG_COLUMN_COUNT
} fsm_log_column;

typedef struct fsm_log {
    size_t count;                          /* steps, strictly increasing */
    double *columns[FSM_LOG_COLUMN_COUNT]; /* [count] each; NaN where a step has no such value */
    size_t n_layers, n_experts;            /* of the expert loads; 0 when none was logged */
    size_t n_loads;                        /* steps with expert loads, strictly increasing */
    double *load_step;                     /* [n_loads] */
    float *load;                           /* [n_loads][n_layers][n_experts] fractions of a layer's tokens */
    size_t load_capacity;
    char *warnings; /* "step 120: …", a line each; NULL: there are none */
} fsm_log;

/* Reads the file; the log owns its arrays until fsm_log_destroy. ERROR_IO; ERROR_FORMAT names file, line and key. */
fsmoe_status fsm_log_read(const char *path, fsm_log *log);
void fsm_log_destroy(fsm_log *log);

/* The last value of a column that a step has; NaN if none has. */
double fsm_log_last(const fsm_log *log, fsm_log_column column);

#endif
