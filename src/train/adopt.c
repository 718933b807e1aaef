#include "train/adopt.h"

#include "config/field.h"
#include "model/hf_config.h"

#include <string.h>

static fsmoe_status fail_differs(const fsmoe_config *config, const fsmoe_config *saved, const fsm_config_field *field,
                                 const char *where, const char *folder)
{
    return fsm_fail(FSMOE_ERROR_CONFIG, "%s: '%s' is %s, but %s in the model in '%s'; leave it out to take the model's",
                    where, field->key, fsm_field_excerpt(config, field).text, fsm_field_excerpt(saved, field).text,
                    folder);
}

static fsmoe_status adopt_field(fsmoe_config *config, const fsmoe_config *saved, size_t row, const char *folder)
{
    const fsm_config_field *field = &fsm_config_fields[row];
    const char *where = ((const fsm_config *)config)->where[row];
    if (field->in_folder != FSM_CONFIG_FOLDER_DECIDES || fsm_field_equal(config, saved, field)) return FSMOE_OK;
    /* top_k > 1 always normalises, whatever the key says */
    if (strcmp(field->key, "moe.normalize_top_k") == 0 && saved->moe.top_k > 1) return FSMOE_OK;
    if (!where || fsm_config_is_open(config, field)) return fsm_field_copy(config, saved, field);
    return fail_differs(config, saved, field, where, folder);
}

fsmoe_status fsm_adopt_model(fsmoe_config *config, const char *folder)
{
    fsmoe_config *saved;
    FSM_TRY(fsmoe_config_create(&saved));
    fsmoe_status status = fsm_hf_config_read(folder, &saved->model, &saved->moe);
    for (size_t row = 0; status == FSMOE_OK && row < fsm_config_field_count; row++)
        status = adopt_field(config, saved, row, folder);
    fsmoe_config_destroy(saved);
    return status;
}
