/* The families there are. */
#include "model/family.h"

#include <stddef.h>
#include <string.h>

static const fsm_family *const families[] = {
    &fsm_family_gpt2,
    &fsm_family_mixtral,
};

const fsm_family *fsm_family_find(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i]->name, name) == 0) return families[i];
    return NULL;
}
