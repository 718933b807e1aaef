#include "rehearse/rehearsal.h"

#include "plan/cost.h"
#include "rehearse/pace.h"

#include <math.h>
#include <stdlib.h>

/* ---- scores ---- */

/* What tasks would cost if they moved nothing; not more than what they cost. */
static fsmoe_status find_alphas(const fsm_plan *plan, const fsm_cluster *cluster, double *alpha_s)
{
    fsm_graph nothing = fsm_graph_copy(&plan->graph);
    if (nothing.out_of_memory) {
        fsm_graph_destroy(&nothing);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the alphas of %d tasks", plan->graph.count);
    }
    for (int i = 0; i < nothing.count; i++) nothing.tasks[i].size = 0;
    fsmoe_status status = fsm_cost_tasks(&nothing, cluster, fsm_graph_overlaps(&plan->graph), alpha_s);
    for (int i = 0; i < nothing.count; i++) alpha_s[i] = fmin(alpha_s[i], plan->seconds[i]);
    fsm_graph_destroy(&nothing);
    return status;
}

static fsmoe_status create_score(const fsm_plan *plan, const fsm_cluster *cluster, fsm_score *score)
{
    score->graph = plan->graph;
    score->cost_s = plan->seconds;
    score->alpha_s = calloc((size_t)plan->graph.count + 1, sizeof *score->alpha_s);
    if (!score->alpha_s) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the alphas of %d tasks", plan->graph.count);
    return find_alphas(plan, cluster, score->alpha_s);
}

static fsmoe_status create_scores(const fsm_plan *plans, int count, const fsm_cluster *cluster, fsm_rehearsal *r)
{
    r->scores = calloc((size_t)count + 1, sizeof *r->scores);
    if (!r->scores) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to rehearse %d plans", count);
    r->count = count;
    for (int i = 0; i < count; i++) FSM_TRY(create_score(&plans[i], cluster, &r->scores[i]));
    return FSMOE_OK;
}

/* ---- a rehearsal ---- */

static int64_t most_numbers(const fsm_plan *plans, int count)
{
    double most = 1;
    for (int p = 0; p < count; p++)
        for (int i = 0; i < plans[p].graph.count; i++)
            if (fsm_is_small_exchange(plans[p].graph.tasks[i].kind)) most = fmax(most, plans[p].graph.tasks[i].size);
    return (int64_t)most;
}

static int most_tasks(const fsm_plan *plans, int count)
{
    int most = 0;
    for (int p = 0; p < count; p++)
        if (plans[p].graph.count > most) most = plans[p].graph.count;
    return most;
}

/* The plan with the most to do in its time. */
static int busiest(const fsm_plan *plans, int count)
{
    int most = 0;
    for (int i = 1; i < count; i++)
        if (plans[i].graph.count / plans[i].timeline.makespan_s >
            plans[most].graph.count / plans[most].timeline.makespan_s)
            most = i;
    return most;
}

static fsmoe_status make_ready(fsm_exec *exec, const fsm_cluster *cluster, const fsm_plan *plans, int count,
                               fsm_rehearsal *r)
{
    FSM_TRY(create_scores(plans, count, cluster, r));
    FSM_TRY(fsm_exec_reserve(exec, most_tasks(plans, count)));
    return fsm_rehearsed_step_create(exec, &r->links, most_tasks(plans, count), most_numbers(plans, count), &r->step);
}

fsmoe_status fsm_rehearsal_create(fsm_comm *world, fsm_comm *const *groups, fsm_exec *exec, const fsm_cluster *cluster,
                                  const fsm_plan *plans, int count, double stretch, fsm_rehearsal *r)
{
    *r = (fsm_rehearsal){0};
    FSM_TRY(fsm_links_create(world, groups, plans, count, &r->links));
    FSM_TRY(fsm_comm_agree(world, make_ready(exec, cluster, plans, count, r)));
    int p = busiest(plans, count);
    return fsm_pace_find(&r->step, &r->scores[p], &plans[p].timeline, stretch);
}

void fsm_rehearsal_destroy(fsm_rehearsal *r)
{
    for (int i = 0; i < r->count; i++) free(r->scores[i].alpha_s);
    free(r->scores);
    fsm_rehearsed_step_destroy(&r->step);
    fsm_links_destroy(&r->links);
    *r = (fsm_rehearsal){0};
}

/* ---- a step ---- */

typedef struct listener {
    fsm_observer observer;
    double stretch;
} listener;

static void tell(void *user, int index, double start_s, double end_s)
{
    const listener *l = user;
    l->observer.task_ran(l->observer.user, index, start_s / l->stretch, end_s / l->stretch);
}

fsmoe_status fsm_rehearsal_run(fsm_rehearsal *r, int plan, fsm_observer observer, double *step_s)
{
    listener listening = {observer, r->step.pace.stretch};
    const fsm_observer told = {tell, &listening};
    FSM_TRY(fsm_rehearsed_step_run(&r->step, &r->scores[plan], observer.task_ran ? &told : NULL, step_s));
    *step_s /= r->step.pace.stretch;
    return FSMOE_OK;
}
