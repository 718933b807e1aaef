/* Differentiable operations against finite differences of their own forward pass, for every table.
 * With fixed random weights c, loss = sum c_i y_i in double; the operation's gradient for dy = c must be the
 * fourth-order central difference of the loss. The step 2^-5 leaves some 1e-6 of truncation and 1e-5 of
 * float rounding.
 * In:  a problem: functions that call the operation, sizes of its inputs. Out: it has been checked.
 */
#ifndef FSM_TESTS_TEST_OPS_DIFFERENCES_H
#define FSM_TESTS_TEST_OPS_DIFFERENCES_H

#include "moe/expert/activation.h"
#include "test_ops_tables.h"

enum { INPUTS = 4 };
static const double STEP = 1.0 / 32, TOLERANCE = 3e-4;

typedef struct problem problem;
struct problem {
    const char *name;
    void (*forward)(const problem *p);
    void (*backward)(const problem *p);
    int64_t n_inputs[INPUTS], n_out; /* elements; 0: no such input */
    bool accumulates[INPUTS];        /* the gradient is added to what was there */
    double gap;                      /* inputs are that much farther from 0 */
    const fsm_activation *activation;
    const fsm_ops *ops;
    float *x[INPUTS], *dx[INPUTS], *y, *dy, *saved;
};

static inline double loss_of(const problem *p)
{
    double loss = 0;
    p->forward(p);
    for (int64_t i = 0; i < p->n_out; i++) loss += (double)p->dy[i] * p->y[i];
    return loss;
}

static inline double loss_at(const problem *p, float *x, double value)
{
    float kept = *x;
    *x = (float)value;
    double loss = loss_of(p);
    *x = kept;
    return loss;
}

static inline double central_difference(const problem *p, float *x)
{
    double at = *x, near = loss_at(p, x, at + STEP) - loss_at(p, x, at - STEP);
    double far = loss_at(p, x, at + 2 * STEP) - loss_at(p, x, at - 2 * STEP);
    return (8 * near - far) / (12 * STEP);
}

static inline void check_input(const problem *p, int input)
{
    float difference[2048];
    assert_true(p->n_inputs[input] <= 2048);
    for (int64_t i = 0; i < p->n_inputs[input]; i++) {
        if (p->accumulates[input]) p->dx[input][i] -= 1;
        difference[i] = (float)central_difference(p, &p->x[input][i]);
    }
    char name[64];
    snprintf(name, sizeof name, "%s %s: gradient of input %d", p->ops->name, p->name, input);
    test_assert_close(name, p->n_inputs[input], p->dx[input], difference, TOLERANCE);
}

static inline void check(fsm_arena *arena, problem p)
{
    for (int table = 0; table < TABLES; table++) {
        p.ops = tables[table];
        for (int input = 0; input < INPUTS; input++) {
            p.x[input] = test_floats(arena, p.n_inputs[input]);
            p.dx[input] = FSM_ARENA_ARRAY(arena, float, p.n_inputs[input]);
            for (int64_t i = 0; i < p.n_inputs[input]; i++) {
                p.x[input][i] += copysignf((float)p.gap, p.x[input][i]);
                p.dx[input][i] = 1;
            }
        }
        p.y = FSM_ARENA_ARRAY(arena, float, p.n_out);
        p.dy = test_floats(arena, p.n_out);
        p.saved = FSM_ARENA_ARRAY(arena, float, 1024);
        p.forward(&p);
        p.backward(&p);
        for (int input = 0; input < INPUTS; input++) check_input(&p, input);
    }
}

#endif
