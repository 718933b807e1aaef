#include "train/costs.h"

#include <stdlib.h>
#include <string.h>

fsmoe_status fsm_costs_share(fsm_comm *world, fsm_cluster *cluster)
{
    char *text = NULL;
    int64_t size = 0, *sizes = malloc(sizeof *sizes * (size_t)world->size);
    fsmoe_status status = sizes ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to share costs");
    if (status == FSMOE_OK && world->rank == 0) status = fsm_cluster_to_json(cluster, &text);
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    if (world->rank == 0) size = (int64_t)strlen(text) + 1;
    FSM_TRY_GOTO(status, fsm_comm_all_gather_int64(world, &size, 1, sizes), done);
    if (world->rank != 0 && !(text = malloc((size_t)sizes[0])))
        status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to share costs");
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    FSM_TRY_GOTO(status, world->table->broadcast_bytes(world, text, sizes[0], 0), done);
    fsm_cluster_destroy(cluster);
    status = fsm_comm_agree(world, fsm_cluster_from_json(text, "the cluster", cluster));
done:
    free(text);
    free(sizes);
    return status;
}

fsmoe_status fsm_costs_read(fsm_comm *world, const char *path, fsm_cluster *cluster)
{
    fsmoe_status status = world->rank == 0 ? fsm_cluster_read(path, cluster) : FSMOE_OK;
    if (status != FSMOE_OK) fsm_fail_within(status, "parallel.cluster");
    FSM_TRY(fsm_comm_agree(world, status));
    return fsm_costs_share(world, cluster);
}
