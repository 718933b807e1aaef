#include "topo/topo.h"

static fsmoe_status check_divides(int ranks, const char *what, int64_t size)
{
    if (size >= 1 && size <= ranks && ranks % size == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_LAYOUT, "%s = %lld does not divide %d ranks", what, (long long)size, ranks);
}

static void place(fsm_topo *topo, int rank)
{
    topo->rank = rank;
    topo->node = rank / topo->ranks_per_node;
    topo->mp_index = rank % topo->mp;
    topo->dp_index = rank / topo->mp;
    topo->esp_index = rank % topo->esp;
    topo->ep_index = rank / topo->esp % topo->ep;
    topo->edp_index = rank / topo->esp / topo->ep;
}

fsmoe_status fsm_topo_create(int nodes, int ranks_per_node, const fsmoe_parallel_config *parallel, int rank,
                             fsm_topo *topo)
{
    if ((int64_t)nodes * ranks_per_node > INT32_MAX)
        return fsm_fail(FSMOE_ERROR_LAYOUT, "%d nodes x %d ranks are too many", nodes, ranks_per_node);
    int ranks = nodes * ranks_per_node;
    if (ranks < 1 || rank < 0 || rank >= ranks)
        return fsm_fail(FSMOE_ERROR_LAYOUT, "rank %d is not one of %d nodes x %d ranks", rank, nodes, ranks_per_node);
    FSM_TRY(check_divides(ranks, "parallel.mp_size", parallel->mp_size));
    FSM_TRY(check_divides(ranks, "parallel.ep_size", parallel->ep_size));
    FSM_TRY(check_divides(ranks, "parallel.esp_size", parallel->esp_size));
    FSM_TRY(check_divides(ranks, "parallel.ep_size * parallel.esp_size", parallel->ep_size * parallel->esp_size));
    *topo = (fsm_topo){
        .nodes = nodes,
        .ranks_per_node = ranks_per_node,
        .ranks = ranks,
        .mp = (int)parallel->mp_size,
        .dp = ranks / (int)parallel->mp_size,
        .ep = (int)parallel->ep_size,
        .esp = (int)parallel->esp_size,
        .edp = ranks / (int)(parallel->ep_size * parallel->esp_size),
    };
    place(topo, rank);
    return FSMOE_OK;
}

fsm_topo fsm_topo_at(const fsm_topo *topo, int rank)
{
    fsm_topo other = *topo;
    place(&other, rank);
    return other;
}

int fsm_topo_group_size(const fsm_topo *topo, fsm_group group)
{
    const int sizes[FSM_GROUP_COUNT] = {
        [FSM_GROUP_WORLD] = topo->ranks,
        [FSM_GROUP_DP] = topo->dp,
        [FSM_GROUP_MP] = topo->mp,
        [FSM_GROUP_EP] = topo->ep,
        [FSM_GROUP_ESP] = topo->esp,
        [FSM_GROUP_EDP] = topo->edp,
        [FSM_GROUP_EXPERT] = topo->ep * topo->esp,
    };
    return sizes[group];
}

int fsm_topo_group_index(const fsm_topo *topo, fsm_group group)
{
    const int indices[FSM_GROUP_COUNT] = {
        [FSM_GROUP_WORLD] = topo->rank,
        [FSM_GROUP_DP] = topo->dp_index,
        [FSM_GROUP_MP] = topo->mp_index,
        [FSM_GROUP_EP] = topo->ep_index,
        [FSM_GROUP_ESP] = topo->esp_index,
        [FSM_GROUP_EDP] = topo->edp_index,
        [FSM_GROUP_EXPERT] = topo->ep_index * topo->esp + topo->esp_index,
    };
    return indices[group];
}

int fsm_topo_group_color(const fsm_topo *topo, fsm_group group)
{
    const int colors[FSM_GROUP_COUNT] = {
        [FSM_GROUP_WORLD] = 0,
        [FSM_GROUP_DP] = topo->mp_index,
        [FSM_GROUP_MP] = topo->dp_index,
        [FSM_GROUP_EP] = topo->edp_index * topo->esp + topo->esp_index,
        [FSM_GROUP_ESP] = topo->edp_index * topo->ep + topo->ep_index,
        [FSM_GROUP_EDP] = topo->ep_index * topo->esp + topo->esp_index,
        [FSM_GROUP_EXPERT] = topo->edp_index,
    };
    return colors[group];
}

fsm_resource fsm_topo_link(const fsm_topo *topo, fsm_group group)
{
    int color = fsm_topo_group_color(topo, group);
    for (int rank = 0; rank < topo->ranks; rank++) {
        fsm_topo other = fsm_topo_at(topo, rank);
        if (fsm_topo_group_color(&other, group) == color && other.node != topo->node) return FSM_INTER;
    }
    return FSM_INTRA;
}

void fsm_topo_split(int64_t n, int64_t unit, int parts, int index, int64_t *first, int64_t *last)
{
    int64_t units = (n + unit - 1) / unit;
    *first = units * index / parts * unit;
    *last = units * (index + 1) / parts * unit;
    if (*first > n) *first = n;
    if (*last > n) *last = n;
}

const char *fsm_resource_name(fsm_resource resource)
{
    static const char *const names[FSM_RESOURCE_COUNT] = {"compute", "intra", "inter"};
    return names[resource];
}
