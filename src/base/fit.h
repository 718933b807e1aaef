/* A straight line through measured times, by weighted least squares.
 * In:  points (size n, time t), all t > 0, at least two different sizes.
 * Out: alpha and beta >= 0 that minimise the sum of ((alpha + n beta - t) / t)^2: every point counts by its relative
 *      error, so that the largest sizes do not decide alpha alone.
 */
#ifndef FSM_BASE_FIT_H
#define FSM_BASE_FIT_H

#include "base/status.h"

#include <stdbool.h>

/* t(n) = alpha_s + n beta_s, seconds; n in elements moved or multiply-adds. */
typedef struct fsm_line {
    double alpha_s, beta_s;
} fsm_line;

typedef struct fsm_point {
    double size, time_s;
} fsm_point;

static inline double fsm_line_at(fsm_line line, double size)
{
    return line.alpha_s + size * line.beta_s;
}

/* *r2: 1 - sum of squared residuals / sum of squared deviations from the mean, both unweighted; 1 when all times are
 * equal and met. A negative alpha or beta is held at 0 and the other fitted alone. ERROR_NUMERIC: fewer than two sizes,
 * a size or time that is not finite, a negative size, a time that is not positive, or sizes or times so far apart that
 * no line comes out. */
fsmoe_status fsm_fit_line(const fsm_point *points, int n, fsm_line *line, double *r2);

/* Two lines, where one fits badly: points, in any order, sorted by size are cut where the sum of squared relative
 * residuals is least, with at least three points and two sizes a side. *large_from: the smallest size of the second
 * line, or 0, with lines[1] all 0, when one line is kept: when it meets every point to 10 %, or two lines do not halve
 * the root mean square relative residual. Errors as above; ERROR_MEMORY. */
fsmoe_status fsm_fit_two_lines(const fsm_point *points, int n, fsm_line lines[2], double *large_from, double *r2);

/* One line or two as above; and three where those fit badly (r2 < 0.98, or a point is more than 30 % off) and three
 * halve the root mean square once more. Of more than 64 places to cut at, every second, third … is tried. from[i]: the
 * smallest size of line i + 1, or 0. Errors as above. */
typedef struct fsm_fit {
    fsm_line line[3];
    double from[2], r2;
} fsm_fit;

fsmoe_status fsm_fit_three_lines(const fsm_point *points, int n, fsm_fit *fit);

/* Whether lines should be trusted: what fsm_fit_three_lines calls badly. */
bool fsm_fit_is_bad(double r2, double worst);

#endif
