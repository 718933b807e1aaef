/* The schedules there are. */
#include "plan/schedule/paper.h"

#include "base/text.h"

#include <string.h>

const fsm_schedule *const fsm_schedules[] = {
    &fsm_schedule_dsmoe,        &fsm_schedule_tutel,        &fsm_schedule_tutel_improved,
    &fsm_schedule_pipemoe_lina, &fsm_schedule_fsmoe_no_iio, &fsm_schedule_fsmoe,
    &fsm_schedule_fsmoe_x,      &fsm_schedule_two_batch,    &fsm_schedule_megatron_overlap,
    &fsm_schedule_flowmoe,      &fsm_schedule_fsmoe_lanes,  NULL,
};

const fsm_schedule *fsm_schedule_find(const char *name)
{
    for (int i = 0; fsm_schedules[i]; i++)
        if (strcmp(fsm_schedules[i]->name, name) == 0) return fsm_schedules[i];
    return strcmp(fsm_schedule_fsmoe_paper.name, name) == 0 ? &fsm_schedule_fsmoe_paper : NULL;
}

fsmoe_status fsm_schedule_named(const char *name, const fsm_schedule **schedule)
{
    const char *names[sizeof fsm_schedules / sizeof *fsm_schedules];
    size_t count = 0;
    *schedule = fsm_schedule_find(name);
    if (*schedule) return FSMOE_OK;
    for (; fsm_schedules[count]; count++) names[count] = fsm_schedules[count]->name;
    return fsm_fail(FSMOE_ERROR_CONFIG, "no schedule is named '%s'; did you mean '%s'?", name,
                    fsm_text_nearest(name, names, count));
}
