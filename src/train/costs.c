#include "train/costs.h"

#include "plan/plan.h"
#include "train/same.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The second plan knows what overlap costs, so its degrees are nearer to those that will be used. */
enum { OVERLAP_ROUNDS = 2 };

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
    FSM_TRY_GOTO(status, world->control->broadcast_bytes(world, text, sizes[0], 0), done);
    fsm_cluster_destroy(cluster);
    status = fsm_comm_agree(world, fsm_cluster_from_json(text, "the cluster", cluster));
done:
    free(text);
    free(sizes);
    return status;
}

fsmoe_status fsm_costs_read(fsm_comm *world, const char *what, const char *path, fsm_cluster *cluster)
{
    fsmoe_status status = world->rank == 0 ? fsm_cluster_read(path, cluster) : FSMOE_OK;
    if (status != FSMOE_OK) fsm_fail_within(status, "%s", what);
    FSM_TRY(fsm_comm_agree(world, status));
    return fsm_costs_share(world, cluster);
}

/* ---- what costs are of ---- */

fsmoe_status fsm_costs_read_given(const fsm_stepper *s, const char *what, const char *path, fsm_cluster *cluster)
{
    char theirs[FSM_CLUSTER_LAYOUT_BYTES], ours[FSM_CLUSTER_LAYOUT_BYTES];
    fsm_cluster here = {0};
    FSM_TRY(fsm_costs_read(s->world, what, path, cluster));
    fsm_profile_describe(s, NULL, &here);
    if (fsm_cluster_same_layout(cluster, &here)) return FSMOE_OK;
    fsm_cluster_print_layout(cluster, theirs);
    fsm_cluster_print_layout(&here, ours);
    fsm_cluster_destroy(cluster);
    return fsm_fail(
        FSMOE_ERROR_CONFIG,
        "%s: '%s' has costs of %s, but this runs on %s: measure them there (`fsmoe profile`), or name no file", what,
        path, theirs, ours);
}

/* Says in `why` what the costs are of where that is something else than they would be of now. All of it must be
 * known. */
static bool do_hold(const fsm_stepper *s, const fsm_cluster *kept, char why[FSM_COSTS_WHY_BYTES])
{
    fsm_cluster here = {0};
    char layout[FSM_CLUSTER_LAYOUT_BYTES];
    fsm_profile_describe(s, NULL, &here);
    bool known =
        kept->nodes && kept->ranks_per_node && kept->ep_size && kept->esp_size && kept->mp_size && kept->work[0];
    fsm_cluster_print_layout(kept, layout);
    why[0] = 0;
    if (!fsm_cluster_same_layout(kept, &here)) snprintf(why, FSM_COSTS_WHY_BYTES, "are of %s", layout);
    else if (!known) snprintf(why, FSM_COSTS_WHY_BYTES, "do not say what they are of");
    else if (strcmp(kept->work, here.work) != 0) snprintf(why, FSM_COSTS_WHY_BYTES, "are of another model or batch");
    else if (strcmp(kept->machine, here.machine) != 0) snprintf(why, FSM_COSTS_WHY_BYTES, "are of '%s'", kept->machine);
    return !why[0];
}

fsmoe_status fsm_costs_read_kept(const fsm_stepper *s, const char *path, fsm_cluster *cluster, bool *hold,
                                 char why[FSM_COSTS_WHY_BYTES])
{
    why[0] = 0;
    *hold = false;
    FSM_TRY(fsm_costs_read(s->world, "the run's costs", path, cluster));
    int64_t verdict = s->world->rank == 0 && do_hold(s, cluster, why); /* machines may differ from rank to rank */
    FSM_TRY(s->world->control->broadcast_bytes(s->world, &verdict, sizeof verdict, 0));
    *hold = verdict;
    if (!*hold) fsm_cluster_destroy(cluster);
    return FSMOE_OK;
}

/* ---- measuring ---- */

static fsmoe_status run_recorded(fsm_stepper *s, fsm_costs_run run, void *user)
{
    fsm_task_recorder_destroy(s->recorder);
    s->recorder = NULL;
    FSM_TRY(fsm_comm_agree(s->world, fsm_task_recorder_create(&s->train_graph, &s->recorder)));
    return run(user);
}

static fsmoe_status use_plan(fsm_stepper *s, const fsm_schedule *schedule, const fsm_cluster *cluster)
{
    fsm_step_shape shape;
    fsm_plan plan;
    FSM_TRY(fsm_stepper_shape(s, &shape));
    FSM_TRY(fsm_plan_create(&shape, cluster, schedule, &plan));
    fsm_graph graph = plan.graph;
    plan.graph = (fsm_graph){0};
    fsm_plan_destroy(&plan);
    return fsm_stepper_use_graph(s, graph);
}

static fsmoe_status measure(fsm_stepper *s, const fsm_schedule *schedule, const fsm_profile_options *options,
                            fsm_costs_run run, void *user, fsm_cluster *cluster)
{
    FSM_TRY(run_recorded(s, run, user));
    FSM_TRY(fsm_profile_stepper(s, options, cluster));
    FSM_TRY(fsm_costs_share(s->world, cluster));
    if (s->world->size == 1) return FSMOE_OK; /* nobody to wait for */
    for (int round = 0; round < OVERLAP_ROUNDS; round++) {
        FSM_TRY(fsm_same_graph(s->world, use_plan(s, schedule, cluster), &s->train_graph));
        if (!fsm_graph_overlaps(&s->train_graph)) break; /* there is nothing to gain, so nothing to measure */
        FSM_TRY(run_recorded(s, run, user));
        FSM_TRY(fsm_profile_overlap(s, cluster));
        FSM_TRY(fsm_costs_share(s->world, cluster));
    }
    return fsm_same_graph(s->world, fsm_stepper_use_order(s), &s->train_graph);
}

fsmoe_status fsm_costs_measure(fsm_stepper *s, const fsm_schedule *schedule, const fsm_profile_options *options,
                               fsm_costs_run run, void *user, fsm_cluster *cluster)
{
    *cluster = (fsm_cluster){0};
    fsmoe_status status = measure(s, schedule, options, run, user, cluster);
    fsm_task_recorder_destroy(s->recorder);
    s->recorder = NULL;
    if (status != FSMOE_OK) fsm_cluster_destroy(cluster);
    return status;
}
