#include "rehearse/usage.h"

#include "base/clock.h"
#include "base/machine.h"
#include "profile/measure.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double process_s(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

static double cores(void)
{
    return (double)sysconf(_SC_NPROCESSORS_ONLN);
}

/* Every rank's value, summed over the ranks of this one's machine. */
static fsmoe_status sum_over_machine(fsm_comm *world, double mine, double *sum)
{
    int64_t sent[2] = {(int64_t)fsm_machine_id(), llround(1e9 * mine)};
    int64_t *all = malloc(2 * sizeof *all * (size_t)world->size);
    fsmoe_status status = all ? fsm_comm_all_gather_int64(world, sent, 2, all)
                              : fsm_fail(FSMOE_ERROR_COMM, "no memory for the loads of %d ranks", world->size);
    *sum = 0;
    for (int i = 0; status == FSMOE_OK && i < world->size; i++)
        if (all[2 * i] == sent[0]) *sum += 1e-9 * (double)all[2 * i + 1];
    free(all);
    return status;
}

static double machine_share(const fsm_usage *from, double now_s)
{
    return (fsm_machine_busy_s() - from->busy_s) / (now_s - from->at_s) / cores();
}

fsmoe_status fsm_usage_rest(fsm_comm *world, fsm_usage *usage)
{
    const double rest_s = 0.3; /* the system counts in hundredths */
    FSM_TRY(world->control->barrier(world));
    fsm_usage_begin(usage);
    fsm_clock_sleep(rest_s);
    usage->resting = machine_share(usage, fsm_clock_s());
    return FSMOE_OK;
}

void fsm_usage_begin(fsm_usage *usage)
{
    usage->busy_s = fsm_machine_busy_s();
    usage->process_s = process_s();
    usage->at_s = fsm_clock_s();
}

fsmoe_status fsm_usage_end(fsm_comm *world, const fsm_usage *usage, double *share)
{
    double now_s = fsm_clock_s(), charged_s, least;
    double machine = machine_share(usage, now_s) - usage->resting;
    FSM_TRY(sum_over_machine(world, process_s() - usage->process_s, &charged_s));
    double mine = fmax(machine, charged_s / (now_s - usage->at_s) / cores());
    return fsm_ranks_range(world, fmin(fmax(mine, 0), 1), &least, share);
}

fsmoe_status fsm_usage_crowd(fsm_comm *world, double *ranks_a_core)
{
    double ranks, least;
    FSM_TRY(sum_over_machine(world, 1, &ranks));
    return fsm_ranks_range(world, ranks / cores(), &least, ranks_a_core);
}
