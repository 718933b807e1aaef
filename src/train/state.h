/* state.json of a checkpoint: where a run stands, and what it was run with.
 * In:  a stepper, the step, what the data are. Out: the file; read back, and held against the present configuration.
 */
#ifndef FSM_TRAIN_STATE_H
#define FSM_TRAIN_STATE_H

#include "base/file.h"
#include "run/seal.h"
#include "train/idle_experts.h"
#include "train/stepper.h"

#define FSM_STATE_FILE "state.json"

/* Token streams by content: XXH3-64 of their ids, of all of them up to 2^26, else of 256 runs of 2^16 spread evenly. */
typedef struct fsm_data_print {
    int64_t tokens; /* 0: there is no such stream */
    uint64_t hash;
} fsm_data_print;

/* tokens NULL: no stream. ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_data_print_make(const fsmoe_tokens *tokens, fsm_data_print *print);

/* What a run carries from step to step beside its model and its optimizer. */
typedef struct fsm_run_state {
    fsm_run_id run;
    int64_t step;
    fsm_data_print train, valid;
    double best_loss; /* the least validation loss so far, of the model in best/; NaN: none */
    int64_t best_step;
    fsm_idle_experts
        *idle; /* borrowed, written where it counts, filled where it is as long as what was saved; or NULL */
} fsm_run_state;

fsmoe_status fsm_state_write(const char *folder, const fsm_stepper *stepper, const fsm_run_state *state);

/* What has changed since a checkpoint was saved, as sentences' middles: "train.lr 0.001 -> 0.0005, …". */
enum { FSM_CHANGES_BYTES = 1024 };
typedef struct fsm_state_changes {
    char told[FSM_CHANGES_BYTES];    /* the run goes on, somewhat differently: "" if nothing */
    char refused[FSM_CHANGES_BYTES]; /* what makes it another run: data, batches, capacity, seed */
} fsm_state_changes;

/* `now`: the present data. *state: the checkpoint's. ERROR_FORMAT names file and key; ERROR_CONFIG: train.steps is
 * less. */
fsmoe_status fsm_state_read(const char *folder, const fsm_stepper *stepper, const fsm_run_state *now,
                            fsm_run_state *state, fsm_state_changes *changes);

/* train.compute_dtype of the run that was saved: "fp32", "bf16"; of older ones, which did not say, fp32.
 * ERROR_FORMAT. */
fsmoe_status fsm_state_read_dtype(const char *folder, char *dtype, size_t bytes);

#endif
