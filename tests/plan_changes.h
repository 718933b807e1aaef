/* What tests of the checker share that change something about a plan: plans to change, and that the checker says what
 * is wrong.
 */
#ifndef FSM_TESTS_PLAN_CHANGES_H
#define FSM_TESTS_PLAN_CHANGES_H

#include "plan_case.h"

/* Of a plan in one lane, and of one in two. */
static inline void check_both(void (*check)(const fsm_plan *plan, const fsm_cluster *cluster))
{
    static fsm_plan (*const makers[])(const fsm_cluster *) = {rich_plan, lanes_plan};
    fsm_cluster cluster = costs();
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        fsm_plan plan = makers[i](&cluster);
        check(&plan, &cluster);
        fsm_plan_destroy(&plan);
    }
}

/* The plan, which is destroyed, is refused with that in the message. */
static inline void assert_refused(fsm_plan *plan, const fsm_cluster *cluster, const char *part)
{
    fsmoe_status status = fsm_plan_check(plan, cluster);
    if (status != FSMOE_ERROR_FORMAT) fail_msg("status %d where '%s' was expected", status, part);
    assert_says(part);
    fsm_plan_destroy(plan);
}

#endif
