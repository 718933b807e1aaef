/* YAML to configuration, over libyaml's events: sections of keys of scalars or lists, and nothing else of YAML.
 * Anchors, aliases, tags and merge keys are refused where they stand: a value should be readable from its own line. */
#include "config/config.h"

#include "base/file.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    fsmoe_config *config;
    const char *file;        /* NULL: an override */
    const char *bytes;       /* what is parsed */
    int64_t line;            /* that messages name: of the current key, otherwise of the current event; from 1 */
    int64_t *key_lines;      /* where this text set each field; 0: not yet */
    int64_t *section_lines;  /* likewise */
    const char *const *flat; /* full names of the keys of a file without sections; NULL: it has sections */
    size_t flat_count;
} reader;

static fsmoe_status place_error(const reader *r, fsmoe_status status, int64_t line)
{
    return r->file ? fsm_fail_within(status, "%s:%" PRId64, r->file, line) : fsm_fail_within(status, "--set");
}

static fsmoe_status refuse(const reader *r, const char *what)
{
    return place_error(r, fsm_fail(FSMOE_ERROR_CONFIG, "%s", what), r->line);
}

static fsmoe_status fail_syntax(const reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to parse the configuration");
    int64_t line = (int64_t)p->problem_mark.line + 1;
    if (p->error == YAML_READER_ERROR) {
        line = 1; /* bytes that are no text come without a mark */
        for (size_t i = 0; i < p->problem_offset && r->bytes[i]; i++) line += r->bytes[i] == '\n';
    }
    return place_error(r, fsm_fail(FSMOE_ERROR_CONFIG, "not YAML: %s", p->problem ? p->problem : "syntax error"), line);
}

static bool has_anchor_or_tag(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor || event->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor || event->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor || event->data.mapping_start.tag;
    default:
        return event->type == YAML_ALIAS_EVENT;
    }
}

static fsmoe_status next(reader *r)
{
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) return fail_syntax(r);
    if (!has_anchor_or_tag(&r->event)) return FSMOE_OK;
    r->line = (int64_t)r->event.start_mark.line + 1;
    return refuse(r, "anchors, aliases and tags are not supported");
}

static bool is_plain(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool is_nothing(const yaml_event_t *event)
{
    if (!is_plain(event)) return false;
    const char *text = (const char *)event->data.scalar.value;
    return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

static const char *shape_name(const yaml_event_t *event)
{
    if (event->type == YAML_SEQUENCE_START_EVENT) return "a list";
    return event->type == YAML_MAPPING_START_EVENT ? "a mapping" : "a single value";
}

/* The current scalar in fresh memory. */
static fsmoe_status copy_scalar(const reader *r, char **text)
{
    const char *value = (const char *)r->event.data.scalar.value;
    if (strlen(value) != r->event.data.scalar.length) return refuse(r, "text must not contain a zero byte");
    *text = strdup(is_nothing(&r->event) ? "" : value);
    return *text ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a value");
}

static fsmoe_status read_list(reader *r, fsmoe_strings *list)
{
    for (;;) {
        FSM_TRY(next(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return FSMOE_OK;
        if (r->event.type != YAML_SCALAR_EVENT || is_nothing(&r->event))
            return refuse(r, "every item of a list must be a string");
        char **grown = realloc(list->items, (list->count + 1) * sizeof *grown);
        if (!grown) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a list");
        list->items = grown;
        FSM_TRY(copy_scalar(r, &list->items[list->count]));
        list->count++;
    }
}

/* The value that starts with the current event; of a mapping only that it is one. The caller frees it either way. */
static fsmoe_status read_value(reader *r, fsm_config_value *value)
{
    if (r->event.type == YAML_SCALAR_EVENT) {
        value->quoted = !is_plain(&r->event);
        return copy_scalar(r, &value->text);
    }
    value->shape = r->event.type == YAML_SEQUENCE_START_EVENT ? FSM_CONFIG_LIST : FSM_CONFIG_MAPPING;
    return value->shape == FSM_CONFIG_LIST ? read_list(r, &value->items) : FSMOE_OK;
}

static void free_value(fsm_config_value *value)
{
    free(value->text);
    fsm_config_free_strings(&value->items);
}

static fsmoe_status read_and_assign(reader *r, const fsm_config_field *field)
{
    fsm_config_value value = {0};
    fsmoe_status status = read_value(r, &value);
    if (status == FSMOE_OK) {
        char where[4096];
        snprintf(where, sizeof where, "%s:%" PRId64, r->file, r->line);
        status = fsm_config_assign(r->config, field, &value, FSM_CONFIG_BY_FILE, where);
        if (status != FSMOE_OK) place_error(r, status, r->line);
    }
    free_value(&value);
    return status;
}

static fsmoe_status fail_unknown(const char *what, const char *name, const char *nearest)
{
    return fsm_fail(FSMOE_ERROR_CONFIG, "unknown %s '%s'; did you mean '%s'?", what, fsm_config_excerpt_of(name).text,
                    nearest);
}

static fsmoe_status fail_unknown_key(const char *key)
{
    return fail_unknown("key", key, fsm_config_nearest_key(key));
}

/* Notes that `name` stands on this line, and refuses a second time. */
static fsmoe_status claim(const reader *r, const char *name, int64_t *line)
{
    if (*line)
        return place_error(r, fsm_fail(FSMOE_ERROR_CONFIG, "'%s' is here twice, first on line %" PRId64, name, *line),
                           r->line);
    *line = r->line;
    return FSMOE_OK;
}

/* The current event as a key; its line becomes the one that messages name. Points into the event. */
static fsmoe_status read_key(reader *r, const char **name)
{
    r->line = (int64_t)r->event.start_mark.line + 1;
    if (r->event.type != YAML_SCALAR_EVENT) return refuse(r, "a key must be a name");
    *name = (const char *)r->event.data.scalar.value;
    if (strlen(*name) != r->event.data.scalar.length) return refuse(r, "a key must not contain a zero byte");
    return strcmp(*name, "<<") == 0 ? refuse(r, "merge keys (<<) are not supported") : FSMOE_OK;
}

static fsmoe_status read_section(reader *r, const char *section)
{
    for (;;) {
        const char *name = NULL;
        char key[256];
        FSM_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) return FSMOE_OK;
        FSM_TRY(read_key(r, &name));
        snprintf(key, sizeof key, "%s.%s", section, name);
        const fsm_config_field *field = fsm_config_find(key);
        if (!field) return place_error(r, fail_unknown_key(key), r->line);
        FSM_TRY(claim(r, key, &r->key_lines[field - fsm_config_fields]));
        FSM_TRY(next(r));
        FSM_TRY(read_and_assign(r, field));
    }
}

static fsmoe_status find_section(const reader *r, const char *name, size_t *section)
{
    for (*section = 0; *section < fsm_config_section_count; ++*section)
        if (strcmp(fsm_config_sections[*section].name, name) == 0) return FSMOE_OK;
    return place_error(r, fail_unknown("section", name, fsm_config_nearest_section(name)), r->line);
}

static fsmoe_status read_sections(reader *r)
{
    for (;;) {
        const char *name = NULL;
        size_t i;
        FSM_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) return FSMOE_OK;
        FSM_TRY(read_key(r, &name));
        FSM_TRY(find_section(r, name, &i));
        name = fsm_config_sections[i].name;
        FSM_TRY(claim(r, name, &r->section_lines[i]));
        FSM_TRY(next(r));
        if (is_nothing(&r->event)) continue; /* every key of it is commented out */
        if (r->event.type != YAML_MAPPING_START_EVENT)
            return place_error(r,
                               fsm_fail(FSMOE_ERROR_CONFIG, "section '%s' expects keys, got %s", name,
                                        shape_name(&r->event)),
                               r->line);
        FSM_TRY(read_section(r, name));
    }
}

/* ---- without sections ---- */

static fsmoe_status find_flat(const reader *r, const char *name, const fsm_config_field **field)
{
    const char *names[64];
    for (size_t i = 0; i < r->flat_count; i++) {
        names[i] = strchr(r->flat[i], '.') + 1;
        if (strcmp(names[i], name) != 0) continue;
        *field = fsm_config_find(r->flat[i]);
        return FSMOE_OK;
    }
    return place_error(r, fail_unknown("key", name, fsm_text_nearest(name, names, r->flat_count)), r->line);
}

static fsmoe_status read_flat(reader *r)
{
    for (;;) {
        const char *name = NULL;
        const fsm_config_field *field = NULL;
        FSM_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) return FSMOE_OK;
        FSM_TRY(read_key(r, &name));
        FSM_TRY(find_flat(r, name, &field));
        FSM_TRY(claim(r, name, &r->key_lines[field - fsm_config_fields]));
        FSM_TRY(next(r));
        FSM_TRY(read_and_assign(r, field));
    }
}

/* Goes to the root of the only document; *empty when there is nothing but comments. */
static fsmoe_status begin_document(reader *r, bool *empty)
{
    FSM_TRY(next(r)); /* start of the stream */
    FSM_TRY(next(r));
    *empty = r->event.type == YAML_STREAM_END_EVENT;
    return *empty ? FSMOE_OK : next(r);
}

static fsmoe_status end_document(reader *r)
{
    FSM_TRY(next(r)); /* end of the document */
    FSM_TRY(next(r));
    if (r->event.type == YAML_STREAM_END_EVENT) return FSMOE_OK;
    r->line = (int64_t)r->event.start_mark.line + 1;
    return refuse(r, "a second YAML document; one is expected");
}

static fsmoe_status read_file(reader *r)
{
    bool empty;
    FSM_TRY(begin_document(r, &empty));
    if (empty) return FSMOE_OK;
    r->line = (int64_t)r->event.start_mark.line + 1;
    if (r->event.type == YAML_MAPPING_START_EVENT) FSM_TRY(r->flat ? read_flat(r) : read_sections(r));
    else if (!is_nothing(&r->event))
        return place_error(r, fsm_fail(FSMOE_ERROR_CONFIG, "expected sections of keys, got %s", shape_name(&r->event)),
                           r->line);
    return end_document(r);
}

static fsmoe_status open_reader(reader *r, const char *bytes, size_t size)
{
    r->bytes = bytes;
    if (!yaml_parser_initialize(&r->parser)) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the YAML parser");
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)bytes, size);
    return FSMOE_OK;
}

static void close_reader(reader *r)
{
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
}

static fsmoe_status read_bytes(reader r, const char *bytes, size_t size)
{
    r.line = 1;
    r.key_lines = calloc(fsm_config_field_count + fsm_config_section_count, sizeof *r.key_lines);
    if (!r.key_lines) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", r.file);
    r.section_lines = r.key_lines + fsm_config_field_count;
    fsmoe_status status = open_reader(&r, bytes, size);
    if (status == FSMOE_OK) {
        status = read_file(&r);
        close_reader(&r);
    }
    free(r.key_lines);
    return status;
}

static fsmoe_status read_path(reader r)
{
    char *bytes;
    size_t size;
    FSM_TRY(fsm_file_read(r.file, &bytes, &size));
    fsmoe_status status = read_bytes(r, bytes, size);
    free(bytes);
    return status;
}

fsmoe_status fsmoe_config_load(fsmoe_config *config, const char *path)
{
    return read_path((reader){.config = config, .file = path});
}

fsmoe_status fsm_config_load_flat(fsmoe_config *config, const char *path, const char *const *keys, size_t count)
{
    return read_path((reader){.config = config, .file = path, .flat = keys, .flat_count = count});
}

/* All of the text is read before the value is stored, so that a broken end leaves the old value. */
static fsmoe_status read_override(reader *r, fsm_config_value *value)
{
    bool empty;
    FSM_TRY(begin_document(r, &empty));
    if (empty) {
        value->text = strdup("");
        return value->text ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a value");
    }
    FSM_TRY(read_value(r, value));
    return value->shape == FSM_CONFIG_MAPPING ? FSMOE_OK : end_document(r);
}

static fsmoe_status set_field(fsmoe_config *config, const fsm_config_field *field, const char *text)
{
    reader r = {.config = config, .line = 1};
    fsm_config_value value = {0};
    FSM_TRY(open_reader(&r, text, strlen(text)));
    fsmoe_status status = read_override(&r, &value);
    if (!*text && field->type == FSM_CONFIG_STRING) value.quoted = true; /* "key=" is the empty string */
    if (status == FSMOE_OK) {
        status = fsm_config_assign(config, field, &value, FSM_CONFIG_BY_SET, "--set");
        if (status != FSMOE_OK) place_error(&r, status, 0);
    }
    free_value(&value);
    close_reader(&r);
    return status;
}

fsmoe_status fsmoe_config_set(fsmoe_config *config, const char *assignment)
{
    char key[256];
    const char *equals = strchr(assignment, '=');
    if (!equals)
        return fsm_fail(FSMOE_ERROR_CONFIG, "--set: expected section.key=value, got '%s'",
                        fsm_config_excerpt_of(assignment).text);
    snprintf(key, sizeof key, "%.*s", (int)(equals - assignment < 200 ? equals - assignment : 200), assignment);
    const fsm_config_field *field = fsm_config_find(key);
    if (!field) return fsm_fail_within(fail_unknown_key(key), "--set");
    return set_field(config, field, equals + 1);
}
