#include "config/config.h"

#include <stdlib.h>
#include <string.h>

static fsmoe_status assign_preset(fsmoe_config *config, const fsm_config_field *field)
{
    fsm_config_value value = {.shape = FSM_CONFIG_LIST};
    if (field->preset) {
        /* Quoted, or the empty string would count as no value. */
        value.shape = FSM_CONFIG_SCALAR;
        value.quoted = field->type == FSM_CONFIG_STRING;
        value.text = (char *)field->preset;
    }
    return fsm_config_assign(config, field, &value, NULL);
}

fsmoe_status fsmoe_config_create(fsmoe_config **config)
{
    *config = NULL;
    fsm_config *made = calloc(1, sizeof *made + fsm_config_field_count * sizeof *made->where);
    if (!made) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the configuration");
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        fsmoe_status status = assign_preset(&made->values, &fsm_config_fields[i]);
        if (status != FSMOE_OK) {
            fsmoe_config_destroy(&made->values);
            return status;
        }
    }
    *config = &made->values;
    return FSMOE_OK;
}

static void free_field(fsmoe_config *config, const fsm_config_field *field)
{
    void *at = (char *)config + field->offset;
    if (field->type == FSM_CONFIG_STRING || field->type == FSM_CONFIG_CHOICE) free(*(char **)at);
    if (field->type == FSM_CONFIG_STRINGS) fsm_config_free_strings(at);
}

void fsmoe_config_destroy(fsmoe_config *config)
{
    if (!config) return;
    fsm_config *whole = (fsm_config *)config;
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        free_field(config, &fsm_config_fields[i]);
        free(whole->where[i]);
    }
    free(whole);
}

bool fsm_config_is_default(const fsmoe_config *config, const fsm_config_field *field)
{
    const void *at = fsm_config_at(config, field);
    int64_t whole = 0;
    double real = 0;
    switch (field->type) {
    case FSM_CONFIG_INT:
        return fsm_config_parse_int(field->preset, &whole) && *(const int64_t *)at == whole;
    case FSM_CONFIG_FLOAT:
        return fsm_config_parse_float(field->preset, &real) && *(const double *)at == real;
    case FSM_CONFIG_BOOL:
        return *(const bool *)at == (strcmp(field->preset, "true") == 0);
    case FSM_CONFIG_STRINGS:
        return ((const fsmoe_strings *)at)->count == 0;
    default:
        return strcmp(*(char *const *)at, field->preset) == 0;
    }
}
