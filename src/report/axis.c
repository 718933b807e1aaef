#include "report/axis.h"

#include <math.h>

/* Beyond these, steps and powers of ten leave the range of a double; nothing that is drawn comes near. */
static const double LEAST = 1e-290, MOST = 1e290;

static double within(double value)
{
    return fmin(MOST, fmax(-MOST, value));
}

/* The least round number that is not below x > 0. */
static double round_step(double x)
{
    static const double round[] = {1, 2, 2.5, 5, 10};
    double power = pow(10, floor(log10(x)));
    size_t i = 0;
    while (i < 4 && round[i] * power < x * (1 - 1e-9)) i++;
    return round[i] * power;
}

static void set_ticks(fsm_axis *axis)
{
    double first = ceil(axis->low / axis->step - 1e-9);
    for (axis->n_ticks = 0; axis->n_ticks < FSM_AXIS_MAX_TICKS; axis->n_ticks++) {
        double tick = (first + (double)axis->n_ticks) * axis->step;
        if (tick > axis->high + 1e-9 * axis->step) break;
        axis->ticks[axis->n_ticks] = tick;
    }
}

fsm_axis fsm_axis_values(double low, double high, size_t want)
{
    low = within(low);
    high = within(high);
    /* A flat line still needs a height: a tenth of its value, and more than what a double can tell apart. */
    if (high - low <= fmax(LEAST, 1e-12 * fmax(fabs(low), fabs(high)))) {
        double margin = fabs(high) <= LEAST ? 0.5 : 0.05 * fabs(high);
        low -= margin;
        high += margin;
    }
    fsm_axis axis = {.step = round_step((high - low) / (double)want)};
    axis.low = floor(low / axis.step + 1e-9) * axis.step;
    axis.high = ceil(high / axis.step - 1e-9) * axis.step;
    set_ticks(&axis);
    return axis;
}

fsm_axis fsm_axis_steps(double first, double last, size_t want)
{
    fsm_axis axis = {.low = first, .high = last};
    if (last <= first) {
        axis.low -= 0.5;
        axis.high += 0.5;
    }
    axis.step = fmax(1, round_step((axis.high - axis.low) / (double)want));
    if (axis.step == 2.5) axis.step = 5;
    set_ticks(&axis);
    return axis;
}

fsm_axis fsm_axis_logarithmic(double low, double high)
{
    low = fmax(LEAST, within(low));
    high = fmax(LEAST, within(high));
    fsm_axis axis = {.logarithmic = true, .low = INFINITY, .high = 0};
    double power = pow(10, floor(log10(low))), decades = log10(high) - log10(low);
    /* The wider the range, the fewer ticks a decade. */
    static const double fine[] = {1, 1.5, 2, 3, 4, 5, 7}, coarse[] = {1, 2, 5};
    const double *lead = decades <= 1 ? fine : coarse;
    size_t n_leads = decades <= 1 ? 7 : decades <= 2.5 ? 3 : 1;
    double stride = decades > 9 ? ceil(decades / 8) : 1;
    for (; axis.n_ticks < FSM_AXIS_MAX_TICKS && axis.high < high; power *= pow(10, stride))
        for (size_t i = 0; i < n_leads && axis.n_ticks < FSM_AXIS_MAX_TICKS && axis.high < high; i++) {
            double tick = lead[i] * power;
            if (tick <= low * (1 + 1e-9)) axis.n_ticks = 0; /* a later start serves as well */
            axis.ticks[axis.n_ticks++] = axis.high = tick;
        }
    axis.low = axis.ticks[0];
    if (axis.high <= axis.low) axis.high = 10 * axis.low;
    return axis;
}

double fsm_axis_place(const fsm_axis *axis, double value)
{
    double low = axis->low, high = axis->high;
    if (axis->logarithmic) {
        value = log(fmax(value, low));
        low = log(low);
        high = log(high);
    }
    return fmin(1, fmax(0, (value - low) / (high - low)));
}

char *fsm_axis_label(const fsm_axis *axis, size_t i, char out[FSM_NUMBER_BYTES])
{
    if (axis->logarithmic) return fsm_number_short(out, axis->ticks[i]);
    return fsm_number_tick(out, axis->ticks[i], axis->step, fmax(fabs(axis->low), fabs(axis->high)));
}
