/* The experts there are. */
#include "moe/expert/expert.h"

#include <string.h>

static const fsm_expert_kind *const experts[] = {
    &fsm_expert_gpt,
    &fsm_expert_mixtral,
};

const fsm_expert_kind *fsm_expert_find(const char *name)
{
    for (size_t i = 0; i < sizeof experts / sizeof *experts; i++)
        if (strcmp(experts[i]->name, name) == 0) return experts[i];
    return NULL;
}

const fsm_expert_kind *fsm_expert_at(int index)
{
    return index >= 0 && (size_t)index < sizeof experts / sizeof *experts ? experts[index] : NULL;
}
