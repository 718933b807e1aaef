#include "comm/groups.h"

fsmoe_status fsm_groups_create(fsm_comm *world, const fsm_topo *topo, fsm_comm *groups[FSM_GROUP_COUNT])
{
    fsmoe_status status = FSMOE_OK;
    for (int g = 0; g < FSM_GROUP_COUNT; g++) groups[g] = NULL;
    groups[FSM_GROUP_WORLD] = world;
    /* a rank that fails goes on splitting: the others wait for it in every split */
    for (int g = FSM_GROUP_WORLD + 1; g < FSM_GROUP_COUNT; g++) {
        fsmoe_status mine = fsm_topo_group_size(topo, (fsm_group)g) == 1
                                ? fsm_comm_create_self(&groups[g])
                                : world->control->split(world, fsm_topo_group_color(topo, (fsm_group)g), &groups[g]);
        if (status == FSMOE_OK) status = mine;
    }
    if (status != FSMOE_OK) fsm_groups_destroy(groups);
    return status;
}

void fsm_groups_destroy(fsm_comm *groups[FSM_GROUP_COUNT])
{
    for (int g = FSM_GROUP_WORLD + 1; g < FSM_GROUP_COUNT; g++) {
        fsm_comm_destroy(groups[g]);
        groups[g] = NULL;
    }
    groups[FSM_GROUP_WORLD] = NULL;
}
