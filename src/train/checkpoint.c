#define _GNU_SOURCE
#include "train/checkpoint.h"

#include "base/file.h"
#include "model/hf_config.h"
#include "model/model_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { FORMAT_VERSION = 1 };

static const char model_file[] = "model.safetensors", optimizer_file[] = "optimizer.safetensors",
                  state_file[] = "state.json";

/* ---- the state file ---- */

/* What must be the same for the next step to be the one the run would have taken. */
static json_t *order_of_samples(const fsm_stepper *s)
{
    const fsmoe_config *c = s->config;
    return json_pack("{s:I, s:I, s:I, s:b, s:s, s:I}", "train.seed", (json_int_t)c->train.seed, "train.global_batch",
                     (json_int_t)c->train.global_batch, "data.seq_len", (json_int_t)c->data.seq_len, "data.shuffle",
                     c->data.shuffle, "data.tokenizer", c->data.tokenizer, "tokens in data.train",
                     (json_int_t)s->train_tokens);
}

static fsmoe_status write_state(const fsm_stepper *s, const char *folder, int64_t step, uint64_t model_hash,
                                uint64_t optimizer_hash)
{
    char path[FSM_PATH_BYTES], hashes[2][17];
    FSM_TRY(fsm_file_path(folder, state_file, path));
    snprintf(hashes[0], 17, "%016" PRIx64, model_hash);
    snprintf(hashes[1], 17, "%016" PRIx64, optimizer_hash);
    json_t *json =
        json_pack("{s:i, s:I, s:I, s:o, s:{s:i, s:i, s:i, s:i, s:i}, s:{s:s, s:s}}", "format", FORMAT_VERSION, "step",
                  (json_int_t)step, "optimizer_step", (json_int_t)s->optimizer.step, "data", order_of_samples(s),
                  "layout", "nodes", s->topo.nodes, "ranks", s->topo.ranks, "ep", s->topo.ep, "esp", s->topo.esp, "mp",
                  s->topo.mp, "xxh3", model_file, hashes[0], optimizer_file, hashes[1]);
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (!text) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", path);
    fsmoe_status status = fsm_file_replace(path, text, strlen(text));
    free(text);
    return status;
}

static fsmoe_status check_hash(const char *folder, const char *name, const char *want)
{
    char path[FSM_PATH_BYTES], got[17];
    fsm_file_map map;
    FSM_TRY(fsm_file_path(folder, name, path));
    FSM_TRY(fsm_file_map_open(path, &map));
    snprintf(got, sizeof got, "%016" PRIx64, (uint64_t)XXH3_64bits(map.bytes, map.size));
    fsm_file_map_close(&map);
    if (strcmp(got, want) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is damaged: its checksum is %s, not %s", path, got, want);
}

static fsmoe_status check_order(const fsm_stepper *s, const json_t *saved, const char *path)
{
    json_t *mine = order_of_samples(s);
    const char *key;
    json_t *value;
    fsmoe_status status = FSMOE_OK;
    json_object_foreach(mine, key, value)
    {
        if (status != FSMOE_OK || json_equal(value, json_object_get(saved, key))) continue; /* the first says enough */
        char *was = json_dumps(json_object_get(saved, key), JSON_ENCODE_ANY), *is = json_dumps(value, JSON_ENCODE_ANY);
        status =
            fsm_fail(FSMOE_ERROR_CONFIG, "'%s' is %s, but '%s' was saved with %s; a run goes on only with the same",
                     key, is ? is : "?", path, was ? was : "none");
        free(was);
        free(is);
    }
    json_decref(mine);
    return status;
}

static fsmoe_status read_state(const fsm_stepper *s, const char *folder, int64_t *step, int64_t *optimizer_step)
{
    char path[FSM_PATH_BYTES];
    json_error_t error;
    FSM_TRY(fsm_file_path(folder, state_file, path));
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &error), *data;
    if (!json) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s', line %d: %s", path, error.line, error.text);
    int format;
    json_int_t steps[2];
    fsmoe_status status = FSMOE_OK;
    if (json_unpack_ex(json, &error, 0, "{s:i, s:I, s:I, s:o}", "format", &format, "step", &steps[0], "optimizer_step",
                       &steps[1], "data", &data) != 0)
        status = fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s", path, error.text);
    else if (format != FORMAT_VERSION)
        status =
            fsm_fail(FSMOE_ERROR_FORMAT, "'%s' has format %d; this program reads %d", path, format, FORMAT_VERSION);
    else if (steps[0] < 0 || steps[1] < 0)
        status = fsm_fail(FSMOE_ERROR_FORMAT, "'%s' says %lld steps were done", path,
                          (long long)(steps[0] < 0 ? steps[0] : steps[1]));
    else if (steps[0] > s->config->train.steps)
        status = fsm_fail(FSMOE_ERROR_CONFIG, "'train.steps' is %lld, but '%s' was saved after step %lld",
                          (long long)s->config->train.steps, path, (long long)steps[0]);
    if (status == FSMOE_OK) status = check_order(s, data, path);
    if (status == FSMOE_OK) {
        *step = steps[0];
        *optimizer_step = steps[1];
    }
    json_decref(json);
    return status;
}

/* ---- looking before loading ---- */

static fsmoe_status check_hashes(const char *folder)
{
    char path[FSM_PATH_BYTES];
    json_error_t error;
    const char *model_hash, *optimizer_hash;
    FSM_TRY(fsm_file_path(folder, state_file, path));
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!json) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s', line %d: %s", path, error.line, error.text);
    fsmoe_status status = FSMOE_OK;
    if (json_unpack_ex(json, &error, 0, "{s:i, s:{s:s, s:s}}", "format", &(int){0}, "xxh3", model_file, &model_hash,
                       optimizer_file, &optimizer_hash) != 0)
        status = fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s", path, error.text);
    if (status == FSMOE_OK) status = check_hash(folder, model_file, model_hash);
    if (status == FSMOE_OK) status = check_hash(folder, optimizer_file, optimizer_hash);
    json_decref(json);
    return status;
}

fsmoe_status fsm_checkpoint_check(const fsmoe_config *config, const char *folder)
{
    char path[FSM_PATH_BYTES];
    const fsm_named_array moments[2] = {{"m.", NULL}, {"v.", NULL}};
    FSM_TRY(check_hashes(folder));
    FSM_TRY(fsm_checkpoint_check_model(config, folder));
    FSM_TRY(fsm_file_path(folder, optimizer_file, path));
    return fsm_file_tensors_check(config, moments, 2, path);
}

fsmoe_status fsm_checkpoint_check_model(const fsmoe_config *config, const char *folder)
{
    const fsm_named_array values = {"", NULL};
    return fsm_file_tensors_check(config, &values, 1, folder);
}

/* ---- folders ---- */

/* The number in "checkpoint-N"; -1 for any other name. */
static int64_t checkpoint_number(const char *name)
{
    int64_t number;
    int length = 0;
    if (sscanf(name, "checkpoint-%" SCNd64 "%n", &number, &length) != 1 || name[length] != 0) return -1;
    return number;
}

/* Calls fn on every checkpoint of the run folder, by number. */
static fsmoe_status each_checkpoint(const char *run_dir, fsmoe_status (*fn)(const char *, int64_t, void *), void *user)
{
    DIR *dir = opendir(run_dir);
    if (!dir && errno == ENOENT) return FSMOE_OK;
    if (!dir) return fsm_fail(FSMOE_ERROR_IO, "cannot read '%s': %s", run_dir, strerror(errno));
    fsmoe_status status = FSMOE_OK;
    for (struct dirent *entry; status == FSMOE_OK && (entry = readdir(dir));) {
        char path[FSM_PATH_BYTES];
        int64_t number = checkpoint_number(entry->d_name);
        if (number >= 0 && (status = fsm_file_path(run_dir, entry->d_name, path)) == FSMOE_OK)
            status = fn(path, number, user);
    }
    closedir(dir);
    return status;
}

static fsmoe_status keep_newest(const char *path, int64_t number, void *user)
{
    (void)path;
    if (number > *(int64_t *)user) *(int64_t *)user = number;
    return FSMOE_OK;
}

static fsmoe_status remove_older(const char *path, int64_t number, void *user)
{
    return number < *(int64_t *)user ? fsm_file_remove_tree(path) : FSMOE_OK;
}

/* The finished temporary folder gets its name; what had the name goes only then. */
static fsmoe_status rename_folder(const char *from, const char *to)
{
    FSM_TRY(fsm_file_sync(from));
    if (fsm_file_exists(to)) {
        if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) != 0)
            return fsm_fail(FSMOE_ERROR_IO, "cannot exchange '%s' and '%s': %s", from, to, strerror(errno));
        FSM_TRY(fsm_file_remove_tree(from));
    } else if (rename(from, to) != 0) {
        return fsm_fail(FSMOE_ERROR_IO, "cannot rename '%s' to '%s': %s", from, to, strerror(errno));
    }
    char parent[FSM_PATH_BYTES];
    snprintf(parent, sizeof parent, "%s", to);
    char *slash = strrchr(parent, '/');
    if (slash) *slash = 0;
    return fsm_file_sync(slash ? parent : ".");
}

/* "folder.tmp", made anew on rank 0. Collective. */
static fsmoe_status make_temporary(fsm_stepper *s, const char *folder, char temporary[FSM_PATH_BYTES])
{
    fsmoe_status status = FSMOE_OK;
    if (snprintf(temporary, FSM_PATH_BYTES, "%s.tmp", folder) >= FSM_PATH_BYTES)
        status = fsm_fail(FSMOE_ERROR_IO, "path too long: '%s'", folder);
    if (status == FSMOE_OK && s->world->rank == 0) status = fsm_file_remove_tree(temporary);
    if (status == FSMOE_OK && s->world->rank == 0) status = fsm_file_make_dirs(temporary);
    return fsm_comm_agree(s->world, status);
}

/* config.json by rank 0, weights by all. */
static fsmoe_status write_weights(fsm_stepper *s, const char *folder, uint64_t *hash)
{
    char path[FSM_PATH_BYTES];
    const fsm_named_array values = {"", s->model->values};
    fsmoe_status status = fsm_file_path(folder, model_file, path);
    if (status == FSMOE_OK && s->world->rank == 0)
        status = fsm_hf_config_write(folder, &s->config->model, &s->config->moe);
    FSM_TRY(fsm_comm_agree(s->world, status));
    return fsm_model_write(&s->model->params, &s->topo, s->world, &values, 1, path, hash);
}

/* A folder that could not be finished, for want of space most likely, is taken away; the cause stays the one reported. */
static fsmoe_status discard_unless(const fsm_stepper *s, fsmoe_status status, const char *temporary)
{
    if (status == FSMOE_OK || s->world->rank != 0) return status;
    char *cause = strdup(fsmoe_last_error());
    fsm_file_remove_tree(temporary);
    fsm_fail(status, "%s", cause ? cause : fsmoe_status_text(status));
    free(cause);
    return status;
}

fsmoe_status fsm_checkpoint_write_model(fsm_stepper *s, const char *folder)
{
    char temporary[FSM_PATH_BYTES];
    uint64_t hash;
    FSM_TRY(make_temporary(s, folder, temporary));
    FSM_TRY(discard_unless(s, write_weights(s, temporary, &hash), temporary));
    return fsm_comm_agree(s->world, s->world->rank == 0 ? rename_folder(temporary, folder) : FSMOE_OK);
}

static fsmoe_status finish_checkpoint(fsm_stepper *s, const char *run_dir, const char *temporary, const char *folder,
                                      int64_t step, uint64_t model_hash, uint64_t optimizer_hash)
{
    FSM_TRY(write_state(s, temporary, step, model_hash, optimizer_hash));
    FSM_TRY(rename_folder(temporary, folder));
    return each_checkpoint(run_dir, remove_older, &step);
}

fsmoe_status fsm_checkpoint_save(fsm_stepper *s, const char *run_dir, int64_t step)
{
    char folder[FSM_PATH_BYTES], temporary[FSM_PATH_BYTES], path[FSM_PATH_BYTES], name[64];
    uint64_t model_hash = 0, optimizer_hash = 0;
    const fsm_named_array moments[2] = {{"m.", s->optimizer.m}, {"v.", s->optimizer.v}};
    snprintf(name, sizeof name, "checkpoint-%" PRId64, step);
    FSM_TRY(fsm_file_path(run_dir, name, folder));
    FSM_TRY(make_temporary(s, folder, temporary));
    FSM_TRY(fsm_file_path(temporary, optimizer_file, path));
    fsmoe_status status = write_weights(s, temporary, &model_hash);
    if (status == FSMOE_OK)
        status = fsm_model_write(&s->model->params, &s->topo, s->world, moments, 2, path, &optimizer_hash);
    FSM_TRY(discard_unless(s, status, temporary));
    if (s->world->rank == 0)
        status = finish_checkpoint(s, run_dir, temporary, folder, step, model_hash, optimizer_hash);
    return fsm_comm_agree(s->world, status);
}

/* ---- loading ---- */

static fsmoe_status read_weights(fsm_stepper *s, const char *folder)
{
    const fsm_named_array values = {"", s->model->values};
    FSM_TRY(fsm_model_read(&s->model->params, s->config, &values, 1, folder));
    fsm_model_update_weights(s->model);
    return FSMOE_OK;
}

fsmoe_status fsm_checkpoint_read_model(fsm_stepper *s, const char *folder)
{
    return fsm_comm_agree(s->world, read_weights(s, folder));
}

static fsmoe_status load(fsm_stepper *s, const char *folder, int64_t *step)
{
    char path[FSM_PATH_BYTES];
    const fsm_named_array moments[2] = {{"m.", s->optimizer.m}, {"v.", s->optimizer.v}};
    FSM_TRY(fsm_file_path(folder, optimizer_file, path));
    FSM_TRY(read_state(s, folder, step, &s->optimizer.step));
    FSM_TRY(read_weights(s, folder));
    FSM_TRY(fsm_model_read(&s->model->params, s->config, moments, 2, path));
    s->optimizer.lr = fsm_learning_rate(&s->config->train, s->optimizer.step);
    return FSMOE_OK;
}

fsmoe_status fsm_checkpoint_newest(const char *run_dir, char folder[FSM_PATH_BYTES])
{
    char name[64];
    int64_t newest = -1;
    FSM_TRY(each_checkpoint(run_dir, keep_newest, &newest));
    if (newest < 0) return fsm_fail(FSMOE_ERROR_IO, "there is no checkpoint in '%s' to resume from", run_dir);
    snprintf(name, sizeof name, "checkpoint-%" PRId64, newest);
    return fsm_file_path(run_dir, name, folder);
}

static fsmoe_status remove_older_beside(const char *folder, int64_t step)
{
    char run_dir[FSM_PATH_BYTES];
    snprintf(run_dir, sizeof run_dir, "%s", folder);
    *strrchr(run_dir, '/') = 0;
    return each_checkpoint(run_dir, remove_older, &step);
}

fsmoe_status fsm_checkpoint_load(fsm_stepper *s, const char *folder, int64_t *step)
{
    FSM_TRY(fsm_comm_agree(s->world, load(s, folder, step)));
    /* a kill between giving the name and removing the older ones leaves those */
    fsmoe_status status = FSMOE_OK;
    if (s->world->rank == 0) status = remove_older_beside(folder, *step);
    return fsm_comm_agree(s->world, status);
}
