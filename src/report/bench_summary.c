#include "report/bench_summary.h"

#include "profile/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const fsmoe_bench_row *fsm_bench_row_of(const fsmoe_bench_case *c, const char *schedule)
{
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->rows[i].schedule, schedule) == 0) return &c->rows[i];
    return NULL;
}

static double ratio(double over, double under)
{
    double value = over / under;
    return isfinite(value) && value > 0 ? value : NAN;
}

double fsm_bench_faster(const fsmoe_bench_row *base, const fsmoe_bench_row *row)
{
    return base && row ? ratio(base->step_s, row->step_s) : NAN;
}

double fsm_bench_planned_faster(const fsmoe_bench_row *base, const fsmoe_bench_row *row)
{
    return base && row ? ratio(base->planned_s, row->planned_s) : NAN;
}

double fsm_bench_geometric_mean(const double *values, int count)
{
    double sum = 0;
    int counted = 0;
    for (int i = 0; i < count; i++) {
        if (!(values[i] > 0) || !isfinite(values[i])) continue;
        sum += log(values[i]);
        counted++;
    }
    return counted > 0 ? exp(sum / counted) : NAN;
}

/* Of the values that are finite, which are moved to the front; NaN when none is. */
static double median(double *values, int count)
{
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (isfinite(values[i])) values[kept++] = values[i];
    return kept > 0 ? fsm_median(values, kept) : NAN;
}

fsmoe_status fsmoe_bench_summarize(const fsmoe_bench_case *cases, int count, const char *schedule,
                                   fsmoe_bench_summary *summary)
{
    enum { OVER_DSMOE, OVER_TUTEL, OVER_BOUND, ERROR, OVERLAP, COLUMNS };
    int ran = 0;
    for (int i = 0; i < count; i++) ran += fsm_bench_row_of(&cases[i], schedule) != NULL;
    if (ran == 0) return fsm_fail(FSMOE_ERROR_CONFIG, "schedule '%s' ran in none of %d cases", schedule, count);
    double *values = malloc((size_t)COLUMNS * (size_t)ran * sizeof *values), *column[COLUMNS];
    if (!values) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to summarize %d cases", ran);
    for (int k = 0; k < COLUMNS; k++) column[k] = values + (size_t)k * (size_t)ran;
    for (int i = 0, at = 0; i < count; i++) {
        const fsmoe_bench_row *row = fsm_bench_row_of(&cases[i], schedule);
        if (!row) continue;
        column[OVER_DSMOE][at] = fsm_bench_faster(fsm_bench_row_of(&cases[i], "dsmoe"), row);
        column[OVER_TUTEL][at] = fsm_bench_faster(fsm_bench_row_of(&cases[i], "tutel"), row);
        column[OVER_BOUND][at] = ratio(row->step_s, row->bound_s);
        column[ERROR][at] = fabs(row->step_s / row->planned_s - 1);
        column[OVERLAP][at++] = row->overlap;
    }
    *summary = (fsmoe_bench_summary){.cases = ran,
                                     .over_dsmoe = fsm_bench_geometric_mean(column[OVER_DSMOE], ran),
                                     .over_tutel = fsm_bench_geometric_mean(column[OVER_TUTEL], ran),
                                     .over_bound = fsm_bench_geometric_mean(column[OVER_BOUND], ran),
                                     .prediction_error = median(column[ERROR], ran),
                                     .overlap = median(column[OVERLAP], ran)};
    free(values);
    return FSMOE_OK;
}
