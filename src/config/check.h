/* What the checks across keys share (a part of config/config.h): questions about a configuration, and how they fail.
 * In:  a configuration, in parts also a flat copy. Out: answers; errors that say where a key was set.
 */
#ifndef FSM_CONFIG_CHECK_H
#define FSM_CONFIG_CHECK_H

#include "config/config.h"

#include <string.h>

/* Fails with the place of `key`, or of `other` (may be NULL) when only that one was set by somebody. */
fsmoe_status fsm_config_fail_at(const fsmoe_config *config, const char *key, const char *other, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Keys that are set and left without effect by the others. ERROR_CONFIG. */
fsmoe_status fsm_config_check_unused(const fsmoe_config *config);

static inline bool is_gpt2(const fsmoe_config *config)
{
    return strcmp(config->model.family, "gpt2") == 0;
}

static inline bool is_dropless(const fsmoe_config *config)
{
    return config->moe.capacity_factor == 0;
}

static inline bool is_gate(const fsmoe_config *config, const char *gate)
{
    return strcmp(config->moe.gate, gate) == 0;
}

static inline bool is_soft(const fsmoe_config *config)
{
    return is_gate(config, "soft");
}

static inline bool experts_choose(const fsmoe_config *config)
{
    return is_gate(config, "expert_choice");
}

#endif
