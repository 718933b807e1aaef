/* A run up to its first step. */
#include "base/clock.h"
#include "config/config.h"
#include "moe/on_host.h"
#include "run/breakdown.h"
#include "train/adopt.h"
#include "train/checkpoint.h"
#include "train/dtype.h"
#include "train/flops.h"
#include "train/inference.h"
#include "train/own_tokenizer.h"
#include "train/place.h"
#include "train/products.h"
#include "train/run_record.h"
#include "train/trainer.h"
#include "train/trial.h"

#include <fsmoe/model.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRACED_STEPS = 100 };

/* ---- the configuration and what it names ---- */

static fsmoe_status open_tokens(const fsmoe_strings *files, const char *key, fsmoe_tokenizer *tokenizer,
                                fsmoe_tokens **tokens)
{
    if (files->count == 0) return FSMOE_OK;
    fsmoe_status status = fsmoe_tokens_open((const char *const *)files->items, files->count, tokenizer, tokens);
    return status == FSMOE_OK ? status : fsm_fail_within(status, "%s", key);
}

static void announce(void *user, const char *sentence)
{
    fsm_trainer_say(user, "%s", sentence);
}

static fsmoe_status complete_config(fsm_trainer *t, const char *model_folder)
{
    fsmoe_config *c = t->config;
    if (model_folder) FSM_TRY(fsm_adopt_model(c, model_folder));
    FSM_TRY(fsm_config_check(c));
    if (c->data.train.count == 0) return fsm_fail(FSMOE_ERROR_CONFIG, "data.train names no file to train on");
    FSM_TRY(fsm_adopt_tokenizer(c, t->options->init_dir, t->options->resume, announce, t, &t->tokenizer));
    int64_t vocab = fsmoe_tokenizer_vocab_size(t->tokenizer);
    if (c->model.vocab_size == 0) c->model.vocab_size = vocab;
    if (c->model.vocab_size < vocab)
        return fsm_fail(FSMOE_ERROR_CONFIG, "model.vocab_size = %lld is less than the %lld ids of tokenizer '%s'",
                        (long long)c->model.vocab_size, (long long)vocab, c->data.tokenizer);
    t->open_dtype = strcmp(c->train.compute_dtype, "auto") == 0;
    return fsm_config_derive(c);
}

static fsmoe_status choose_dtype(fsm_trainer *t, const char *from)
{
    char told[FSM_DTYPE_TOLD_BYTES];
    const char *checkpoint = t->options->resume ? from : NULL;
    FSM_TRY(fsm_comm_agree(t->world, fsm_dtype_choose(t->config, t->open_dtype, t->world, checkpoint, told)));
    if (told[0]) fsm_trainer_say(t, "%s", told);
    return FSMOE_OK;
}

/* By the first rank for all, before any memory is reserved. */
static fsmoe_status check_folder(const fsm_trainer *t, const char *folder)
{
    if (!folder[0] || !fsm_trainer_speaks(t)) return FSMOE_OK;
    if (t->options->resume) return fsm_checkpoint_check_tensors(t->config, folder);
    return fsm_checkpoint_check_model(t->config, folder);
}

/* What would otherwise fail only when training is done. */
static fsmoe_status check_sample(const fsm_trainer *t)
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

/* In the run's own folder, which may have to be made first, a trace is as welcome as anything the run writes. */
static fsmoe_status check_trace_path(const fsm_trainer *t)
{
    const char *path = t->options->trace_path, *dir = t->config->run.dir;
    char folder[FSM_PATH_BYTES];
    if (!path || !fsm_trainer_speaks(t)) return FSMOE_OK;
    fsm_file_parent(path, folder);
    if (strcmp(folder, dir) == 0 && !fsm_file_exists(dir)) return FSMOE_OK;
    return fsm_file_can_write(path);
}

static fsmoe_status open_data(fsm_trainer *t)
{
    fsmoe_config *c = t->config;
    FSM_TRY(open_tokens(&c->data.train, "data.train", t->tokenizer, &t->train_tokens));
    FSM_TRY(open_tokens(&c->data.valid, "data.valid", t->tokenizer, &t->valid_tokens));
    if (!fsm_trainer_speaks(t)) return FSMOE_OK; /* who writes checkpoints */
    FSM_TRY(fsm_data_print_make(t->train_tokens, &t->state.train));
    return fsm_data_print_make(t->valid_tokens, &t->state.valid);
}

/* ---- what runs ---- */

static fsmoe_status create_batches(fsm_trainer *t)
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

/* `what` is told before the figures by kind. Collective. */
static fsmoe_status check_memory(fsm_trainer *t, const char *what, const fsm_memory_options *how)
{
    char kinds[512], warning[FSM_MEMORY_SENTENCE_BYTES];
    FSM_TRY(fsm_memory_check(t->config, t->world, how, t->options->force, &t->memory.predicted, warning));
    fsmoe_memory_describe(&t->memory.predicted, kinds, sizeof kinds);
    fsm_trainer_say(t, "%s: %s", what, kinds);
    if (warning[0]) fsm_trainer_say(t, "%s", warning);
    return FSMOE_OK;
}

/* Before anything is allocated: steps in order, and the most that products may take. */
static fsmoe_status check_memory_first(fsm_trainer *t)
{
    const fsm_memory_options how = {.breakdown = t->options->breakdown};
    return check_memory(t, "memory of a rank (GB are 10^9 bytes)", &how);
}

/* The table of products may take less than the most; the model is not made yet. */
static fsmoe_status check_memory_of_products(fsm_trainer *t, const fsm_products *products)
{
    const fsm_memory_options how = {.products = products, .breakdown = t->options->breakdown};
    return products ? check_memory(t, "memory of a rank with these products", &how) : FSMOE_OK;
}

/* Lanes of the plan may take more than the steps in order that were first; then that has to fit, too. */
static fsmoe_status check_memory_as_planned(fsm_trainer *t)
{
    const fsm_graph *graph = &t->stepper.train_graph;
    const fsm_memory_options how = {.threads = t->stepper.threads,
                                    .lanes = {fsm_graph_lanes(graph), fsm_graph_parts(graph), graph->spare},
                                    .products = fsm_backend_products(&t->stepper.backend),
                                    .breakdown = t->options->breakdown};
    const fsm_topo first = fsm_topo_at(&t->stepper.topo, 0);
    fsmoe_memory planned;
    if (how.lanes.lanes <= 1 && how.lanes.spare == 0) return FSMOE_OK; /* so on all ranks: they have one graph */
    FSM_TRY(fsm_comm_agree(t->world, fsm_memory_predict(t->config, &first, &how, &planned)));
    planned.process = t->memory.predicted.process;
    int64_t more = fsmoe_memory_total(&planned) > fsmoe_memory_total(&t->memory.predicted);
    FSM_TRY(t->world->control->broadcast_bytes(t->world, &more, sizeof more, 0));
    return more ? check_memory(t, "memory of a rank as planned", &how) : FSMOE_OK;
}

/* `from`: the checkpoint of a run that goes on. */
static fsmoe_status create_stepper(fsm_trainer *t, const char *from)
{
    fsm_model_options options = {.max_samples = fsm_samples_a_group(t->config, t->world), .training = true};
    fsm_products *products;
    char told[FSM_RUN_PRODUCTS_BYTES];
    FSM_TRY(fsm_run_products_begin(t->config, t->world, t->options->resume ? from : NULL, &products, told));
    if (told[0]) fsm_trainer_say(t, "%s", told);
    fsmoe_status status = check_memory_of_products(t, products);
    const fsm_backend_options how = {.metered = t->options->breakdown, .products = products};
    if (status == FSMOE_OK) status = fsm_stepper_create_by(t->config, t->world, &options, &how, &t->stepper);
    free(products);
    return status;
}

static fsmoe_status create_helpers(fsm_trainer *t)
{
    FSM_TRY(create_batches(t));
    t->sums = calloc((size_t)t->stepper.model->sum_count, sizeof *t->sums);
    if (!t->sums) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the sums of a step");
    t->state.idle = fsm_trainer_speaks(t) ? &t->idle : NULL;
    return fsm_idle_experts_create(t->stepper.model, t->config->train.idle_expert_steps, &t->idle);
}

/* Before weights are read, since measuring costs a few steps that are undone. */
static fsmoe_status plan(fsm_trainer *t)
{
    FSM_TRY(fsm_planning_begin(&t->stepper, &t->train_batches, t->options->resume, announce, t, &t->planning));
    fsm_trainer_say(t, "%s; %d tasks a step", t->planning.message[0] ? t->planning.message : "steps in order",
                    t->stepper.train_graph.count);
    if (!t->options->trace_path) return FSMOE_OK;
    fsmoe_status status = fsm_trace_create(&t->stepper.train_graph, TRACED_STEPS, &t->trace);
    if (status == FSMOE_OK && !isnan(t->planning.step_s)) status = fsm_trace_set_plan(t->trace, &t->planning.timeline);
    t->stepper.trace = t->trace;
    return fsm_comm_agree(t->world, status);
}

/* Only where tensors are elsewhere is it worth a word. */
static void say_what_is_on_host(const fsm_trainer *t)
{
    char text[FSM_ON_HOST_BYTES];
    if (t->stepper.ops->on_host || !fsm_moe_on_host(&t->config->moe, text)) return;
    fsm_trainer_say(t, "tensors are copied to the host and back for: %s", text);
}

static void introduce(fsm_trainer *t)
{
    const fsm_topo *topo = &t->stepper.topo;
    int64_t active;
    fsm_params_totals(&t->stepper.model->params, t->config, &t->parameters, &active);
    fsm_model_flops flops = fsm_flops_a_token(&t->stepper.model->params, t->config);
    t->model_flops =
        (flops.products + flops.attention) * (double)(t->config->train.global_batch * t->config->data.seq_len);
    fsm_trainer_say(t, "%s: %.2f M parameters, %.2f M active a token; %lld training tokens", t->config->model.family,
                    1e-6 * (double)t->parameters, 1e-6 * (double)active,
                    (long long)fsmoe_tokens_count(t->train_tokens));
    if (topo->ranks == 1)
        fsm_trainer_say(t, "one process, with nothing to overlap: no costs are read or measured%s",
                        t->config->parallel.lanes > 1 ? ", and parallel.lanes changes nothing" : "");
    else
        fsm_trainer_say(t, "%d ranks on %d nodes: DP %d, MP %d, EP %d, ESP %d, expert-DP %d; schedule %s", topo->ranks,
                        topo->nodes, topo->dp, topo->mp, topo->ep, topo->esp, topo->edp, t->config->parallel.schedule);
    if (fsm_ops_kind_of(t->config) == FSM_CPU_BF16)
        fsm_trainer_say(t, "activations are kept and sent as bf16, and %s",
                        fsm_backend_multiplies_bf16() ? "multiplied as such"
                                                      : "computed in fp32: there is no arithmetic of bf16 here");
    say_what_is_on_host(t);
    if (strcmp(t->config->moe.gate, "balanced_test") == 0)
        fsm_trainer_say(t, "moe.gate balanced_test sends tokens round robin, whatever they are: it is for benchmarks");
    if (topo->ranks > 1 && t->stepper.progress == FSM_PROGRESS_TASKS)
        fsm_trainer_say(t, "communication is moved along between tasks only: %s",
                        t->world->any_thread ? "parallel.progress is tasks" : "MPI gives no thread level SERIALIZED");
}

/* ---- the folder ---- */

/* Rank 0 looks, all learn which folder it is. */
static fsmoe_status claim_folder(fsm_trainer *t, char from[FSM_PATH_BYTES])
{
    fsmoe_status status = FSMOE_OK;
    const fsmoe_train_options *o = t->options;
    memset(from, 0, FSM_PATH_BYTES);
    if (fsm_trainer_speaks(t)) {
        status = fsm_run_folder_claim(t->config->run.dir, o->resume, &t->folder);
        t->state.run = t->folder.id;
        if (status == FSMOE_OK && o->resume) status = fsm_run_folder_recover(&t->folder);
        if (status == FSMOE_OK && o->resume)
            status = fsm_checkpoint_choose(t->config->run.dir, o->resume_from, &t->folder.id, from);
        if (status == FSMOE_OK && !o->resume && o->init_dir) snprintf(from, FSM_PATH_BYTES, "%s", o->init_dir);
    }
    FSM_TRY(fsm_comm_agree(t->world, status));
    if (t->folder.unlockable)
        fsm_trainer_say(t, "the file system of '%s' has no locks: nothing keeps another run out of it",
                        t->config->run.dir);
    return t->world->control->broadcast_bytes(t->world, from, FSM_PATH_BYTES, 0);
}

static fsmoe_status begin_folder(fsm_trainer *t)
{
    char moved_to[FSM_PATH_BYTES];
    if (t->options->resume) return FSMOE_OK;
    FSM_TRY(fsm_run_folder_begin(&t->folder, moved_to));
    t->state.run = t->folder.id;
    if (moved_to[0]) fsm_trainer_say(t, "'%s' held an earlier run; it is now '%s'", t->config->run.dir, moved_to);
    return FSMOE_OK;
}

static void tell_cut(const fsm_trainer *t, const fsm_run_log_cut *cut)
{
    if (cut->lines > 0)
        fsm_trainer_say(t, "log.jsonl: steps %lld to %lld, which are done again, are now in log.cut.jsonl",
                        (long long)cut->first_step, (long long)cut->last_step);
    if (cut->torn) fsm_trainer_say(t, "log.jsonl: its last line was not whole; it is now in log.cut.jsonl");
    if (cut->odd_lines > 0)
        fsm_trainer_say(t, "log.jsonl: %lld lines are no steps'; they stay", (long long)cut->odd_lines);
    if (cut->last_kept < t->state.step)
        fsm_trainer_say(t, "log.jsonl lacks steps before the checkpoint: its last is %lld", (long long)cut->last_kept);
}

/* That of an earlier part of the run says nothing of the steps that come. */
static fsmoe_status forget_breakdown(const fsm_trainer *t)
{
    char path[FSM_PATH_BYTES];
    if (t->state.step >= t->config->train.steps) return FSMOE_OK;
    FSM_TRY(fsm_file_path(t->config->run.dir, FSM_BREAKDOWN_FILE, path));
    return fsm_file_remove_tree(path);
}

static fsmoe_status open_folder(fsm_trainer *t)
{
    fsm_run_log_cut cut;
    int superseded;
    const char *dir = t->config->run.dir;
    if (!fsm_trainer_speaks(t)) return FSMOE_OK;
    FSM_TRY(begin_folder(t));
    FSM_TRY(fsm_checkpoint_supersede(dir, &t->folder.id, t->state.step, &superseded));
    if (superseded > 0)
        fsm_trainer_say(t, "checkpoints after step %lld are now checkpoint-N.superseded", (long long)t->state.step);
    FSM_TRY(fsm_run_record_config(t->config));
    FSM_TRY(fsm_run_log_open(dir, t->state.step, &t->log, &cut));
    tell_cut(t, &cut);
    FSM_TRY(fsm_planning_save(&t->planning, t->config));
    FSM_TRY(fsm_run_products_save(fsm_backend_products(&t->stepper.backend), dir));
    FSM_TRY(forget_breakdown(t));
    return fsm_run_record_write(&t->stepper, t->options, &t->memory, t->started, NAN, NULL);
}

/* ---- what is gone on from ---- */

static fsmoe_status check_changes(const fsm_trainer *t, const char *folder, const fsm_state_changes *changes)
{
    if (changes->refused[0] && !t->options->allow_changes)
        return fsm_fail(FSMOE_ERROR_CONFIG,
                        "since '%s' was saved this has changed: %s; a run goes on only with the same (--allow-changes "
                        "goes on all the same)",
                        folder, changes->refused);
    if (changes->refused[0]) fsm_trainer_say(t, "changed since the checkpoint, as allowed: %s", changes->refused);
    if (changes->told[0]) fsm_trainer_say(t, "changed since the checkpoint: %s", changes->told);
    return FSMOE_OK;
}

/* Losses of other validation data say nothing of which model is better. */
static void forget_best_of_other_data(fsm_trainer *t, const fsm_data_print *valid)
{
    bool same = valid->tokens == t->state.valid.tokens && valid->hash == t->state.valid.hash;
    if (same || !isfinite(t->state.best_loss)) return;
    fsm_trainer_say(t, "the validation data are others, so the best model is looked for anew");
    t->state.best_loss = NAN;
}

/* Before steps are measured, so that a run which does not go on is told so soon; only products have been measured by
 * then, since the stepper computes by them. */
static fsmoe_status take_state(fsm_trainer *t, const char *folder)
{
    fsm_run_state saved;
    fsm_state_changes changes;
    FSM_TRY(fsm_checkpoint_read_state(&t->stepper, folder, &t->state, &saved, &changes));
    if (fsm_trainer_speaks(t)) FSM_TRY(check_changes(t, folder, &changes)); /* only there are the data looked at */
    t->state.step = t->saved_step = saved.step;
    t->state.best_loss = saved.best_loss;
    t->state.best_step = saved.best_step;
    if (fsm_trainer_speaks(t)) forget_best_of_other_data(t, &saved.valid); /* all learn of it in go_on */
    return FSMOE_OK;
}

static fsmoe_status go_on(fsm_trainer *t, const char *folder)
{
    if (!t->options->resume) return FSMOE_OK;
    FSM_TRY(fsm_comm_agree(t->world, take_state(t, folder)));
    return t->world->control->broadcast_bytes(t->world, &t->state.best_loss, sizeof t->state.best_loss, 0);
}

fsmoe_status fsm_trainer_prepare(fsm_trainer *t)
{
    char from[FSM_PATH_BYTES];
    fsm_trainer_tell_stage(t, FSMOE_TRAIN_STARTS, 0);
    FSM_TRY(claim_folder(t, from));
    fsmoe_status status = complete_config(t, from[0] ? from : NULL);
    if (status == FSMOE_OK) status = check_folder(t, from);
    if (status == FSMOE_OK) status = check_sample(t);
    if (status == FSMOE_OK) status = check_trace_path(t);
    if (status == FSMOE_OK) status = open_data(t);
    FSM_TRY(fsm_comm_agree(t->world, status));
    FSM_TRY(choose_dtype(t, from));
    FSM_TRY(check_memory_first(t));
    FSM_TRY(create_stepper(t, from));
    FSM_TRY(fsm_comm_agree(t->world, create_helpers(t)));
    introduce(t);
    FSM_TRY(go_on(t, from));
    FSM_TRY(plan(t));
    FSM_TRY(check_memory_as_planned(t));
    if (t->options->resume) FSM_TRY(fsm_checkpoint_load(&t->stepper, from, t->state.step));
    else if (from[0]) FSM_TRY(fsm_checkpoint_read_model(&t->stepper, from));
    FSM_TRY(fsm_comm_agree(t->world, open_folder(t)));
    if (t->options->resume) fsm_trainer_say(t, "resumed after step %lld", (long long)t->state.step);
    fsm_save_pace_begin(&t->pace, 60 * t->config->train.checkpoint_minutes, fsm_clock_s());
    return FSMOE_OK;
}
