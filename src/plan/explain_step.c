#include "plan/explain_step.h"

#include "plan/predict.h"
#include "plan/step_memory.h"
#include "plan/waits.h"

#include <stdlib.h>

/* ---- what waits ---- */

enum { MOST_SHOWN = 4 }; /* kinds of tasks that a resource waits for */

static void print_wait(const fsm_graph *graph, const fsm_wait *w, FILE *out)
{
    char kind[64], longest[128];
    snprintf(kind, sizeof kind, "%s.%s", fsm_task_kind_name(w->kind), fsm_phase_name(w->phase));
    fsm_task_name(&graph->tasks[w->longest], longest);
    fprintf(out, "  %12.3f for %-24s %5d x, at most %.3f for %s\n", 1e3 * w->seconds, kind, w->times,
            1e3 * w->longest_s, longest);
}

static void print_resource(const fsm_plan *plan, fsm_resource resource, const fsm_resource_waits *r, FILE *out)
{
    double others_s = 0;
    fprintf(out, "  %-8s load %.3f ms, busy %.3f, idle %.3f\n", fsm_resource_name(resource),
            1e3 * plan->certificate.load_s[resource], 1e3 * r->busy_s, 1e3 * r->idle_s);
    for (int i = 0; i < r->count; i++)
        if (i < MOST_SHOWN) print_wait(&plan->graph, &r->waits[i], out);
        else others_s += r->waits[i].seconds;
    if (others_s > 0) fprintf(out, "  %12.3f for other tasks\n", 1e3 * others_s);
    if (r->done_s > 0) fprintf(out, "  %12.3f after its last task\n", 1e3 * r->done_s);
}

fsmoe_status fsm_plan_explain_waits(const fsm_plan *plan, FILE *out)
{
    fsm_waits waits;
    double over_load = fsm_over_load(plan->timeline.makespan_s, plan->certificate.load_s);
    FSM_TRY(fsm_waits_find(&plan->graph, &plan->timeline, &waits));
    fprintf(out, "%s, what waits: a step of %.3f ms", plan->schedule, 1e3 * plan->timeline.makespan_s);
    if (over_load > 0) fprintf(out, ", %.3f times the largest load", over_load);
    fputc('\n', out);
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) print_resource(plan, (fsm_resource)r, &waits.of[r], out);
    return FSMOE_OK;
}

/* ---- other lanes and chunks ---- */

static const double GB = 1e9;

typedef struct neighbour {
    int lanes, degree[2];
    int64_t bytes; /* of a rank; 0: not known */
    double step_s;
} neighbour;

static fsmoe_status describe(const fsm_plan *plan, const fsm_cluster *cluster, int layer, const fsm_graph *graph,
                             neighbour *n)
{
    fsm_plan counted = {.shape = plan->shape, .graph = *graph};
    n->lanes = fsm_graph_lanes(graph);
    n->bytes = fsm_step_bytes(&plan->shape, (fsm_lanes){graph->lanes, graph->parts, graph->spare});
    FSM_TRY(fsm_predict(graph, cluster, &n->step_s));
    FSM_TRY(fsm_plan_count_degrees(&counted));
    for (int phase = 0; phase < 2; phase++) n->degree[phase] = counted.degree[layer][phase];
    free(counted.degree);
    return FSMOE_OK;
}

static void print_neighbour(const neighbour *n, double chosen_s, bool chosen, FILE *out)
{
    fprintf(out, "%c %6d  %8d  %8d  %12.3f  %+7.2f%%", chosen ? '>' : ' ', n->lanes, n->degree[0], n->degree[1],
            1e3 * n->step_s, 100 * (n->step_s / chosen_s - 1));
    if (n->bytes > 0) fprintf(out, "  %11.3f", (double)n->bytes / GB);
    fputc('\n', out);
}

/* Nothing where the step cannot be taken so. */
static fsmoe_status print_wanted(const fsm_plan *plan, const fsm_cluster *cluster, int layer,
                                 const fsm_lanes_wanted *wanted, FILE *out)
{
    fsm_graph graph;
    neighbour n;
    if (wanted->lanes < 1) return FSMOE_OK;
    fsmoe_status status = fsm_schedule_in_lanes(&plan->shape, cluster, wanted, &graph);
    if (status == FSMOE_ERROR_CONFIG) return FSMOE_OK;
    FSM_TRY(status);
    status = describe(plan, cluster, layer, &graph, &n);
    if (status == FSMOE_OK) print_neighbour(&n, plan->timeline.makespan_s, false, out);
    fsm_graph_destroy(&graph);
    return status;
}

/* Other lanes have the chunks that are best for them; other chunks are in the same lanes. */
static fsmoe_status print_neighbours(const fsm_plan *plan, const fsm_cluster *cluster, int layer,
                                     const neighbour *chosen, FILE *out)
{
    for (int more = -1; more <= 1; more += 2) {
        const fsm_lanes_wanted lanes = {.lanes = chosen->lanes + more};
        FSM_TRY(print_wanted(plan, cluster, layer, &lanes, out));
    }
    for (int phase = 0; phase < 2; phase++)
        for (int more = -1; more <= 1; more += 2) {
            fsm_lanes_wanted chunks = {chosen->lanes, {chosen->degree[0], chosen->degree[1]}};
            chunks.degree[phase] += more;
            if (chunks.degree[phase] < 1) continue; /* 0 would be any */
            FSM_TRY(print_wanted(plan, cluster, layer, &chunks, out));
        }
    return FSMOE_OK;
}

/* What the limit of memory costs. */
static fsmoe_status print_unlimited(const fsm_plan *plan, const fsm_cluster *cluster, int layer, FILE *out)
{
    fsm_plan unlimited = {.shape = plan->shape}; /* borrows what plan's owns */
    fsm_graph graph;
    neighbour n;
    unlimited.shape.memory.most = INT64_MAX;
    FSM_TRY(fsm_schedule_in_lanes(&unlimited.shape, cluster, &(fsm_lanes_wanted){0}, &graph));
    fsmoe_status status = describe(&unlimited, cluster, layer, &graph, &n);
    fsm_graph_destroy(&graph);
    FSM_TRY(status);
    double limit = (double)plan->shape.memory.most / GB, cost_s = plan->timeline.makespan_s - n.step_s;
    fprintf(out, "with %.3f GB a rank (%s)%s", limit,
            plan->shape.memory.asked ? "parallel.memory" : "what one lane takes, with room for late weight gradients",
            cost_s > 0 ? ":\n" : "; more memory would gain nothing\n");
    if (cost_s > 0)
        fprintf(out, "  %.3f GB would allow %d lanes and a step of %.3f ms\n", (double)n.bytes / GB, n.lanes,
                1e3 * n.step_s);
    return FSMOE_OK;
}

fsmoe_status fsm_plan_explain_lanes(const fsm_plan *plan, const fsm_cluster *cluster, int layer, FILE *out)
{
    neighbour chosen;
    FSM_TRY(describe(plan, cluster, layer, &plan->graph, &chosen));
    fprintf(out, "%s, one lane or one chunk more or less:\n  %6s  %8s  %8s  %12s  %8s  %11s\n", plan->schedule, "lanes",
            "forward", "backward", "step, ms", "cost", "memory, GB");
    print_neighbour(&chosen, plan->timeline.makespan_s, true, out);
    FSM_TRY(print_neighbours(plan, cluster, layer, &chosen, out));
    bool limits = plan->shape.memory.most > 0 && plan->shape.lanes == 0; /* else the lanes are as wanted */
    return limits ? print_unlimited(plan, cluster, layer, out) : FSMOE_OK;
}
