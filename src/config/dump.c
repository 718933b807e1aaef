/* Configuration to YAML text: sections, keys and help. */
#include "config/field.h"

#include <stdlib.h>
#include <string.h>

static void write_help(FILE *out, const fsm_config_field *field)
{
    fprintf(out, "  # %s", field->help);
    if (field->type == FSM_CONFIG_CHOICE) fprintf(out, " (one of: %s)", field->choices);
    if (field->type == FSM_CONFIG_INT) fprintf(out, " (%.0f to %.0f)", field->min, field->max);
    /* %g of these bounds needs the C locale only for the decimal point, and a comment is read by nobody but people. */
    if (field->type == FSM_CONFIG_FLOAT) fprintf(out, " (%.15g to %.15g)", field->min, field->max);
    fprintf(out, "\n");
}

static bool is_in_section(const fsm_config_field *field, const char *section)
{
    size_t length = strlen(section);
    return strncmp(field->key, section, length) == 0 && field->key[length] == '.';
}

static fsmoe_status write_section(FILE *out, const fsmoe_config *config, const fsm_config_section *section,
                                  bool comments)
{
    if (comments) fprintf(out, "# %s\n", section->help);
    fprintf(out, "%s:\n", section->name);
    for (size_t i = 0; i < fsm_config_field_count; i++) {
        const fsm_config_field *field = &fsm_config_fields[i];
        if (!is_in_section(field, section->name)) continue;
        if (comments) write_help(out, field);
        fprintf(out, "  %s: ", strchr(field->key, '.') + 1);
        FSM_TRY(fsm_field_write(out, config, field));
    }
    return FSMOE_OK;
}

static fsmoe_status write_all(FILE *out, const fsmoe_config *config, bool comments)
{
    for (size_t i = 0; i < fsm_config_section_count; i++) {
        if (i > 0) fprintf(out, "\n");
        FSM_TRY(write_section(out, config, &fsm_config_sections[i], comments));
    }
    return FSMOE_OK;
}

fsmoe_status fsmoe_config_dump(const fsmoe_config *config, bool comments, char **text)
{
    size_t size;
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    if (!out) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write the configuration");
    fsmoe_status status = write_all(out, config, comments);
    bool failed = ferror(out);
    failed |= fclose(out) != 0;
    if (status == FSMOE_OK && failed) status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write the configuration");
    if (status != FSMOE_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}
