#include "rehearse/links.h"

#include "base/clock.h"
#include "plan/cost.h"
#include "profile/measure.h"

#include <math.h>

enum { FEWEST_ELEMS = 1 << 12, MOST_ELEMS = 1 << 22, REPEATS = 3 };
static const double LONG_ENOUGH_S = 0.4; /* for what naps and others add to be little */

/* An operation of a group, and where its messages go. */
typedef struct probe {
    fsm_links *links;
    fsm_usage *usage;
    fsm_cost_op op;
    fsm_group group;
    fsm_resource resource;
} probe;

/* Naps a part of its age, as the executor does: what passes between two looks depends on that, and looking is work. */
static fsmoe_status run_once(void *object, int64_t elems)
{
    const double least_s = 50e-6, most_s = 4e-3;
    const probe *p = object;
    bool done = false;
    double start_s = fsm_clock_s();
    fsm_rounds rounds = {.collective = &p->links->collectives[p->resource],
                         .group = p->links->groups[p->group],
                         .op = p->op,
                         .left = elems};
    FSM_TRY(fsm_rounds_start(&rounds));
    for (;;) {
        FSM_TRY(fsm_rounds_advance(&rounds, &done));
        if (done) return FSMOE_OK;
        fsm_clock_sleep(fmin(fmax((fsm_clock_s() - start_s) / 16, least_s), most_s));
    }
}

/* The median: sums over ranks take now more and now less, without anybody else's doing. */
static fsmoe_status time_size(probe *p, int64_t elems, double *seconds)
{
    fsm_timing timing;
    int timed;
    const fsm_timing_loop loop = {.world = p->links->world, .repeats = REPEATS, .budget_s = 10};
    FSM_TRY(fsm_time_sizes(&loop, run_once, p, &elems, 1, &timing, &timed));
    *seconds = timing.time_s;
    return FSMOE_OK;
}

/* A size that keeps the link busy for a while, and a quarter of it. share: of the machine that the former took. */
static fsmoe_status time_large(probe *p, fsm_point *quarter, fsm_point *large, double *share)
{
    fsm_comm *world = p->links->world;
    int64_t elems = FEWEST_ELEMS / 4;
    *large = (fsm_point){.size = (double)elems};
    FSM_TRY(time_size(p, elems, &large->time_s));
    while (elems < MOST_ELEMS && large->time_s < LONG_ENOUGH_S) {
        *quarter = *large;
        elems *= 4;
        large->size = (double)elems;
        fsm_usage_begin(p->usage);
        FSM_TRY(time_size(p, elems, &large->time_s));
        FSM_TRY(fsm_usage_end(world, p->usage, share));
    }
    return FSMOE_OK;
}

/* What an element a rank takes, which is the start of the messages; and the slope between large sizes: what a link that
 * has rested lets through at once makes all of them faster than it is, by as much. Not less than the larger by itself
 * says, for another program may have held up the smaller. */
static fsmoe_status measure_line(probe *p)
{
    fsm_point quarter = {0}, large;
    fsm_line line;
    double share = 0;
    FSM_TRY(time_large(p, &quarter, &large, &share));
    FSM_TRY(time_size(p, p->links->groups[p->group]->size, &line.alpha_s));
    line.alpha_s = fmin(line.alpha_s, 0.5 * large.time_s);
    line.beta_s = (large.time_s - quarter.time_s) / (large.size - quarter.size);
    line.beta_s = fmax(line.beta_s, (large.time_s - line.alpha_s) / large.size);
    p->links->lines[p->op][p->group] = line;
    double *most = &p->links->share[p->resource]; /* sums are work, gathers are little */
    *most = fmax(*most, share);
    return FSMOE_OK;
}

static bool is_rehearsed(const fsm_links *links, const fsm_task *t)
{
    fsm_cost_op op = fsm_cost_op_of(t->kind);
    return op != FSM_COST_OP_COUNT && op != FSM_COST_GEMM && links->groups[t->group]->size > 1;
}

static fsmoe_status measure_plan(fsm_links *links, fsm_usage *usage, const fsm_plan *plan)
{
    for (int i = 0; i < plan->graph.count; i++) {
        const fsm_task *t = &plan->graph.tasks[i];
        if (!is_rehearsed(links, t) || plan->seconds[i] <= 0) continue;
        probe p = {links, usage, fsm_cost_op_of(t->kind), t->group, t->resource};
        if (links->lines[p.op][p.group].beta_s == 0) FSM_TRY(measure_line(&p));
    }
    return FSMOE_OK;
}

static fsmoe_status create_collectives(fsm_links *links)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        FSM_TRY(fsm_collective_create(links->world->size, FSM_ROUND_ELEMS, &links->collectives[r]));
    return FSMOE_OK;
}

fsmoe_status fsm_links_create(fsm_comm *world, fsm_comm *const *groups, const fsm_plan *plans, int count,
                              fsm_links *links)
{
    fsm_usage usage;
    *links = (fsm_links){.world = world, .groups = groups};
    FSM_TRY(fsm_comm_agree(world, create_collectives(links)));
    FSM_TRY(fsm_usage_rest(world, &usage));
    for (int i = 0; i < count; i++) FSM_TRY(measure_plan(links, &usage, &plans[i]));
    return FSMOE_OK;
}

void fsm_links_destroy(fsm_links *links)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) fsm_collective_destroy(&links->collectives[r]);
    *links = (fsm_links){0};
}
