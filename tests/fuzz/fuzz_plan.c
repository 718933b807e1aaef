/* Plan files, and the checker behind them. Whatever is read is written out and reads back to what gets the same
 * verdict; what the checker lets pass can be simulated, takes as long as it says and no less than its bounds. */
#include "json_mutator.h"
#include "plan/check.h"

#include <math.h>

static void claim_sound(const fsm_plan *plan)
{
    fsm_timeline timeline;
    const fsm_certificate *c = &plan->certificate;
    FUZZ_CLAIM(fsm_simulate(&plan->graph, plan->seconds, FSM_IN_ORDER, &timeline) == FSMOE_OK);
    FUZZ_CLAIM(timeline.makespan_s <= c->makespan_s * (1 + 1e-6) + 1e-15);
    FUZZ_CLAIM(c->bound.seconds <= c->makespan_s * (1 + 1e-6) && c->order_bound.seconds <= c->makespan_s * (1 + 1e-6));
    fsm_timeline_destroy(&timeline);
}

static void claim_same_again(const fsm_plan *plan, const fsm_cluster *cluster, fsmoe_status verdict)
{
    fsm_plan back;
    fsm_cluster costs;
    const char *path = fuzz_path("again.json");
    FUZZ_CLAIM(fsm_plan_write(plan, cluster, path) == FSMOE_OK);
    FUZZ_CLAIM(fsm_plan_read(path, &back, &costs) == FSMOE_OK);
    FUZZ_CLAIM(back.graph.count == plan->graph.count && back.graph.edge_count == plan->graph.edge_count);
    FUZZ_CLAIM(back.shape.gradient_count == plan->shape.gradient_count);
    FUZZ_CLAIM(fsm_plan_check(&back, &costs) == verdict);
    fsm_plan_destroy(&back);
    fsm_cluster_destroy(&costs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_plan plan;
    fsm_cluster cluster;
    if (fsm_plan_read(fuzz_file(0, data, size), &plan, &cluster) != FSMOE_OK) return 0;
    fsmoe_status verdict = fsm_plan_check(&plan, &cluster);
    if (verdict == FSMOE_OK) claim_sound(&plan);
    claim_same_again(&plan, &cluster, verdict);
    fsm_plan_destroy(&plan);
    fsm_cluster_destroy(&cluster);
    return 0;
}
