#include "rehearse/pace.h"

#include <math.h>

enum { MOST_TRIALS = 4 };
static const double ALLOWED = 0.5, /* of the cores */
    WANTED = 0.4, ENOUGH = 0.28,   /* what trials aim at; above this they leave the pace */
    MESSAGES = 0.4,                /* what messages may take, should both links be busy all the time */
    FILLED = 0.95,                 /* of a collective's time at most, so that a link's noise does not add up */
    TRIAL_S = 2,                   /* how long a trial is, at least */
    WORK_S = 1e-3,                 /* of a core, that a task and its messages take: to begin with */
    SHORTEST_S = 5e-3;             /* a task, in the mean: what a timer is off by is little beside it */

/* The part of a collective's time that its messages fill: nearly all of it, or, where moving bytes is work, as between
 * ranks that share memory, less. */
static double fill(const fsm_links *links)
{
    double share = 0;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) share += links->share[r];
    return share * FILLED > MESSAGES ? MESSAGES / share : FILLED;
}

/* Longer naps where all is slow; but a rank must see an end soon, and give its link the next message. */
static double longest_nap_s(double stretch)
{
    const double usual_s = 250e-6, most_s = 4e-3;
    return fmin(usual_s * stretch, most_s);
}

static void set_stretch(fsm_rehearsed_step *step, double stretch)
{
    step->pace.stretch = stretch;
    fsm_exec_set_longest_nap(step->exec, longest_nap_s(step->pace.stretch));
}

/* As much of the step's beginning as lasts for a trial: a part of a graph's tasks up to any of them is a graph. */
static fsm_score beginning(const fsm_score *score, const fsm_timeline *planned, double stretch)
{
    fsm_score part = *score;
    for (int i = 0; i < score->graph.count; i++) {
        if (stretch * planned->start_s[i] < TRIAL_S) continue;
        part.graph.count = i;
        break;
    }
    return part;
}

static fsmoe_status try_pace(fsm_rehearsed_step *step, const fsm_score *score, const fsm_timeline *planned)
{
    fsm_comm *world = step->links->world;
    fsm_usage usage;
    double step_s;
    fsm_score part = beginning(score, planned, step->pace.stretch);
    FSM_TRY(fsm_usage_rest(world, &usage));
    fsm_usage_begin(&usage);
    FSM_TRY(fsm_rehearsed_step_run(step, &part, NULL, &step_s));
    return fsm_usage_end(world, &usage, &step->pace.share);
}

/* Messages of full links take the same at every stretch, all else less at a larger one. */
static fsmoe_status try_until_it_fits(fsm_rehearsed_step *step, const fsm_score *score, const fsm_timeline *planned,
                                      double least)
{
    for (int trial = 1; trial <= MOST_TRIALS; trial++) {
        FSM_TRY(try_pace(step, score, planned));
        double share = step->pace.share;
        if (trial == MOST_TRIALS || (share <= ALLOWED && (share >= ENOUGH || step->pace.stretch == least))) break;
        set_stretch(step, fmax(step->pace.stretch * fmin(fmax(share / WANTED, 0.25), 4), least));
    }
    return FSMOE_OK;
}

fsmoe_status fsm_pace_find(fsm_rehearsed_step *step, const fsm_score *score, const fsm_timeline *planned, double given)
{
    double crowd, tasks_a_s = planned->makespan_s > 0 ? score->graph.count / planned->makespan_s : 0;
    double least = fmax(SHORTEST_S * tasks_a_s, 1);
    step->pace.filled = fill(step->links);
    FSM_TRY(fsm_usage_crowd(step->links->world, &crowd));
    set_stretch(step, given > 0 ? given : fmax(crowd * WORK_S * tasks_a_s / WANTED, least));
    return given > 0 ? try_pace(step, score, planned) : try_until_it_fits(step, score, planned, least);
}
