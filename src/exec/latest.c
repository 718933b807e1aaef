#include "exec/latest.h"

#include <stdlib.h>

void fsm_latest_step_destroy(fsm_latest_step *latest)
{
    free(latest->start_s);
    *latest = (fsm_latest_step){0};
}

fsmoe_status fsm_latest_step_reset(fsm_latest_step *latest, int count)
{
    fsm_latest_step_destroy(latest);
    latest->start_s = calloc(2 * (size_t)count + 1, sizeof *latest->start_s);
    if (!latest->start_s) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the times of %d tasks", count);
    latest->end_s = latest->start_s + count;
    latest->count = count;
    return FSMOE_OK;
}

static void keep(void *user, int index, double start_s, double end_s)
{
    fsm_latest_step *latest = user;
    latest->start_s[index] = start_s;
    latest->end_s[index] = end_s;
}

fsm_observer fsm_latest_step_observer(fsm_latest_step *latest)
{
    return (fsm_observer){keep, latest};
}
