/* Steps of a bench in rehearsal: costs of another cluster, on the ranks that are there (rehearse/rehearsal.h). */
#include "comm/groups.h"
#include "plan/model_step.h"
#include "rehearse/rehearsal.h"
#include "train/bench_method.h"
#include "train/costs.h"
#include "train/place.h"
#include "train/same.h"
#include "train/trial.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct rehearsed {
    fsm_comm *world;
    fsmoe_config *config;
    const fsmoe_bench_options *options;
    fsm_topo topo;
    fsm_comm *groups[FSM_GROUP_COUNT];
    fsm_exec *exec;
    fsm_rehearsal rehearsal;
} rehearsed;

__attribute__((format(printf, 2, 3))) static void say(const rehearsed *r, const char *format, ...)
{
    char text[512];
    va_list args;
    if (!r->options->on_message || r->world->rank != 0) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->options->on_message(r->options->user, text);
}

/* ---- the ranks ---- */

static fsmoe_status prepare(rehearsed *r)
{
    fsm_comm *world = r->world;
    FSM_TRY(
        fsm_comm_agree(world, fsm_trial_config(r->config, r->options->layers, fsm_bench_micro_batches(r->options))));
    FSM_TRY(fsm_same_config(world, r->config));
    FSM_TRY(fsm_comm_agree(world, fsm_place(r->config, world, &r->topo)));
    FSM_TRY(fsm_comm_agree(world, fsm_groups_create(world, &r->topo, r->groups)));
    return fsm_comm_agree(world, fsm_exec_create(fsm_progress_of(r->config, world), &r->exec));
}

static fsmoe_status create(fsm_comm *world, fsmoe_config *config, const fsmoe_bench_options *options, void **work)
{
    rehearsed *r = calloc(1, sizeof *r);
    *work = r;
    FSM_TRY(fsm_comm_agree(world, r ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a rehearsal")));
    r->world = world;
    r->config = config;
    r->options = options;
    return prepare(r);
}

static void destroy(void *work)
{
    rehearsed *r = work;
    if (!r) return;
    fsm_rehearsal_destroy(&r->rehearsal);
    fsm_exec_destroy(r->exec);
    fsm_groups_destroy(r->groups);
    free(r);
}

/* ---- plans ---- */

static fsmoe_status shape(void *work, fsm_step_shape *described)
{
    rehearsed *r = work;
    FSM_TRY(fsm_step_of_config(r->config, r->topo.nodes, r->topo.ranks_per_node, described));
    if (r->options->layer) fsm_step_keep_experts(described);
    return FSMOE_OK;
}

static fsm_cluster layout_here(const rehearsed *r)
{
    const fsm_topo *t = &r->topo;
    return (fsm_cluster){
        .nodes = t->nodes, .ranks_per_node = t->ranks_per_node, .ep_size = t->ep, .esp_size = t->esp, .mp_size = t->mp};
}

/* Costs are what they are, whatever layout they were found with: that of 8 nodes may be tried on 2. */
static void compare_layouts(const rehearsed *r, const fsm_cluster *cluster)
{
    char theirs[FSM_CLUSTER_LAYOUT_BYTES], ours[FSM_CLUSTER_LAYOUT_BYTES];
    const fsm_cluster here = layout_here(r);
    if (fsm_cluster_same_layout(cluster, &here)) return;
    fsm_cluster_print_layout(cluster, theirs);
    fsm_cluster_print_layout(&here, ours);
    say(r, "'%s' has costs of %s; they are rehearsed as they are on %s", r->options->rehearse, theirs, ours);
}

static fsmoe_status find_costs(void *work, fsm_cluster *cluster)
{
    const rehearsed *r = work;
    FSM_TRY(fsm_costs_read(r->world, "--rehearse", r->options->rehearse, cluster));
    compare_layouts(r, cluster);
    return FSMOE_OK;
}

static void tell_pace(const rehearsed *r, const fsm_plan *plans, int count)
{
    char layout[FSM_CLUSTER_LAYOUT_BYTES];
    const fsm_cluster here = layout_here(r);
    const fsm_pace *pace = &r->rehearsal.step.pace;
    double round_s = 0;
    for (int i = 0; i < count; i++) round_s += pace->stretch * plans[i].timeline.makespan_s;
    fsm_cluster_print_layout(&here, layout);
    say(r,
        "rehearsed on %s, %.3g times as slowly as on the cluster: ranks and packets take %.0f %% of the machine, "
        "messages "
        "%.0f %% of a collective's time; a step of every schedule takes %.3g s",
        layout, pace->stretch, 100 * pace->share, 100 * pace->filled, round_s);
}

static fsmoe_status take_plans(void *work, const fsm_cluster *cluster, const fsm_plan *plans, int count)
{
    rehearsed *r = work;
    say(r, "finding out what messages take here, and how slowly to go");
    FSM_TRY(
        fsm_rehearsal_create(r->world, r->groups, r->exec, cluster, plans, count, r->options->stretch, &r->rehearsal));
    tell_pace(r, plans, count);
    return FSMOE_OK;
}

static fsmoe_status run(void *work, int plan, fsm_observer observer, double *step_s)
{
    rehearsed *r = work;
    return fsm_step_failed(r->world, fsm_rehearsal_run(&r->rehearsal, plan, observer, step_s));
}

static double stretch(const void *work)
{
    return ((const rehearsed *)work)->rehearsal.step.pace.stretch;
}

const fsm_bench_method fsm_bench_rehearsed = {.warm_up = 1,
                                              .create = create,
                                              .destroy = destroy,
                                              .shape = shape,
                                              .find_costs = find_costs,
                                              .take_plans = take_plans,
                                              .run = run,
                                              .stretch = stretch};
