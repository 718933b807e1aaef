/* The training loop. */
#include <fsmoe/train.h>

#include "base/clock.h"
#include "base/file.h"
#include "comm/world.h"
#include "config/config.h"
#include "exec/step_times.h"
#include "exec/trace.h"
#include "train/adopt.h"
#include "train/checkpoint.h"
#include "train/inference.h"
#include "train/planning.h"
#include "train/run_folder.h"
#include "train/step_record.h"
#include "train/stop.h"
#include "train/trial.h"

#include <fsmoe/model.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRACED_STEPS = 100 };

typedef struct trainer {
    fsm_comm *world;
    fsmoe_config *config;
    const fsmoe_train_options *options;
    fsmoe_tokenizer *tokenizer;
    fsmoe_tokens *train_tokens, *valid_tokens;
    fsm_stepper stepper;
    fsm_batches train_batches, valid_batches;
    fsm_planning planning;
    fsm_run_folder folder; /* rank 0 */
    fsm_trace *trace;
    int64_t step;       /* steps done */
    int64_t saved_step; /* of the newest checkpoint, -1: none */
    int stop;           /* why all ranks stop before the last step; 0: they do not */
    double started_s;
    int64_t started_step;
    double val_loss; /* latest; NaN before the first */
} trainer;

static bool speaks(const trainer *t)
{
    return t->world->rank == 0;
}

__attribute__((format(printf, 2, 3))) static void say(const trainer *t, const char *format, ...)
{
    char text[2048];
    va_list args;
    if (!speaks(t) || !t->options->on_message) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    t->options->on_message(t->options->user, text);
}

/* ---- preparation ---- */

static fsmoe_status open_tokens(const fsmoe_strings *files, const char *key, fsmoe_tokenizer *tokenizer,
                                fsmoe_tokens **tokens)
{
    if (files->count == 0) return FSMOE_OK;
    fsmoe_status status = fsmoe_tokens_open((const char *const *)files->items, files->count, tokenizer, tokens);
    return status == FSMOE_OK ? status : fsm_fail_within(status, "%s", key);
}

static fsmoe_status complete_config(trainer *t, const char *model_folder)
{
    fsmoe_config *c = t->config;
    if (model_folder) FSM_TRY(fsm_adopt_model(c, model_folder));
    FSM_TRY(fsm_config_check(c));
    if (c->data.train.count == 0) return fsm_fail(FSMOE_ERROR_CONFIG, "data.train names no file to train on");
    FSM_TRY(fsmoe_tokenizer_create(c->data.tokenizer, &t->tokenizer));
    int64_t vocab = fsmoe_tokenizer_vocab_size(t->tokenizer);
    if (c->model.vocab_size == 0) c->model.vocab_size = vocab;
    if (c->model.vocab_size < vocab)
        return fsm_fail(FSMOE_ERROR_CONFIG, "model.vocab_size = %lld is less than the %lld ids of tokenizer '%s'",
                        (long long)c->model.vocab_size, (long long)vocab, c->data.tokenizer);
    return fsm_config_derive(c);
}

/* What would otherwise fail only when training is done. */
static fsmoe_status check_sample(const trainer *t)
{
    const fsmoe_run_config *run = &t->config->run;
    int32_t *ids;
    size_t prompt;
    if (!run->sample_prompt[0]) return FSMOE_OK;
    fsmoe_status status = fsm_can_generate(&t->config->moe);
    if (status != FSMOE_OK) return fsm_fail_within(status, "run.sample_prompt");
    FSM_TRY(fsmoe_tokenizer_encode(t->tokenizer, run->sample_prompt, strlen(run->sample_prompt), &ids, &prompt));
    free(ids);
    int64_t positions = t->config->model.max_seq_len;
    /* nothing is predicted from the last token, so it needs no position */
    if ((int64_t)prompt + run->sample_tokens <= positions + 1) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG,
                    "run.sample_prompt of %zu tokens and run.sample_tokens = %lld do not fit model.max_seq_len = %lld",
                    prompt, (long long)run->sample_tokens, (long long)positions);
}

static fsmoe_status check_trace_path(const trainer *t)
{
    if (!t->options->trace_path || !speaks(t)) return FSMOE_OK;
    return fsm_file_can_write(t->options->trace_path);
}

static fsmoe_status open_data(trainer *t)
{
    fsmoe_config *c = t->config;
    FSM_TRY(open_tokens(&c->data.train, "data.train", t->tokenizer, &t->train_tokens));
    return open_tokens(&c->data.valid, "data.valid", t->tokenizer, &t->valid_tokens);
}

static fsmoe_status create_batches(trainer *t)
{
    const fsmoe_config *c = t->config;
    fsmoe_status status = fsm_batches_create(t->train_tokens, c->data.seq_len, (uint64_t)c->train.seed, c->data.shuffle,
                                             c->train.micro_batch, &t->stepper.topo, &t->train_batches);
    if (status != FSMOE_OK) return fsm_fail_within(status, "data.train");
    if (!t->valid_tokens) return FSMOE_OK;
    status = fsm_batches_create(t->valid_tokens, c->data.seq_len, 0, false, c->train.micro_batch, &t->stepper.topo,
                                &t->valid_batches);
    return status == FSMOE_OK ? status : fsm_fail_within(status, "data.valid");
}

static fsmoe_status create_stepper(trainer *t)
{
    fsm_model_options options = {.max_samples = fsm_samples_a_group(t->config, t->world), .training = true};
    return fsm_stepper_create(t->config, t->world, &options, &t->stepper);
}

static void announce(void *user, const char *sentence)
{
    say(user, "%s", sentence);
}

/* Before weights are read, since measuring costs a few steps that are undone. */
static fsmoe_status plan(trainer *t)
{
    FSM_TRY(fsm_planning_begin(&t->stepper, &t->train_batches, t->options->resume, announce, t, &t->planning));
    say(t, "%s; %d tasks a step", t->planning.message[0] ? t->planning.message : "steps in order",
        t->stepper.train_graph.count);
    if (!t->options->trace_path) return FSMOE_OK;
    fsmoe_status status = fsm_trace_create(&t->stepper.train_graph, TRACED_STEPS, &t->trace);
    if (status == FSMOE_OK && !isnan(t->planning.step_s)) status = fsm_trace_set_plan(t->trace, &t->planning.timeline);
    t->stepper.trace = t->trace;
    return fsm_comm_agree(t->world, status);
}

static fsmoe_status open_folder(trainer *t)
{
    char moved_to[FSM_PATH_BYTES];
    if (!speaks(t)) return FSMOE_OK;
    FSM_TRY(fsm_run_folder_create(t->config, t->options->resume, moved_to));
    if (moved_to[0]) say(t, "'%s' held an earlier run; it is now '%s'", t->config->run.dir, moved_to);
    FSM_TRY(fsm_run_folder_open(t->config, t->step, &t->folder));
    FSM_TRY(fsm_planning_save(&t->planning, t->config));
    return fsm_run_folder_describe(&t->stepper, t->options, NAN, NULL);
}

static void introduce(const trainer *t)
{
    const fsm_topo *topo = &t->stepper.topo;
    int64_t total, active;
    fsm_params_totals(&t->stepper.model->params, t->config, &total, &active);
    say(t, "%s: %.2f M parameters, %.2f M active a token; %lld training tokens", t->config->model.family,
        1e-6 * (double)total, 1e-6 * (double)active, (long long)fsmoe_tokens_count(t->train_tokens));
    if (topo->ranks == 1) say(t, "one process, with nothing to overlap: no costs are read or measured");
    else
        say(t, "%d ranks on %d nodes: DP %d, MP %d, EP %d, ESP %d, expert-DP %d; schedule %s", topo->ranks, topo->nodes,
            topo->dp, topo->mp, topo->ep, topo->esp, topo->edp, t->config->parallel.schedule);
    if (strcmp(t->config->moe.gate, "balanced_test") == 0)
        say(t, "moe.gate balanced_test sends tokens round robin, whatever they are: it is for benchmarks");
    if (topo->ranks > 1 && t->stepper.progress == FSM_PROGRESS_TASKS)
        say(t, "communication is moved along between tasks only: %s",
            t->world->any_thread ? "parallel.progress is tasks" : "MPI gives no thread level SERIALIZED");
}

static fsmoe_status prepare(trainer *t)
{
    char newest[FSM_PATH_BYTES];
    const char *from = t->options->init_dir;
    fsmoe_status status = FSMOE_OK;
    if (t->options->resume) {
        status = fsm_checkpoint_newest(t->config->run.dir, newest);
        from = newest;
    }
    if (status == FSMOE_OK) status = complete_config(t, from);
    if (status == FSMOE_OK) status = check_sample(t);
    if (status == FSMOE_OK) status = check_trace_path(t);
    if (status == FSMOE_OK) status = open_data(t);
    FSM_TRY(fsm_comm_agree(t->world, status));
    FSM_TRY(create_stepper(t));
    t->stepper.train_tokens = fsmoe_tokens_count(t->train_tokens);
    FSM_TRY(fsm_comm_agree(t->world, create_batches(t)));
    introduce(t);
    FSM_TRY(plan(t));
    if (t->options->resume) FSM_TRY(fsm_checkpoint_load(&t->stepper, newest, &t->step));
    else if (from) FSM_TRY(fsm_checkpoint_read_model(&t->stepper, from));
    FSM_TRY(fsm_comm_agree(t->world, open_folder(t)));
    t->saved_step = t->options->resume ? t->step : -1;
    if (t->options->resume) say(t, "resumed after step %lld", (long long)t->step);
    return FSMOE_OK;
}

/* ---- steps ---- */

static fsmoe_status failed_inside(const trainer *t, fsmoe_status status)
{
    fsm_fail_within(status, "step %lld", (long long)t->step + 1);
    return fsm_step_failed(t->world, status);
}

static fsmoe_status evaluate(trainer *t)
{
    const fsmoe_config *c = t->config;
    int64_t samples = t->valid_batches.sampler.n_samples, most = c->train.eval_tokens / c->data.seq_len;
    fsm_model_sums sums;
    if (c->train.eval_tokens > 0 && most < samples) samples = most > 0 ? most : 1;
    fsmoe_status status = fsm_stepper_evaluate(&t->stepper, &t->valid_batches, 0, samples, &sums);
    if (status != FSMOE_OK) return failed_inside(t, status);
    t->val_loss = sums.loss / sums.tokens;
    return FSMOE_OK;
}

static bool due(int64_t every, int64_t step, int64_t steps)
{
    return step == steps || (every > 0 && step % every == 0);
}

/* Shares of kept pairs over all experts and layers. */
static void read_load(const trainer *t, double *sums, fsmoe_train_progress *p)
{
    const fsm_model *m = t->stepper.model;
    int64_t num_experts = t->config->moe.num_experts;
    double dropped = 0, kept = 0;
    p->load_min = m->moe_layers > 0 ? INFINITY : 0;
    for (int i = 0; i < m->moe_layers; i++) {
        fsm_gate_sums layer = fsm_model_gate_sums(m, sums, i);
        double total = 0;
        for (int64_t e = 0; e < num_experts; e++) total += layer.kept[e];
        for (int64_t e = 0; e < num_experts; e++) {
            double share = total > 0 ? layer.kept[e] / total : 0;
            p->load_min = fmin(p->load_min, share);
            p->load_max = fmax(p->load_max, share);
            p->load_mean += share / (double)(num_experts * m->moe_layers);
        }
        kept += total;
        dropped += *layer.dropped;
    }
    p->dropped_frac = kept + dropped > 0 ? dropped / (kept + dropped) : 0;
}

static void tell_pause(const trainer *t, bool begins)
{
    if (t->options->on_pause) t->options->on_pause(t->options->user, begins);
}

/* step_sums is copied before evaluation overwrites it. */
static fsmoe_status finish_step(trainer *t, double step_s, double lr, double *sums)
{
    const fsm_stepper *s = &t->stepper;
    fsm_model_sums loss = fsm_model_loss_sums(s->model, sums);
    double since_s = fsm_clock_s() - t->started_s;
    fsmoe_train_progress p = {
        .step = t->step,
        .steps = t->config->train.steps,
        .loss = loss.loss / loss.tokens,
        .aux_loss = s->model->step_aux,
        .z_loss = s->model->step_z,
        .lr = lr,
        .grad_norm = s->optimizer.grad_norm,
        .step_s = step_s,
        .tokens_per_s = loss.tokens / step_s,
        .val_loss = NAN,
    };
    p.eta_s = since_s / (double)(t->step - t->started_step) * (double)(p.steps - p.step);
    read_load(t, sums, &p);
    if (t->valid_tokens && due(t->config->train.eval_every, t->step, p.steps)) {
        tell_pause(t, true);
        FSM_TRY(evaluate(t));
        p.val_loss = t->val_loss;
    }
    if (!speaks(t)) return FSMOE_OK;
    FSM_TRY(fsm_run_folder_log(&t->folder, &p, s->model, sums));
    if (t->options->on_step) t->options->on_step(t->options->user, &p);
    return FSMOE_OK;
}

static fsmoe_status renew_plan(trainer *t)
{
    int64_t every = t->config->parallel.replan_every;
    if (every == 0 || t->step % every != 0 || t->step == t->config->train.steps) return FSMOE_OK;
    fsmoe_status status = fsm_planning_renew(&t->planning, &t->stepper, t->step);
    if (status != FSMOE_OK) return failed_inside(t, status);
    say(t, "%s", t->planning.message);
    return fsm_comm_agree(t->world, speaks(t) ? fsm_planning_save(&t->planning, t->config) : FSMOE_OK);
}

/* Between two steps: whether all ranks are well, and whether they go on. */
static fsmoe_status agree(trainer *t, fsmoe_status status)
{
    const fsmoe_train_options *o = t->options;
    int mine = o->should_stop ? o->should_stop(o->user, t->step) : 0;
    FSM_TRY(fsm_stop_agree(t->world, status, mine, &t->stop));
    if (t->stop && o->on_stop) o->on_stop(o->user, t->stop, t->step);
    return FSMOE_OK;
}

static fsmoe_status save(trainer *t)
{
    if (t->saved_step == t->step) return FSMOE_OK;
    FSM_TRY(fsm_checkpoint_save(&t->stepper, t->config->run.dir, t->step));
    t->saved_step = t->step;
    return FSMOE_OK;
}

static fsmoe_status step(trainer *t, double *sums)
{
    fsm_stepper *s = &t->stepper;
    double start = fsm_clock_s(), lr = s->optimizer.lr;
    fsmoe_status status = fsm_stepper_train(s, &t->train_batches, t->step * t->config->train.global_batch);
    if (status != FSMOE_OK) return failed_inside(t, status);
    t->step++;
    memcpy(sums, s->model->step_sums, sizeof *sums * (size_t)s->model->sum_count);
    status = finish_step(t, fsm_clock_s() - start, lr, sums);
    if (status == FSMOE_ERROR_COMM) return status;
    FSM_TRY(agree(t, status));
    tell_pause(t, true);
    if (t->stop || due(t->config->train.checkpoint_every, t->step, t->config->train.steps)) FSM_TRY(save(t));
    FSM_TRY(t->stop ? FSMOE_OK : renew_plan(t));
    tell_pause(t, false);
    return FSMOE_OK;
}

static fsmoe_status run_steps(trainer *t)
{
    double *sums = calloc((size_t)t->stepper.model->sum_count, sizeof *sums);
    fsmoe_status status = sums ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the sums of a step");
    status = agree(t, status);
    if (status == FSMOE_OK && t->stop) status = save(t);
    t->started_s = fsm_clock_s();
    t->started_step = t->step;
    while (status == FSMOE_OK && !t->stop && t->step < t->config->train.steps) status = step(t, sums);
    free(sums);
    return status;
}

/* ---- the end ---- */

/* Rank 0 reads the model it has just written, alone, while the others wait. */
static fsmoe_status write_sample(trainer *t, const char *model_dir, char **text)
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
    say(t, "sample: %s", *text);
    return FSMOE_OK;
}

/* The last step, planned and measured, unless this process has done none. */
static fsmoe_status record_step(const trainer *t)
{
    char path[FSM_PATH_BYTES];
    if (t->step == t->started_step) return FSMOE_OK;
    FSM_TRY(fsm_comm_agree(t->world, fsm_file_path(t->config->run.dir, FSM_STEP_TIMES_FILE, path)));
    return fsm_step_record_write(&t->stepper, isnan(t->planning.step_s) ? NULL : &t->planning.timeline, t->step, path);
}

static fsmoe_status finish(trainer *t)
{
    char model_dir[FSM_PATH_BYTES], *sample = NULL;
    snprintf(model_dir, sizeof model_dir, "%s/model", t->config->run.dir);
    FSM_TRY(fsm_checkpoint_write_model(&t->stepper, model_dir));
    if (t->trace) FSM_TRY(fsm_trace_write(t->trace, t->world, t->options->trace_path));
    FSM_TRY(record_step(t));
    fsmoe_status status = FSMOE_OK;
    if (speaks(t)) {
        status = write_sample(t, model_dir, &sample);
        if (status == FSMOE_OK) status = fsm_run_folder_describe(&t->stepper, t->options, t->val_loss, sample);
        if (status == FSMOE_OK) status = fsm_run_folder_close(&t->folder);
        free(sample);
    }
    return fsm_comm_agree(t->world, status);
}

/* The checkpoint is there; only what a resumed run could not make up for is left to write. */
static fsmoe_status finish_early(trainer *t)
{
    return t->trace ? fsm_trace_write(t->trace, t->world, t->options->trace_path) : FSMOE_OK;
}

static void destroy(trainer *t)
{
    fsm_run_folder_close(&t->folder);
    fsm_trace_destroy(t->trace);
    fsm_planning_end(&t->planning);
    fsm_batches_destroy(&t->train_batches);
    fsm_batches_destroy(&t->valid_batches);
    fsm_stepper_destroy(&t->stepper);
    fsmoe_tokens_close(t->train_tokens);
    fsmoe_tokens_close(t->valid_tokens);
    fsmoe_tokenizer_destroy(t->tokenizer);
}

fsmoe_status fsmoe_train(fsmoe_world *world, fsmoe_config *config, const fsmoe_train_options *options)
{
    trainer t = {.world = world->comm, .config = config, .options = options, .val_loss = NAN};
    fsmoe_status status = prepare(&t);
    bool complete = options->resume && t.step >= config->train.steps; /* stopped after its last step, or not at all */
    if (status == FSMOE_OK && complete && t.valid_tokens) status = evaluate(&t);
    if (status == FSMOE_OK) status = run_steps(&t);
    if (status == FSMOE_OK) status = t.stop ? finish_early(&t) : finish(&t);
    if (status != FSMOE_ERROR_COMM) destroy(&t); /* else groups cannot be taken apart together any more */
    return status;
}
