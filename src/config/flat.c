#include "config/flat.h"

#include "base/file.h"
#include "base/text.h"
#include "config/config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_KEYS = 64 };

typedef struct reader {
    const char *path;
    yaml_document_t document;
    const fsm_flat_key *keys;
    size_t count;
    bool seen[MAX_KEYS];
    void *object;
} reader;

static fsmoe_status at(const reader *r, const yaml_node_t *node, fsmoe_status status)
{
    return fsm_fail_within(status, "%s:%zu", r->path, node->start_mark.line + 1);
}

/* NULL: no single value, or one with a zero byte, which would hide what follows it. */
static const char *scalar(const yaml_node_t *node)
{
    const char *text = node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
    return text && strlen(text) == node->data.scalar.length ? text : NULL;
}

static fsmoe_status read_number(const fsm_flat_key *key, const char *text, void *field)
{
    double number;
    int64_t whole;
    if (key->type == FSM_FLAT_INT) {
        if (!fsm_config_parse_int(text, &whole))
            return fsm_fail(FSMOE_ERROR_CONFIG, "%s takes a whole number, not '%s'", key->name,
                            fsm_config_excerpt_of(text).text);
        number = (double)whole;
        *(int64_t *)field = whole;
    } else {
        if (!fsm_config_parse_float(text, &number))
            return fsm_fail(FSMOE_ERROR_CONFIG, "%s takes a number, not '%s'", key->name,
                            fsm_config_excerpt_of(text).text);
        *(double *)field = number;
    }
    if (number >= key->min && number <= key->max) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "%s = %s must be from %.17g to %.17g", key->name,
                    fsm_config_excerpt_of(text).text, key->min, key->max);
}

static fsmoe_status read_choice(const fsm_flat_key *key, const char *text, void *field)
{
    const char *choice = key->choices;
    for (int i = 0; choice; i++) {
        size_t length = strcspn(choice, ",");
        if (strlen(text) == length && strncmp(text, choice, length) == 0) {
            *(int *)field = i;
            return FSMOE_OK;
        }
        choice = choice[length] ? choice + length + 2 : NULL;
    }
    return fsm_fail(FSMOE_ERROR_CONFIG, "%s takes one of %s, not '%s'", key->name, key->choices,
                    fsm_config_excerpt_of(text).text);
}

static fsmoe_status read_pair(reader *r, const yaml_node_t *name, const yaml_node_t *value)
{
    const char *names[MAX_KEYS], *text = scalar(value), *wanted = scalar(name);
    size_t i = 0;
    for (size_t k = 0; k < r->count; k++) names[k] = r->keys[k].name;
    if (!wanted) return at(r, name, fsm_fail(FSMOE_ERROR_CONFIG, "a key must be a word"));
    while (i < r->count && strcmp(names[i], wanted) != 0) i++;
    if (i == r->count)
        return at(r, name,
                  fsm_fail(FSMOE_ERROR_CONFIG, "unknown key '%s'; did you mean '%s'?",
                           fsm_config_excerpt_of(wanted).text, fsm_text_nearest(wanted, names, r->count)));
    if (r->seen[i]) return at(r, name, fsm_fail(FSMOE_ERROR_CONFIG, "%s is given twice", wanted));
    if (!text) return at(r, value, fsm_fail(FSMOE_ERROR_CONFIG, "%s takes a single value", wanted));
    if (r->keys[i].type != FSM_FLAT_CHOICE && value->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return at(r, value,
                  fsm_fail(FSMOE_ERROR_CONFIG, "%s takes a number, not the text '%s'", wanted,
                           fsm_config_excerpt_of(text).text));
    r->seen[i] = true;
    void *field = (char *)r->object + r->keys[i].offset;
    fsmoe_status status = r->keys[i].type == FSM_FLAT_CHOICE ? read_choice(&r->keys[i], text, field)
                                                             : read_number(&r->keys[i], text, field);
    return status == FSMOE_OK ? status : at(r, value, status);
}

static fsmoe_status read_document(reader *r)
{
    yaml_node_t *root = yaml_document_get_root_node(&r->document);
    if (!root || root->type != YAML_MAPPING_NODE)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%s: must be keys and values, one a line", r->path);
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++)
        FSM_TRY(
            read_pair(r, yaml_document_get_node(&r->document, p->key), yaml_document_get_node(&r->document, p->value)));
    for (size_t i = 0; i < r->count; i++)
        if (r->keys[i].required && !r->seen[i])
            return fsm_fail(FSMOE_ERROR_CONFIG, "%s: key '%s' is missing", r->path, r->keys[i].name);
    return FSMOE_OK;
}

/* Nothing may follow the document. */
static fsmoe_status read_end(const char *path, yaml_parser_t *parser)
{
    yaml_document_t more;
    size_t line = parser->mark.line + 1;
    if (yaml_parser_load(parser, &more)) {
        yaml_node_t *root = yaml_document_get_root_node(&more);
        if (root) line = more.start_mark.line + 1;
        yaml_document_delete(&more);
        if (!root) return FSMOE_OK;
    }
    return fsm_fail(FSMOE_ERROR_CONFIG, "%s:%zu: a second document; one is expected", path, line);
}

fsmoe_status fsm_flat_read(const char *path, const fsm_flat_key *keys, size_t count, void *object)
{
    reader r = {.path = path, .keys = keys, .count = count, .object = object};
    yaml_parser_t parser;
    char *bytes;
    size_t size;
    FSM_TRY(fsm_file_read(path, &bytes, &size));
    if (!yaml_parser_initialize(&parser)) {
        free(bytes);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", path);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, size);
    fsmoe_status status = FSMOE_OK;
    if (yaml_parser_load(&parser, &r.document)) {
        status = read_document(&r);
        yaml_document_delete(&r.document);
        if (status == FSMOE_OK) status = read_end(path, &parser);
    } else {
        status = fsm_fail(FSMOE_ERROR_CONFIG, "%s:%zu: not YAML: %s", path, parser.problem_mark.line + 1,
                          parser.problem ? parser.problem : "syntax error");
    }
    yaml_parser_delete(&parser);
    free(bytes);
    return status;
}
