#include "config/field.h"

#include <stdlib.h>
#include <string.h>

static void *at(fsmoe_config *config, const fsm_config_field *field)
{
    return (char *)config + field->offset;
}

static bool equal_lists(const fsmoe_strings *a, const fsmoe_strings *b)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->items[i], b->items[i]) != 0) return false;
    return true;
}

bool fsm_field_equal(const fsmoe_config *a, const fsmoe_config *b, const fsm_config_field *field)
{
    const void *x = fsm_config_at(a, field), *y = fsm_config_at(b, field);
    switch (field->type) {
    case FSM_CONFIG_INT:
        return *(const int64_t *)x == *(const int64_t *)y;
    case FSM_CONFIG_FLOAT:
        return *(const double *)x == *(const double *)y;
    case FSM_CONFIG_BOOL:
        return *(const bool *)x == *(const bool *)y;
    case FSM_CONFIG_STRINGS:
        return equal_lists(x, y);
    default:
        return strcmp(*(char *const *)x, *(char *const *)y) == 0;
    }
}

static fsmoe_status fail_memory(const fsm_config_field *field)
{
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for '%s'", field->key);
}

static fsmoe_status copy_text(const fsm_config_field *field, const char *text, char **stored)
{
    char *copy = strdup(text);
    if (!copy) return fail_memory(field);
    free(*stored);
    *stored = copy;
    return FSMOE_OK;
}

static fsmoe_status copy_list(const fsm_config_field *field, const fsmoe_strings *from, fsmoe_strings *stored)
{
    fsmoe_strings copy = {.items = from->count ? calloc(from->count, sizeof *copy.items) : NULL};
    if (from->count && !copy.items) return fail_memory(field);
    for (; copy.count < from->count; copy.count++) {
        copy.items[copy.count] = strdup(from->items[copy.count]);
        if (copy.items[copy.count]) continue;
        fsm_config_free_strings(&copy);
        return fail_memory(field);
    }
    fsm_config_free_strings(stored);
    *stored = copy;
    return FSMOE_OK;
}

static size_t size_of(fsm_config_type type)
{
    static const size_t sizes[] = {
        [FSM_CONFIG_INT] = sizeof(int64_t),   [FSM_CONFIG_FLOAT] = sizeof(double),
        [FSM_CONFIG_BOOL] = sizeof(bool),     [FSM_CONFIG_STRING] = sizeof(char *),
        [FSM_CONFIG_CHOICE] = sizeof(char *), [FSM_CONFIG_STRINGS] = sizeof(fsmoe_strings),
    };
    return sizes[type];
}

fsmoe_status fsm_field_copy(fsmoe_config *to, const fsmoe_config *from, const fsm_config_field *field)
{
    const void *value = fsm_config_at(from, field);
    switch (field->type) {
    case FSM_CONFIG_STRINGS:
        return copy_list(field, value, at(to, field));
    case FSM_CONFIG_STRING:
    case FSM_CONFIG_CHOICE:
        return copy_text(field, *(char *const *)value, at(to, field));
    default:
        memcpy(at(to, field), value, size_of(field->type));
        return FSMOE_OK;
    }
}

void fsm_field_swap(fsmoe_config *a, fsmoe_config *b, const fsm_config_field *field)
{
    char kept[sizeof(fsmoe_strings)];
    size_t size = size_of(field->type);
    memcpy(kept, at(a, field), size);
    memcpy(at(a, field), at(b, field), size);
    memcpy(at(b, field), kept, size);
}

void fsm_field_free(fsmoe_config *config, const fsm_config_field *field)
{
    if (field->type == FSM_CONFIG_STRING || field->type == FSM_CONFIG_CHOICE) free(*(char **)at(config, field));
    if (field->type == FSM_CONFIG_STRINGS) fsm_config_free_strings(at(config, field));
}

json_t *fsm_field_to_json(const fsmoe_config *config, const fsm_config_field *field)
{
    const void *value = fsm_config_at(config, field);
    switch (field->type) {
    case FSM_CONFIG_INT:
        return json_integer(*(const int64_t *)value);
    case FSM_CONFIG_FLOAT:
        return json_real(*(const double *)value);
    case FSM_CONFIG_BOOL:
        return json_boolean(*(const bool *)value);
    case FSM_CONFIG_STRINGS:
        return NULL;
    default:
        return json_string(*(char *const *)value);
    }
}

static bool has_type(const json_t *value, fsm_config_type type)
{
    switch (type) {
    case FSM_CONFIG_INT:
        return json_is_integer(value);
    case FSM_CONFIG_FLOAT:
        return json_is_number(value);
    case FSM_CONFIG_BOOL:
        return json_is_boolean(value);
    case FSM_CONFIG_STRINGS:
        return false;
    default:
        return json_is_string(value);
    }
}

fsmoe_status fsm_field_from_json(fsmoe_config *config, const fsm_config_field *field, const json_t *value)
{
    void *stored = at(config, field);
    if (!has_type(value, field->type)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is not of the right type", field->key);
    switch (field->type) {
    case FSM_CONFIG_INT:
        *(int64_t *)stored = json_integer_value(value);
        return FSMOE_OK;
    case FSM_CONFIG_FLOAT:
        *(double *)stored = json_number_value(value);
        return FSMOE_OK;
    case FSM_CONFIG_BOOL:
        *(bool *)stored = json_is_true(value);
        return FSMOE_OK;
    default:
        return copy_text(field, json_string_value(value), stored);
    }
}
