/* --set section.key=value: the input is several of them, with a 0 byte between. After a failure the old value stays. */
#include "config_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsmoe_config *config;
    char *text = fuzz_text(data, size);
    FUZZ_CLAIM(fsmoe_config_create(&config) == FSMOE_OK);
    bool any = false;
    for (const char *at = text; at < text + size; at += strlen(at) + 1) any |= fsmoe_config_set(config, at) == FSMOE_OK;
    if (any) fuzz_check_config(config);
    fsmoe_config_destroy(config);
    free(text);
    return 0;
}
