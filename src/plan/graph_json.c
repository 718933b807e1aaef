/* The graph as JSON: {"tasks": [{"kind": …, "phase": …, "resource": …, "group": …, …, "after": [indices]}]}. */
#include "plan/graph_json.h"

#include "base/json.h"

#include <limits.h>
#include <string.h>

enum { MOST_SPARE = 1 << 10 }; /* more than is ever planned; bytes of so many do not overflow */

static const char *const group_names[FSM_GROUP_COUNT] = {"world", "dp", "mp", "ep", "esp", "edp", "expert"};

/* [first, last] */
static json_t *range_json(int64_t first, int64_t last, bool *failed)
{
    json_t *range = json_array();
    fsm_json_append(range, json_integer(first), failed);
    fsm_json_append(range, json_integer(last), failed);
    return range;
}

static json_t *task_json(const fsm_graph *graph, const fsm_task *t, bool *failed)
{
    json_t *json = json_object(), *after = json_array();
    fsm_json_set(json, "kind", json_string(fsm_task_kind_name(t->kind)), failed);
    fsm_json_set(json, "phase", json_string(fsm_phase_name(t->phase)), failed);
    fsm_json_set(json, "resource", json_string(fsm_resource_name(t->resource)), failed);
    fsm_json_set(json, "group", json_string(group_names[t->group]), failed);
    fsm_json_set(json, "layer", json_integer(t->layer), failed);
    fsm_json_set(json, "micro", json_integer(t->micro), failed);
    if (t->lane >= 0) fsm_json_set(json, "lane", json_integer(t->lane), failed);
    fsm_json_set(json, "rows", range_json(t->rows_first, t->rows_last, failed), failed);
    fsm_json_set(json, "slice", range_json(t->slice_first, t->slice_last, failed), failed);
    fsm_json_set(json, "size", json_real(t->size), failed);
    fsm_json_set(json, "launches", json_integer(t->launches), failed);
    for (int e = t->after_first; e < t->after_first + t->after_count; e++)
        fsm_json_append(after, json_integer(graph->edges[e]), failed);
    fsm_json_set(json, "after", after, failed);
    return json;
}

json_t *fsm_graph_json(const fsm_graph *graph, bool *failed)
{
    json_t *root = json_object(), *tasks = json_array();
    for (int i = 0; i < graph->count; i++) fsm_json_append(tasks, task_json(graph, &graph->tasks[i], failed), failed);
    fsm_json_set(root, "tasks", tasks, failed);
    if (graph->lanes > 1) {
        fsm_json_set(root, "lanes", json_integer(graph->lanes), failed);
        fsm_json_set(root, "parts", json_integer(fsm_graph_parts(graph)), failed);
    }
    if (graph->spare > 0) fsm_json_set(root, "spare", json_integer(graph->spare), failed);
    return root;
}

fsmoe_status fsm_graph_to_json(const fsm_graph *graph, char **text)
{
    bool failed = false;
    json_t *root = fsm_graph_json(graph, &failed);
    return fsm_json_text(root, failed, JSON_INDENT(1) | JSON_REAL_PRECISION(17), "a graph", text);
}

/* The index of a word in a list of names given by a function; -1 when it is none. */
static int find_word(const char *word, int count, const char *(*name_of)(int))
{
    for (int i = 0; i < count; i++)
        if (strcmp(word, name_of(i)) == 0) return i;
    return -1;
}

static const char *kind_word(int i)
{
    return fsm_task_kind_name((fsm_task_kind)i);
}

static const char *phase_word(int i)
{
    return fsm_phase_name((fsm_phase)i);
}

static const char *resource_word(int i)
{
    return fsm_resource_name((fsm_resource)i);
}

static const char *group_word(int i)
{
    return group_names[i];
}

/* An edge must point to a task before this one, also so that it fits an int. */
static fsmoe_status edges_from_json(const json_t *after, int index, int added, fsm_graph *graph)
{
    if (!json_is_array(after)) return fsm_fail(FSMOE_ERROR_FORMAT, "task %d: 'after' is not a list", index);
    for (size_t i = 0; i < json_array_size(after) && added >= 0; i++) {
        const json_t *edge = json_array_get(after, i);
        if (!json_is_integer(edge))
            return fsm_fail(FSMOE_ERROR_FORMAT, "task %d: 'after' holds something else than whole numbers", index);
        json_int_t task = json_integer_value(edge);
        if (task < 0 || task >= index)
            return fsm_fail(FSMOE_ERROR_FORMAT, "task %d: 'after' names task %lld, which is not before it", index,
                            (long long)task);
        fsm_graph_wait(graph, added, (int)task);
    }
    return FSMOE_OK;
}

static fsmoe_status task_from_json(const json_t *json, int index, fsm_graph *graph)
{
    const char *kind, *phase, *resource, *group;
    json_int_t rows[2], slice[2], layer, micro, lane = -1, launches;
    json_t *after;
    json_error_t error;
    fsm_task t;
    if (json_unpack_ex((json_t *)json, &error, JSON_STRICT,
                       "{s:s, s:s, s:s, s:s, s:I, s:I, s?I, s:[I,I!], s:[I,I!], s:F, s:I, s:o}", "kind", &kind, "phase",
                       &phase, "resource", &resource, "group", &group, "layer", &layer, "micro", &micro, "lane", &lane,
                       "rows", &rows[0], &rows[1], "slice", &slice[0], &slice[1], "size", &t.size, "launches",
                       &launches, "after", &after) != 0)
        return fsm_fail(FSMOE_ERROR_FORMAT, "task %d: %s", index, error.text);
    if (layer < -1 || layer > INT_MAX || micro < -1 || micro > INT_MAX || lane < -1 || lane >= fsm_graph_lanes(graph) ||
        launches < 0 || launches > INT_MAX)
        return fsm_fail(FSMOE_ERROR_FORMAT,
                        "task %d: layer %lld, micro %lld, lane %lld or launches %lld is out of range", index,
                        (long long)layer, (long long)micro, (long long)lane, (long long)launches);
    int words[4] = {find_word(kind, FSM_TASK_KIND_COUNT, kind_word), find_word(phase, FSM_PHASE_COUNT, phase_word),
                    find_word(resource, FSM_RESOURCE_COUNT, resource_word),
                    find_word(group, FSM_GROUP_COUNT, group_word)};
    const char *keys[4] = {"kind", "phase", "resource", "group"}, *values[4] = {kind, phase, resource, group};
    for (int i = 0; i < 4; i++)
        if (words[i] < 0)
            return fsm_fail(FSMOE_ERROR_FORMAT, "task %d: no %s is named '%s'", index, keys[i], values[i]);
    t.layer = (int)layer, t.micro = (int)micro, t.lane = (int)lane, t.launches = (int)launches;
    t.kind = (fsm_task_kind)words[0];
    t.phase = (fsm_phase)words[1];
    t.resource = (fsm_resource)words[2];
    t.group = (fsm_group)words[3];
    t.rows_first = rows[0], t.rows_last = rows[1], t.slice_first = slice[0], t.slice_last = slice[1];
    return edges_from_json(after, index, fsm_graph_add(graph, t, NULL, 0), graph);
}

/* A count that need not be said; what is not said is 0. */
static fsmoe_status count_of_json(const json_t *root, const char *key, int most, int *count)
{
    const json_t *value = json_object_get(root, key);
    *count = (int)json_integer_value(value);
    if (!value || (json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= most))
        return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "graph: '%s' is no number from 0 to %d", key, most);
}

static fsmoe_status lanes_of_json(const json_t *root, fsm_graph *graph)
{
    FSM_TRY(count_of_json(root, "lanes", FSM_MAX_LANES, &graph->lanes));
    FSM_TRY(count_of_json(root, "parts", FSM_MAX_LANES, &graph->parts));
    FSM_TRY(count_of_json(root, "spare", MOST_SPARE, &graph->spare));
    if (fsm_graph_lanes(graph) % fsm_graph_parts(graph) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "graph: %d lanes do not take whole micro-batches of %d parts", graph->lanes,
                    graph->parts);
}

fsmoe_status fsm_graph_of_json(const json_t *root, fsm_graph *graph)
{
    *graph = (fsm_graph){0};
    json_t *tasks = json_object_get(root, "tasks");
    fsmoe_status status = json_is_array(tasks) ? FSMOE_OK : fsm_fail(FSMOE_ERROR_FORMAT, "graph: no array 'tasks'");
    if (status == FSMOE_OK) status = lanes_of_json(root, graph);
    for (size_t i = 0; status == FSMOE_OK && i < json_array_size(tasks); i++)
        status = task_from_json(json_array_get(tasks, i), (int)i, graph);
    if (status == FSMOE_OK) status = fsm_graph_check(graph);
    if (status != FSMOE_OK) fsm_graph_destroy(graph);
    return status;
}

fsmoe_status fsm_graph_from_json(const char *text, fsm_graph *graph)
{
    json_error_t error;
    *graph = (fsm_graph){0};
    json_t *root = fsm_json_decode(text, strlen(text), JSON_REJECT_DUPLICATES, &error);
    if (!root) return fsm_fail(FSMOE_ERROR_FORMAT, "graph: line %d: %s", error.line, error.text);
    fsmoe_status status = fsm_graph_of_json(root, graph);
    json_decref(root);
    return status;
}
