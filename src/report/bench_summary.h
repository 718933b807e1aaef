/* What a schedule did over all cases of a bench: <fsmoe/bench.h>.
 * In:  rows of the cases.
 * Out: the row of a schedule, ratios of its times to another's, their geometric mean.
 * A ratio that cannot be told is NaN, and means leave it out.
 */
#ifndef FSM_REPORT_BENCH_SUMMARY_H
#define FSM_REPORT_BENCH_SUMMARY_H

#include "base/status.h"

#include <fsmoe/bench.h>

/* The case's first row of that schedule; NULL: it did not run. */
const fsmoe_bench_row *fsm_bench_row_of(const fsmoe_bench_case *c, const char *schedule);

/* How many times faster than `base` the schedule was, or was planned to be; NaN when base or row is NULL. */
double fsm_bench_faster(const fsmoe_bench_row *base, const fsmoe_bench_row *row);
double fsm_bench_planned_faster(const fsmoe_bench_row *base, const fsmoe_bench_row *row);

/* Of those of values [count] that are positive and finite; NaN when none is. */
double fsm_bench_geometric_mean(const double *values, int count);

#endif
