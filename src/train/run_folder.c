#define _GNU_SOURCE
#include "train/run_folder.h"

#include "base/machine.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* ---- the folder ---- */

static bool starts_with(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

/* What only a run leaves: config.yaml alone may be a person's own. */
static bool is_of_a_run(const char *name)
{
    return strcmp(name, "log.jsonl") == 0 || strcmp(name, "run.json") == 0 || starts_with(name, "checkpoint-");
}

/* What a run that was killed may leave half-written. */
static bool is_leftover(const char *name)
{
    static const char *const names[] = {"config.yaml.tmp", "run.json.tmp", "log.jsonl.tmp",
                                        "report.html.tmp", "model.tmp",    "step_times.json.tmp"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (starts_with(name, names[i])) return true;
    return starts_with(name, "checkpoint-") && length > 4 && strcmp(name + length - 4, ".tmp") == 0;
}

/* Whether the folder holds a run already; a folder that cannot be read will fail where it is written. */
static bool holds_run(const char *path)
{
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) found = is_of_a_run(entry->d_name);
    if (dir) closedir(dir);
    return found;
}

static fsmoe_status remove_leftovers(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) return fsm_fail(FSMOE_ERROR_IO, "cannot read '%s': %s", path, strerror(errno));
    fsmoe_status status = FSMOE_OK;
    for (struct dirent *entry; status == FSMOE_OK && (entry = readdir(dir));) {
        char leftover[FSM_PATH_BYTES];
        if (!is_leftover(entry->d_name)) continue;
        status = fsm_file_path(path, entry->d_name, leftover);
        if (status == FSMOE_OK) status = fsm_file_remove_tree(leftover);
    }
    closedir(dir);
    return status;
}

static fsmoe_status move_aside(const char *dir, char moved_to[FSM_PATH_BYTES])
{
    int length = (int)strlen(dir);
    while (length > 1 && dir[length - 1] == '/') length--;
    for (int i = 1; i < 100000; i++) {
        if (snprintf(moved_to, FSM_PATH_BYTES, "%.*s.%d", length, dir, i) >= FSM_PATH_BYTES)
            return fsm_fail(FSMOE_ERROR_IO, "path too long: '%s'", dir);
        if (fsm_file_exists(moved_to)) continue;
        if (rename(dir, moved_to) == 0) return FSMOE_OK;
        return fsm_fail(FSMOE_ERROR_IO, "cannot rename '%s' to '%s': %s", dir, moved_to, strerror(errno));
    }
    return fsm_fail(FSMOE_ERROR_IO, "too many old runs beside '%s'", dir);
}

static fsmoe_status write_config(const fsmoe_config *config)
{
    char path[FSM_PATH_BYTES], *text;
    FSM_TRY(fsm_file_path(config->run.dir, "config.yaml", path));
    FSM_TRY(fsmoe_config_dump(config, false, &text));
    fsmoe_status status = fsm_file_replace(path, text, strlen(text));
    free(text);
    return status;
}

fsmoe_status fsm_run_folder_create(const fsmoe_config *config, bool resume, char moved_to[FSM_PATH_BYTES])
{
    const char *dir = config->run.dir;
    moved_to[0] = 0;
    if (!dir[0]) return fsm_fail(FSMOE_ERROR_CONFIG, "'run.dir' is empty; name the folder that the run goes to");
    if (!resume && holds_run(dir)) FSM_TRY(move_aside(dir, moved_to));
    FSM_TRY(fsm_file_make_dirs(dir));
    FSM_TRY(remove_leftovers(dir));
    return write_config(config);
}

/* How many bytes of the log belong to steps up to `step`. */
static size_t kept_bytes(const char *bytes, size_t size, int64_t step)
{
    size_t at = 0;
    while (at < size) {
        const char *end = memchr(bytes + at, '\n', size - at);
        if (!end) break;
        json_t *line = json_loadb(bytes + at, (size_t)(end - bytes) - at, 0, NULL);
        bool keep = line && json_integer_value(json_object_get(line, "step")) <= step;
        json_decref(line);
        if (!keep) break;
        at = (size_t)(end - bytes) + 1;
    }
    return at;
}

static fsmoe_status cut_log(const char *path, int64_t step)
{
    char *bytes;
    size_t size;
    if (!fsm_file_exists(path)) return FSMOE_OK;
    FSM_TRY(fsm_file_read(path, &bytes, &size));
    size_t kept = kept_bytes(bytes, size, step);
    fsmoe_status status = kept < size ? fsm_file_replace(path, bytes, kept) : FSMOE_OK;
    free(bytes);
    return status;
}

fsmoe_status fsm_run_folder_open(const fsmoe_config *config, int64_t step, fsm_run_folder *folder)
{
    char path[FSM_PATH_BYTES];
    *folder = (fsm_run_folder){.dir = config->run.dir};
    FSM_TRY(fsm_file_path(folder->dir, "log.jsonl", path));
    FSM_TRY(cut_log(path, step));
    folder->log = fopen(path, "ae");
    return folder->log ? FSMOE_OK : fsm_fail(FSMOE_ERROR_IO, "cannot write '%s': %s", path, strerror(errno));
}

fsmoe_status fsm_run_folder_close(fsm_run_folder *folder)
{
    FILE *log = folder->log;
    folder->log = NULL;
    if (!log || fclose(log) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "cannot write '%s/log.jsonl': %s", folder->dir, strerror(errno));
}

/* ---- the log ---- */

/* Each layer's share of kept pairs by expert. */
static json_t *load_by_layer(const fsm_model *model, double *sums)
{
    json_t *layers = json_array();
    int64_t num_experts = model->config->moe.num_experts;
    for (int i = 0; i < model->moe_layers; i++) {
        fsm_gate_sums layer = fsm_model_gate_sums(model, sums, i);
        double total = 0;
        for (int64_t e = 0; e < num_experts; e++) total += layer.kept[e];
        json_t *shares = json_array();
        for (int64_t e = 0; e < num_experts; e++)
            json_array_append_new(shares, json_real(total > 0 ? layer.kept[e] / total : 0));
        json_array_append_new(layers, shares);
    }
    return layers;
}

fsmoe_status fsm_run_folder_log(fsm_run_folder *folder, const fsmoe_train_progress *p, const fsm_model *model,
                                double *sums)
{
    json_t *line =
        json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:{s:f, s:f, s:f}}", "step", (json_int_t)p->step,
                  "loss", p->loss, "aux_loss", p->aux_loss, "z_loss", p->z_loss, "lr", p->lr, "grad_norm", p->grad_norm,
                  "tokens_per_s", p->tokens_per_s, "step_s", p->step_s, "dropped_frac", p->dropped_frac, "expert_load",
                  "min", p->load_min, "mean", p->load_mean, "max", p->load_max);
    if (line) json_object_set_new(line, "expert_load_by_layer", load_by_layer(model, sums));
    if (line && !isnan(p->val_loss)) json_object_set_new(line, "val_loss", json_real(p->val_loss));
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(line);
    if (!text) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a line of the log");
    bool failed = fprintf(folder->log, "%s\n", text) < 0 || fflush(folder->log) != 0;
    free(text);
    if (failed) return fsm_fail(FSMOE_ERROR_IO, "cannot write '%s/log.jsonl': %s", folder->dir, strerror(errno));
    return FSMOE_OK;
}

/* ---- run.json ---- */

static json_t *describe(const fsm_stepper *s, const fsmoe_train_options *options)
{
    int64_t total, active;
    char cpu[256], started[64];
    time_t now = time(NULL);
    struct tm utc;
    fsm_params_totals(&s->model->params, s->config, &total, &active);
    fsm_machine_cpu(cpu, sizeof cpu);
    strftime(started, sizeof started, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&now, &utc));
    return json_pack("{s:s, s:s, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}, s:i, s:s, s:I, s:I, s:I, s:I, s:s, s:s}",
                     "command", options->command ? options->command : "", "version", FSMOE_VERSION, "layout", "nodes",
                     s->topo.nodes, "ranks_per_node", s->topo.ranks_per_node, "ranks", s->topo.ranks, "dp", s->topo.dp,
                     "mp", s->topo.mp, "ep", s->topo.ep, "esp", s->topo.esp, "edp", s->topo.edp, "threads", s->threads,
                     "cpu", cpu, "parameters", (json_int_t)total, "active_parameters", (json_int_t)active,
                     "tokens_per_step", (json_int_t)(s->config->train.global_batch * s->config->data.seq_len), "steps",
                     (json_int_t)s->config->train.steps, "started", started, "tokenizer", s->config->data.tokenizer);
}

/* A sample of bytes may end inside a character, or not be UTF-8 at all: what is not ASCII becomes '?' then. */
static json_t *text_of(const char *sample)
{
    json_t *text = json_string(sample);
    char *plain = text ? NULL : strdup(sample);
    if (!plain) return text;
    for (char *c = plain; *c; c++)
        if (*c & 0x80) *c = '?';
    text = json_string(plain);
    free(plain);
    return text;
}

fsmoe_status fsm_run_folder_describe(const fsm_stepper *stepper, const fsmoe_train_options *options, double val_loss,
                                     const char *sample)
{
    char path[FSM_PATH_BYTES];
    FSM_TRY(fsm_file_path(stepper->config->run.dir, "run.json", path));
    json_t *run = describe(stepper, options);
    if (run && !isnan(val_loss)) json_object_set_new(run, "val_loss", json_real(val_loss));
    if (run && sample) json_object_set_new(run, "sample", text_of(sample));
    char *text = run ? json_dumps(run, JSON_INDENT(2)) : NULL;
    json_decref(run);
    if (!text) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", path);
    fsmoe_status status = fsm_file_replace(path, text, strlen(text));
    free(text);
    return status;
}
