/* The text of a value. Numbers are printed here; strings go through libyaml's emitter, whose double quotes carry any
 * text. */
#include "config/field.h"

#include "base/json.h"
#include "base/print.h"

#include <inttypes.h>
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

fsmoe_status fsm_field_write(FILE *out, const fsmoe_config *config, const fsm_config_field *field)
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

fsm_config_excerpt fsm_field_excerpt(const fsmoe_config *config, const fsm_config_field *field)
{
    char *text = NULL;
    fsm_print print;
    if (fsm_print_begin(&print) == FSMOE_OK)
        fsm_print_end(&print, fsm_field_write(print.out, config, field), field->key, &text);
    if (text) text[strcspn(text, "\n")] = 0;
    fsm_config_excerpt excerpt = fsm_config_excerpt_of(text ? text : "?");
    free(text);
    return excerpt;
}
