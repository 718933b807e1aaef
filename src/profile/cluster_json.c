/* The cluster file: JSON to the value and back. Times of the file are divided by what a second has of its unit, which
 * rounds once; a product with 1e-3, itself rounded, would round twice. */
#include "profile/cluster.h"

#include "base/file.h"
#include "base/json.h"
#include "base/print.h"
#include "base/text.h"

#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHERE_BYTES = 160 };

/* ---- reading ---- */

typedef struct reader {
    const char *source; /* the file's name in messages */
    double per_second;  /* how many of the file's units a second has */
} reader;

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const char *const file_keys[] = {"name",
                                        "unit",
                                        "nodes",
                                        "ranks_per_node",
                                        "ep_size",
                                        "esp_size",
                                        "mp_size",
                                        "work",
                                        "machine",
                                        "date",
                                        "tasks",
#define OP_KEY(name, text, counts) text,
                                        FSM_COST_OPS(OP_KEY)
#undef OP_KEY
};
static const char *const op_keys[] = {"alpha", "beta", "large", "largest", "r2", "points"};
static const char *const task_keys[] = {"alpha", "beta", "large", "largest", "overlap"};
static const char *const large_keys[] = {"alpha", "beta", "from"};

/* `where` is "" at the top, else "alltoall." or "alltoall.large.". */
static fsmoe_status check_object(const reader *r, const char *where, const json_t *object, const char *const *keys,
                                 size_t count)
{
    if (!json_is_object(object))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %.*s is not an object", r->source, (int)strlen(where) - 1, where);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t i = 0;
        while (i < count && strcmp(key, keys[i]) != 0) i++;
        if (i == count)
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': unknown key '%s%s'; did you mean '%s'?", r->source, where, key,
                            fsm_text_nearest(key, keys, count));
    }
    return FSMOE_OK;
}

static fsmoe_status get_number(const reader *r, const char *where, const json_t *object, const char *key,
                               double *number)
{
    const json_t *value = json_object_get(object, key);
    if (!value) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': key '%s%s' is missing", r->source, where, key);
    if (!json_is_number(value))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s%s is not a number", r->source, where, key);
    *number = json_number_value(value);
    return FSMOE_OK;
}

/* alpha or beta: finite, since Jansson refuses what is not, and not negative. */
static fsmoe_status get_seconds(const reader *r, const char *where, const json_t *object, const char *key, double *s)
{
    double number = 0;
    FSM_TRY(get_number(r, where, object, key, &number));
    if (!(number >= 0 && isfinite(number)))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s%s is %g, which is negative", r->source, where, key, number);
    if (number / r->per_second > FSM_COST_MOST)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s%s is %g, more than any operation takes", r->source, where, key,
                        number);
    *s = number / r->per_second;
    return FSMOE_OK;
}

static fsmoe_status get_line(const reader *r, const char *where, const json_t *object, fsm_line *line)
{
    FSM_TRY(get_seconds(r, where, object, "alpha", &line->alpha_s));
    return get_seconds(r, where, object, "beta", &line->beta_s);
}

/* A line for sizes from `from` on; without the key both are left as they are. */
static fsmoe_status get_line_from(const reader *r, const char *where, const json_t *object, const char *key,
                                  fsm_line *line, double *from)
{
    const json_t *value = json_object_get(object, key);
    if (!value) return FSMOE_OK;
    char inside[WHERE_BYTES];
    snprintf(inside, sizeof inside, "%s%s.", where, key);
    FSM_TRY(check_object(r, inside, value, large_keys, COUNT_OF(large_keys)));
    FSM_TRY(get_line(r, inside, value, line));
    FSM_TRY(get_number(r, inside, value, "from", from));
    if (!(*from > 0)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %sfrom is %g, not positive", r->source, inside, *from);
    return FSMOE_OK;
}

static fsmoe_status get_cost(const reader *r, const char *where, const json_t *object, fsm_cost *cost)
{
    FSM_TRY(get_line(r, where, object, &cost->line[0]));
    FSM_TRY(get_line_from(r, where, object, "large", &cost->line[1], &cost->large_from));
    FSM_TRY(get_line_from(r, where, object, "largest", &cost->line[2], &cost->largest_from));
    if (cost->largest_from > 0 && !(cost->large_from > 0 && cost->largest_from > cost->large_from))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %slargest.from is %g, not above %slarge.from, which is %g",
                        r->source, where, cost->largest_from, where, cost->large_from);
    return FSMOE_OK;
}

/* [size, time] or [size, time, residual]; the residual is for people. */
static bool get_point(const reader *r, const json_t *entry, fsm_point *point)
{
    size_t numbers = json_array_size(entry);
    if (numbers != 2 && numbers != 3) return false;
    for (size_t i = 0; i < numbers; i++)
        if (!json_is_number(json_array_get(entry, i))) return false;
    point->size = json_number_value(json_array_get(entry, 0));
    point->time_s = json_number_value(json_array_get(entry, 1)) / r->per_second;
    return point->size >= 0 && point->size <= FSM_COST_MOST && point->time_s > 0 && point->time_s <= FSM_COST_MOST;
}

static fsmoe_status get_points(const reader *r, const char *where, const json_t *list, fsm_measured *measured)
{
    size_t count = json_array_size(list);
    if (!json_is_array(list)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %spoints is not a list", r->source, where);
    if (count == 0) return FSMOE_OK;
    if (count > INT_MAX) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %spoints is too long", r->source, where);
    measured->points = calloc(count, sizeof *measured->points);
    if (!measured->points) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the points of '%s'", r->source);
    measured->point_count = (int)count;
    for (size_t i = 0; i < count; i++)
        if (!get_point(r, json_array_get(list, i), &measured->points[i]))
            return fsm_fail(
                FSMOE_ERROR_FORMAT,
                "'%s': %spoints[%zu] is not [size, time] with size >= 0 and time > 0, and at most a residual",
                r->source, where, i);
    return FSMOE_OK;
}

static fsmoe_status get_op(const reader *r, const char *name, const json_t *root, fsm_measured *measured)
{
    char where[WHERE_BYTES];
    snprintf(where, sizeof where, "%s.", name);
    const json_t *object = json_object_get(root, name);
    if (!object) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': key '%s' is missing", r->source, name);
    FSM_TRY(check_object(r, where, object, op_keys, COUNT_OF(op_keys)));
    FSM_TRY(get_cost(r, where, object, &measured->cost));
    measured->r2 = NAN;
    if (json_object_get(object, "r2")) FSM_TRY(get_number(r, where, object, "r2", &measured->r2));
    if (measured->r2 > 1)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %sr2 is %g, above 1", r->source, where, measured->r2);
    const json_t *points = json_object_get(object, "points");
    return points ? get_points(r, where, points, measured) : FSMOE_OK;
}

static fsmoe_status get_overlap(const reader *r, const char *where, const json_t *object, double *times)
{
    FSM_TRY(get_number(r, where, object, "overlap", times));
    if (*times > 0 && isfinite(*times)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %soverlap is %g, not positive", r->source, where, *times);
}

/* A cost, an overlap, or both. */
static fsmoe_status get_task(const reader *r, const char *name, const json_t *object, fsm_cluster *cluster)
{
    char where[WHERE_BYTES];
    fsm_cost cost = {0};
    double overlap = 0;
    fsmoe_status status = FSMOE_OK;
    snprintf(where, sizeof where, "tasks.%.64s.", name);
    FSM_TRY(check_object(r, where, object, task_keys, COUNT_OF(task_keys)));
    bool has_overlap = json_object_get(object, "overlap") != NULL,
         has_cost = !has_overlap || json_object_size(object) > 1;
    if (has_cost) FSM_TRY(get_cost(r, where, object, &cost));
    if (has_overlap) FSM_TRY(get_overlap(r, where, object, &overlap));
    if (has_cost) status = fsm_cluster_set_task(cluster, name, cost);
    if (has_overlap && status == FSMOE_OK) status = fsm_cluster_set_overlap(cluster, name, overlap);
    return status == FSMOE_OK ? status : fsm_fail_within(status, "'%s'", r->source);
}

static fsmoe_status get_tasks(const reader *r, const json_t *root, fsm_cluster *cluster)
{
    json_t *tasks = json_object_get(root, "tasks"), *object;
    const char *name;
    if (!tasks) return FSMOE_OK;
    if (!json_is_object(tasks)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tasks is not an object", r->source);
    json_object_foreach(tasks, name, object) FSM_TRY(get_task(r, name, object, cluster));
    return FSMOE_OK;
}

static fsmoe_status get_text(const reader *r, const json_t *root, const char *key, char *text, size_t bytes)
{
    const json_t *value = json_object_get(root, key);
    if (!value) return FSMOE_OK;
    if (!json_is_string(value)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s is not text", r->source, key);
    if (json_string_length(value) >= bytes)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s has more than %zu bytes", r->source, key, bytes - 1);
    snprintf(text, bytes, "%s", json_string_value(value));
    return FSMOE_OK;
}

static fsmoe_status get_count(const reader *r, const json_t *root, const char *key, int *count)
{
    const json_t *value = json_object_get(root, key);
    if (!value) return FSMOE_OK;
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 1 || number > INT_MAX)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %s is not a whole number from 1 on", r->source, key);
    *count = (int)number;
    return FSMOE_OK;
}

static fsmoe_status get_unit(reader *r, const json_t *root)
{
    static const struct {
        const char *name;
        double per_second;
    } units[] = {{"ms", 1e3}, {"us", 1e6}, {"s", 1}};
    char unit[32] = "ms";
    FSM_TRY(get_text(r, root, "unit", unit, sizeof unit));
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (strcmp(unit, units[i].name) == 0) {
            r->per_second = units[i].per_second;
            return FSMOE_OK;
        }
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': unit is '%s', not ms, us or s", r->source, unit);
}

static fsmoe_status get_cluster(reader *r, const json_t *root, fsm_cluster *cluster)
{
    if (!json_is_object(root)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is not a JSON object", r->source);
    FSM_TRY(check_object(r, "", root, file_keys, COUNT_OF(file_keys)));
    FSM_TRY(get_unit(r, root));
    FSM_TRY(get_text(r, root, "name", cluster->name, sizeof cluster->name));
    FSM_TRY(get_text(r, root, "machine", cluster->machine, sizeof cluster->machine));
    FSM_TRY(get_text(r, root, "date", cluster->date, sizeof cluster->date));
    FSM_TRY(get_count(r, root, "nodes", &cluster->nodes));
    FSM_TRY(get_count(r, root, "ranks_per_node", &cluster->ranks_per_node));
    FSM_TRY(get_count(r, root, "ep_size", &cluster->ep_size));
    FSM_TRY(get_count(r, root, "esp_size", &cluster->esp_size));
    FSM_TRY(get_count(r, root, "mp_size", &cluster->mp_size));
    FSM_TRY(get_text(r, root, "work", cluster->work, sizeof cluster->work));
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        FSM_TRY(get_op(r, fsm_cost_op_name((fsm_cost_op)op), root, &cluster->op[op]));
    return get_tasks(r, root, cluster);
}

static fsmoe_status from_bytes(const char *text, size_t size, const char *source, fsm_cluster *cluster)
{
    json_t *root;
    reader r = {.source = source};
    *cluster = (fsm_cluster){0};
    FSM_TRY(fsm_json_parse(text, size, source, &root));
    fsmoe_status status = get_cluster(&r, root, cluster);
    json_decref(root);
    if (status != FSMOE_OK) fsm_cluster_destroy(cluster);
    return status;
}

fsmoe_status fsm_cluster_from_json(const char *text, const char *source, fsm_cluster *cluster)
{
    return from_bytes(text, strlen(text), source, cluster);
}

fsmoe_status fsm_cluster_read(const char *path, fsm_cluster *cluster)
{
    char *text;
    size_t size;
    *cluster = (fsm_cluster){0};
    FSM_TRY(fsm_file_read(path, &text, &size));
    fsmoe_status status = from_bytes(text, size, path, cluster);
    free(text);
    return status;
}

/* ---- writing ---- */

static const double ms_per_s = 1e3;

static void put_line(json_t *object, fsm_line line, bool *failed)
{
    fsm_json_set(object, "alpha", json_real(line.alpha_s * ms_per_s), failed);
    fsm_json_set(object, "beta", json_real(line.beta_s * ms_per_s), failed);
}

static void put_cost(json_t *object, const fsm_cost *cost, bool *failed)
{
    static const char *const keys[FSM_COST_LINES] = {NULL, "large", "largest"};
    put_line(object, cost->line[0], failed);
    for (int i = 1; i < fsm_cost_line_count(cost); i++) {
        json_t *inside = json_object();
        put_line(inside, cost->line[i], failed);
        fsm_json_set(inside, "from", json_real(fsm_cost_line_from(cost, i)), failed);
        fsm_json_set(object, keys[i], inside, failed);
    }
}

static json_t *points_json(const fsm_measured *measured, bool *failed)
{
    json_t *list = json_array();
    for (int i = 0; i < measured->point_count; i++) {
        fsm_point p = measured->points[i];
        double residual_s = p.time_s - fsm_cost_s(&measured->cost, 1, p.size);
        json_t *entry = json_array();
        fsm_json_append(entry, json_real(p.size), failed);
        fsm_json_append(entry, json_real(p.time_s * ms_per_s), failed);
        fsm_json_append(entry, json_real(residual_s * ms_per_s), failed);
        fsm_json_append(list, entry, failed);
    }
    return list;
}

static json_t *op_json(const fsm_measured *measured, bool *failed)
{
    json_t *object = json_object();
    put_cost(object, &measured->cost, failed);
    if (!isnan(measured->r2)) fsm_json_set(object, "r2", json_real(measured->r2), failed);
    if (measured->point_count > 0) fsm_json_set(object, "points", points_json(measured, failed), failed);
    return object;
}

static json_t *tasks_json(const fsm_cluster *cluster, bool *failed)
{
    json_t *tasks = json_object();
    for (int i = 0; i < cluster->task_count; i++) {
        const fsm_task_cost *t = &cluster->tasks[i];
        json_t *object = json_object();
        if (t->own) put_cost(object, &t->cost, failed);
        if (t->overlap > 0) fsm_json_set(object, "overlap", json_real(t->overlap), failed);
        fsm_json_set(tasks, t->task, object, failed);
    }
    return tasks;
}

static void put_text(json_t *root, const char *key, const char *text, bool *failed)
{
    if (text[0]) fsm_json_set(root, key, json_string(text), failed);
}

static void put_count(json_t *root, const char *key, int count, bool *failed)
{
    if (count != 0) fsm_json_set(root, key, json_integer(count), failed);
}

static json_t *cluster_json(const fsm_cluster *cluster, bool *failed)
{
    json_t *root = json_object();
    put_text(root, "name", cluster->name, failed);
    put_text(root, "unit", "ms", failed);
    put_text(root, "machine", cluster->machine, failed);
    put_text(root, "date", cluster->date, failed);
    put_count(root, "nodes", cluster->nodes, failed);
    put_count(root, "ranks_per_node", cluster->ranks_per_node, failed);
    put_count(root, "ep_size", cluster->ep_size, failed);
    put_count(root, "esp_size", cluster->esp_size, failed);
    put_count(root, "mp_size", cluster->mp_size, failed);
    put_text(root, "work", cluster->work, failed);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        fsm_json_set(root, fsm_cost_op_name((fsm_cost_op)op), op_json(&cluster->op[op], failed), failed);
    if (cluster->task_count > 0) fsm_json_set(root, "tasks", tasks_json(cluster, failed), failed);
    return root;
}

/* One key a line, so that a file with many points can still be read and compared. */
static fsmoe_status print_lines(FILE *out, json_t *root)
{
    const char *key, *before = "{\n";
    json_t *value;
    json_object_foreach(root, key, value)
    {
        char *text;
        FSM_TRY(fsm_json_text(json_incref(value), false, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17), key, &text));
        fprintf(out, "%s  \"%s\": %s", before, key, text);
        before = ",\n";
        free(text);
    }
    fputs("\n}\n", out);
    return FSMOE_OK;
}

fsmoe_status fsm_cluster_to_json(const fsm_cluster *cluster, char **text)
{
    fsm_print print;
    bool failed = false;
    *text = NULL;
    FSM_TRY(fsm_print_begin(&print));
    json_t *root = cluster_json(cluster, &failed);
    fsmoe_status status = FSMOE_OK;
    if (failed || !root)
        status = fsm_fail(FSMOE_ERROR_FORMAT,
                          "cannot write cluster '%s': text that is not UTF-8, a value that is not finite, or no memory",
                          cluster->name);
    else status = print_lines(print.out, root);
    json_decref(root);
    return fsm_print_end(&print, status, cluster->name, text);
}

fsmoe_status fsm_cluster_write(const fsm_cluster *cluster, const char *path)
{
    char *text;
    FSM_TRY(fsm_cluster_to_json(cluster, &text));
    fsmoe_status status = fsm_file_replace(path, text, strlen(text));
    free(text);
    return status;
}
