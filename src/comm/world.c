#include "comm/world.h"

#include <stdlib.h>

fsmoe_status fsmoe_world_create(fsmoe_world **world)
{
    fsmoe_world *w = calloc(1, sizeof *w);
    if (!w) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the world");
    fsmoe_status status = fsm_comm_create_world(&w->comm);
    if (status == FSMOE_OK) *world = w;
    else free(w);
    return status;
}

void fsmoe_world_destroy(fsmoe_world *world)
{
    if (!world) return;
    fsm_comm_destroy(world->comm);
    free(world);
}

int fsmoe_world_rank(const fsmoe_world *world)
{
    return world->comm->rank;
}

int fsmoe_world_size(const fsmoe_world *world)
{
    return world->comm->size;
}

fsmoe_status fsmoe_world_agree(fsmoe_world *world, fsmoe_status status)
{
    return fsm_comm_agree(world->comm, status);
}

void fsmoe_world_abort(fsmoe_world *world, int exit_code)
{
    world->comm->control->abort(world->comm, exit_code);
}
