/* When a rank says that it waits, when it gives up, and when a run saves itself by the clock: as functions of made-up
 * time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "patience.h"
#include "run/save_pace.h"

#include <math.h>

static const fsmoe_train_stage pauses[] = {FSMOE_TRAIN_EVALUATES, FSMOE_TRAIN_SAVES, FSMOE_TRAIN_PLANS};

/* Two steps of 0.1 s have been done, the third begins at 100 s. */
static patience in_a_step(void)
{
    patience p = {0};
    patience_enter(&p, FSMOE_TRAIN_STARTS, 0, 0);
    patience_enter(&p, FSMOE_TRAIN_STEPS, 0, 99.8);
    patience_enter(&p, FSMOE_TRAIN_STEPS, 0.1, 99.9);
    patience_enter(&p, FSMOE_TRAIN_STEPS, 0.1, 100);
    return p;
}

/* The first time, by hundredths of a second, that the verdict is `verdict`. */
static double first(patience *p, patience_verdict verdict, double from_s, double to_s)
{
    for (double now_s = from_s; now_s <= to_s; now_s += 0.01)
        if (patience_look(p, now_s) == verdict) return now_s;
    return INFINITY;
}

static void test_patience_gives_up_a_step_three_times_its_length_after_it_was_asked(void **state)
{
    (void)state;
    patience p = in_a_step();
    patience_ask(&p, 101);
    assert_float_equal(first(&p, PATIENCE_GIVE_UP, 100, 300), 106, 0.02); /* 5 s at least */
    p = in_a_step();
    patience_enter(&p, FSMOE_TRAIN_STEPS, 0, 110); /* the step before took 10 s */
    patience_ask(&p, 111);
    assert_float_equal(first(&p, PATIENCE_GIVE_UP, 110, 300), 141, 0.02);
}

static void test_patience_gives_up_a_pause_after_thirty_seconds_or_three_times_the_longest(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
        patience p = in_a_step();
        patience_enter(&p, pauses[i], 0, 200);
        patience_ask(&p, 201);
        assert_float_equal(first(&p, PATIENCE_GIVE_UP, 200, 400), 231, 0.02);
        p = in_a_step();
        patience_enter(&p, pauses[i], 0, 200);
        patience_enter(&p, FSMOE_TRAIN_STEPS, 0, 220); /* it took 20 s */
        patience_ask(&p, 220);
        patience_enter(&p, pauses[i], 0, 221);
        assert_float_equal(first(&p, PATIENCE_GIVE_UP, 221, 400), 281, 0.02);
    }
}

/* The first save of a large model may take long without anybody hanging. */
static void test_patience_of_a_first_pause_is_by_what_it_should_take(void **state)
{
    (void)state;
    patience p = in_a_step();
    patience_ask(&p, 100);
    patience_enter(&p, FSMOE_TRAIN_SAVES, 100, 101);
    assert_float_equal(first(&p, PATIENCE_GIVE_UP, 101, 1000), 401, 0.02);
}

static void test_patience_says_without_a_signal_that_it_waits_and_never_gives_up(void **state)
{
    (void)state;
    patience p = in_a_step();
    assert_float_equal(first(&p, PATIENCE_TELL, 100, 300), 130, 0.02);
    assert_float_equal(first(&p, PATIENCE_TELL, 130.02, 300), 160,
                       0.1); /* and again when it has waited twice as long */
    assert_true(isinf(first(&p, PATIENCE_GIVE_UP, 100, 100000)));
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
        p = in_a_step();
        patience_enter(&p, pauses[i], 0, 200);
        assert_float_equal(first(&p, PATIENCE_TELL, 200, 300), 230, 0.02);
        assert_true(isinf(first(&p, PATIENCE_GIVE_UP, 200, 100000)));
    }
}

/* Nobody knows how long a first step takes, or what comes before it and after the last. */
static void test_patience_is_without_end_where_nothing_is_known(void **state)
{
    (void)state;
    static const fsmoe_train_stage stages[] = {FSMOE_TRAIN_STARTS, FSMOE_TRAIN_STEPS, FSMOE_TRAIN_ENDS};
    for (int i = 0; i < 3; i++) {
        patience p = {0};
        patience_enter(&p, FSMOE_TRAIN_STARTS, 0, 0);
        patience_enter(&p, stages[i], 0, 1);
        patience_ask(&p, 2);
        assert_true(isinf(first(&p, PATIENCE_GIVE_UP, 1, 10000)));
    }
}

/* ---- pace ---- */

static void test_pace_saves_as_wished_or_for_a_twentieth_of_the_time(void **state)
{
    (void)state;
    fsm_save_pace p;
    fsm_save_pace_begin(&p, 900, 0);
    assert_false(fsm_save_pace_is_due(&p, 899));
    assert_true(fsm_save_pace_is_due(&p, 900));
    assert_false(fsm_save_pace_saved(&p, 900, 910)); /* 10 s of 910: no more than 5 % */
    assert_false(fsm_save_pace_is_due(&p, 1809));
    assert_true(fsm_save_pace_is_due(&p, 1810));
    assert_true(fsm_save_pace_saved(&p, 1810, 1910)); /* 100 s: the next after 1900, and that is said */
    assert_float_equal(fsm_save_pace_interval_s(&p), 1900, 1e-9);
    assert_false(fsm_save_pace_is_due(&p, 3809));
    assert_true(fsm_save_pace_is_due(&p, 3810));
    assert_false(fsm_save_pace_saved(&p, 3810, 3920)); /* once */
    for (double interval_s = fsm_save_pace_interval_s(&p), saving_s = 110; interval_s > 0; interval_s = 0)
        assert_true(saving_s / (saving_s + interval_s) <= 0.05 + 1e-12);
}

static void test_pace_without_a_wish_never_saves(void **state)
{
    (void)state;
    fsm_save_pace p;
    fsm_save_pace_begin(&p, 0, 0);
    assert_false(fsm_save_pace_is_due(&p, 1e9));
    assert_false(fsm_save_pace_saved(&p, 0, 1e6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patience_gives_up_a_step_three_times_its_length_after_it_was_asked),
        cmocka_unit_test(test_patience_gives_up_a_pause_after_thirty_seconds_or_three_times_the_longest),
        cmocka_unit_test(test_patience_of_a_first_pause_is_by_what_it_should_take),
        cmocka_unit_test(test_patience_says_without_a_signal_that_it_waits_and_never_gives_up),
        cmocka_unit_test(test_patience_is_without_end_where_nothing_is_known),
        cmocka_unit_test(test_pace_saves_as_wished_or_for_a_twentieth_of_the_time),
        cmocka_unit_test(test_pace_without_a_wish_never_saves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
