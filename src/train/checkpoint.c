#include "train/checkpoint.h"

#include "model/file_tensors.h"
#include "model/finite.h"
#include "model/hf_config.h"
#include "model/model_io.h"
#include "run/owned.h"
#include "train/products.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char model_file[] = "model.safetensors", optimizer_file[] = "optimizer.safetensors";
static const char *const checkpoint_files[] = {"config.json", model_file, optimizer_file, FSM_STATE_FILE};
enum { CHECKPOINT_FILES = sizeof checkpoint_files / sizeof *checkpoint_files };

/* ---- which there are ---- */

int64_t fsm_checkpoint_number(const char *folder)
{
    const char *slash = strrchr(folder, '/'), *name = slash ? slash + 1 : folder;
    int64_t number;
    char again[64];
    if (sscanf(name, "checkpoint-%" SCNd64, &number) != 1 || number < 0) return -1;
    snprintf(again, sizeof again, "checkpoint-%" PRId64, number);
    return strcmp(name, again) == 0 ? number : -1;
}

static fsmoe_status folder_of(const char *run_dir, int64_t number, char folder[FSM_PATH_BYTES])
{
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%" PRId64, number);
    return fsm_file_path(run_dir, name, folder);
}

static int is_checkpoint(const struct dirent *entry)
{
    return fsm_checkpoint_number(entry->d_name) >= 0;
}

static int newer_first(const struct dirent **a, const struct dirent **b)
{
    int64_t x = fsm_checkpoint_number((*a)->d_name), y = fsm_checkpoint_number((*b)->d_name);
    return (x < y) - (x > y);
}

/* The numbers of a run's checkpoints, falling; the caller frees *numbers. */
static fsmoe_status list(const char *run_dir, int64_t **numbers, size_t *count)
{
    struct dirent **entries = NULL;
    int found = scandir(run_dir, &entries, is_checkpoint, newer_first);
    *count = 0;
    *numbers = NULL;
    if (found < 0) return fsm_file_failed("read", run_dir);
    *numbers = malloc(sizeof **numbers * (size_t)(found + 1));
    for (int i = 0; i < found; i++) {
        if (*numbers) (*numbers)[(*count)++] = fsm_checkpoint_number(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return *numbers ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to list '%s'", run_dir);
}

/* ---- writing ---- */

/* config.json by rank 0, weights by all. */
static fsmoe_status write_weights(fsm_stepper *s, const char *folder, uint64_t *hash)
{
    char path[FSM_PATH_BYTES];
    const fsm_named_array values = {"", s->model->values, s->ops};
    fsmoe_status status = fsm_file_path(folder, model_file, path);
    if (status == FSMOE_OK && s->world->rank == 0)
        status = fsm_hf_config_write(folder, &s->config->model, &s->config->moe);
    FSM_TRY(fsm_comm_agree(s->world, status));
    return fsm_model_write(&s->model->params, &s->topo, s->world, &values, 1, path, hash);
}

/* All ranks need the same path, though only rank 0 makes the folder. */
static fsmoe_status begin(const fsm_stepper *s, const char *folder, const fsm_run_id *run,
                          char temporary[FSM_PATH_BYTES])
{
    memset(temporary, 0, FSM_PATH_BYTES);
    FSM_TRY(fsm_comm_agree(s->world, s->world->rank == 0 ? fsm_owned_begin(folder, run, temporary) : FSMOE_OK));
    return s->world->control->broadcast_bytes(s->world, temporary, FSM_PATH_BYTES, 0);
}

/* A folder that could not be finished, for want of space most likely, is taken away. */
static fsmoe_status publish(const fsm_stepper *s, fsmoe_status status, const char *temporary, const char *folder,
                            const fsm_run_id *run, const fsm_seal_known *known, int count)
{
    if (s->world->rank != 0) return fsm_comm_agree(s->world, status);
    if (status == FSMOE_OK) status = fsm_owned_publish(temporary, folder, run, known, count);
    if (status != FSMOE_OK) fsm_owned_discard(temporary);
    return fsm_comm_agree(s->world, status);
}

fsmoe_status fsm_checkpoint_write_model(fsm_stepper *s, const char *folder, const fsm_run_id *run)
{
    char temporary[FSM_PATH_BYTES];
    fsm_seal_known known = {.name = model_file};
    FSM_TRY(begin(s, folder, run, temporary));
    fsmoe_status status = write_weights(s, temporary, &known.hash);
    return publish(s, status, temporary, folder, run, &known, 1);
}

static fsmoe_status write_files(fsm_stepper *s, const char *folder, const fsm_run_state *state, fsm_seal_known known[2])
{
    char path[FSM_PATH_BYTES];
    const fsm_named_array moments[2] = {{"m.", s->optimizer.m, s->ops}, {"v.", s->optimizer.v, s->ops}};
    known[0].name = model_file;
    known[1].name = optimizer_file;
    FSM_TRY(fsm_file_path(folder, optimizer_file, path));
    FSM_TRY(write_weights(s, folder, &known[0].hash));
    FSM_TRY(fsm_model_write(&s->model->params, &s->topo, s->world, moments, 2, path, &known[1].hash));
    fsmoe_status status =
        s->world->rank == 0 ? fsm_run_products_save(fsm_backend_products(&s->backend), folder) : FSMOE_OK;
    if (status == FSMOE_OK && s->world->rank == 0) status = fsm_state_write(folder, s, state);
    return fsm_comm_agree(s->world, status);
}

static fsmoe_status remove_older(const char *run_dir, const fsm_run_id *run, int64_t step, int64_t keep)
{
    int64_t *numbers, kept = 0;
    size_t count;
    fsmoe_status status = list(run_dir, &numbers, &count);
    for (size_t i = 0; status == FSMOE_OK && i < count; i++) {
        char folder[FSM_PATH_BYTES];
        bool removed;
        status = folder_of(run_dir, numbers[i], folder);
        bool counts = status == FSMOE_OK && numbers[i] <= step && fsm_seal_owns(folder, run);
        if (counts && kept++ >= keep) status = fsm_owned_remove(folder, run, &removed);
    }
    free(numbers);
    return status;
}

fsmoe_status fsm_checkpoint_check_finite(const fsm_stepper *s)
{
    fsmoe_status status = fsm_params_check_finite(&s->model->params, s->ops, s->model->values, "");
    if (status == FSMOE_OK) status = fsm_params_check_finite(&s->model->params, s->ops, s->optimizer.m, "m.");
    if (status == FSMOE_OK) status = fsm_params_check_finite(&s->model->params, s->ops, s->optimizer.v, "v.");
    return fsm_comm_agree(s->world, status);
}

fsmoe_status fsm_checkpoint_save(fsm_stepper *s, const char *run_dir, const fsm_run_state *state, int64_t keep)
{
    char folder[FSM_PATH_BYTES], temporary[FSM_PATH_BYTES];
    fsm_seal_known known[2];
    FSM_TRY(fsm_checkpoint_check_finite(s));
    FSM_TRY(folder_of(run_dir, state->step, folder));
    FSM_TRY(begin(s, folder, &state->run, temporary));
    fsmoe_status status = write_files(s, temporary, state, known);
    FSM_TRY(publish(s, status, temporary, folder, &state->run, known, 2));
    status = s->world->rank == 0 ? remove_older(run_dir, &state->run, state->step, keep) : FSMOE_OK;
    return fsm_comm_agree(s->world, status);
}

/* ---- choosing ---- */

/* Every bit as it was sealed, by the run whose folder it lies in. */
static fsmoe_status check(const char *folder, const fsm_run_id *run)
{
    fsm_run_id owner;
    FSM_TRY(fsm_seal_check(folder, checkpoint_files, CHECKPOINT_FILES, &owner));
    if (fsm_run_id_equal(run, &owner)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT,
                    "'%s/" FSM_SEAL_FILE
                    "' is another run's than the folder's run.lock says, or damaged (--init starts a "
                    "new run from the weights of another)",
                    folder);
}

/* Adds to the error of a damaged checkpoint the newest older one that is sound. */
static fsmoe_status name_older(fsmoe_status status, const char *run_dir, const fsm_run_id *run, const int64_t *numbers,
                               size_t count, int64_t damaged)
{
    char folder[FSM_PATH_BYTES], *cause = strdup(fsmoe_last_error());
    int64_t sound = -1;
    for (size_t i = 0; i < count && sound < 0; i++)
        if (numbers[i] < damaged && folder_of(run_dir, numbers[i], folder) == FSMOE_OK &&
            check(folder, run) == FSMOE_OK)
            sound = numbers[i];
    if (cause && sound >= 0)
        fsm_fail(status, "%s; checkpoint-%" PRId64 " is sound: --resume-from checkpoint-%" PRId64, cause, sound, sound);
    else fsm_fail(status, "%s", cause ? cause : fsmoe_status_text(status));
    free(cause);
    return status;
}

static fsmoe_status find_given(const char *run_dir, const char *from, char folder[FSM_PATH_BYTES])
{
    if (!strchr(from, '/')) FSM_TRY(fsm_file_path(run_dir, from, folder));
    else if (snprintf(folder, FSM_PATH_BYTES, "%s", from) >= FSM_PATH_BYTES)
        return fsm_fail(FSMOE_ERROR_IO, "path too long: '%s'", from);
    for (size_t end = strlen(folder); end > 1 && folder[end - 1] == '/';) folder[--end] = 0;
    if (!fsm_file_exists(folder)) return fsm_fail(FSMOE_ERROR_IO, "--resume-from: there is no '%s'", folder);
    if (fsm_checkpoint_number(folder) >= 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "--resume-from: '%s' is not called checkpoint-N", folder);
}

static fsmoe_status choose(const char *run_dir, const char *from, const int64_t *numbers, size_t count,
                           const fsm_run_id *run, char folder[FSM_PATH_BYTES])
{
    if (from) FSM_TRY(find_given(run_dir, from, folder));
    else if (count == 0) return fsm_fail(FSMOE_ERROR_IO, "there is no checkpoint in '%s' to resume from", run_dir);
    else FSM_TRY(folder_of(run_dir, numbers[0], folder));
    fsmoe_status status = check(folder, run);
    if (status == FSMOE_OK) return FSMOE_OK;
    return name_older(status, run_dir, run, numbers, count, fsm_checkpoint_number(folder));
}

fsmoe_status fsm_checkpoint_choose(const char *run_dir, const char *from, const fsm_run_id *run,
                                   char folder[FSM_PATH_BYTES])
{
    int64_t *numbers;
    size_t count;
    fsmoe_status status = list(run_dir, &numbers, &count);
    if (status == FSMOE_OK) status = choose(run_dir, from, numbers, count, run, folder);
    free(numbers);
    return status;
}

static fsmoe_status set_aside(const char *folder, const fsm_run_id *run)
{
    char to[FSM_PATH_BYTES];
    if (!fsm_seal_owns(folder, run))
        return fsm_fail(
            FSMOE_ERROR_IO,
            "'%s' is not this run's, or its checksums are damaged, or something has been added to it or taken "
            "away: it is not moved aside; move it to another place",
            folder);
    for (int i = 0;; i++) {
        int n = i == 0 ? snprintf(to, sizeof to, "%s.superseded", folder)
                       : snprintf(to, sizeof to, "%s.superseded.%d", folder, i);
        if (n >= (int)sizeof to) return fsm_fail(FSMOE_ERROR_IO, "path too long: '%s'", folder);
        if (!fsm_file_exists(to)) break;
    }
    if (rename(folder, to) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "cannot rename '%s' to '%s': %s", folder, to, strerror(errno));
}

fsmoe_status fsm_checkpoint_supersede(const char *run_dir, const fsm_run_id *run, int64_t step, int *count)
{
    int64_t *numbers;
    size_t n;
    *count = 0;
    fsmoe_status status = list(run_dir, &numbers, &n);
    for (size_t i = 0; status == FSMOE_OK && i < n && numbers[i] > step; i++) {
        char folder[FSM_PATH_BYTES];
        status = folder_of(run_dir, numbers[i], folder);
        if (status == FSMOE_OK) status = set_aside(folder, run);
        *count += status == FSMOE_OK;
    }
    free(numbers);
    return status;
}

/* ---- loading ---- */

fsmoe_status fsm_checkpoint_check_model(const fsmoe_config *config, const char *folder)
{
    const fsm_named_array values = {"", NULL, NULL};
    FSM_TRY(fsm_file_tensors_check(config, &values, 1, folder));
    return fsm_seal_check_file(folder, model_file);
}

fsmoe_status fsm_checkpoint_check_tensors(const fsmoe_config *config, const char *folder)
{
    char path[FSM_PATH_BYTES];
    const fsm_named_array values = {"", NULL, NULL}, moments[2] = {{"m.", NULL, NULL}, {"v.", NULL, NULL}};
    FSM_TRY(fsm_file_tensors_check(config, &values, 1, folder));
    FSM_TRY(fsm_file_path(folder, optimizer_file, path));
    return fsm_file_tensors_check(config, moments, 2, path);
}

static fsmoe_status read_weights(fsm_stepper *s, const char *folder)
{
    const fsm_named_array values = {"", s->model->values, s->ops};
    FSM_TRY(fsm_model_read(&s->model->params, s->config, &values, 1, folder));
    fsm_model_update_weights(s->model);
    return FSMOE_OK;
}

fsmoe_status fsm_checkpoint_read_model(fsm_stepper *s, const char *folder)
{
    return fsm_comm_agree(s->world, read_weights(s, folder));
}

/* The step stands in the folder's name and in its state; a folder that was renamed is not what it says. */
fsmoe_status fsm_checkpoint_read_state(const fsm_stepper *s, const char *folder, const fsm_run_state *now,
                                       fsm_run_state *state, fsm_state_changes *changes)
{
    FSM_TRY(fsm_state_read(folder, s, now, state, changes));
    if (fsm_checkpoint_number(folder) == state->step) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' was saved after step %lld, which is not what its name says", folder,
                    (long long)state->step);
}

static fsmoe_status load(fsm_stepper *s, const char *folder, int64_t step)
{
    char path[FSM_PATH_BYTES];
    const fsm_named_array moments[2] = {{"m.", s->optimizer.m, s->ops}, {"v.", s->optimizer.v, s->ops}};
    FSM_TRY(fsm_file_path(folder, optimizer_file, path));
    FSM_TRY(read_weights(s, folder));
    FSM_TRY(fsm_model_read(&s->model->params, s->config, moments, 2, path));
    s->optimizer.step = step;
    s->optimizer.lr = fsm_learning_rate(&s->config->train, step);
    return FSMOE_OK;
}

fsmoe_status fsm_checkpoint_load(fsm_stepper *s, const char *folder, int64_t step)
{
    return fsm_comm_agree(s->world, load(s, folder, step));
}
