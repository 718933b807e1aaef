/* The schedules there are. */
#include "plan/schedule/paper.h"

#include <string.h>

const fsm_schedule *const fsm_schedules[] = {
    &fsm_schedule_dsmoe,        &fsm_schedule_tutel, &fsm_schedule_tutel_improved, &fsm_schedule_pipemoe_lina,
    &fsm_schedule_fsmoe_no_iio, &fsm_schedule_fsmoe, &fsm_schedule_fsmoe_x,        NULL,
};

const fsm_schedule *fsm_schedule_find(const char *name)
{
    for (int i = 0; fsm_schedules[i]; i++)
        if (strcmp(fsm_schedules[i]->name, name) == 0) return fsm_schedules[i];
    return strcmp(fsm_schedule_fsmoe_paper.name, name) == 0 ? &fsm_schedule_fsmoe_paper : NULL;
}
