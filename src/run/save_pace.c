#include "run/save_pace.h"

/* One part in twenty of the time is 5 %. */
static const double working_over_saving = 19;

void fsm_save_pace_begin(fsm_save_pace *pace, double every_s, double now_s)
{
    *pace = (fsm_save_pace){.every_s = every_s, .since_s = now_s};
}

double fsm_save_pace_interval_s(const fsm_save_pace *pace)
{
    double rarest_s = working_over_saving * pace->saving_s;
    return pace->every_s > rarest_s ? pace->every_s : rarest_s;
}

bool fsm_save_pace_is_due(const fsm_save_pace *pace, double now_s)
{
    return pace->every_s > 0 && now_s - pace->since_s >= fsm_save_pace_interval_s(pace);
}

bool fsm_save_pace_saved(fsm_save_pace *pace, double begun_s, double now_s)
{
    pace->saving_s = now_s - begun_s;
    pace->since_s = now_s;
    bool slowed = pace->every_s > 0 && fsm_save_pace_interval_s(pace) > pace->every_s && !pace->slowed_told;
    if (slowed) pace->slowed_told = true;
    return slowed;
}
