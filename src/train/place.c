#define _GNU_SOURCE
#include "train/place.h"

#include "config/config.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

/* Cores this process may run on: its affinity, which a launcher may have narrowed. */
static int usable_cores(void)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) != 0) return (int)sysconf(_SC_NPROCESSORS_ONLN);
    return CPU_COUNT(&cores);
}

int fsm_threads_of(const fsmoe_config *config, int local_ranks)
{
    if (config->parallel.threads > 0) return (int)config->parallel.threads;
    int share = (int)sysconf(_SC_NPROCESSORS_ONLN) / local_ranks, mine = usable_cores();
    int threads = share < mine ? share : mine;
    return threads > 1 ? threads : 1;
}

fsm_cpu_kind fsm_ops_kind_of(const fsmoe_config *config)
{
    if (config->parallel.canonical_sums) return FSM_CPU_CANONICAL;
    return fsm_config_row_bytes(config) < FSM_REAL_BYTES ? FSM_CPU_BF16 : FSM_CPU_FP32;
}

fsmoe_status fsm_count_threads(const fsmoe_config *config, fsm_comm *world, int *threads)
{
    int local_ranks, index;
    FSM_TRY(world->control->local_ranks(world, &local_ranks, &index)); /* also where this rank's number is given */
    *threads = fsm_threads_of(config, local_ranks);
    return FSMOE_OK;
}

fsm_progress fsm_progress_of(const fsmoe_config *config, const fsm_comm *world)
{
    bool thread = world->size > 1 && world->any_thread && strcmp(config->parallel.progress, "thread") == 0;
    return thread ? FSM_PROGRESS_THREAD : FSM_PROGRESS_TASKS;
}

/* A machine may be called several nodes; several machines may not be called one, whose links would be taken for
 * memory. */
static fsmoe_status check_machines(fsm_comm *world, int nodes, int ranks_per_node)
{
    int count, index, first = world->rank / ranks_per_node * ranks_per_node;
    FSM_TRY(world->control->local_ranks(world, &count, &index));
    int machine_first = world->rank - index;
    if (first >= machine_first && first + ranks_per_node <= machine_first + count) return FSMOE_OK;
    return fsm_fail(
        FSMOE_ERROR_LAYOUT,
        "%d nodes x %d ranks (parallel.nodes, parallel.ranks_per_node): ranks %d to %d would be one node, but "
        "the machine of rank %d holds ranks %d to %d alone; leave both keys 0, or give nodes that lie within "
        "machines",
        nodes, ranks_per_node, first, first + ranks_per_node - 1, world->rank, machine_first,
        machine_first + count - 1);
}

fsmoe_status fsm_place(const fsmoe_config *config, fsm_comm *world, fsm_topo *topo)
{
    const fsmoe_parallel_config *p = &config->parallel;
    int nodes = (int)p->nodes, ranks_per_node = (int)p->ranks_per_node;
    if (nodes == 0 && ranks_per_node == 0) FSM_TRY(fsm_comm_find_nodes(world, &nodes, &ranks_per_node));
    int size = world->size, given = nodes > 0 ? nodes : ranks_per_node;
    if (size % given != 0)
        return fsm_fail(FSMOE_ERROR_LAYOUT, "%s = %d does not divide the %d ranks started",
                        nodes > 0 ? "parallel.nodes" : "parallel.ranks_per_node", given, size);
    if (nodes == 0) nodes = size / ranks_per_node;
    if (ranks_per_node == 0) ranks_per_node = size / nodes;
    if (nodes * ranks_per_node != size)
        return fsm_fail(FSMOE_ERROR_LAYOUT,
                        "parallel.nodes = %d x parallel.ranks_per_node = %d is not the %d ranks started", nodes,
                        ranks_per_node, size);
    if (p->nodes > 0 || p->ranks_per_node > 0) FSM_TRY(check_machines(world, nodes, ranks_per_node));
    return fsm_topo_create(nodes, ranks_per_node, p, world->rank, topo);
}
