/* How long a rank waits for the others before it says so, or gives up.
 * In:  the stages of a run (fsmoe_train_stage) as they begin, the time, whether somebody has asked the run to stop.
 * Out: what to do now, and when to look again. A value: no thread, no signal, no clock of its own.
 * A stage in which a run was asked to stop is given up when it lasts longer than
 *   3 × the longest step so far, 5 s at least, in a step (how long the first one takes nobody knows: it is waited for);
 *   3 × the longest pause so far, or 3 × what this one should take, 30 s at least, while the run evaluates, saves or
 * plans. Without having been asked, a rank that waits so long, and 30 s at least, says so, each time it has waited
 * twice as long.
 */
#ifndef FSMOE_TOOLS_PATIENCE_H
#define FSMOE_TOOLS_PATIENCE_H

#include <fsmoe/train.h>

typedef struct patience {
    fsmoe_train_stage stage;
    double since_s; /* when it began */
    double usual_s; /* what it should take; 0: unknown */
    double longest_step_s, longest_pause_s;
    bool asked;     /* to stop, as all ranks do at the end of the step */
    double asked_s; /* when */
    double next_tell_s;
} patience;

typedef enum patience_verdict { PATIENCE_WAIT, PATIENCE_TELL, PATIENCE_GIVE_UP } patience_verdict;

void patience_enter(patience *p, fsmoe_train_stage stage, double usual_s, double now_s);

/* Somebody asks this rank to stop: from now on it waits no longer than it should. */
void patience_ask(patience *p, double now_s);

patience_verdict patience_look(patience *p, double now_s);

#endif
