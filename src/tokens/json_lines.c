#include "tokens/json_lines.h"

#include "base/json.h"
#include "tokens/json_look.h"
#include "tokens/utf8.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

bool fsm_json_lines_promised(const char *path)
{
    static const char *const endings[] = {".jsonl", ".ndjson", ".json"};
    size_t size = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]);
        if (size >= n && strcasecmp(path + size - n, endings[i]) == 0) return true;
    }
    return false;
}

static const char *type_name(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",      [JSON_FALSE] = "false",     [JSON_NULL] = "null"};
    return names[json_typeof(value)];
}

static fsmoe_status fail_without_text(const json_t *document)
{
    const json_t *text = json_object_get(document, "text");
    if (text) return fsm_fail(FSMOE_ERROR_FORMAT, "\"text\" is %s, not a string", type_name(text));
    if (!json_is_object(document)) return fsm_fail(FSMOE_ERROR_FORMAT, "%s, not an object", type_name(document));
    const char *first = json_object_iter_key(json_object_iter((json_t *)document));
    if (!first) return fsm_fail(FSMOE_ERROR_FORMAT, "no \"text\": the object is empty");
    return fsm_fail(FSMOE_ERROR_FORMAT, "no \"text\" among the keys of the object, of which \"%.40s\" is the first",
                    first);
}

static fsmoe_status fail_without_json(const json_error_t *error)
{
    json_error_t copy = *error; /* the accessor wants no const */
    if (json_error_code(&copy) == json_error_out_of_memory)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read the line");
    return fsm_fail(FSMOE_ERROR_FORMAT, "not JSON: %s", error->text);
}

static fsmoe_status read_document(const char *line, size_t size, fsmoe_tokenizer *tokenizer, fsm_ids *ids)
{
    /* Numbers are read as reals, since one beside the text may have more digits than an integer here. */
    json_error_t error;
    json_t *document = fsm_json_decode(line, size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY, &error);
    if (!document) return fail_without_json(&error);
    const json_t *text = json_object_get(document, "text");
    fsmoe_status status;
    if (json_is_string(text))
        status = fsm_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), ids);
    else status = fail_without_text(document);
    json_decref(document);
    if (status == FSMOE_OK && tokenizer->end_of_text >= 0) status = fsm_ids_add(ids, tokenizer->end_of_text);
    return status;
}

/* What the first line of a file shows to have been meant. */
static const char *advice_for(const fsm_file_map *map, char first)
{
    if (first == '[') return " (of an array, jq -c '.[]' makes lines)";
    if (first != '{') return " (plain text needs a name that does not end in .jsonl, .ndjson or .json)";
    if (fsm_json_look_lines(map->bytes, map->size)) return "";
    return " (a line is an object with a \"text\"; jq -c makes lines of other JSON)";
}

static bool is_blank(const char *line, size_t size)
{
    while (size > 0 && isspace((unsigned char)line[size - 1])) size--;
    return size == 0;
}

fsmoe_status fsm_json_lines_read(const fsm_file_map *map, fsmoe_tokenizer *tokenizer, const char *path, fsm_ids *ids)
{
    const char *end = map->bytes + map->size;
    size_t number = 1;
    for (const char *line = map->bytes + fsm_utf8_mark_size(map->bytes, map->size); line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        size_t size = (size_t)(stop - line);
        if (!is_blank(line, size)) {
            fsmoe_status status = read_document(line, size, tokenizer, ids);
            if (status == FSMOE_ERROR_FORMAT && number == 1)
                fsm_fail(status, "%s%s", fsmoe_last_error(), advice_for(map, *line));
            if (status != FSMOE_OK) return fsm_fail_within(status, "'%s', line %zu", path, number);
        }
        line = stop + (stop < end);
    }
    return FSMOE_OK;
}
