#include "tokens/added.h"

#include <stdlib.h>
#include <string.h>

fsmoe_status fsm_added_put(fsm_added *added, const char *content, size_t size, int32_t id, int pass)
{
    fsm_added_token *tokens = realloc(added->tokens, (added->count + 1) * sizeof *tokens);
    if (tokens) added->tokens = tokens;
    char *copy = malloc(size);
    if (!tokens || !copy) {
        free(copy);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for an added token of %zu bytes", size);
    }
    memcpy(copy, content, size);
    added->tokens[added->count++] = (fsm_added_token){copy, size, id, pass};
    added->starts[pass][(unsigned char)copy[0]] = true;
    return FSMOE_OK;
}

static const fsm_added_token *longest_here(const fsm_added *added, int pass, const char *bytes, size_t size)
{
    const fsm_added_token *longest = NULL;
    for (size_t i = 0; i < added->count; i++) {
        const fsm_added_token *token = &added->tokens[i];
        if (token->pass != pass || token->size > size || memcmp(token->content, bytes, token->size) != 0) continue;
        if (!longest || token->size > longest->size) longest = token;
    }
    return longest;
}

const fsm_added_token *fsm_added_find(const fsm_added *added, int pass, const char *bytes, size_t size, size_t *at)
{
    for (*at = 0; *at < size && added->count > 0; ++*at) {
        if (!added->starts[pass][(unsigned char)bytes[*at]]) continue;
        const fsm_added_token *token = longest_here(added, pass, bytes + *at, size - *at);
        if (token) return token;
    }
    *at = size;
    return NULL;
}

void fsm_added_destroy(fsm_added *added)
{
    for (size_t i = 0; i < added->count; i++) free(added->tokens[i].content);
    free(added->tokens);
    *added = (fsm_added){0};
}
