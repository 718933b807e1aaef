/* The file of a layer that is run: keys of several sections, without them. */
#include "config_oracle.h"

enum { MOST = 64 };

/* Keys of layers: of all that share a name, the first. */
static size_t list_keys(const char *keys[MOST])
{
    size_t count = 0;
    for (size_t i = 0; i < fsm_config_field_count && count < MOST; i++) {
        const char *key = fsm_config_fields[i].key;
        bool wanted = strncmp(key, "moe.", 4) == 0 || strncmp(key, "parallel.", 9) == 0 || strstr(key, "hidden");
        for (size_t k = 0; k < count; k++) wanted &= strcmp(strchr(keys[k], '.'), strchr(key, '.')) != 0;
        if (wanted) keys[count++] = key;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *keys[MOST];
    static size_t count;
    fsmoe_config *config;
    if (count == 0) count = list_keys(keys);
    FUZZ_CLAIM(fsmoe_config_create(&config) == FSMOE_OK);
    if (fsm_config_load_flat(config, fuzz_file(0, data, size), keys, count) == FSMOE_OK) {
        fsm_config_check_given(config);
        fuzz_check_config(config);
    }
    fsmoe_config_destroy(config);
    return 0;
}
