#include "config/field.h"

#include <stdlib.h>

fsmoe_status fsmoe_config_create(fsmoe_config **config)
{
    *config = NULL;
    fsm_config *made = calloc(1, sizeof *made + fsm_config_field_count * sizeof *made->origins);
    if (!made) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the configuration");
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        const fsm_config_field *field = &fsm_config_fields[i];
        fsmoe_status status = fsm_config_reset(&made->values, field);
        if (status == FSMOE_OK) status = fsm_field_copy(&made->files, &made->values, field);
        if (status != FSMOE_OK) {
            fsmoe_config_destroy(&made->values);
            return status;
        }
    }
    *config = &made->values;
    return FSMOE_OK;
}

void fsmoe_config_destroy(fsmoe_config *config)
{
    if (!config) return;
    fsm_config *whole = (fsm_config *)config;
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        fsm_field_free(&whole->values, &fsm_config_fields[i]);
        fsm_field_free(&whole->files, &fsm_config_fields[i]);
        free(whole->origins[i].where);
    }
    free(whole);
}

void fsmoe_config_on_warning(fsmoe_config *config, void (*on_warning)(void *user, const char *sentence), void *user)
{
    ((fsm_config *)config)->on_warning = on_warning;
    ((fsm_config *)config)->user = user;
}
