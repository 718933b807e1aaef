#include "report/run.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_RANKS = 1000000 }; /* products of three sizes stay within 64 bits */

static fsmoe_status read_size(const json_t *layout, const char *key, int64_t otherwise, const char *path, int64_t *size)
{
    const json_t *found = json_object_get(layout, key);
    *size = found ? json_integer_value(found) : otherwise;
    if (*size >= 1 && *size <= MAX_RANKS) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "%s: 'layout.%s' is not a whole number from 1 to %d", path, key, MAX_RANKS);
}

static fsmoe_status read_layout(fsm_run *run, const json_t *layout, const char *path)
{
    FSM_TRY(read_size(layout, "ranks", 1, path, &run->ranks));
    FSM_TRY(read_size(layout, "nodes", 1, path, &run->nodes));
    FSM_TRY(read_size(layout, "ranks_per_node", run->ranks / run->nodes, path, &run->ranks_per_node));
    FSM_TRY(read_size(layout, "mp", 1, path, &run->mp));
    FSM_TRY(read_size(layout, "ep", 1, path, &run->ep));
    FSM_TRY(read_size(layout, "esp", 1, path, &run->esp));
    FSM_TRY(read_size(layout, "dp", run->ranks / run->mp, path, &run->dp));
    FSM_TRY(read_size(layout, "edp", run->ranks / (run->ep * run->esp), path, &run->edp));
    bool fits = run->nodes * run->ranks_per_node == run->ranks && run->dp * run->mp == run->ranks &&
                run->edp * run->ep * run->esp == run->ranks;
    if (!fits)
        return fsm_fail(FSMOE_ERROR_FORMAT,
                        "%s: 'layout' does not fit: %lld ranks, %lld nodes of %lld, dp %lld · mp %lld, "
                        "edp %lld · ep %lld · esp %lld",
                        path, (long long)run->ranks, (long long)run->nodes, (long long)run->ranks_per_node,
                        (long long)run->dp, (long long)run->mp, (long long)run->edp, (long long)run->ep,
                        (long long)run->esp);
    run->has_layout = true;
    return FSMOE_OK;
}

fsmoe_status fsm_run_read(const char *path, fsm_run *run)
{
    *run = (fsm_run){.nodes = 1, .ranks_per_node = 1, .ranks = 1, .dp = 1, .mp = 1, .ep = 1, .esp = 1, .edp = 1};
    if (!fsm_file_exists(path)) return FSMOE_OK;
    char *bytes;
    size_t size;
    FSM_TRY(fsm_file_read(path, &bytes, &size));
    json_error_t error;
    run->root = fsm_json_decode(bytes, size, 0, &error);
    free(bytes);
    if (!run->root && json_error_code(&error) == json_error_out_of_memory)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", path);
    if (!json_is_object(run->root)) {
        fsm_run_destroy(run);
        return fsm_fail(FSMOE_ERROR_FORMAT, "%s:%d: %s", path, error.line > 0 ? error.line : 1,
                        error.text[0] ? error.text : "not a JSON object");
    }
    const json_t *layout = json_object_get(run->root, "layout");
    fsmoe_status status = layout && !json_is_null(layout) ? read_layout(run, layout, path) : FSMOE_OK;
    if (status != FSMOE_OK) fsm_run_destroy(run);
    return status;
}

void fsm_run_destroy(fsm_run *run)
{
    json_decref(run->root);
    run->root = NULL;
}

const char *fsm_run_text(const fsm_run *run, const char *key)
{
    return json_string_value(json_object_get(run->root, key));
}

double fsm_run_number(const fsm_run *run, const char *key)
{
    const json_t *found = json_object_get(run->root, key);
    return json_is_number(found) ? json_number_value(found) : NAN;
}
