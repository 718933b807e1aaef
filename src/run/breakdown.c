#include "run/breakdown.h"

#include "base/json.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define FORMAT "fsmoe-breakdown"
enum { VERSION = 1 };

double fsm_breakdown_floor_s(const fsm_breakdown *b, const fsm_breakdown_row *row)
{
    return row->flops / b->flops_per_s + row->bytes / b->bytes_per_s;
}

double fsm_breakdown_outside_s(const fsm_breakdown *b)
{
    double s = b->step_s;
    for (int i = 0; i < b->rows; i++) s -= b->row[i].s;
    return fmax(s, 0);
}

/* ---- the file ---- */

/* The numbers of a row and of the whole, by key. */
typedef struct member {
    const char *key;
    size_t offset;
} member;

static const member row_members[] = {
    {"calls", offsetof(fsm_breakdown_row, calls)},         {"s", offsetof(fsm_breakdown_row, s)},
    {"flops", offsetof(fsm_breakdown_row, flops)},         {"bytes", offsetof(fsm_breakdown_row, bytes)},
    {"slowest_s", offsetof(fsm_breakdown_row, slowest_s)},
};
static const member members[] = {
    {"step_s", offsetof(fsm_breakdown, step_s)},
    {"flops_per_s", offsetof(fsm_breakdown, flops_per_s)},
    {"bytes_per_s", offsetof(fsm_breakdown, bytes_per_s)},
    {"model_flops_per_s", offsetof(fsm_breakdown, model_flops_per_s)},
    {"model_share", offsetof(fsm_breakdown, model_share)},
};
static const member counts[] = {
    {"first_step", offsetof(fsm_breakdown, first_step)},
    {"last_step", offsetof(fsm_breakdown, last_step)},
    {"ranks", offsetof(fsm_breakdown, ranks)},
};
#define COUNT(list) (sizeof(list) / sizeof *(list))

static void set_numbers(json_t *json, const member *list, size_t n, const void *of, bool *failed)
{
    for (size_t i = 0; i < n; i++)
        fsm_json_set(json, list[i].key, json_real(*(const double *)((const char *)of + list[i].offset)), failed);
}

static json_t *rows_json(const fsm_breakdown *b, bool *failed)
{
    json_t *rows = json_array();
    for (int i = 0; i < b->rows; i++) {
        json_t *row = json_object();
        fsm_json_set(row, "kind", json_string(b->row[i].kind), failed);
        set_numbers(row, row_members, COUNT(row_members), &b->row[i], failed);
        fsm_json_append(rows, row, failed);
    }
    return rows;
}

fsmoe_status fsm_breakdown_write(const fsm_breakdown *b, const char *path)
{
    bool failed = false;
    json_t *root = json_object();
    fsm_json_set(root, "format", json_string(FORMAT), &failed);
    fsm_json_set(root, "version", json_integer(VERSION), &failed);
    for (size_t i = 0; i < COUNT(counts); i++)
        fsm_json_set(root, counts[i].key, json_integer(*(const int64_t *)((const char *)b + counts[i].offset)),
                     &failed);
    set_numbers(root, members, COUNT(members), b, &failed);
    fsm_json_set(root, "kinds", rows_json(b, &failed), &failed);
    return fsm_json_write(root, failed, JSON_INDENT(1) | JSON_REAL_PRECISION(17), path);
}

static fsmoe_status bad(const char *key, const char *why)
{
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' %s", key, why);
}

static fsmoe_status read_numbers(const json_t *json, const member *list, size_t n, void *of)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(json, list[i].key);
        if (!json_is_number(value) || json_number_value(value) < 0) return bad(list[i].key, "is no number from 0 on");
        *(double *)((char *)of + list[i].offset) = json_number_value(value);
    }
    return FSMOE_OK;
}

static fsmoe_status read_rows(const json_t *rows, fsm_breakdown *b)
{
    if (!json_is_array(rows) || json_array_size(rows) > FSM_BREAKDOWN_ROWS)
        return bad("kinds", "is not a list of kinds of operations");
    b->rows = (int)json_array_size(rows);
    for (int i = 0; i < b->rows; i++) {
        const json_t *row = json_array_get(rows, (size_t)i);
        const char *kind = json_string_value(json_object_get(row, "kind"));
        if (!kind || strlen(kind) >= FSM_BREAKDOWN_NAME_BYTES) return bad("kind", "is no name of a kind");
        snprintf(b->row[i].kind, sizeof b->row[i].kind, "%s", kind);
        FSM_TRY(read_numbers(row, row_members, COUNT(row_members), &b->row[i]));
    }
    return FSMOE_OK;
}

static fsmoe_status read_root(const json_t *root, fsm_breakdown *b)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    if (!format || strcmp(format, FORMAT) != 0) return bad("format", "is not \"" FORMAT "\"");
    if (json_integer_value(json_object_get(root, "version")) != VERSION) return bad("version", "is not 1");
    for (size_t i = 0; i < COUNT(counts); i++) {
        int64_t value = json_integer_value(json_object_get(root, counts[i].key));
        if (value < 1) return bad(counts[i].key, "is no whole number from 1 on");
        *(int64_t *)((char *)b + counts[i].offset) = value;
    }
    FSM_TRY(read_numbers(root, members, COUNT(members), b));
    return read_rows(json_object_get(root, "kinds"), b);
}

fsmoe_status fsm_breakdown_read(const char *path, fsm_breakdown *b)
{
    json_t *root;
    *b = (fsm_breakdown){0};
    FSM_TRY(fsm_json_read(path, &root));
    fsmoe_status status = read_root(root, b);
    json_decref(root);
    return status == FSMOE_OK ? FSMOE_OK : fsm_fail_within(status, "'%s'", path);
}

/* ---- the table ---- */

/* With a column for the slowest of several ranks. */
static void print_row(FILE *out, const fsm_breakdown *b, const fsm_breakdown_row *row)
{
    double floor_s = fsm_breakdown_floor_s(b, row);
    fprintf(out, "%-30s %9.6g %9.3f", row->kind, row->calls, 1e3 * row->s);
    if (b->ranks > 1) fprintf(out, " %9.3f", 1e3 * row->slowest_s);
    fprintf(out, " %8.1f%% %9.3f", 100 * row->s / b->step_s, 1e3 * floor_s);
    if (floor_s > 0) fprintf(out, " %8.2f\n", row->s / floor_s);
    else fputs("        -\n", out);
}

static void print_sum(FILE *out, const fsm_breakdown *b, const char *name, double s)
{
    fprintf(out, "%-30s %9s %9.3f%s %8.1f%%\n", name, "", 1e3 * s, b->ranks > 1 ? "          " : "",
            100 * s / b->step_s);
}

void fsm_breakdown_print(const fsm_breakdown *b, FILE *out)
{
    fprintf(out, "%-30s %9s %9s", "a step, of a rank", "calls", "ms");
    if (b->ranks > 1) fprintf(out, " %9s", "slowest");
    fprintf(out, " %9s %9s %8s\n", "of step", "floor, ms", "ratio");
    for (int i = 0; i < b->rows; i++) print_row(out, b, &b->row[i]);
    print_sum(out, b, "outside operations", fsm_breakdown_outside_s(b));
    print_sum(out, b, "step", b->step_s);
    fprintf(out, "steps %lld to %lld, mean of %lld rank%s; floors are FLOPs at %.4g GFLOP/s, bytes at %.4g GB/s\n",
            (long long)b->first_step, (long long)b->last_step, (long long)b->ranks, b->ranks > 1 ? "s" : "",
            1e-9 * b->flops_per_s, 1e-9 * b->bytes_per_s);
    fprintf(out, "the model needs %.4g GFLOP/s on all ranks, %.1f%% of what they reach\n", 1e-9 * b->model_flops_per_s,
            100 * b->model_share);
}
