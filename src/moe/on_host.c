#include "moe/on_host.h"

#include "moe/gate/gate.h"

#include <stdio.h>
#include <string.h>

static void append(char text[FSM_ON_HOST_BYTES], const char *what, const char *more)
{
    size_t used = strlen(text);
    snprintf(text + used, FSM_ON_HOST_BYTES - used, "%s%s%s", used > 0 ? ", " : "", what, more);
}

bool fsm_moe_on_host(const fsmoe_moe_config *config, char text[FSM_ON_HOST_BYTES])
{
    const char *gate = fsm_gate_on_host(config);
    text[0] = '\0';
    if (gate) append(text, "moe.gate: ", gate);
    if (strcmp(config->drop_policy, "probs") == 0 && config->capacity_factor > 0)
        append(text, "moe.drop_policy probs: the heaviest choices of a group", "");
    for (size_t i = 0; i < config->hooks.count; i++) append(text, "moe.hooks: ", config->hooks.items[i]);
    return text[0] != '\0';
}
