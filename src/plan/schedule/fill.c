/* Gradient partitioning (FSMoE, section 5): which degrees, and how much of the gradients each layer's window takes. The
 * paper fills windows greedily and shares the rest out by differential evolution. Windows of equal layers are alike,
 * so one number decides: how much longer than its own work a layer's window may be made for gradients. A few values
 * of it are built and simulated, and the fastest step is kept. */
#include "plan/cost.h"
#include "plan/predict.h"
#include "plan/schedule/schedule.h"
#include "plan/step_memory.h"

#include <math.h>

/* What measured costs of overlap are off by in the median (docs/results-measured.md). */
#define OVERLAP_RISK 0.03

fsmoe_status fsm_schedule_keep_faster(const fsm_cluster *cluster, fsm_graph tried, fsm_graph *best, double *best_s)
{
    double makespan_s = 0;
    fsmoe_status status = fsm_predict(&tried, cluster, &makespan_s);
    if (status != FSMOE_OK || makespan_s >= *best_s) {
        fsm_graph_destroy(&tried);
        return status;
    }
    fsm_graph_destroy(best);
    *best = tried;
    *best_s = makespan_s;
    return FSMOE_OK;
}

/* Elements on the all-to-alls' link that could be sent beside one MoE layer if all were shared out evenly. */
static double elems_a_layer(const fsm_step_shape *s, bool one_stream)
{
    double elems = 0;
    int layers = s->num_layers / s->moe_every;
    for (int i = 0, next = 0; i < s->region_count; i++) {
        int64_t first = s->regions[i].first;
        while (next < s->gradient_count && s->gradients[next].region < i) next++;
        if (s->group_size[s->regions[i].group] > 1 && fsm_step_shares_link(s, one_stream, i))
            elems += (double)(fsm_step_finished(s, i, 0, true, &next, first) - first);
    }
    return layers > 0 ? elems / layers : 0;
}

/* The recipe when each layer gives `elems` of gradients a place beside its experts. */
static fsmoe_status write_recipe(const fsm_step_shape *shape, const fsm_cluster *cluster, double elems,
                                 fsm_recipe *recipe)
{
    for (int phase = 0; phase < 2; phase++) {
        fsm_window window = fsm_step_moe_window(shape, cluster, (fsm_phase)phase);
        if (phase == FSM_BACKWARD && elems > 0)
            window.allreduce = (fsm_load){fsm_cost_find(cluster, FSM_TASK_ALLREDUCE, FSM_UPDATE, true).cost, 1, elems};
        FSM_TRY(fsm_window_best(&window, fsm_step_freedom(shape, recipe->freedom), &recipe->plan[phase]));
        if (elems > 0) recipe->stretch_s = fsm_load_s(&window.allreduce, 1);
    }
    return FSMOE_OK;
}

typedef struct variant {
    fsm_sending beside_dense;
    double least_alphas;
    bool own_degrees;
} variant;

/* With many small pieces links never idle; with few large ones they start less often. */
static const variant variants[] = {{FSM_SEND_FITTING, 4, true},  {FSM_SEND_FITTING, 4, false},
                                   {FSM_SEND_FITTING, 12, true}, {FSM_SEND_NOTHING, 4, true},
                                   {FSM_SEND_NOTHING, 16, true}, {FSM_SEND_NOTHING, 64, true}};

static fsmoe_status try_variants(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_recipe recipe,
                                 fsm_graph *best, double *best_s)
{
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        fsm_graph tried;
        recipe.beside_dense = variants[i].beside_dense;
        recipe.least_alphas = variants[i].least_alphas;
        recipe.own_degrees = variants[i].own_degrees;
        FSM_TRY(fsm_recipe_build(&recipe, shape, cluster, &tried));
        FSM_TRY(fsm_schedule_keep_faster(cluster, tried, best, best_s));
    }
    return FSMOE_OK;
}

static fsmoe_status try_shares(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_freedom freedom,
                               fsm_graph *best, double *best_s)
{
    static const double shares[] = {0, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.5, 3};
    double elems = shape->training ? elems_a_layer(shape, freedom.one_stream) : 0;
    for (size_t i = 0; i < (elems > 0 ? sizeof shares / sizeof *shares : 1); i++) {
        fsm_recipe recipe = {.freedom = freedom, .beside_experts = FSM_SEND_FITTING};
        FSM_TRY(write_recipe(shape, cluster, shares[i] * elems, &recipe));
        FSM_TRY(try_variants(shape, cluster, recipe, best, best_s));
    }
    return FSMOE_OK;
}

/* Every collective back on its own link: the same order on more streams ends no later. */
static void use_own_links(const fsm_step_shape *shape, fsm_graph *graph)
{
    for (int i = 0; i < graph->count; i++)
        if (graph->tasks[i].resource != FSM_COMPUTE) graph->tasks[i].resource = shape->link[graph->tasks[i].group];
}

fsmoe_status fsm_schedule_try_others(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_freedom freedom,
                                     const fsm_schedule *const *others, fsm_graph *best, double *best_s)
{
    for (int i = 0; others[i]; i++) {
        fsm_graph tried;
        FSM_TRY(others[i]->build(shape, cluster, &tried));
        if (!freedom.one_stream) use_own_links(shape, &tried);
        bool wanted = shape->lanes == 0 || shape->lanes == fsm_graph_lanes(&tried);
        if (!wanted || !fsm_step_fits(shape, &tried)) {
            fsm_graph_destroy(&tried);
            continue;
        }
        FSM_TRY(fsm_schedule_keep_faster(cluster, tried, best, best_s));
    }
    return FSMOE_OK;
}

fsmoe_status fsm_schedule_fill(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_freedom freedom,
                               const fsm_schedule *const *others, fsm_graph *graph)
{
    double best_s = INFINITY;
    *graph = (fsm_graph){0};
    fsmoe_status status = try_shares(shape, cluster, freedom, graph, &best_s);
    if (status == FSMOE_OK) status = fsm_schedule_try_others(shape, cluster, freedom, others, graph, &best_s);
    if (status == FSMOE_OK) return fsm_schedule_or_in_order(shape, cluster, graph);
    fsm_graph_destroy(graph);
    return status;
}

double fsm_schedule_risk(const fsm_cluster *cluster)
{
    for (int i = 0; i < cluster->task_count; i++)
        if (cluster->tasks[i].overlap > 0) return OVERLAP_RISK;
    return 0;
}

fsmoe_status fsm_schedule_or_in_order(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_graph *graph)
{
    fsm_graph plain;
    double makespan_s;
    fsmoe_status status = fsm_predict(graph, cluster, &makespan_s);
    if (fsm_graph_overlaps(graph)) makespan_s *= 1 + fsm_schedule_risk(cluster);
    if (status == FSMOE_OK) status = fsm_schedule_in_order(shape, 1, 1, &plain);
    if (status == FSMOE_OK) status = fsm_schedule_keep_faster(cluster, plain, graph, &makespan_s);
    if (status != FSMOE_OK) fsm_graph_destroy(graph);
    return status;
}
