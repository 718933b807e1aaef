/* What must hold of a configuration that was accepted: it can be checked, and what is dumped reads back to the same. */
#ifndef FSM_FUZZ_CONFIG_ORACLE_H
#define FSM_FUZZ_CONFIG_ORACLE_H

#include "config/config.h"
#include "fuzz.h"

static inline void fuzz_check_config(fsmoe_config *config)
{
    char *text, *again;
    fsmoe_config *back;
    for (size_t i = 0; i < fsm_config_field_count; i++)
        FUZZ_CLAIM(fsm_config_check_field(config, &fsm_config_fields[i]) == FSMOE_OK);
    FUZZ_CLAIM(fsmoe_config_dump(config, false, &text) == FSMOE_OK);
    FUZZ_CLAIM(fsmoe_config_create(&back) == FSMOE_OK);
    FUZZ_CLAIM(fsmoe_config_load(back, fuzz_file(1, text, strlen(text))) == FSMOE_OK);
    FUZZ_CLAIM(fsmoe_config_dump(back, false, &again) == FSMOE_OK);
    FUZZ_CLAIM(strcmp(text, again) == 0);
    if (fsm_config_check(config) == FSMOE_OK) FUZZ_CLAIM(fsm_config_derive(config) == FSMOE_OK);
    fsm_config_check_given(back);
    fsmoe_config_destroy(back);
    free(again);
    free(text);
}

#endif
