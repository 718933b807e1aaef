#include "tokens/json_look.h"

#include "tokens/utf8.h"

#include <ctype.h>
#include <string.h>

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && isspace((unsigned char)*at)) at++;
    return at;
}

/* The end of the string that begins at the quote `at`; NULL: it has none, or holds what no string in JSON does. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '"') return at + 1;
        if ((unsigned char)*at < ' ') return NULL;
        if (*at == '\\') at++;
    }
    return NULL;
}

static bool is_text_key(const char *string, const char *after, const char *end)
{
    static const char key[] = "\"text\"";
    if ((size_t)(after - string) != sizeof key - 1 || memcmp(string, key, sizeof key - 1) != 0) return false;
    after = skip_space(after, end);
    return after < end && *after == ':';
}

/* The end of the object at `at` if one of its own keys is "text"; NULL otherwise. */
static const char *skip_document(const char *at, const char *end)
{
    bool found = false;
    int depth = 0;
    while (at < end) {
        const char *from = at++;
        if (*from == '{' || *from == '[') depth++;
        if (*from == '}' || *from == ']') depth--;
        if (depth == 0) return found ? at : NULL;
        if (*from != '"') continue;
        at = skip_string(from, end);
        if (!at) return NULL;
        found = found || (depth == 1 && is_text_key(from, at, end));
    }
    return NULL;
}

static const char *begin(const char *bytes, size_t size)
{
    return skip_space(bytes + fsm_utf8_mark_size(bytes, size), bytes + size);
}

/* Where the document that the file begins with ends; NULL: it begins with none. */
static const char *first_document(const char *bytes, size_t size, const char **at)
{
    *at = begin(bytes, size);
    return *at < bytes + size && **at == '{' ? skip_document(*at, bytes + size) : NULL;
}

bool fsm_json_look_lines(const char *bytes, size_t size)
{
    const char *at, *end = bytes + size, *after = first_document(bytes, size, &at);
    if (!after || memchr(at, '\n', (size_t)(after - at))) return false;
    while (after < end && *after != '\n' && isspace((unsigned char)*after)) after++;
    return after == end || *after == '\n' || *after == '{' || *after == ',';
}

bool fsm_json_look_spread(const char *bytes, size_t size)
{
    const char *at, *after = first_document(bytes, size, &at);
    return after && memchr(at, '\n', (size_t)(after - at));
}

bool fsm_json_look_array(const char *bytes, size_t size)
{
    const char *at = begin(bytes, size), *end = bytes + size;
    if (at == end || *at != '[') return false;
    at = skip_space(at + 1, end);
    return at < end && *at == '{' && skip_document(at, end);
}
