#include "rehearse/step.h"

#include "base/clock.h"
#include "plan/cost.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

static int index_of(const fsm_rehearsed_step *step, const fsm_task *task)
{
    return (int)(task - step->score->graph.tasks);
}

static double stretched(const fsm_rehearsed_step *step, const double *seconds, const fsm_task *task)
{
    return step->pace.stretch * seconds[index_of(step, task)];
}

/* ---- time ---- */

/* When everything that the task waits for had ended. That this is seen a little later, since ranks share cores and
 * timers are not exact, is no time of the cluster's: the task loses it from its own. */
static double start_of(const fsm_rehearsed_step *step, const fsm_task *task)
{
    const fsm_graph *graph = &step->score->graph;
    double start_s = step->free_s[task->resource];
    for (int e = task->after_first; e < task->after_first + task->after_count; e++)
        start_s = fmax(start_s, step->ends_s[graph->edges[e]]);
    return start_s;
}

static void end_at(fsm_rehearsed_step *step, const fsm_task *task, double end_s)
{
    step->ends_s[index_of(step, task)] = step->free_s[task->resource] = end_s;
}

/* ---- what computes ---- */

static fsmoe_status sleep_through(void *object, const fsm_task *task)
{
    fsm_rehearsed_step *step = object;
    double end_s = start_of(step, task) + stretched(step, step->score->cost_s, task);
    fsm_clock_sleep_until(end_s);
    end_at(step, task, end_s);
    return FSMOE_OK;
}

/* ---- what communicates ---- */

static fsm_comm *group_of(const fsm_rehearsed_part *part)
{
    return part->step->links->groups[part->task->group];
}

bool fsm_is_small_exchange(fsm_task_kind kind)
{
    return kind == FSM_TASK_COUNTS || kind == FSM_TASK_SUMS || kind == FSM_TASK_GRAD_NORM;
}

/* Nobody reads the numbers, which are zeros. */
static fsmoe_status start_exchange(fsm_rehearsed_part *part, fsm_comm_op *op)
{
    int64_t n = (int64_t)part->task->size, *numbers = part->numbers;
    if (part->task->kind == FSM_TASK_COUNTS)
        return fsm_comm_start_all_gather_even(op, group_of(part), FSM_COMM_INT64, numbers, n, numbers + n);
    return fsm_comm_start_all_reduce(op, group_of(part), FSM_COMM_FP64, numbers, n);
}

static fsmoe_status begin(fsm_rehearsed_part *part)
{
    part->begun = true;
    return fsm_is_small_exchange(part->task->kind) ? start_exchange(part, &part->rounds.round)
                                                   : fsm_rounds_start(&part->rounds);
}

/* What is found at the first look after its end has arrived before that. */
static void see_end(fsm_rehearsed_part *part, double now_s, bool *done)
{
    if (part->arrived && part->late) part->ends_s = now_s;
    part->late = !part->arrived && now_s >= part->ends_s;
    *done = part->arrived && now_s >= part->ends_s;
    if (*done) end_at(part->step, part->task, part->ends_s);
}

static fsmoe_status advance(fsm_comm_op *op, bool *done)
{
    fsm_rehearsed_part *part = op->object;
    double now_s = fsm_clock_s();
    *done = false;
    if (!part->begun && now_s < part->begins_s) return FSMOE_OK;
    if (!part->begun) FSM_TRY(begin(part));
    op->wakes_s = now_s < part->ends_s ? part->ends_s : 0;
    if (!part->arrived) FSM_TRY(fsm_rounds_advance(&part->rounds, &part->arrived));
    see_end(part, now_s, done);
    return FSMOE_OK;
}

/* What the task's collective takes on the links that are there. */
static fsm_line line_here(const fsm_rehearsed_step *step, const fsm_task *task)
{
    fsm_cost_op op = fsm_cost_op_of(task->kind);
    return op == FSM_COST_OP_COUNT ? (fsm_line){0} : step->links->lines[op][task->group];
}

/* How many elements take what the cost leaves after alpha. Where the start of the messages themselves takes longer than
 * alpha, so many fewer. */
static int64_t elems_of(const fsm_rehearsed_step *step, const fsm_task *task, double cost_s, double alpha_s)
{
    fsm_line here = line_here(step, task);
    double left_s = cost_s - fmax(alpha_s, here.alpha_s);
    return here.beta_s > 0 && left_s > 0 ? (int64_t)(step->pace.filled * left_s / here.beta_s) : 0;
}

/* What the messages' own start takes is a part of alpha. */
static fsmoe_status start_collective(void *object, const fsm_task *task, fsm_comm_op *op)
{
    fsm_rehearsed_step *step = object;
    fsm_rehearsed_part *part = &step->parts[task->resource];
    double start_s = start_of(step, task), cost_s = stretched(step, step->score->cost_s, task);
    double alpha_s = stretched(step, step->score->alpha_s, task);
    part->task = task;
    part->begun = part->arrived = part->late = false;
    part->ends_s = start_s + cost_s;
    part->begins_s = start_s + fmax(alpha_s - line_here(step, task).alpha_s, 0);
    part->rounds = (fsm_rounds){.collective = &step->links->collectives[task->resource],
                                .group = group_of(part),
                                .op = fsm_cost_op_of(task->kind),
                                .left = elems_of(step, task, cost_s, alpha_s)};
    *op = (fsm_comm_op){.comm = group_of(part), .advance = advance, .object = part, .wakes_s = part->begins_s};
    return FSMOE_OK;
}

/* ---- the table ---- */

#define ALWAYS(function)                                                             \
    {                                                                                \
        [FSM_FORWARD] = function, [FSM_BACKWARD] = function, [FSM_UPDATE] = function \
    }
#define SLEEPS(kind) [FSM_TASK_##kind] = ALWAYS(sleep_through)
#define SENDS(kind) [FSM_TASK_##kind] = ALWAYS(start_collective)

static const fsm_task_table tasks = {.run =
                                         {
                                             SLEEPS(EMBEDDING),
                                             SLEEPS(NORM),
                                             SLEEPS(ATTENTION),
                                             SLEEPS(FFN_NORM),
                                             SLEEPS(FFN),
                                             SLEEPS(GATE),
                                             SLEEPS(ORDER),
                                             SLEEPS(EXPERT),
                                             SLEEPS(WEIGHT_GRAD),
                                             SLEEPS(IORDER),
                                             SLEEPS(HEAD),
                                             SLEEPS(GRAD_SQUARES),
                                             SLEEPS(OPTIMIZER),
                                         },
                                     .start = {
                                         SENDS(MP_ALLGATHER),
                                         SENDS(MP_REDUCESCATTER),
                                         SENDS(FFN_ALLGATHER),
                                         SENDS(FFN_REDUCESCATTER),
                                         SENDS(COUNTS),
                                         SENDS(A2A_DISPATCH),
                                         SENDS(ALLGATHER),
                                         SENDS(REDUCESCATTER),
                                         SENDS(A2A_COMBINE),
                                         SENDS(SUMS),
                                         SENDS(ALLREDUCE),
                                         SENDS(GRAD_NORM),
                                     }};

/* ---- urgency ---- */

typedef struct urgency {
    int policy;
    struct sched_param parameters;
} urgency;

/* What other programs do here is not to delay a rehearsal: its tasks sleep, so going first takes nothing from them.
 * Where the system does not allow it, all stays as it is. */
static urgency hurry(void)
{
    urgency usual;
    const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_RR)};
    pthread_getschedparam(pthread_self(), &usual.policy, &usual.parameters);
    pthread_setschedparam(pthread_self(), SCHED_RR, &lowest);
    return usual;
}

static void calm_down(const urgency *usual)
{
    pthread_setschedparam(pthread_self(), usual->policy, &usual->parameters);
}

/* ---- a step ---- */

fsmoe_status fsm_rehearsed_step_create(fsm_exec *exec, fsm_links *links, int most_tasks, int64_t most_numbers,
                                       fsm_rehearsed_step *step)
{
    bool enough = true;
    size_t numbers = ((size_t)links->world->size + 1) * (size_t)most_numbers + 1; /* sent, and received of every rank */
    *step = (fsm_rehearsed_step){.exec = exec, .links = links};
    step->ends_s = calloc((size_t)most_tasks + 1, sizeof *step->ends_s);
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        fsm_rehearsed_part *part = &step->parts[r];
        part->step = step;
        part->numbers = calloc(numbers, sizeof *part->numbers);
        enough &= part->numbers != NULL;
    }
    if (step->ends_s && enough) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a step of %d tasks", most_tasks);
}

void fsm_rehearsed_step_destroy(fsm_rehearsed_step *step)
{
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) free(step->parts[r].numbers);
    free(step->ends_s);
    *step = (fsm_rehearsed_step){0};
}

fsmoe_status fsm_rehearsed_step_run(fsm_rehearsed_step *step, const fsm_score *score, const fsm_observer *observer,
                                    double *step_s)
{
    fsm_comm *world = step->links->world;
    step->score = score;
    FSM_TRY(world->control->barrier(world));
    urgency usual = hurry();
    double start_s = fsm_clock_s();
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) step->free_s[r] = start_s;
    fsmoe_status status = fsm_exec_run(step->exec, &score->graph, &tasks, step, observer, observer ? 1 : 0);
    *step_s = fsm_clock_s() - start_s;
    calm_down(&usual);
    return status;
}
