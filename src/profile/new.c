/* The cluster file of links given by rate and latency; the equations stand in <fsmoe/cluster.h>. */
#include "profile/cluster.h"
#include "profile/import.h"

#include <fsmoe/cluster.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

static const double bytes_per_element = 4, flops_per_multiply_add = 2;

/* A group of ranks over links of one kind. */
typedef struct link_group {
    int ranks;
    double bytes_per_s, latency_s;
} link_group;

/* `steps` messages one after another, in which `share` of a rank's n elements pass its link. */
static fsm_line line_of(link_group g, double steps, double share)
{
    if (g.ranks == 1) return (fsm_line){0, 0};
    return (fsm_line){steps * g.latency_s, bytes_per_element * share / g.bytes_per_s};
}

static fsmoe_status check_rate(const char *what, double value)
{
    if (value > 0 && isfinite(value)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "the %s is %g, not positive", what, value);
}

static fsmoe_status check_latency(const char *what, double value)
{
    if (value >= 0 && isfinite(value)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "the %s is %g s, not a time from 0 on", what, value);
}

static fsmoe_status check(const fsmoe_cluster_links *links)
{
    if (links->nodes < 1 || links->ranks_per_node < 1)
        return fsm_fail(FSMOE_ERROR_CONFIG, "a cluster has at least one node with one rank, not %d with %d",
                        links->nodes, links->ranks_per_node);
    if (links->nodes > 1) {
        FSM_TRY(check_rate("rate between nodes", links->inter_bytes_per_s));
        FSM_TRY(check_latency("latency between nodes", links->inter_latency_s));
    }
    if (links->ranks_per_node > 1) {
        FSM_TRY(check_rate("rate inside a node", links->intra_bytes_per_s));
        FSM_TRY(check_latency("latency inside a node", links->intra_latency_s));
    }
    FSM_TRY(check_rate("FLOP/s", links->flops));
    return check_latency("latency of a GEMM", links->gemm_latency_s);
}

fsmoe_status fsmoe_cluster_new(const fsmoe_cluster_links *links, const char *out_path)
{
    FSM_TRY(check(links));
    link_group inside = {links->ranks_per_node, links->intra_bytes_per_s, links->intra_latency_s};
    link_group across = {links->nodes, links->inter_bytes_per_s, links->inter_latency_s};
    if (links->nodes == 1) across = inside;
    double in = inside.ranks - 1, out = across.ranks - 1;
    fsm_cluster cluster = {.nodes = links->nodes, .ranks_per_node = links->ranks_per_node};
    const fsm_line lines[FSM_COST_OP_COUNT] = {
        [FSM_COST_GEMM] = {links->gemm_latency_s, flops_per_multiply_add / links->flops},
        [FSM_COST_ALLTOALL] = line_of(across, 1, out / across.ranks),
        [FSM_COST_ALLGATHER] = line_of(inside, in, in / inside.ranks),
        [FSM_COST_REDUCESCATTER] = line_of(inside, in, in / inside.ranks),
        [FSM_COST_ALLREDUCE] = line_of(across, 2 * out, 2 * out / across.ranks),
    };
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        cluster.op[op] = (fsm_measured){.cost.line[0] = lines[op], .r2 = NAN};
    FSM_TRY(fsm_cluster_set_name(&cluster, links->name, out_path));
    return fsm_cluster_write(&cluster, out_path);
}
