/* config.json of a model folder: what was read, written out again, reads back to the same. What is written as "mixtral"
 * loses what that type has no key for, once: a second time it is the same as well. */
#include "config/config.h"
#include "json_mutator.h"
#include "model/hf_config.h"

static fsmoe_config *defaults(void)
{
    fsmoe_config *config;
    FUZZ_CLAIM(fsmoe_config_create(&config) == FSMOE_OK);
    return config;
}

/* Writes the config, reads it back and compares. */
static fsmoe_config *through_file(const fsmoe_config *config, bool same)
{
    fsmoe_config *back = defaults();
    char *text, *again;
    FUZZ_CLAIM(fsm_hf_config_write(fuzz_folder(), &config->model, &config->moe) == FSMOE_OK);
    FUZZ_CLAIM(fsm_hf_config_read(fuzz_folder(), &back->model, &back->moe) == FSMOE_OK);
    FUZZ_CLAIM(fsmoe_config_dump(config, false, &text) == FSMOE_OK);
    FUZZ_CLAIM(fsmoe_config_dump(back, false, &again) == FSMOE_OK);
    if (same && strcmp(text, again) != 0) fprintf(stderr, "%s\n%s\n", text, again);
    FUZZ_CLAIM(!same || strcmp(text, again) == 0);
    free(again);
    free(text);
    return back;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsmoe_config *config = defaults();
    fuzz_file_in_folder("config.json", data, size);
    if (fsm_hf_config_read(fuzz_folder(), &config->model, &config->moe) == FSMOE_OK) {
        bool is_mixtral = fsm_hf_config_is_mixtral(&config->model, &config->moe, NULL);
        FUZZ_CLAIM(strcmp(config->moe.expert, "auto") != 0 && config->model.head_dim > 0 &&
                   config->model.num_kv_heads > 0);
        fsmoe_config *once = through_file(config, !is_mixtral), *twice = through_file(once, true);
        fsmoe_config_destroy(twice);
        fsmoe_config_destroy(once);
    }
    fsmoe_config_destroy(config);
    return 0;
}
