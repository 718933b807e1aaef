/* Where every rank sits: its node, and its place in the DP, MP, EP, ESP and expert-DP groups.
 * In:  nodes x ranks per node, and the sizes ep, esp, mp that the configuration asks for.
 * Out: group sizes and indices of any rank; which link (intra- or inter-node) a group's traffic crosses.
 * Ranks are numbered node by node. MP and ESP are neighbouring ranks, so they stay inside a node when they fit:
 *   rank = dp_index * mp + mp_index                                (dense part)
 *   rank = (edp_index * ep + ep_index) * esp + esp_index           (experts)
 */
#ifndef FSM_TOPO_TOPO_H
#define FSM_TOPO_TOPO_H

#include "base/status.h"

#include <fsmoe/config.h>
#include <stdint.h>

typedef enum fsm_group {
    FSM_GROUP_WORLD,  /* all ranks */
    FSM_GROUP_DP,     /* same mp_index: replicas of an attention shard */
    FSM_GROUP_MP,     /* same dp_index: shards of attention over the same samples */
    FSM_GROUP_EP,     /* same edp_index and esp_index: hold different experts */
    FSM_GROUP_ESP,    /* same edp_index and ep_index: shards of the same experts */
    FSM_GROUP_EDP,    /* same ep_index and esp_index: replicas of the same expert shards */
    FSM_GROUP_EXPERT, /* same edp_index: EP x ESP, all ranks whose tokens meet in one set of experts */
    FSM_GROUP_COUNT
} fsm_group;

typedef enum fsm_resource { FSM_COMPUTE, FSM_INTRA, FSM_INTER, FSM_RESOURCE_COUNT } fsm_resource;

typedef struct fsm_topo {
    int nodes, ranks_per_node, ranks;
    int rank, node;
    int dp, mp, ep, esp, edp;
    int dp_index, mp_index, ep_index, esp_index, edp_index;
} fsm_topo;

/* Checks that the sizes divide and places `rank`. ERROR_LAYOUT names the numbers that do not fit. */
fsmoe_status fsm_topo_create(int nodes, int ranks_per_node, const fsmoe_parallel_config *parallel, int rank,
                             fsm_topo *topo);

/* The same layout seen from another rank. */
fsm_topo fsm_topo_at(const fsm_topo *topo, int rank);

FSMOE_API int fsm_topo_group_size(const fsm_topo *topo, fsm_group group);

/* The rank's index inside its group. */
FSMOE_API int fsm_topo_group_index(const fsm_topo *topo, fsm_group group);

/* A number equal for exactly the members of one group of this kind (a split's colour). */
int fsm_topo_group_color(const fsm_topo *topo, fsm_group group);

/* The slowest link inside the group: FSM_INTRA when every member shares a node, else FSM_INTER. */
FSMOE_API fsm_resource fsm_topo_link(const fsm_topo *topo, fsm_group group);

/* Part `index` of `parts` of `n` things, in runs of whole `unit`s, as even as they go: [*first, *last). */
void fsm_topo_split(int64_t n, int64_t unit, int parts, int index, int64_t *first, int64_t *last);

const char *fsm_resource_name(fsm_resource resource);

#endif
