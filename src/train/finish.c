/* A run after its last step. */
#include "base/file.h"
#include "exec/step_times.h"
#include "train/breakdown.h"
#include "train/checkpoint.h"
#include "train/run_record.h"
#include "train/step_record.h"

#include <fsmoe/model.h>
#include <math.h>
#include <stdlib.h>

/* Rank 0 reads the model it has just written, alone, while the others wait. */
static fsmoe_status write_sample(fsm_trainer *t, const char *model_dir, char **text)
{
    const fsmoe_run_config *run = &t->config->run;
    fsmoe_generate_options options = {
        .prompt = run->sample_prompt,
        .tokenizer = t->config->data.tokenizer,
        .max_tokens = run->sample_tokens,
        .temperature = run->sample_temperature,
        .top_p = run->sample_top_p,
        .seed = (uint64_t)t->config->train.seed,
    };
    size_t size;
    if (!run->sample_prompt[0]) return FSMOE_OK;
    FSM_TRY(fsmoe_generate(model_dir, &options, text, &size));
    fsm_trainer_say(t, "sample: %s", *text);
    return FSMOE_OK;
}

/* The last step, planned and measured, unless this process has done none. */
static fsmoe_status record_step(const fsm_trainer *t)
{
    char path[FSM_PATH_BYTES];
    if (t->state.step == t->started_step) return FSMOE_OK;
    FSM_TRY(fsm_comm_agree(t->world, fsm_file_path(t->config->run.dir, FSM_STEP_TIMES_FILE, path)));
    return fsm_step_record_write(&t->stepper, isnan(t->planning.step_s) ? NULL : &t->planning, t->state.step, path);
}

static fsmoe_status write_model(fsm_trainer *t, char **sample)
{
    char folder[FSM_PATH_BYTES];
    FSM_TRY(fsm_comm_agree(t->world, fsm_file_path(t->config->run.dir, "model", folder)));
    FSM_TRY(fsm_checkpoint_write_model(&t->stepper, folder, &t->state.run));
    return fsm_comm_agree(t->world, fsm_trainer_speaks(t) ? write_sample(t, folder, sample) : FSMOE_OK);
}

/* A run that stops early has its checkpoint; the model is written when it is done. */
fsmoe_status fsm_trainer_finish(fsm_trainer *t)
{
    char *sample = NULL;
    fsm_trainer_tell_stage(t, FSMOE_TRAIN_ENDS, 0);
    fsmoe_status status = t->stop ? FSMOE_OK : write_model(t, &sample);
    if (status == FSMOE_OK && t->trace) status = fsm_trace_write(t->trace, t->world, t->options->trace_path);
    if (status == FSMOE_OK) status = record_step(t);
    if (status == FSMOE_OK) status = fsm_trainer_write_breakdown(t);
    if (status == FSMOE_OK && fsm_trainer_speaks(t)) {
        status = fsm_run_record_write(&t->stepper, t->options, t->started, t->val_loss, sample);
        if (status == FSMOE_OK) status = fsm_run_log_close(&t->log);
    }
    free(sample);
    return status == FSMOE_ERROR_COMM ? status : fsm_comm_agree(t->world, status);
}
