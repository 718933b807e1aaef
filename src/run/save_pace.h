/* How often a run saves itself by the clock.
 * In:  the time, what saving took. Out: whether it is time again, so that saving takes at most 5 % of a run.
 */
#ifndef FSM_RUN_SAVE_PACE_H
#define FSM_RUN_SAVE_PACE_H

#include <stdbool.h>

typedef struct fsm_save_pace {
    double every_s;   /* wished; 0: not by the clock */
    double since_s;   /* when the run began, or the latest save ended */
    double saving_s;  /* what the latest save took */
    bool slowed_told; /* that saves come more rarely than wished */
} fsm_save_pace;

void fsm_save_pace_begin(fsm_save_pace *pace, double every_s, double now_s);

/* Seconds from the end of a save to the next: as wished, or 19 times what the latest took. */
double fsm_save_pace_interval_s(const fsm_save_pace *pace);
bool fsm_save_pace_is_due(const fsm_save_pace *pace, double now_s);

/* A save from begun_s to now_s has ended. True, once a run, when it took so long that saves are made rarer. */
bool fsm_save_pace_saved(fsm_save_pace *pace, double begun_s, double now_s);

#endif
