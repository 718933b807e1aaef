/* What tests of measuring share: notes of what was said, and numbers that are equal to six digits. */
#ifndef FSM_TESTS_MEASURE_CASE_H
#define FSM_TESTS_MEASURE_CASE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct notes {
    int messages, progresses;
    char text[4096];
    double fraction;
} notes;

static inline void note_message(void *user, const char *sentence)
{
    notes *n = user;
    n->messages++;
    snprintf(n->text + strlen(n->text), sizeof n->text - strlen(n->text), "%s\n", sentence);
}

static inline void note_progress(void *user, double fraction, const char *what)
{
    notes *n = user;
    assert_true(fraction >= n->fraction && fraction <= 1);
    assert_true(what[0] != 0);
    n->fraction = fraction;
    n->progresses++;
}

static inline void assert_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-6 * fabs(b))) fail_msg("%.9g is not %.9g", a, b);
}

#endif
