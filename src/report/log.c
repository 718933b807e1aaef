#define _GNU_SOURCE
#include "report/log.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key, *inner;
} column_keys[FSM_LOG_COLUMN_COUNT] = {
#define COLUMN_KEY(name, key, inner) {key, inner},
    FSM_LOG_COLUMN_LIST(COLUMN_KEY)
#undef COLUMN_KEY
};

typedef struct place {
    const char *path;
    size_t line;
} place;

static size_t count_lines(const char *bytes, size_t size)
{
    size_t lines = 1;
    for (const char *at = bytes, *end = bytes + size; (at = memchr(at, '\n', (size_t)(end - at))); at++) lines++;
    return lines;
}

static fsmoe_status reserve_columns(fsm_log *log, size_t lines, const char *path)
{
    for (size_t c = 0; c < FSM_LOG_COLUMN_COUNT; c++) {
        log->columns[c] = malloc(lines * sizeof(double));
        if (!log->columns[c]) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the %zu lines of '%s'", lines, path);
    }
    return FSMOE_OK;
}

static fsmoe_status read_number(const json_t *object, size_t column, place at, double *value)
{
    const char *key = column_keys[column].key, *inner = column_keys[column].inner;
    const json_t *found = json_object_get(object, key);
    if (found && inner) found = json_object_get(found, inner);
    *value = NAN;
    if (!found || json_is_null(found)) return FSMOE_OK;
    if (!json_is_number(found))
        return fsm_fail(FSMOE_ERROR_FORMAT, "%s:%zu: '%s%s%s' is not a number", at.path, at.line, key, inner ? "." : "",
                        inner ? inner : "");
    *value = json_number_value(found);
    return FSMOE_OK;
}

static fsmoe_status reserve_load(fsm_log *log, place at)
{
    if (log->n_loads < log->load_capacity) return FSMOE_OK;
    size_t capacity = log->load_capacity ? 2 * log->load_capacity : 64;
    double *steps = realloc(log->load_step, capacity * sizeof *steps);
    if (steps) log->load_step = steps;
    float *load = steps ? realloc(log->load, capacity * log->n_layers * log->n_experts * sizeof *load) : NULL;
    if (!load) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the expert loads of '%s'", at.path);
    log->load = load;
    log->load_capacity = capacity;
    return FSMOE_OK;
}

static fsmoe_status read_load(fsm_log *log, const json_t *layers, double step, place at)
{
    size_t n_layers = json_array_size(layers), n_experts = json_array_size(json_array_get(layers, 0));
    if (n_layers == 0 && json_is_array(layers)) return FSMOE_OK; /* a model without experts */
    if (log->n_layers == 0) {
        log->n_layers = n_layers;
        log->n_experts = n_experts;
    }
    if (n_layers == 0 || n_experts == 0 || n_layers != log->n_layers)
        return fsm_fail(FSMOE_ERROR_FORMAT, "%s:%zu: 'expert_load_by_layer' has %zu layers, expected %zu", at.path,
                        at.line, n_experts ? n_layers : 0, log->n_layers);
    FSM_TRY(reserve_load(log, at));
    float *row = log->load + log->n_loads * n_layers * log->n_experts;
    for (size_t l = 0; l < n_layers; l++) {
        const json_t *experts = json_array_get(layers, l);
        if (json_array_size(experts) != log->n_experts)
            return fsm_fail(FSMOE_ERROR_FORMAT,
                            "%s:%zu: layer %zu of 'expert_load_by_layer' has %zu experts, expected %zu", at.path,
                            at.line, l, json_array_size(experts), log->n_experts);
        for (size_t e = 0; e < log->n_experts; e++) {
            const json_t *fraction = json_array_get(experts, e);
            if (!json_is_number(fraction))
                return fsm_fail(FSMOE_ERROR_FORMAT, "%s:%zu: 'expert_load_by_layer'[%zu][%zu] is not a number", at.path,
                                at.line, l, e);
            row[l * log->n_experts + e] = (float)json_number_value(fraction);
        }
    }
    log->load_step[log->n_loads++] = step;
    return FSMOE_OK;
}

static void forget_from(fsm_log *log, double step)
{
    while (log->count && log->columns[FSM_LOG_STEP][log->count - 1] >= step) log->count--;
    while (log->n_loads && log->load_step[log->n_loads - 1] >= step) log->n_loads--;
}

static fsmoe_status add_warning(fsm_log *log, const char *sentence, long long step, place at)
{
    char *grown;
    const char *before = log->warnings ? log->warnings : "";
    if (asprintf(&grown, "%s%sstep %lld: %s", before, *before ? "\n" : "", step, sentence) < 0)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the warnings of '%s'", at.path);
    free(log->warnings);
    log->warnings = grown;
    return FSMOE_OK;
}

static fsmoe_status read_step(fsm_log *log, const json_t *object, place at)
{
    const json_t *step = json_object_get(object, "step");
    if (!json_is_integer(step) || json_integer_value(step) < 0)
        return fsm_fail(FSMOE_ERROR_FORMAT, "%s:%zu: no whole number 'step'", at.path, at.line);
    forget_from(log, json_number_value(step));
    for (size_t c = 0; c < FSM_LOG_COLUMN_COUNT; c++) FSM_TRY(read_number(object, c, at, &log->columns[c][log->count]));
    const json_t *load = json_object_get(object, "expert_load_by_layer");
    if (load && !json_is_null(load)) FSM_TRY(read_load(log, load, json_number_value(step), at));
    const char *warning = json_string_value(json_object_get(object, "warning"));
    if (warning) FSM_TRY(add_warning(log, warning, (long long)json_integer_value(step), at));
    log->count++;
    return FSMOE_OK;
}

static fsmoe_status read_lines(fsm_log *log, const char *bytes, size_t size, const char *path)
{
    place at = {path, 0};
    for (const char *end = bytes + size, *line = bytes, *next; line < end; line = next) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *stop = newline ? newline : end;
        next = newline ? newline + 1 : end;
        at.line++;
        json_error_t error;
        json_t *object = fsm_json_decode(line, (size_t)(stop - line), JSON_REJECT_DUPLICATES, &error);
        if (!object && json_error_code(&error) == json_error_out_of_memory)
            return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", path);
        if (!object && json_error_code(&error) == json_error_out_of_memory)
            return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", path);
        if (!object && !newline) return FSMOE_OK;
        if (!object) return fsm_fail(FSMOE_ERROR_FORMAT, "%s:%zu: malformed JSON: %s", path, at.line, error.text);
        fsmoe_status status = read_step(log, object, at);
        json_decref(object);
        FSM_TRY(status);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_log_read(const char *path, fsm_log *log)
{
    *log = (fsm_log){0};
    fsm_file_map map;
    FSM_TRY(fsm_file_map_open(path, &map));
    const char *bytes = map.bytes ? map.bytes : ""; /* of an empty file there is no map */
    fsmoe_status status;
    FSM_TRY_GOTO(status, reserve_columns(log, count_lines(bytes, map.size), path), done);
    status = read_lines(log, bytes, map.size, path);
done:
    fsm_file_map_close(&map);
    if (status != FSMOE_OK) fsm_log_destroy(log);
    return status;
}

void fsm_log_destroy(fsm_log *log)
{
    for (size_t c = 0; c < FSM_LOG_COLUMN_COUNT; c++) free(log->columns[c]);
    free(log->load_step);
    free(log->load);
    free(log->warnings);
    *log = (fsm_log){0};
}

double fsm_log_last(const fsm_log *log, fsm_log_column column)
{
    for (size_t i = log->count; i-- > 0;)
        if (!isnan(log->columns[column][i])) return log->columns[column][i];
    return NAN;
}
