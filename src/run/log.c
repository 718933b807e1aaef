#define _GNU_SOURCE
#include "run/log.h"

#include "base/file.h"
#include "base/json.h"
#include "base/print.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIGITS = 9 };
static const char log_file[] = "log.jsonl", cut_file[] = "log.cut.jsonl";

static fsmoe_status fail_write(const fsm_run_log *log)
{
    return fsm_fail(FSMOE_ERROR_IO, "cannot write '%s/%s': %s", log->dir, log_file, strerror(errno));
}

/* ---- opening ---- */

/* What to keep of a log and what not. */
typedef struct parts {
    fsm_print kept, cut;
    size_t cut_bytes;
} parts;

/* The step of a line; -1: it is no step's. */
static fsmoe_status read_step(const char *line, size_t size, int64_t *number)
{
    json_error_t why;
    json_t *json = fsm_json_decode(line, size, 0, &why);
    if (!json && json_error_code(&why) == json_error_out_of_memory)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", log_file);
    const json_t *step = json_object_get(json, "step");
    *number = json_is_integer(step) ? json_integer_value(step) : -1;
    json_decref(json);
    return FSMOE_OK;
}

static void put_aside(parts *p, const char *line, size_t size)
{
    fwrite(line, 1, size, p->cut.out);
    p->cut_bytes += size;
}

static fsmoe_status take_line(parts *p, const char *line, size_t size, int64_t step, fsm_run_log_cut *cut)
{
    int64_t of = -1;
    FSM_TRY(read_step(line, size, &of));
    bool keep = of <= step;
    if (keep) fwrite(line, 1, size, p->kept.out);
    else put_aside(p, line, size);
    if (of < 0) cut->odd_lines++;
    else if (keep) cut->last_kept = of;
    if (keep) return FSMOE_OK;
    if (cut->lines++ == 0) cut->first_step = of;
    cut->last_step = of;
    return FSMOE_OK;
}

static fsmoe_status take_lines(parts *p, const char *bytes, size_t size, int64_t step, fsm_run_log_cut *cut)
{
    for (size_t at = 0; at < size;) {
        const char *end = memchr(bytes + at, '\n', size - at);
        cut->torn = !end;
        if (!end) {
            put_aside(p, bytes + at, size - at);
            put_aside(p, "\n", 1);
            return FSMOE_OK;
        }
        size_t next = (size_t)(end - bytes) + 1;
        FSM_TRY(take_line(p, bytes + at, next - at, step, cut));
        at = next;
    }
    return FSMOE_OK;
}

static fsmoe_status append_cut(const char *dir, const char *text, size_t size)
{
    char path[FSM_PATH_BYTES];
    FSM_TRY(fsm_file_path(dir, cut_file, path));
    FILE *file = fopen(path, "ae");
    bool failed = !file || fwrite(text, 1, size, file) != size || fflush(file) != 0 || fsync(fileno(file)) != 0;
    if (file && fclose(file) != 0) failed = true;
    return failed ? fsm_fail(FSMOE_ERROR_IO, "cannot write '%s': %s", path, strerror(errno)) : FSMOE_OK;
}

/* What is cut is in its new place before the log is replaced. */
static fsmoe_status replace_log(const char *dir, const char *path, parts *p, fsmoe_status status)
{
    char *text = NULL;
    size_t size = p->cut_bytes;
    status = fsm_print_end(&p->cut, status, path, &text);
    if (status == FSMOE_OK && size > 0) status = append_cut(dir, text, size);
    free(text);
    if (status == FSMOE_OK && size > 0) return fsm_print_write(&p->kept, status, path);
    text = NULL;
    status = fsm_print_end(&p->kept, status, path, &text);
    free(text);
    return status;
}

/* A log that ends with `step`, or before, has nothing to cut: only its last line is read then. */
static fsmoe_status ends_in_time(const fsm_file_map *map, int64_t step, fsm_run_log_cut *cut, bool *in_time)
{
    int64_t last = -1;
    *in_time = map->size == 0;
    if (map->size == 0 || map->bytes[map->size - 1] != '\n') return FSMOE_OK;
    const char *before = map->size > 1 ? memrchr(map->bytes, '\n', map->size - 1) : NULL;
    const char *line = before ? before + 1 : map->bytes;
    FSM_TRY(read_step(line, map->size - (size_t)(line - map->bytes), &last));
    *in_time = last >= 0 && last <= step;
    if (*in_time) cut->last_kept = last;
    return FSMOE_OK;
}

static fsmoe_status split_log(const char *dir, const char *path, const fsm_file_map *map, int64_t step,
                              fsm_run_log_cut *cut)
{
    parts p = {.cut_bytes = 0};
    fsmoe_status status = fsm_print_begin(&p.kept);
    if (status == FSMOE_OK && (status = fsm_print_begin(&p.cut)) != FSMOE_OK) {
        char *text = NULL;
        fsm_print_end(&p.kept, status, path, &text);
    } else if (status == FSMOE_OK) {
        status = replace_log(dir, path, &p, take_lines(&p, map->bytes, map->size, step, cut));
    }
    return status;
}

static fsmoe_status cut_log(const char *dir, const char *path, int64_t step, fsm_run_log_cut *cut)
{
    fsm_file_map map;
    bool in_time = true;
    if (!fsm_file_exists(path)) return FSMOE_OK;
    FSM_TRY(fsm_file_map_open(path, &map));
    fsmoe_status status = ends_in_time(&map, step, cut, &in_time);
    if (status == FSMOE_OK && !in_time) status = split_log(dir, path, &map, step, cut);
    fsm_file_map_close(&map);
    return status;
}

fsmoe_status fsm_run_log_open(const char *dir, int64_t step, fsm_run_log *log, fsm_run_log_cut *cut)
{
    char path[FSM_PATH_BYTES];
    *log = (fsm_run_log){.dir = dir};
    *cut = (fsm_run_log_cut){0};
    FSM_TRY(fsm_file_path(dir, log_file, path));
    FSM_TRY(cut_log(dir, path, step, cut));
    log->file = fopen(path, "ae");
    return log->file ? FSMOE_OK : fail_write(log);
}

/* ---- a line a step ---- */

/* Each layer's share of kept pairs by expert. */
static json_t *load_by_layer(const fsm_model *model, const double *sums, bool *failed)
{
    json_t *layers = json_array();
    int64_t num_experts = model->config->moe.num_experts;
    for (int i = 0; i < model->moe_layers; i++) {
        fsm_layer_load layer = fsm_model_layer_load(model, sums, i);
        double total = 0;
        for (int64_t e = 0; e < num_experts; e++) total += layer.kept[e];
        json_t *shares = json_array();
        for (int64_t e = 0; e < num_experts; e++)
            fsm_json_append(shares, json_real(total > 0 ? layer.kept[e] / total : 0), failed);
        fsm_json_append(layers, shares, failed);
    }
    return layers;
}

static json_t *describe_load(const fsmoe_train_progress *p)
{
    return json_pack("{s:f, s:f, s:f}", "min", p->load_min, "mean", p->load_mean, "max", p->load_max);
}

static json_t *describe_step(const fsmoe_train_progress *p, bool *failed)
{
    const struct {
        const char *key;
        double value;
    } columns[] = {{"loss", p->loss},     {"aux_loss", p->aux_loss},       {"z_loss", p->z_loss},
                   {"lr", p->lr},         {"grad_norm", p->grad_norm},     {"tokens_per_s", p->tokens_per_s},
                   {"step_s", p->step_s}, {"flops_per_s", p->flops_per_s}, {"dropped_frac", p->dropped_frac}};
    json_t *line = json_object();
    fsm_json_set(line, "step", json_integer((json_int_t)p->step), failed);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        fsm_json_set(line, columns[i].key, json_real(columns[i].value), failed);
    if (!isnan(p->peak_share)) fsm_json_set(line, "peak_share", json_real(p->peak_share), failed);
    fsm_json_set(line, "expert_load", describe_load(p), failed);
    return line;
}

fsmoe_status fsm_run_log_step(fsm_run_log *log, const fsmoe_train_progress *p, const fsm_model *model,
                              const double *sums, const char *warning)
{
    bool failed = false;
    char *text;
    json_t *line = describe_step(p, &failed);
    fsm_json_set(line, "expert_load_by_layer", load_by_layer(model, sums, &failed), &failed);
    if (!isnan(p->val_loss)) fsm_json_set(line, "val_loss", json_real(p->val_loss), &failed);
    if (warning) fsm_json_set(line, "warning", json_string(warning), &failed);
    FSM_TRY(fsm_json_text(line, failed, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS), log_file, &text));
    bool written = fprintf(log->file, "%s\n", text) >= 0 && fflush(log->file) == 0;
    free(text);
    return written ? FSMOE_OK : fail_write(log);
}

fsmoe_status fsm_run_log_sync(fsm_run_log *log)
{
    return fsync(fileno(log->file)) == 0 ? FSMOE_OK : fail_write(log);
}

fsmoe_status fsm_run_log_close(fsm_run_log *log)
{
    FILE *file = log->file;
    log->file = NULL;
    return !file || fclose(file) == 0 ? FSMOE_OK : fail_write(log);
}
