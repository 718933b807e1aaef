/* Values of keys as hashes, for comparing configurations without passing them around. */
#include "config/config.h"

#include <string.h>
#include <xxhash.h>

static uint64_t hash_text(const char *text, uint64_t hash)
{
    return XXH3_64bits_withSeed(text, strlen(text) + 1, hash);
}

uint64_t fsm_config_hash(const fsmoe_config *config, const fsm_config_field *field)
{
    const void *at = fsm_config_at(config, field);
    const fsmoe_strings *list = at;
    uint64_t hash = 0;
    switch (field->type) {
    case FSM_CONFIG_BOOL:
        return *(const bool *)at;
    case FSM_CONFIG_INT:
        return XXH3_64bits(at, sizeof(int64_t));
    case FSM_CONFIG_FLOAT:
        return XXH3_64bits(at, sizeof(double));
    case FSM_CONFIG_STRINGS:
        for (size_t i = 0; i < list->count; i++) hash = hash_text(list->items[i], hash);
        return hash;
    default:
        return hash_text(*(char *const *)at, hash);
    }
}
