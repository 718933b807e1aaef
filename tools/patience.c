#include "patience.h"

#include <math.h>

static const double times = 3, least_step_s = 5, least_pause_s = 30;

static bool is_pause(fsmoe_train_stage stage)
{
    return stage == FSMOE_TRAIN_EVALUATES || stage == FSMOE_TRAIN_SAVES || stage == FSMOE_TRAIN_PLANS;
}

/* How long the present stage may last; INFINITY: nobody knows. */
static double limit_s(const patience *p, double least_in_step_s)
{
    if (is_pause(p->stage)) return fmax(least_pause_s, times * fmax(p->longest_pause_s, p->usual_s));
    if (p->stage != FSMOE_TRAIN_STEPS || p->longest_step_s == 0) return INFINITY;
    return fmax(least_in_step_s, times * p->longest_step_s);
}

static double tell_at_s(const patience *p)
{
    return p->since_s + limit_s(p, least_pause_s);
}

void patience_enter(patience *p, fsmoe_train_stage stage, double usual_s, double now_s)
{
    double lasted_s = now_s - p->since_s;
    if (p->stage == FSMOE_TRAIN_STEPS) p->longest_step_s = fmax(p->longest_step_s, lasted_s);
    if (is_pause(p->stage)) p->longest_pause_s = fmax(p->longest_pause_s, lasted_s);
    p->stage = stage;
    p->since_s = now_s;
    p->usual_s = usual_s;
    p->next_tell_s = tell_at_s(p);
}

void patience_ask(patience *p, double now_s)
{
    if (p->asked) return;
    p->asked = true;
    p->asked_s = now_s;
}

/* Whoever is asked in the middle of a stage gives it all its time from then on. */
static double give_up_at_s(const patience *p)
{
    return p->asked ? fmax(p->since_s, p->asked_s) + limit_s(p, least_step_s) : INFINITY;
}

patience_verdict patience_look(patience *p, double now_s)
{
    if (now_s >= give_up_at_s(p)) return PATIENCE_GIVE_UP;
    if (now_s < p->next_tell_s) return PATIENCE_WAIT;
    p->next_tell_s = now_s + (now_s - p->since_s);
    return PATIENCE_TELL;
}
