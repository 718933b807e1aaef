/* Whole runs of small models through the public functions, each in a folder below one that is the program's own.
 * In:  settings "key=value", NULL at the end; make_runs and remove_runs go around a program's tests.
 * Out: what a run gave, to the bit: losses of its steps and the file of its weights; what evaluation and generation
 * gave. A job may run on any thread: it asserts nothing, but keeps its status and the sentence.
 */
#ifndef FSM_TESTS_RUN_CASE_H
#define FSM_TESTS_RUN_CASE_H

#include "base/file.h"

#include <fsmoe/model.h>
#include <fsmoe/train.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST_STEPS = 16, TEXT_BYTES = 4096 };

/* What every run has. Evaluation at the end and a sample read the weights back. */
#define SMALL_RUN                                                                                                      \
    "model.num_layers=2", "model.num_heads=4", "model.num_kv_heads=2", "moe.num_experts=4", "moe.aux_loss_coeff=0.01", \
        "train.global_batch=4", "train.warmup_steps=1", "train.checkpoint_every=0", "data.tokenizer=bytes"

static char runs_dir[] = "/tmp/fsmoe-runs-XXXXXX", text_path[FSM_PATH_BYTES];

typedef struct job job;
struct job {
    const char *name;
    fsmoe_status (*run)(job *j);
    const char *const *settings; /* of training */
    const char *model;           /* of evaluation and generation: the name of a trained one */
    const char *prompt;
    int64_t seq_len, max_tokens;
    void (*on_step)(void *user); /* of training, on its thread; NULL: none */
    void *user;
    /* what it gave */
    fsmoe_status status;
    char sentence[512];
    double numbers[MOST_STEPS];
    int count;
    char *bytes; /* of weights or text */
    size_t size;
};

static inline fsmoe_status path_of(const char *name, const char *rest, char path[FSM_PATH_BYTES])
{
    char below[FSM_PATH_BYTES];
    FSM_TRY(fsm_file_path(runs_dir, name, below));
    return fsm_file_path(below, rest, path);
}

/* ---- training ---- */

static inline void note_step(void *user, const fsmoe_train_progress *progress)
{
    job *j = user;
    if (j->count < MOST_STEPS) j->numbers[j->count++] = progress->loss;
    if (j->on_step) j->on_step(j->user);
}

static inline fsmoe_status set_all(fsmoe_config *config, const job *j)
{
    char text[2 * FSM_PATH_BYTES];
    for (const char *const *s = j->settings; *s; s++) FSM_TRY(fsmoe_config_set(config, *s));
    snprintf(text, sizeof text, "run.dir=%s/%s", runs_dir, j->name);
    FSM_TRY(fsmoe_config_set(config, text));
    snprintf(text, sizeof text, "data.train=[%s]", text_path);
    FSM_TRY(fsmoe_config_set(config, text));
    snprintf(text, sizeof text, "data.valid=[%s]", text_path);
    return fsmoe_config_set(config, text);
}

static inline fsmoe_status train_in(fsmoe_world *world, job *j)
{
    const fsmoe_train_options options = {.on_step = note_step, .user = j};
    char weights[FSM_PATH_BYTES];
    fsmoe_config *config;
    FSM_TRY(fsmoe_config_create(&config));
    fsmoe_status status = set_all(config, j);
    if (status == FSMOE_OK) status = fsmoe_train(world, config, &options);
    fsmoe_config_destroy(config);
    FSM_TRY(status);
    FSM_TRY(path_of(j->name, "model/model.safetensors", weights));
    return fsm_file_read(weights, &j->bytes, &j->size);
}

static inline fsmoe_status run_training(job *j)
{
    fsmoe_world *world;
    FSM_TRY(fsmoe_world_create(&world));
    fsmoe_status status = train_in(world, j);
    fsmoe_world_destroy(world);
    return status;
}

/* ---- a trained model ---- */

static inline fsmoe_status run_evaluation(job *j)
{
    char folder[FSM_PATH_BYTES];
    fsmoe_eval_result result;
    const fsmoe_eval_options options = {.data = text_path, .seq_len = j->seq_len};
    FSM_TRY(path_of(j->model, "model", folder));
    FSM_TRY(fsmoe_eval(folder, &options, &result));
    j->numbers[j->count++] = result.loss_per_token;
    return FSMOE_OK;
}

static inline fsmoe_status run_generation(job *j)
{
    char folder[FSM_PATH_BYTES];
    const fsmoe_generate_options options = {
        .prompt = j->prompt, .max_tokens = j->max_tokens, .temperature = 1, .top_p = 1, .seed = 7};
    FSM_TRY(path_of(j->model, "model", folder));
    return fsmoe_generate(folder, &options, &j->bytes, &j->size);
}

/* ---- jobs ---- */

static inline void forget(job *j)
{
    free(j->bytes);
    j->bytes = NULL;
    j->size = 0;
    j->count = 0;
}

static inline void *run_job(void *user)
{
    job *j = user;
    j->status = j->run(j);
    if (j->status != FSMOE_OK) snprintf(j->sentence, sizeof j->sentence, "%s", fsmoe_last_error());
    return NULL;
}

static inline void expect_done(const job *j)
{
    if (j->status != FSMOE_OK) fail_msg("%s: %s", j->name, j->sentence);
    assert_true(j->count > 0 || j->size > 0);
}

static inline void expect_same(const job *got, const job *want)
{
    expect_done(got);
    expect_done(want);
    for (int i = 0; i < got->count || i < want->count; i++)
        if (got->count != want->count || memcmp(&got->numbers[i], &want->numbers[i], sizeof *got->numbers) != 0)
            fail_msg("%s: number %d of %d is %.17g, alone %.17g", got->name, i, got->count, got->numbers[i],
                     want->numbers[i]);
    if (got->size != want->size || (got->size > 0 && memcmp(got->bytes, want->bytes, got->size) != 0))
        fail_msg("%s: other bytes than alone", got->name);
}

/* ---- around all tests ---- */

static inline int make_runs(void **state)
{
    char *text;
    size_t size;
    (void)state;
    if (!mkdtemp(runs_dir) || fsm_file_path(runs_dir, "text.txt", text_path) != FSMOE_OK) return -1;
    if (fsm_file_read(FSMOE_SOURCE_DIR "/data/austen/persuasion.txt", &text, &size) != FSMOE_OK) return -1;
    fsmoe_status status = fsm_file_replace(text_path, text, TEXT_BYTES);
    free(text);
    return status == FSMOE_OK ? 0 : -1;
}

static inline int remove_runs(void **state)
{
    (void)state;
    return fsm_file_remove_tree(runs_dir) == FSMOE_OK ? 0 : -1;
}

#endif
