/* Configuration to YAML text. Keys, numbers and lines are printed here; strings go through libyaml's emitter, whose
 * double quotes carry any text. */
#include "base/json.h"
#include "base/print.h"
#include "config/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* The fewest digits that read back to the same bits. */
static fsmoe_status write_float(FILE *out, double number)
{
    for (size_t digits = 15;; digits++) {
        char *text;
        double back = 0;
        FSM_TRY(
            fsm_json_text(json_real(number), false, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits), "a number", &text));
        bool read = fsm_config_parse_float(text, &back), same = memcmp(&back, &number, sizeof number) == 0;
        if (read && (same || digits == 17)) fprintf(out, "%s\n", text);
        free(text);
        if (!read) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write the number %g", number);
        if (same || digits == 17) return FSMOE_OK;
    }
}

static int write_bytes(void *out, unsigned char *bytes, size_t size)
{
    return fwrite(bytes, 1, size, out) == size;
}

/* Both steps fail on text that is not UTF-8, or without memory. */
static bool emit(yaml_emitter_t *emitter, yaml_event_t *event, int initialized)
{
    return initialized && yaml_emitter_emit(emitter, event);
}

static bool emit_string(yaml_emitter_t *emitter, const char *text)
{
    yaml_event_t event;
    return emit(emitter, &event,
                yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, -1, 1, 1,
                                             YAML_DOUBLE_QUOTED_SCALAR_STYLE));
}

static bool emit_list(yaml_emitter_t *emitter, const fsmoe_strings *list)
{
    yaml_event_t event;
    if (!emit(emitter, &event, yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_SEQUENCE_STYLE)))
        return false;
    for (size_t i = 0; i < list->count; i++)
        if (!emit_string(emitter, list->items[i])) return false;
    return emit(emitter, &event, yaml_sequence_end_event_initialize(&event));
}

/* `text` or `list` as a document of its own, which ends the line. */
static bool emit_document(yaml_emitter_t *emitter, const char *text, const fsmoe_strings *list)
{
    yaml_event_t event;
    return emit(emitter, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)) &&
           emit(emitter, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1)) &&
           (list ? emit_list(emitter, list) : emit_string(emitter, text)) &&
           emit(emitter, &event, yaml_document_end_event_initialize(&event, 1)) &&
           emit(emitter, &event, yaml_stream_end_event_initialize(&event));
}

static fsmoe_status write_strings(FILE *out, const char *key, const char *text, const fsmoe_strings *list)
{
    yaml_emitter_t emitter;
    if (!yaml_emitter_initialize(&emitter)) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the YAML emitter");
    yaml_emitter_set_output(&emitter, write_bytes, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    bool written = emit_document(&emitter, text, list);
    bool no_memory = emitter.error == YAML_MEMORY_ERROR || emitter.error == YAML_WRITER_ERROR;
    yaml_emitter_delete(&emitter);
    if (!written && no_memory) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", key);
    return written ? FSMOE_OK : fsm_fail(FSMOE_ERROR_CONFIG, "'%s' cannot be written: its text is not UTF-8", key);
}

static fsmoe_status write_value(FILE *out, const fsmoe_config *config, const fsm_config_field *field)
{
    const void *at = fsm_config_at(config, field);
    switch (field->type) {
    case FSM_CONFIG_INT:
        fprintf(out, "%" PRId64 "\n", *(const int64_t *)at);
        return FSMOE_OK;
    case FSM_CONFIG_FLOAT:
        return write_float(out, *(const double *)at);
    case FSM_CONFIG_BOOL:
        fprintf(out, "%s\n", *(const bool *)at ? "true" : "false");
        return FSMOE_OK;
    case FSM_CONFIG_CHOICE:
        fprintf(out, "%s\n", *(char *const *)at);
        return FSMOE_OK;
    case FSM_CONFIG_STRINGS:
        return write_strings(out, field->key, NULL, at);
    default:
        return write_strings(out, field->key, *(char *const *)at, NULL);
    }
}

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
        FSM_TRY(write_value(out, config, field));
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
