/* The life of a run: prepared, step after step, finished. */
#include "base/clock.h"
#include "train/breakdown.h"

#include <math.h>
#include <string.h>

static fsmoe_status step(fsm_trainer *t)
{
    fsm_stepper *s = &t->stepper;
    double start_s = fsm_clock_s(), lr = s->optimizer.lr;
    fsm_trainer_tell_stage(t, FSMOE_TRAIN_STEPS, t->step_s);
    fsm_trainer_begin_metering(t);
    fsmoe_status status = fsm_stepper_train(s, &t->train_batches, t->state.step * t->config->train.global_batch);
    if (status != FSMOE_OK) status = fsm_trainer_failed_in_step(t, status);
    if (status == FSMOE_ERROR_NUMERIC) return fsm_trainer_save_last_good(t, t->config->train.clip_grad == 0);
    FSM_TRY(status);
    t->state.step++;
    t->step_s = fsm_clock_s() - start_s;
    fsm_trainer_end_metering(t);
    memcpy(t->sums, s->model->totals, sizeof *t->sums * (size_t)s->model->sum_count);
    return fsm_trainer_end_step(t, lr);
}

/* Where a run stands that ended for want of space, say. */
static fsmoe_status name_newest(const fsm_trainer *t, fsmoe_status status)
{
    bool says_itself = status == FSMOE_OK || status == FSMOE_ERROR_NUMERIC || status == FSMOE_ERROR_COMM;
    if (says_itself || t->saved_step < 0) return status;
    return fsm_fail(status, "%s; the newest checkpoint is '%s/checkpoint-%lld'", fsmoe_last_error(), t->config->run.dir,
                    (long long)t->saved_step);
}

static fsmoe_status run_steps(fsm_trainer *t)
{
    fsmoe_status status = fsm_trainer_agree(t, FSMOE_OK);
    if (status == FSMOE_OK && t->stop) status = fsm_trainer_save(t);
    if (status == FSMOE_OK && !t->stop) status = fsm_trainer_begin_breakdown(t);
    t->started_s = fsm_clock_s();
    t->started_step = t->state.step;
    while (status == FSMOE_OK && !t->stop && t->state.step < t->config->train.steps) status = step(t);
    return name_newest(t, status);
}

fsmoe_status fsmoe_train(fsmoe_world *world, fsmoe_config *config, const fsmoe_train_options *options)
{
    fsm_trainer t = {.world = world->comm,
                     .config = config,
                     .options = options,
                     .folder = {.lock = -1},
                     .state = {.best_loss = NAN},
                     .saved_step = -1,
                     .started = time(NULL),
                     .peak_flops_per_s = NAN,
                     .val_loss = NAN};
    fsmoe_status status = fsm_trainer_prepare(&t);
    /* stopped after its last step, or not at all */
    bool complete = options->resume && t.state.step >= config->train.steps;
    if (status == FSMOE_OK && complete && t.valid_tokens) status = fsm_trainer_evaluate(&t);
    if (status == FSMOE_OK) status = run_steps(&t);
    if (status == FSMOE_OK) status = fsm_trainer_finish(&t);
    if (status != FSMOE_ERROR_COMM) fsm_trainer_destroy(&t); /* else groups cannot be taken apart together any more */
    fsm_run_folder_release(&t.folder);
    return status;
}
