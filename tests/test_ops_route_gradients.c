/* Routing's differentiable operations against finite differences (test_ops_differences.h). Choices are given: between
 * two of them there is nothing to differentiate. */
#include "test_ops_differences.h"

enum { TOKENS = 4, EXPERTS = 6, K = 2, GROUPS = 2, SCORES = TOKENS * EXPERTS, PAIRS = TOKENS * K, SIZE = 5 };

static const int32_t choice[PAIRS] = {4, 0, 2, 5, 3, 1, 0, 1}, first[TOKENS] = {4, 2, 3, 0};
/* Of experts that choose: up to E a token, also none. */
static const int32_t taken[SCORES] = {4, 0,  -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                      1, -1, -1, -1, -1, -1, 5,  4,  3,  2,  1,  0};

/* ---- weights of choices from logits x[0]; saved: what lies between ---- */

static void softmax_of(const problem *p, float *prob)
{
    p->ops->softmax(p->ops, TOKENS, EXPERTS, p->x[0], prob, NULL);
}

static void of_chosen_forward(const problem *p)
{
    p->ops->route.pick(p->ops, TOKENS, EXPERTS, K, p->x[0], choice, p->saved);
    p->ops->softmax(p->ops, TOKENS, K, p->saved, p->y, NULL);
}

static void of_chosen_backward(const problem *p)
{
    p->ops->route.softmax_weights_backward(p->ops, TOKENS, EXPERTS, K, choice, p->y, p->dy, p->dx[0]);
}

static void prob_forward(const problem *p)
{
    softmax_of(p, p->saved);
    p->ops->route.pick(p->ops, TOKENS, EXPERTS, 1, p->saved, first, p->y);
}

static void prob_backward(const problem *p)
{
    p->ops->route.prob_weights_backward(p->ops, TOKENS, EXPERTS, p->saved, first, p->y, p->dy, p->dx[0]);
}

static void sigmoid_weights_forward(const problem *p)
{
    p->ops->route.pick(p->ops, TOKENS, EXPERTS, K, p->x[0], choice, p->saved);
    p->ops->sigmoid(p->ops, PAIRS, p->saved, p->y);
}

static void sigmoid_weights_backward(const problem *p)
{
    p->ops->route.sigmoid_weights_backward(p->ops, TOKENS, EXPERTS, K, choice, p->y, p->dy, p->dx[0]);
}

static void chosen_prob_forward(const problem *p)
{
    softmax_of(p, p->saved);
    p->ops->route.pick(p->ops, TOKENS, EXPERTS, EXPERTS, p->saved, taken, p->y);
}

static void chosen_prob_backward(const problem *p)
{
    p->ops->route.chosen_prob_backward(p->ops, TOKENS, EXPERTS, EXPERTS, p->saved, taken, p->y, p->dy, p->dx[0]);
}

static void test_ops_route_gradients_of_weights(void **state)
{
    const problem problems[] = {
        {"softmax of the chosen", of_chosen_forward, of_chosen_backward, {SCORES}, PAIRS, .accumulates = {true}},
        {"prob of the chosen", prob_forward, prob_backward, {SCORES}, TOKENS, .accumulates = {true}},
        {"sigmoid of the chosen",
         sigmoid_weights_forward,
         sigmoid_weights_backward,
         {SCORES},
         PAIRS,
         .accumulates = {true}},
        {"prob of those that chose",
         chosen_prob_forward,
         chosen_prob_backward,
         {SCORES},
         SCORES,
         .accumulates = {true}},
    };
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) check(*state, problems[i]);
}

/* ---- losses: y = sum of share_e prob_e, and z / 2 sum of lse^2 ---- */

static const double share[EXPERTS] = {0.5, -1, 2, 0.25, -0.5, 1}, z = 0.4;

static double loss_of_token(const float *prob, float lse)
{
    double loss = z / 2 * lse * lse;
    for (int e = 0; e < EXPERTS; e++) loss += share[e] * prob[e];
    return loss;
}

static void losses_forward(const problem *p)
{
    float *lse = p->saved + SCORES;
    p->ops->softmax(p->ops, TOKENS, EXPERTS, p->x[0], p->saved, lse);
    for (int i = 0; i < TOKENS; i++) p->y[i] = (float)loss_of_token(p->saved + i * EXPERTS, lse[i]);
}

/* The losses' part is the same for every token: dy of the test is made 1. */
static void losses_backward(const problem *p)
{
    for (int i = 0; i < TOKENS; i++) p->dy[i] = 1;
    p->ops->route.losses_backward(p->ops, TOKENS, EXPERTS, p->saved, p->saved + SCORES, share, &z, p->dx[0]);
}

static void z_forward(const problem *p)
{
    float *lse = p->saved + SCORES;
    p->ops->softmax(p->ops, TOKENS, EXPERTS, p->x[0], p->saved, lse);
    for (int i = 0; i < TOKENS; i++) p->y[i] = (float)(z / 2) * lse[i] * lse[i];
}

static void z_backward(const problem *p)
{
    for (int i = 0; i < TOKENS; i++) p->dy[i] = 1;
    p->ops->route.z_backward(p->ops, TOKENS, EXPERTS, p->x[0], p->saved + SCORES, &z, p->dx[0]);
}

static void test_ops_route_gradients_of_losses(void **state)
{
    check(*state, (problem){"losses", losses_forward, losses_backward, {SCORES}, TOKENS, .accumulates = {false}});
    check(*state, (problem){"z-loss", z_forward, z_backward, {SCORES}, TOKENS, .accumulates = {false}});
}

/* ---- groups of experts: weights and prob from logits ---- */

static const fsm_group_shape groups = {.n = TOKENS, .experts = EXPERTS, .groups = GROUPS, .choices = K, .scale = 2.5};

static void groups_forward(const problem *p)
{
    const float bias[EXPERTS] = {0};
    float *score = p->saved, *prob = score + SCORES, *biased = prob + SCORES, *best = biased + SCORES;
    p->ops->route.group_scores(p->ops, &groups, p->x[0], bias, score, biased, prob, best);
    p->ops->route.group_weights(p->ops, &groups, score, choice, p->y);
    for (int i = 0; i < TOKENS; i++) p->y[PAIRS + i] = (float)(loss_of_token(prob + i * EXPERTS, 0));
}

static void groups_backward(const problem *p)
{
    for (int i = 0; i < TOKENS; i++) p->dy[PAIRS + i] = 1;
    p->ops->route.group_backward(p->ops, &groups, p->saved, p->saved + SCORES, choice, p->dy, share, p->dx[0]);
}

static void test_ops_route_gradients_of_groups(void **state)
{
    check(*state,
          (problem){"groups", groups_forward, groups_backward, {SCORES}, PAIRS + TOKENS, .accumulates = {true}});
}

/* ---- noise, directions, sigmoid ---- */

static void noise_forward(const problem *p)
{
    memcpy(p->y, p->x[0], sizeof(float) * SCORES);
    p->ops->route.noise_forward(p->ops, SCORES, p->x[1], p->x[2], p->y);
}

/* Nobody asks for the drawn numbers' gradient; the logits' is dy. */
static void noise_backward(const problem *p)
{
    memcpy(p->dx[0], p->dy, sizeof(float) * SCORES);
    for (int i = 0; i < SCORES; i++) p->dx[1][i] = p->dy[i] * log1pf(expf(p->x[2][i]));
    p->ops->route.noise_backward(p->ops, SCORES, p->x[1], p->x[2], p->dy, p->dx[2]);
}

static const fsm_draw draw = {.seed = 1, .stream = FSM_RNG_TEST, .first = 3};

static void jitter_forward(const problem *p)
{
    p->ops->route.jitter_forward(p->ops, TOKENS, EXPERTS, 0.5f, &draw, p->x[0], p->y);
}

static void jitter_backward(const problem *p)
{
    p->ops->route.jitter_backward(p->ops, TOKENS, EXPERTS, 0.5f, &draw, p->dy, p->dx[0]);
}

static void rows_forward(const problem *p)
{
    const fsm_vectors rows = {.n = TOKENS, .size = SIZE};
    p->ops->route.unit_forward(p->ops, &rows, fsm_reals(p->x[0], SIZE), p->y, p->saved);
}

static void rows_backward(const problem *p)
{
    const fsm_vectors rows = {.n = TOKENS, .size = SIZE};
    memcpy(p->dx[0], p->dy, sizeof(float) * TOKENS * SIZE); /* in place */
    p->ops->route.unit_backward(p->ops, &rows, SIZE, p->y, p->saved, p->dx[0], 0, p->dx[0]);
}

static void columns_forward(const problem *p)
{
    const fsm_vectors columns = {.n = TOKENS, .size = SIZE, .columns = true};
    p->ops->route.unit_forward(p->ops, &columns, fsm_reals(p->x[0], TOKENS), p->y, p->saved);
}

static void columns_backward(const problem *p)
{
    const fsm_vectors columns = {.n = TOKENS, .size = SIZE, .columns = true};
    p->ops->route.unit_backward(p->ops, &columns, TOKENS, p->y, p->saved, p->dy, 1, p->dx[0]);
}

static void sigmoid_forward(const problem *p)
{
    p->ops->sigmoid(p->ops, SCORES, p->x[0], p->y);
}

static void sigmoid_backward(const problem *p)
{
    p->ops->sigmoid_backward(p->ops, SCORES, p->y, p->dy, p->dx[0]);
}

static void test_ops_route_gradients_of_scores(void **state)
{
    const int64_t elems = TOKENS * SIZE;
    const problem problems[] = {
        {"noise", noise_forward, noise_backward, {SCORES, SCORES, SCORES}, SCORES, .accumulates = {false, false, true}},
        {"jitter", jitter_forward, jitter_backward, {SCORES}, SCORES, .accumulates = {true}},
        {"unit rows", rows_forward, rows_backward, {elems}, elems, .gap = 0.5},
        {"unit columns", columns_forward, columns_backward, {elems}, elems, .gap = 0.5, .accumulates = {true}},
        {"sigmoid", sigmoid_forward, sigmoid_backward, {SCORES}, SCORES, .accumulates = {false}},
    };
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) check(*state, problems[i]);
}

/* logits = x[0] / max(tau, 0.01) of tau = x[1]. */
static void temperature_forward(const problem *p)
{
    const float least = 0.01f, tau = fabsf(p->x[1][0]);
    float scale;
    p->ops->route.inverse(p->ops, 1, least, &tau, &scale);
    for (int i = 0; i < SCORES; i++) p->y[i] = p->x[0][i] * scale;
}

static void temperature_backward(const problem *p)
{
    const float tau = fabsf(p->x[1][0]), sign = p->x[1][0] < 0 ? -1 : 1;
    float dtau = 0;
    for (int i = 0; i < SCORES; i++) p->dx[0][i] = p->dy[i] / tau;
    p->ops->route.temperature_backward(p->ops, SCORES, 0.01f, &tau, p->y, p->dy, &dtau);
    p->dx[1][0] = sign * dtau;
}

static void test_ops_route_gradients_of_temperature(void **state)
{
    check(*state, (problem){"temperature", temperature_forward, temperature_backward, {SCORES, 1}, SCORES, .gap = 1});
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_arena_setup, test_arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_ops_route_gradients_of_weights),     TEST(test_ops_route_gradients_of_losses),
        TEST(test_ops_route_gradients_of_groups),      TEST(test_ops_route_gradients_of_scores),
        TEST(test_ops_route_gradients_of_temperature),
    };
    return cmocka_run_group_tests(tests, make_tables, destroy_tables);
}
