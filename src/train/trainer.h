/* One run of training on one rank, as train.c takes it through its life: prepare.c makes it ready, step_end.c ends its
 * steps, finish.c ends it.
 * In:  the world, the configuration, the caller's options. Out: what the parts of a run's life share.
 */
#ifndef FSM_TRAIN_TRAINER_H
#define FSM_TRAIN_TRAINER_H

#include "comm/world.h"
#include "run/folder.h"
#include "run/log.h"
#include "run/save_pace.h"
#include "train/idle_experts.h"
#include "train/memory.h"
#include "train/planning.h"
#include "train/state.h"

#include <fsmoe/train.h>
#include <time.h>

/* With options.breakdown: since when operations are counted (breakdown.h). */
typedef struct fsm_metering {
    int64_t first_step, last_step; /* 0: none yet */
    double s;                      /* of these steps */
    double bytes_per_s;            /* from memory, of all ranks */
} fsm_metering;

typedef struct fsm_trainer {
    fsm_comm *world;
    fsmoe_config *config;
    bool open_dtype; /* train.compute_dtype was auto */
    const fsmoe_train_options *options;
    fsmoe_tokenizer *tokenizer;
    fsmoe_tokens *train_tokens, *valid_tokens;
    fsm_stepper stepper;
    fsm_batches train_batches, valid_batches;
    fsm_planning planning;
    fsm_trace *trace;
    fsm_metering metering;
    fsm_memory_record memory;
    fsm_run_state state;     /* state.step: steps done */
    int64_t saved_step;      /* of the newest checkpoint, -1: none */
    int stop;                /* why all ranks stop before the last step; 0: they do not */
    bool save_time;          /* rank 0's clock says that it is time for a checkpoint */
    int64_t parameters;      /* of the whole model */
    double model_flops;      /* of a step (train/flops.h) */
    double peak_flops_per_s; /* of all ranks (train/peak.h); NaN: not measured */
    double started_s, step_s;
    time_t started; /* for people */
    int64_t started_step;
    double val_loss; /* latest; NaN before the first */
    double *sums;    /* [model.sum_count] of the step that has ended: an evaluation overwrites the model's own */
    /* rank 0 */
    fsm_run_folder folder;
    fsm_run_log log;
    fsm_save_pace pace;
    fsm_idle_experts idle;
} fsm_trainer;

/* Rank 0 does what people see. */
bool fsm_trainer_speaks(const fsm_trainer *trainer);
void fsm_trainer_say(const fsm_trainer *trainer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Another stage begins; see on_stage. */
void fsm_trainer_tell_stage(const fsm_trainer *trainer, fsmoe_train_stage stage, double usual_s);

/* ERROR_COMM from what failed inside a step on this rank alone; the sentence names the step. */
fsmoe_status fsm_trainer_failed_in_step(const fsm_trainer *trainer, fsmoe_status status);

/* ---- prepare.c ---- */

/* From options to the first step: claims the folder, completes the configuration, makes everything, loads what is gone
 * on from, opens the folder. Collective. Nothing in the folder has changed when it fails before that. */
fsmoe_status fsm_trainer_prepare(fsm_trainer *trainer);
void fsm_trainer_destroy(fsm_trainer *trainer);

/* ---- step_end.c ---- */

/* What products reach on all ranks at once, for the shares that progress tells. Collective, between steps. */
fsmoe_status fsm_trainer_measure_peak(fsm_trainer *trainer);

/* Before the first step: whether all ranks are well, and whether they go on. Collective. */
fsmoe_status fsm_trainer_agree(fsm_trainer *trainer, fsmoe_status status);

/* After a step: log, evaluation, agreement, checkpoint, plan. Collective. */
fsmoe_status fsm_trainer_end_step(fsm_trainer *trainer, double lr);

/* After ERROR_NUMERIC: the state after the last step that was well is saved, unless a later one has `touched` it.
 * Collective; returns ERROR_NUMERIC with a sentence that says what is saved and what not. */
fsmoe_status fsm_trainer_save_last_good(fsm_trainer *trainer, bool touched);

/* A checkpoint of the present step, unless there is one. Collective. */
fsmoe_status fsm_trainer_save(fsm_trainer *trainer);
fsmoe_status fsm_trainer_evaluate(fsm_trainer *trainer);

/* ---- finish.c ---- */

/* What is left when all steps are done, or when the run stops early. Collective. */
fsmoe_status fsm_trainer_finish(fsm_trainer *trainer);

#endif
