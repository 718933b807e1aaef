/* step_times.json: {"format", "version", "schedule", "step", "graph", "planned": {"start_s": [a number a task],
 * "end_s"}, "load_s": {"compute": a number, "intra", "inter"}, "ranks": [{"rank": 0, "start_s", "end_s"}, …]};
 * "planned" and "load_s" may be absent. Ranks stand in order. */
#include "base/file.h"
#include "base/json.h"
#include "exec/step_times.h"
#include "plan/graph_json.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "fsmoe-step-times"
enum { VERSION = 1, KEY_BYTES = 48 };

/* ---- writing ---- */

static fsmoe_status check_times(const fsm_step_times *times, const fsm_timeline *timeline, const char *whose)
{
    char name[128];
    int i = fsm_step_times_wrong_task(&times->graph, timeline);
    if (i < 0) return FSMOE_OK;
    fsm_task_name(&times->graph.tasks[i], name);
    return fsm_fail(FSMOE_ERROR_NUMERIC, "step %lld, %s: %s runs from %g to %g s, which is no span of time",
                    (long long)times->step, whose, name, timeline->start_s[i], timeline->end_s[i]);
}

static fsmoe_status check_all(const fsm_step_times *times)
{
    if (times->has_planned) FSM_TRY(check_times(times, &times->planned, "planned"));
    for (int r = 0; r < times->n_ranks; r++) {
        char whose[KEY_BYTES];
        snprintf(whose, sizeof whose, "rank %d", r);
        FSM_TRY(check_times(times, &times->ranks[r], whose));
    }
    return FSMOE_OK;
}

static json_t *numbers(const double *values, int n, bool *failed)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) fsm_json_append(list, json_real(values[i]), failed);
    return list;
}

static json_t *timeline_json(const fsm_timeline *timeline, int n, bool *failed)
{
    json_t *json = json_object();
    fsm_json_set(json, "start_s", numbers(timeline->start_s, n, failed), failed);
    fsm_json_set(json, "end_s", numbers(timeline->end_s, n, failed), failed);
    return json;
}

static json_t *ranks_json(const fsm_step_times *times, bool *failed)
{
    json_t *ranks = json_array();
    for (int r = 0; r < times->n_ranks; r++) {
        json_t *rank = timeline_json(&times->ranks[r], times->graph.count, failed);
        fsm_json_set(rank, "rank", json_integer(r), failed);
        fsm_json_append(ranks, rank, failed);
    }
    return ranks;
}

static bool has_loads(const fsm_step_times *times)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (times->load_s[r] > 0) return true;
    return false;
}

static json_t *loads_json(const fsm_step_times *times, bool *failed)
{
    json_t *loads = json_object();
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        fsm_json_set(loads, fsm_resource_name((fsm_resource)r), json_real(times->load_s[r]), failed);
    return loads;
}

fsmoe_status fsm_step_times_write(const fsm_step_times *times, const char *path)
{
    bool failed = false;
    FSM_TRY(check_all(times));
    json_t *root = json_object();
    fsm_json_set(root, "format", json_string(FORMAT), &failed);
    fsm_json_set(root, "version", json_integer(VERSION), &failed);
    fsm_json_set(root, "schedule", json_string(times->schedule), &failed);
    fsm_json_set(root, "step", json_integer(times->step), &failed);
    fsm_json_set(root, "graph", fsm_graph_json(&times->graph, &failed), &failed);
    fsm_json_set(root, "ranks", ranks_json(times, &failed), &failed);
    if (times->has_planned)
        fsm_json_set(root, "planned", timeline_json(&times->planned, times->graph.count, &failed), &failed);
    if (has_loads(times)) fsm_json_set(root, "load_s", loads_json(times, &failed), &failed);
    return fsm_json_write(root, failed, JSON_COMPACT | JSON_REAL_PRECISION(17), path);
}

/* ---- reading ---- */

/* "ranks[2].end_s" */
static fsmoe_status bad(const char *where, const char *key, const char *why)
{
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s%s' %s", where, key, why);
}

static fsmoe_status check_count(const json_t *json, const char *where, const char *key, int n)
{
    const json_t *list = json_object_get(json, key);
    if (!json_is_array(list)) return bad(where, key, "is not a list of a number a task");
    if (json_array_size(list) == (size_t)n) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s%s' holds %zu numbers for %d tasks", where, key, json_array_size(list), n);
}

/* Before room is made for a time of every task on every rank: a small file could ask for any amount of it. */
static fsmoe_status check_ranks(const json_t *ranks, int n)
{
    for (size_t r = 0; r < json_array_size(ranks); r++) {
        const json_t *json = json_array_get(ranks, r), *rank = json_object_get(json, "rank");
        char where[KEY_BYTES];
        snprintf(where, sizeof where, "ranks[%zu].", r);
        if (!json_is_integer(rank) || json_integer_value(rank) != (json_int_t)r)
            return bad(where, "rank", "is not its place in the list");
        FSM_TRY(check_count(json, where, "start_s", n));
        FSM_TRY(check_count(json, where, "end_s", n));
    }
    return FSMOE_OK;
}

static fsmoe_status read_numbers(const json_t *json, const char *where, const char *key, int n, double *values)
{
    const json_t *list = json_object_get(json, key);
    FSM_TRY(check_count(json, where, key, n));
    for (int i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (!json_is_number(value)) return bad(where, key, "holds something else than numbers");
        values[i] = json_number_value(value);
    }
    return FSMOE_OK;
}

/* Into a timeline that has room. */
static fsmoe_status read_timeline(const json_t *json, const char *where, const fsm_graph *graph, fsm_timeline *timeline)
{
    FSM_TRY(read_numbers(json, where, "start_s", graph->count, timeline->start_s));
    FSM_TRY(read_numbers(json, where, "end_s", graph->count, timeline->end_s));
    int wrong = fsm_step_times_wrong_task(graph, timeline);
    if (wrong >= 0)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%sstart_s' and '%send_s' of task %d are no span of time: %g to %g", where,
                        where, wrong, timeline->start_s[wrong], timeline->end_s[wrong]);
    for (int i = 0; i < graph->count; i++)
        if (timeline->end_s[i] > timeline->makespan_s) timeline->makespan_s = timeline->end_s[i];
    return FSMOE_OK;
}

static fsmoe_status read_ranks(const json_t *ranks, fsm_step_times *times)
{
    for (int r = 0; r < times->n_ranks; r++) {
        char where[KEY_BYTES];
        snprintf(where, sizeof where, "ranks[%d].", r);
        FSM_TRY(read_timeline(json_array_get(ranks, (size_t)r), where, &times->graph, &times->ranks[r]));
    }
    return FSMOE_OK;
}

static fsmoe_status read_loads(const json_t *loads, fsm_step_times *times)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT && loads; r++) {
        const json_t *load = json_object_get(loads, fsm_resource_name((fsm_resource)r));
        if (!json_is_number(load) || json_number_value(load) < 0)
            return bad("", "load_s", "does not say the load of each resource");
        times->load_s[r] = json_number_value(load);
    }
    return FSMOE_OK;
}

/* What stands beside the times, and room for them. */
static fsmoe_status read_head(const json_t *root, fsm_step_times *times)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    const char *schedule = json_string_value(json_object_get(root, "schedule"));
    const json_t *step = json_object_get(root, "step"), *planned = json_object_get(root, "planned");
    const json_t *ranks = json_object_get(root, "ranks");
    if (!format || strcmp(format, FORMAT) != 0) return bad("", "format", "is not \"" FORMAT "\"");
    if (json_integer_value(json_object_get(root, "version")) != VERSION) return bad("", "version", "is not 1");
    if (!schedule || strlen(schedule) >= sizeof times->schedule) return bad("", "schedule", "is no schedule's name");
    if (!json_is_integer(step) || json_integer_value(step) < 0) return bad("", "step", "is no step's number");
    if (planned && !json_is_object(planned)) return bad("", "planned", "is not an object");
    if (json_array_size(ranks) < 1 || json_array_size(ranks) > INT_MAX)
        return bad("", "ranks", "is not a list of at least one rank");
    fsm_graph graph;
    fsmoe_status status = fsm_graph_of_json(json_object_get(root, "graph"), &graph);
    if (status != FSMOE_OK) return fsm_fail_within(status, "'graph'");
    status = check_ranks(ranks, graph.count);
    if (status == FSMOE_OK)
        status =
            fsm_step_times_create(&graph, NULL, schedule, json_integer_value(step), (int)json_array_size(ranks), times);
    fsm_graph_destroy(&graph);
    return status;
}

fsmoe_status fsm_step_times_read(const char *path, fsm_step_times *times)
{
    json_t *root;
    *times = (fsm_step_times){0};
    FSM_TRY(fsm_json_read(path, &root));
    fsmoe_status status = read_head(root, times);
    const json_t *planned = json_object_get(root, "planned");
    times->has_planned = planned != NULL;
    if (status == FSMOE_OK && planned) status = read_timeline(planned, "planned.", &times->graph, &times->planned);
    if (status == FSMOE_OK) status = read_loads(json_object_get(root, "load_s"), times);
    if (status == FSMOE_OK) status = read_ranks(json_object_get(root, "ranks"), times);
    json_decref(root);
    if (status == FSMOE_OK) return FSMOE_OK;
    fsm_step_times_destroy(times);
    return fsm_fail_within(status, "'%s'", path);
}
