/* Configuration to YAML text: sections, keys and help. */
#include "base/print.h"
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
    fsm_print print;
    *text = NULL;
    FSM_TRY(fsm_print_begin(&print));
    return fsm_print_end(&print, write_all(print.out, config, comments), "the configuration", text);
}
