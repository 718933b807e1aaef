/* Configuration files. */
#include "config_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsmoe_config *config;
    FUZZ_CLAIM(fsmoe_config_create(&config) == FSMOE_OK);
    if (fsmoe_config_load(config, fuzz_file(0, data, size)) == FSMOE_OK) fuzz_check_config(config);
    fsmoe_config_destroy(config);
    return 0;
}
