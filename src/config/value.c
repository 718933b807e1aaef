/* From a YAML value to a field: conversion, range, storage. */
#include "config/field.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

fsm_config_excerpt fsm_config_excerpt_of(const char *text)
{
    enum { ROOM = FSM_CONFIG_EXCERPT_BYTES - 4 };
    fsm_config_excerpt excerpt = {{0}};
    size_t length = strnlen(text, ROOM + 1);
    bool cut = length > ROOM;
    if (cut)
        for (length = ROOM; length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80;) length--;
    for (size_t i = 0; i < length; i++) excerpt.text[i] = (unsigned char)text[i] < 32 || text[i] == 127 ? '?' : text[i];
    if (cut) memcpy(excerpt.text + length, "...", 4);
    return excerpt;
}

/* YAML's own schema for numbers is JSON's, and Jansson reads that in any locale. */
static json_t *parse_number(const char *text)
{
    json_error_t why;
    json_t *number = fsm_json_decode(text, strlen(text), JSON_DECODE_ANY, &why);
    if (json_is_number(number)) return number;
    json_decref(number);
    return NULL;
}

bool fsm_config_parse_int(const char *text, int64_t *number)
{
    json_t *json = parse_number(text);
    bool whole = json_is_integer(json);
    if (whole) *number = json_integer_value(json);
    json_decref(json);
    return whole;
}

bool fsm_config_parse_float(const char *text, double *number)
{
    json_t *json = parse_number(text);
    if (json) *number = json_number_value(json);
    json_decref(json);
    return json && isfinite(*number);
}

static fsmoe_status fail_type(const fsm_config_field *field, const fsm_config_value *value)
{
    static const char *const expected[] = {
        [FSM_CONFIG_INT] = "an integer",  [FSM_CONFIG_FLOAT] = "a number", [FSM_CONFIG_BOOL] = "true or false",
        [FSM_CONFIG_STRING] = "a string", [FSM_CONFIG_CHOICE] = "a name",  [FSM_CONFIG_STRINGS] = "a list of strings",
    };
    const char *key = field->key, *wanted = expected[field->type];
    if (value->shape == FSM_CONFIG_LIST)
        return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' expects %s, got a list", key, wanted);
    if (value->shape == FSM_CONFIG_MAPPING)
        return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' expects %s, got a mapping (text with ': ' needs quotes)", key,
                        wanted);
    if (value->quoted)
        return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' expects %s, got the string \"%s\"", key, wanted,
                        fsm_config_excerpt_of(value->text).text);
    if (!*value->text)
        return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' expects %s, got nothing%s", key, wanted,
                        field->type == FSM_CONFIG_STRING ? " (write \"\" for an empty string)" : "");
    return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' expects %s, got '%s'", key, wanted,
                    fsm_config_excerpt_of(value->text).text);
}

static fsmoe_status check_int(const fsm_config_field *field, int64_t number)
{
    int64_t min = (int64_t)field->min, max = (int64_t)field->max;
    if (number >= min && number <= max) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' is %" PRId64 ", valid are %" PRId64 " to %" PRId64, field->key, number,
                    min, max);
}

static fsmoe_status check_float(const fsm_config_field *field, double number)
{
    if (number >= field->min && number <= field->max) return FSMOE_OK; /* false for NaN */
    return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' is %.15g, valid are %.15g to %.15g", field->key, number, field->min,
                    field->max);
}

/* Names that programs have added to keys. */
enum { MOST_ADDED = 64 };
static struct {
    const char *key, *name;
} added[MOST_ADDED];
static int added_count;

fsmoe_status fsm_config_add_choice(const char *key, const char *name)
{
    if (added_count == MOST_ADDED)
        return fsm_fail(FSMOE_ERROR_CONFIG, "'%s': more than %d names are added", key, MOST_ADDED);
    added[added_count].key = key;
    added[added_count++].name = name;
    return FSMOE_OK;
}

bool fsm_config_is_added(const char *key, const char *name)
{
    for (int i = 0; i < added_count; i++)
        if (strcmp(added[i].key, key) == 0 && strcmp(added[i].name, name) == 0) return true;
    return false;
}

static fsmoe_status check_choice(const fsm_config_field *field, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = field->choices; *at;) {
        size_t span = strcspn(at, ",");
        if (span == length && memcmp(at, name, length) == 0) return FSMOE_OK;
        at += span;
        at += strspn(at, ", ");
    }
    if (fsm_config_is_added(field->key, name)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' is '%s', valid are %s", field->key, fsm_config_excerpt_of(name).text,
                    field->choices);
}

fsmoe_status fsm_config_check_field(const fsmoe_config *config, const fsm_config_field *field)
{
    const void *at = fsm_config_at(config, field);
    if (field->type == FSM_CONFIG_INT) return check_int(field, *(const int64_t *)at);
    if (field->type == FSM_CONFIG_FLOAT) return check_float(field, *(const double *)at);
    if (field->type == FSM_CONFIG_STRING && !*(char *const *)at)
        return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' is a null pointer", field->key);
    if (field->type == FSM_CONFIG_CHOICE) {
        const char *name = *(char *const *)at;
        return check_choice(field, name ? name : "");
    }
    return FSMOE_OK;
}

void fsm_config_free_strings(fsmoe_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++) free(strings->items[i]);
    free(strings->items);
    *strings = (fsmoe_strings){0};
}

/* A value that is one plain (unquoted) scalar. */
static fsmoe_status convert_plain(const fsm_config_field *field, const fsm_config_value *value, void *at)
{
    const char *text = value->text;
    int64_t whole = 0;
    double real = 0;
    switch (field->type) {
    case FSM_CONFIG_INT:
        if (!fsm_config_parse_int(text, &whole)) break;
        FSM_TRY(check_int(field, whole));
        *(int64_t *)at = whole;
        return FSMOE_OK;
    case FSM_CONFIG_FLOAT:
        if (!fsm_config_parse_float(text, &real)) break;
        FSM_TRY(check_float(field, real));
        *(double *)at = real;
        return FSMOE_OK;
    default: /* BOOL */
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) break;
        *(bool *)at = *text == 't';
        return FSMOE_OK;
    }
    return fail_type(field, value);
}

fsmoe_status fsm_config_convert(const fsm_config_field *field, const fsm_config_value *value, fsmoe_config *flat)
{
    void *at = (char *)flat + field->offset;
    bool is_list = value->shape == FSM_CONFIG_LIST && field->type == FSM_CONFIG_STRINGS;
    if (!is_list && (value->shape != FSM_CONFIG_SCALAR || (!value->quoted && !*value->text)))
        return fail_type(field, value);
    switch (field->type) {
    case FSM_CONFIG_STRINGS:
        *(fsmoe_strings *)at = is_list ? value->items : (fsmoe_strings){(char **)&value->text, 1};
        return FSMOE_OK;
    case FSM_CONFIG_CHOICE:
        FSM_TRY(check_choice(field, value->text));
        *(char **)at = value->text;
        return FSMOE_OK;
    case FSM_CONFIG_STRING:
        *(char **)at = value->text;
        return FSMOE_OK;
    default:
        return value->quoted ? fail_type(field, value) : convert_plain(field, value, at);
    }
}

static fsmoe_status store(fsm_config *whole, const fsmoe_config *from, const fsm_config_field *field, bool of_file)
{
    if (of_file) FSM_TRY(fsm_field_copy(&whole->files, from, field));
    return fsm_field_copy(&whole->values, from, field);
}

fsmoe_status fsm_config_take(fsmoe_config *config, const fsmoe_config *from, const fsm_config_field *field,
                             fsm_config_source source, const char *where)
{
    fsm_config *whole = (fsm_config *)config;
    fsm_config_origin *origin = &whole->origins[field - fsm_config_fields];
    char *copy = where ? strdup(where) : NULL;
    fsmoe_status status = FSMOE_OK;
    if (where && !copy) status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory for '%s'", field->key);
    if (status == FSMOE_OK) status = store(whole, from, field, source == FSM_CONFIG_BY_FILE);
    if (status != FSMOE_OK) {
        free(copy);
        return status;
    }
    free(origin->where);
    *origin = (fsm_config_origin){source, copy};
    return FSMOE_OK;
}

fsmoe_status fsm_config_assign(fsmoe_config *config, const fsm_config_field *field, const fsm_config_value *value,
                               fsm_config_source source, const char *where)
{
    fsmoe_config flat;
    FSM_TRY(fsm_config_convert(field, value, &flat));
    return fsm_config_take(config, &flat, field, source, where);
}

/* Quoted where the empty string would count as no value. */
static fsm_config_value preset_of(const fsm_config_field *field)
{
    fsm_config_value value = {.shape = FSM_CONFIG_LIST};
    if (!field->preset) return value;
    return (fsm_config_value){FSM_CONFIG_SCALAR, field->type == FSM_CONFIG_STRING, (char *)field->preset, {0}};
}

fsmoe_status fsm_config_reset(fsmoe_config *config, const fsm_config_field *field)
{
    fsm_config_value preset = preset_of(field);
    return fsm_config_assign(config, field, &preset, FSM_CONFIG_BY_NOBODY, NULL);
}

bool fsm_config_is_default(const fsmoe_config *config, const fsm_config_field *field)
{
    fsmoe_config flat;
    fsm_config_value preset = preset_of(field);
    return fsm_config_convert(field, &preset, &flat) == FSMOE_OK && fsm_field_equal(config, &flat, field);
}
