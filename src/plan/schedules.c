/* The schedules there are. */
#include "plan/schedule.h"

#include <string.h>

static const fsm_schedule *const schedules[] = {
    &fsm_schedule_dsmoe,
};

const fsm_schedule *fsm_schedule_find(const char *name)
{
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++)
        if (strcmp(schedules[i]->name, name) == 0) return schedules[i];
    return NULL;
}
