/* The all-to-all algorithms there are. */
#include "moe/dispatch/alltoall.h"

#include <string.h>

static const fsm_alltoall_kind *const alltoalls[] = {
    &fsm_alltoall_direct,
};

const fsm_alltoall_kind *fsm_alltoall_find(const char *name)
{
    for (size_t i = 0; i < sizeof alltoalls / sizeof *alltoalls; i++)
        if (strcmp(alltoalls[i]->name, name) == 0) return alltoalls[i];
    return NULL;
}
