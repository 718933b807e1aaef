/* The end of a step: what is logged, whether all go on, what is saved. */
#include "base/clock.h"
#include "train/checkpoint.h"
#include "train/peak.h"
#include "train/stop.h"
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What disks and networks should do at the least; a save is given up by those who wait for it three times later. */
static const double slow_bytes_per_s = 20e6;

/* Worth the 0.1 to 0.4 s that measuring the machine takes. */
static const double long_run_s = 20;

static bool due(int64_t every, int64_t step, int64_t steps)
{
    return step == steps || (every > 0 && step % every == 0);
}

static int64_t steps_of(const fsm_trainer *t)
{
    return t->config->train.steps;
}

/* ---- evaluation ---- */

static int64_t count_valid_samples(const fsm_trainer *t)
{
    const fsmoe_config *c = t->config;
    int64_t samples = t->valid_batches.sampler.n_samples, most = c->train.eval_tokens / c->data.seq_len;
    if (c->train.eval_tokens > 0 && most < samples) return most > 0 ? most : 1;
    return samples;
}

static fsmoe_status measure(fsm_trainer *t)
{
    int64_t samples = count_valid_samples(t);
    fsm_model_sums sums;
    /* forward passes are not longer than steps */
    fsm_trainer_tell_stage(t, FSMOE_TRAIN_EVALUATES,
                           t->step_s * (1 + (double)samples / (double)t->config->train.global_batch));
    fsmoe_status status = fsm_stepper_evaluate(&t->stepper, &t->valid_batches, 0, samples, &sums);
    if (status != FSMOE_OK) return fsm_trainer_failed_in_step(t, status);
    t->val_loss = sums.loss / sums.tokens;
    return FSMOE_OK;
}

static fsmoe_status check_val_loss(const fsm_trainer *t)
{
    if (isfinite(t->val_loss)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_NUMERIC, "the validation loss after step %lld is not finite", (long long)t->state.step);
}

fsmoe_status fsm_trainer_evaluate(fsm_trainer *t)
{
    FSM_TRY(measure(t));
    return check_val_loss(t);
}

/* ---- the log ---- */

/* Shares of kept pairs over all experts and layers. */
static void read_load(const fsm_trainer *t, const double *sums, fsmoe_train_progress *p)
{
    const fsm_model *m = t->stepper.model;
    int64_t num_experts = t->config->moe.num_experts;
    double dropped = 0, kept = 0;
    p->load_min = m->moe_layers > 0 ? INFINITY : 0;
    for (int i = 0; i < m->moe_layers; i++) {
        fsm_layer_load layer = fsm_model_layer_load(m, sums, i);
        double total = 0;
        for (int64_t e = 0; e < num_experts; e++) total += layer.kept[e];
        for (int64_t e = 0; e < num_experts; e++) {
            double share = total > 0 ? layer.kept[e] / total : 0;
            p->load_min = fmin(p->load_min, share);
            p->load_max = fmax(p->load_max, share);
            p->load_mean += share / (double)(num_experts * m->moe_layers);
        }
        kept += total;
        dropped += layer.dropped;
    }
    p->dropped_frac = kept + dropped > 0 ? dropped / (kept + dropped) : 0;
}

static fsmoe_train_progress describe_step(const fsm_trainer *t, double lr)
{
    const fsm_stepper *s = &t->stepper;
    fsm_model_sums loss = fsm_model_loss_sums(s->model, t->sums);
    double since_s = fsm_clock_s() - t->started_s;
    fsmoe_train_progress p = {
        .step = t->state.step,
        .steps = steps_of(t),
        .loss = loss.loss / loss.tokens,
        .aux_loss = s->model->step_aux,
        .z_loss = s->model->step_z,
        .lr = lr,
        .grad_norm = s->optimizer.grad_norm,
        .step_s = t->step_s,
        .tokens_per_s = loss.tokens / t->step_s,
        .flops_per_s = t->model_flops / t->step_s,
        .peak_share = t->model_flops / t->step_s / t->peak_flops_per_s,
        .val_loss = NAN,
    };
    p.eta_s = since_s / (double)(t->state.step - t->started_step) * (double)(p.steps - p.step);
    read_load(t, t->sums, &p);
    return p;
}

static fsmoe_status log_step(fsm_trainer *t, const fsmoe_train_progress *p)
{
    char warning[FSM_IDLE_SENTENCE_BYTES];
    bool warns = fsm_idle_experts_count(&t->idle, t->stepper.model, t->sums, warning);
    FSM_TRY(fsm_run_log_step(&t->log, p, t->stepper.model, t->sums, warns ? warning : NULL));
    if (warns) fsm_trainer_say(t, "step %lld: %s", (long long)p->step, warning);
    if (t->options->on_step) t->options->on_step(t->options->user, p);
    return FSMOE_OK;
}

/* The step was well, and is logged, whatever its evaluation says. */
static fsmoe_status report_step(fsm_trainer *t, double lr, bool evaluates)
{
    fsmoe_train_progress p = describe_step(t, lr);
    if (evaluates) FSM_TRY(measure(t));
    if (evaluates && isfinite(t->val_loss)) p.val_loss = t->val_loss;
    if (fsm_trainer_speaks(t)) FSM_TRY(log_step(t, &p));
    return evaluates ? check_val_loss(t) : FSMOE_OK;
}

/* ---- the scale of a step ---- */

fsmoe_status fsm_trainer_measure_peak(fsm_trainer *t)
{
    double mine;
    FSM_TRY(fsm_peak_products(t->stepper.ops, t->stepper.threads, t->world, &mine));
    FSM_TRY(fsm_comm_all_reduce_double(t->world, &mine, 1));
    t->peak_flops_per_s = mine;
    return FSMOE_OK;
}

/* A run that is soon over is not held up for it; rank 0's clock decides for all. */
static fsmoe_status measure_peak_of_a_long_run(fsm_trainer *t)
{
    double left_s = t->step_s * (double)(steps_of(t) - t->state.step);
    if (!isnan(t->peak_flops_per_s) || t->state.step != t->started_step + 2) return FSMOE_OK;
    FSM_TRY(t->world->control->broadcast_bytes(t->world, &left_s, sizeof left_s, 0));
    return left_s > long_run_s ? fsm_trainer_measure_peak(t) : FSMOE_OK;
}

/* ---- going on ---- */

fsmoe_status fsm_trainer_agree(fsm_trainer *t, fsmoe_status status)
{
    const fsmoe_train_options *o = t->options;
    fsm_step_verdict verdict = {.stop = o->should_stop ? o->should_stop(o->user, t->state.step) : 0,
                                .save_time = fsm_trainer_speaks(t) && fsm_save_pace_is_due(&t->pace, fsm_clock_s())};
    FSM_TRY(fsm_stop_agree(t->world, status, &verdict));
    t->stop = verdict.stop;
    t->save_time = verdict.save_time;
    if (t->stop && o->on_stop) o->on_stop(o->user, t->stop, t->state.step);
    return FSMOE_OK;
}

/* ---- saving ---- */

static double saving_s(const fsm_trainer *t, double bytes_a_parameter)
{
    return bytes_a_parameter * (double)t->parameters / slow_bytes_per_s;
}

/* The log's lines are on the disk before the checkpoint that follows them. */
fsmoe_status fsm_trainer_save(fsm_trainer *t)
{
    if (t->saved_step == t->state.step) return FSMOE_OK;
    double begun_s = fsm_clock_s();
    fsm_trainer_tell_stage(t, FSMOE_TRAIN_SAVES, saving_s(t, 3 * sizeof(float)));
    FSM_TRY(fsm_comm_agree(t->world, fsm_trainer_speaks(t) ? fsm_run_log_sync(&t->log) : FSMOE_OK));
    FSM_TRY(fsm_checkpoint_save(&t->stepper, t->config->run.dir, &t->state, t->config->run.keep_checkpoints));
    t->saved_step = t->state.step;
    if (fsm_trainer_speaks(t) && fsm_save_pace_saved(&t->pace, begun_s, fsm_clock_s()))
        fsm_trainer_say(
            t, "saving takes %.3g s: by the clock it is done every %.3g minutes, so that it takes 5 %% of the time",
            t->pace.saving_s, fsm_save_pace_interval_s(&t->pace) / 60);
    return FSMOE_OK;
}

fsmoe_status fsm_trainer_save_last_good(fsm_trainer *t, bool touched)
{
    if (t->state.step == 0) return FSMOE_ERROR_NUMERIC; /* there is nothing to lose yet */
    char *cause = strdup(fsmoe_last_error());
    const char *text = cause ? cause : "not finite", *dir = t->config->run.dir;
    long long step = t->state.step;
    fsmoe_status saved = touched ? FSMOE_OK : fsm_trainer_save(t), status = FSMOE_ERROR_NUMERIC;
    if (saved == FSMOE_ERROR_COMM) status = saved;
    else if (saved != FSMOE_OK) fsm_fail_within(status, "%s; what stood after step %lld cannot be saved", text, step);
    else if (!touched)
        fsm_fail(status, "%s; what stood after step %lld is saved in '%s/checkpoint-%lld'", text, step, dir, step);
    else
        fsm_fail(
            status,
            "%s; without train.clip_grad the step has changed the parameters already, so what stood after step %lld is "
            "lost%s",
            text, step, t->saved_step == step ? " but for its checkpoint" : "");
    free(cause);
    return status;
}

/* A model folder of its own beside the checkpoints, for whoever wants the best and not the last. */
static fsmoe_status save_best(fsm_trainer *t)
{
    char folder[FSM_PATH_BYTES];
    if (t->config->train.eval_every == 0 || isnan(t->val_loss) || t->val_loss >= t->state.best_loss) return FSMOE_OK;
    fsm_trainer_tell_stage(t, FSMOE_TRAIN_SAVES, saving_s(t, sizeof(float)));
    FSM_TRY(fsm_comm_agree(t->world, fsm_file_path(t->config->run.dir, "best", folder)));
    FSM_TRY(fsm_checkpoint_check_finite(&t->stepper));
    FSM_TRY(fsm_checkpoint_write_model(&t->stepper, folder, &t->state.run));
    t->state.best_loss = t->val_loss;
    t->state.best_step = t->state.step;
    return FSMOE_OK;
}

static fsmoe_status renew_plan(fsm_trainer *t)
{
    int64_t every = t->config->parallel.replan_every;
    if (every == 0 || t->state.step % every != 0 || t->state.step == steps_of(t)) return FSMOE_OK;
    fsm_trainer_tell_stage(t, FSMOE_TRAIN_PLANS, 0);
    fsmoe_status status = fsm_planning_renew(&t->planning, &t->stepper, t->state.step);
    if (status != FSMOE_OK) return fsm_trainer_failed_in_step(t, status);
    fsm_trainer_say(t, "%s", t->planning.message);
    return fsm_comm_agree(t->world, fsm_trainer_speaks(t) ? fsm_planning_save(&t->planning, t->config) : FSMOE_OK);
}

/* A signal may come while others are evaluating or saving: who waits for them is told what for. */
fsmoe_status fsm_trainer_end_step(fsm_trainer *t, double lr)
{
    FSM_TRY(measure_peak_of_a_long_run(t));
    bool evaluated = t->valid_tokens && due(t->config->train.eval_every, t->state.step, steps_of(t));
    fsmoe_status status = report_step(t, lr, evaluated);
    if (status == FSMOE_ERROR_COMM) return status;
    status = fsm_trainer_agree(t, status);
    if (status == FSMOE_ERROR_NUMERIC) return fsm_trainer_save_last_good(t, false);
    FSM_TRY(status);
    if (evaluated) FSM_TRY(save_best(t));
    if (t->stop || t->save_time || due(t->config->train.checkpoint_every, t->state.step, steps_of(t)))
        FSM_TRY(fsm_trainer_save(t));
    return t->stop ? FSMOE_OK : renew_plan(t);
}
