#include "train/adopt.h"

#include "base/file.h"
#include "config/field.h"
#include "model/hf_config.h"

static fsmoe_status fail_differs(const fsmoe_config *config, const fsmoe_config *saved, const fsm_config_field *field,
                                 const char *folder)
{
    const char *where = fsm_config_where(config, field);
    return fsm_fail(FSMOE_ERROR_CONFIG, "%s%s'%s' is %s, but %s in the model in '%s'; leave it out to take the model's",
                    where ? where : "", where ? ": " : "", field->key, fsm_field_excerpt(config, field).text,
                    fsm_field_excerpt(saved, field).text, folder);
}

/* A program that writes a field directly leaves no trace but the value. */
static bool is_set(const fsmoe_config *config, const fsm_config_field *field)
{
    return fsm_config_where(config, field) || !fsm_config_is_default(config, field);
}

/* What is left open, or set by nobody, is as in the folder. */
static fsmoe_status take(fsmoe_config *config, const fsmoe_config *saved, const char *where)
{
    for (size_t row = 0; row < fsm_config_field_count; row++) {
        const fsm_config_field *field = &fsm_config_fields[row];
        bool decides = field->in_folder == FSM_CONFIG_FOLDER_DECIDES;
        bool is_free = !is_set(config, field) || (decides && fsm_config_is_open(config, field));
        if (field->in_folder && is_free) FSM_TRY(fsm_config_take(config, saved, field, FSM_CONFIG_BY_FOLDER, where));
    }
    return FSMOE_OK;
}

/* Both sides are derived by now: nothing is open in what was read, and what was open in the configuration has been
 * taken. A key that has an effect in neither may say what it likes. */
static bool differs(const fsmoe_config *config, const fsmoe_config *saved, const fsm_config_field *field)
{
    if (field->in_folder != FSM_CONFIG_FOLDER_DECIDES || fsm_field_equal(config, saved, field)) return false;
    return fsm_config_has_effect(config, field) || fsm_config_has_effect(saved, field);
}

/* Kinds before numbers, which may follow from them (moe.top_k from gate switch). */
static fsmoe_status compare(const fsmoe_config *config, const fsmoe_config *saved, const char *folder)
{
    for (int kinds = 1; kinds >= 0; kinds--)
        for (size_t row = 0; row < fsm_config_field_count; row++) {
            const fsm_config_field *field = &fsm_config_fields[row];
            bool is_kind = field->type == FSM_CONFIG_CHOICE;
            if (is_kind == kinds && differs(config, saved, field)) return fail_differs(config, saved, field, folder);
        }
    return FSMOE_OK;
}

fsmoe_status fsm_adopt_model(fsmoe_config *config, const char *folder)
{
    char where[FSM_PATH_BYTES];
    fsmoe_config *saved;
    FSM_TRY(fsm_file_path(folder, "config.json", where));
    FSM_TRY(fsmoe_config_drop_silenced(config));
    FSM_TRY(fsmoe_config_create(&saved));
    fsmoe_status status = fsm_hf_config_read(folder, &saved->model, &saved->moe);
    if (status == FSMOE_OK) status = take(config, saved, where);
    if (status == FSMOE_OK) status = compare(config, saved, folder);
    fsmoe_config_destroy(saved);
    return status;
}
