#include "train/state.h"

#include "base/json.h"
#include "base/text.h"
#include "config/field.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { FORMAT_VERSION = 2, HASH_BYTES = 17 };

/* ---- data by content ---- */

enum { RUN_TOKENS = 1 << 16, MOST_RUNS = 256, MOST_TOKENS = 1 << 26 };

static fsmoe_status hash_runs(const fsmoe_tokens *tokens, int64_t count, int32_t *run, XXH3_state_t *hash)
{
    int64_t runs = (count + RUN_TOKENS - 1) / RUN_TOKENS, taken = count > MOST_TOKENS ? MOST_RUNS : runs;
    for (int64_t i = 0; i < taken; i++) {
        int64_t first = (taken > 1 ? i * (runs - 1) / (taken - 1) : 0) * RUN_TOKENS;
        int64_t n = count - first < RUN_TOKENS ? count - first : RUN_TOKENS;
        FSM_TRY(fsmoe_tokens_copy(tokens, first, n, run));
        XXH3_64bits_update(hash, run, sizeof *run * (size_t)n);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_data_print_make(const fsmoe_tokens *tokens, fsm_data_print *print)
{
    *print = (fsm_data_print){0};
    if (!tokens) return FSMOE_OK;
    print->tokens = fsmoe_tokens_count(tokens);
    int32_t *run = malloc(sizeof *run * RUN_TOKENS);
    XXH3_state_t *hash = XXH3_createState();
    fsmoe_status status = FSMOE_ERROR_MEMORY;
    if (run && hash && XXH3_64bits_reset(hash) == XXH_OK) status = hash_runs(tokens, print->tokens, run, hash);
    else fsm_fail(status, "no memory to look at the data");
    if (status == FSMOE_OK) print->hash = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    free(run);
    return status;
}

static json_t *describe_data(const fsm_data_print *print)
{
    char hash[HASH_BYTES];
    snprintf(hash, sizeof hash, "%016" PRIx64, print->hash);
    return json_pack("{s:I, s:s}", "tokens", (json_int_t)print->tokens, "xxh3", hash);
}

/* ---- the configuration as values by key ---- */

static json_t *describe_strings(const fsmoe_strings *strings, bool *failed)
{
    json_t *list = json_array();
    for (size_t i = 0; i < strings->count; i++) fsm_json_append(list, json_string(strings->items[i]), failed);
    return list;
}

static json_t *describe_value(const fsmoe_config *config, const fsm_config_field *field, bool *failed)
{
    if (field->type == FSM_CONFIG_STRINGS) return describe_strings(fsm_config_at(config, field), failed);
    return fsm_field_to_json(config, field);
}

static json_t *describe_config(const fsmoe_config *config, bool *failed)
{
    json_t *values = json_object();
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        const fsm_config_field *field = &fsm_config_fields[i];
        fsm_json_set(values, field->key, describe_value(config, field, failed), failed);
    }
    return values;
}

static json_t *describe_layout(const fsm_stepper *s)
{
    const fsm_topo *t = &s->topo;
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "nodes", t->nodes, "ranks", t->ranks, "ep", t->ep, "esp", t->esp,
                     "mp", t->mp, "threads a rank", s->threads);
}

/* ---- writing ---- */

static json_t *describe_idle(const fsm_idle_experts *idle, bool *failed)
{
    json_t *counts = json_array();
    for (int64_t i = 0; i < idle->count; i++) fsm_json_append(counts, json_integer(idle->idle[i]), failed);
    return counts;
}

static json_t *describe(const fsm_stepper *s, const fsm_run_state *state, bool *failed)
{
    json_t *json = json_object();
    fsm_json_set(json, "format", json_integer(FORMAT_VERSION), failed);
    fsm_json_set(json, "run", json_string(state->run.text), failed);
    fsm_json_set(json, "step", json_integer(state->step), failed);
    if (isfinite(state->best_loss)) {
        fsm_json_set(json, "best_val_loss", json_real(state->best_loss), failed);
        fsm_json_set(json, "best_step", json_integer(state->best_step), failed);
    }
    if (state->idle) fsm_json_set(json, "idle_experts", describe_idle(state->idle, failed), failed);
    fsm_json_set(json, "data.train", describe_data(&state->train), failed);
    fsm_json_set(json, "data.valid", describe_data(&state->valid), failed);
    fsm_json_set(json, "layout", describe_layout(s), failed);
    fsm_json_set(json, "config", describe_config(s->config, failed), failed);
    return json;
}

fsmoe_status fsm_state_write(const char *folder, const fsm_stepper *stepper, const fsm_run_state *state)
{
    char path[FSM_PATH_BYTES];
    bool failed = false;
    FSM_TRY(fsm_file_path(folder, FSM_STATE_FILE, path));
    json_t *json = describe(stepper, state, &failed);
    return fsm_json_write(json, failed, JSON_INDENT(2), path);
}

/* ---- what has changed ---- */

/* With another value of these the next step is of other tokens, or drops others, than the run's would have. How the
 * same step is computed (train.compute_dtype, train.products, the layout) changes its last digits; that is told, and
 * not refused. */
static bool makes_another_run(const char *key)
{
    static const char *const keys[] = {"train.seed",   "train.global_batch",  "train.micro_batch",  "data.seq_len",
                                       "data.shuffle", "moe.capacity_factor", "moe.capacity_group", "moe.drop_policy"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i], key) == 0) return true;
    return false;
}

/* Whose change is said where it counts, or is nobody's business: layouts are said as ranks are placed. */
static bool is_of_the_layout(const char *key)
{
    return strcmp(key, "parallel.nodes") == 0 || strcmp(key, "parallel.ranks_per_node") == 0 ||
           strcmp(key, "parallel.ep_size") == 0 || strcmp(key, "parallel.esp_size") == 0 ||
           strcmp(key, "parallel.mp_size") == 0 || strcmp(key, "parallel.threads") == 0;
}

static char *text_of(const json_t *value)
{
    return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
}

/* One more change, after a comma where it is not the first. */
static void begin_change(char text[FSM_CHANGES_BYTES])
{
    if (text[0]) fsm_text_append(text, FSM_CHANGES_BYTES, ", ");
}

static void append_change(char text[FSM_CHANGES_BYTES], const char *key, const json_t *was, const json_t *is)
{
    char *before = text_of(was), *after = text_of(is);
    begin_change(text);
    fsm_text_append(text, FSM_CHANGES_BYTES, "%s %s -> %s", key, before ? before : "none", after ? after : "none");
    free(before);
    free(after);
}

/* 1 and 1.0 are one number, whichever way they were written. */
static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

/* Weights of more than one choice are normalised whatever the key says, which a model folder may say otherwise. */
static bool says_nothing(const char *key, const json_t *is)
{
    return strcmp(key, "moe.normalize_top_k") == 0 && json_integer_value(json_object_get(is, "moe.top_k")) > 1;
}

static void compare_objects(const json_t *was, json_t *is, bool of_config, fsm_state_changes *changes)
{
    const char *key;
    json_t *value;
    json_object_foreach(is, key, value)
    {
        const json_t *before = json_object_get(was, key);
        if (same(before, value) || (of_config && (is_of_the_layout(key) || says_nothing(key, is)))) continue;
        append_change(of_config && makes_another_run(key) ? changes->refused : changes->told, key, before, value);
    }
}

static void compare_data(const char *key, const fsm_data_print *was, const fsm_data_print *is,
                         char text[FSM_CHANGES_BYTES])
{
    if (was->tokens == is->tokens && was->hash == is->hash) return;
    begin_change(text);
    fsm_text_append(text, FSM_CHANGES_BYTES, "the content of %s (%lld tokens, now %lld)", key, (long long)was->tokens,
                    (long long)is->tokens);
}

static fsmoe_status compare(const json_t *json, const fsm_stepper *s, const fsm_run_state *was,
                            const fsm_run_state *now, fsm_state_changes *changes)
{
    bool failed = false;
    json_t *config = describe_config(s->config, &failed), *layout = describe_layout(s);
    *changes = (fsm_state_changes){"", ""};
    if (config && layout && !failed) {
        compare_objects(json_object_get(json, "layout"), layout, false, changes);
        compare_objects(json_object_get(json, "config"), config, true, changes);
        compare_data("data.train", &was->train, &now->train, changes->refused);
        compare_data("data.valid", &was->valid, &now->valid, changes->told);
    } else failed = true;
    json_decref(config);
    json_decref(layout);
    return failed ? fsm_fail(FSMOE_ERROR_MEMORY, "no memory to compare configurations") : FSMOE_OK;
}

/* ---- reading ---- */

static fsmoe_status read_data(const json_t *json, const char *key, const char *path, fsm_data_print *print)
{
    const json_t *data = json_object_get(json, key), *tokens = json_object_get(data, "tokens");
    const char *hash = json_string_value(json_object_get(data, "xxh3"));
    char *end = NULL;
    print->tokens = json_integer_value(tokens);
    print->hash = hash ? strtoull(hash, &end, 16) : 0;
    if (json_is_integer(tokens) && print->tokens >= 0 && end && !*end && end - hash == HASH_BYTES - 1) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': '%s' is not what a checkpoint says there", path, key);
}

static fsmoe_status read_format(const json_t *json, const char *path)
{
    const json_t *format = json_object_get(json, "format");
    if (!json_is_integer(format)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' has no 'format'", path);
    if (json_integer_value(format) == FORMAT_VERSION) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT,
                    "'%s' has format %lld; this program reads %d (start from its weights with --init FOLDER)", path,
                    (long long)json_integer_value(format), FORMAT_VERSION);
}

static fsmoe_status read_numbers(const json_t *json, const char *path, fsm_run_state *state)
{
    const json_t *step = json_object_get(json, "step"), *best = json_object_get(json, "best_val_loss");
    const char *run = json_string_value(json_object_get(json, "run"));
    state->step = json_integer_value(step);
    state->best_loss = json_is_number(best) ? json_number_value(best) : NAN;
    state->best_step = json_integer_value(json_object_get(json, "best_step"));
    if (!json_is_integer(step) || state->step < 0)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': 'step' is no number of steps", path);
    if (!run || !fsm_run_id_is_valid(run)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': 'run' is no run's id", path);
    snprintf(state->run.text, sizeof state->run.text, "%s", run);
    return FSMOE_OK;
}

/* Where as many are watched now; else they are counted anew. */
static void read_idle(const json_t *json, fsm_idle_experts *idle)
{
    const json_t *counts = json_object_get(json, "idle_experts");
    if (!idle || json_array_size(counts) != (size_t)idle->count) return;
    for (int64_t i = 0; i < idle->count; i++) idle->idle[i] = json_integer_value(json_array_get(counts, (size_t)i));
}

static fsmoe_status read_state(const json_t *json, const char *path, fsm_run_state *state)
{
    FSM_TRY(read_format(json, path));
    FSM_TRY(read_numbers(json, path, state));
    FSM_TRY(read_data(json, "data.train", path, &state->train));
    return read_data(json, "data.valid", path, &state->valid);
}

fsmoe_status fsm_state_read(const char *folder, const fsm_stepper *s, const fsm_run_state *now, fsm_run_state *state,
                            fsm_state_changes *changes)
{
    char path[FSM_PATH_BYTES];
    json_t *json;
    FSM_TRY(fsm_file_path(folder, FSM_STATE_FILE, path));
    FSM_TRY(fsm_json_read(path, &json));
    fsmoe_status status = read_state(json, path, state);
    if (status == FSMOE_OK && state->step > s->config->train.steps)
        status = fsm_fail(FSMOE_ERROR_CONFIG, "'train.steps' is %lld, but '%s' was saved after step %lld",
                          (long long)s->config->train.steps, path, (long long)state->step);
    if (status == FSMOE_OK) status = compare(json, s, state, now, changes);
    state->idle = now->idle;
    if (status == FSMOE_OK) read_idle(json, now->idle);
    json_decref(json);
    return status;
}

fsmoe_status fsm_state_read_dtype(const char *folder, char *dtype, size_t bytes)
{
    char path[FSM_PATH_BYTES];
    json_t *json;
    FSM_TRY(fsm_file_path(folder, FSM_STATE_FILE, path));
    FSM_TRY(fsm_json_read(path, &json));
    const char *saved = json_string_value(json_object_get(json_object_get(json, "config"), "train.compute_dtype"));
    snprintf(dtype, bytes, "%s", saved && strcmp(saved, "bf16") == 0 ? "bf16" : "fp32");
    json_decref(json);
    return FSMOE_OK;
}
