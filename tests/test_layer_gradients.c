/* Finite differences of one MoE layer's objective: every gate with every expert, every loss, every order, shared
 * experts. Oracle: (f(p + h) - f(p - h)) / 2h of sum dy y + aux + z, wherever no choice changes on the way. */
#include "layer_case.h"

enum { LOOKS = 6 };

static void compare(subject *s, const char *what, const char *name, float *value, double gradient)
{
    const float step = 4e-3f, kept = *value;
    *value = kept + step;
    double above = objective(s);
    uint64_t decided = decisions(s);
    *value = kept - step;
    double below = objective(s), slope = (above - below) / (2 * (double)step);
    bool steady = decided == decisions(s);
    *value = kept;
    if (!steady) return;
    if (!(fabs(slope - gradient) <= 1e-2 * (1 + fabs(slope))))
        fail_msg("%s: d %s is %.6g, differences say %.6g", what, name, gradient, slope);
}

static void check_gradients(const char *const *settings, const char *what, uint64_t seed)
{
    subject s;
    if (make(settings, TOKENS, seed, &s) != FSMOE_OK) fail_msg("%s: %s", what, fsmoe_last_error());
    fsm_layer_run *r = &s.run;
    float dx[TOKENS * HIDDEN], *grads[64];
    objective(&s);
    memcpy(dx, r->dx, sizeof dx);
    for (int i = 0; i < r->params.count; i++) {
        const fsm_layer_param *p = &r->params.items[i];
        grads[i] = malloc((size_t)(p->rows * p->cols) * sizeof(float));
        memcpy(grads[i], p->grad, (size_t)(p->rows * p->cols) * sizeof(float));
    }
    for (int k = 0; k < LOOKS; k++) {
        uint64_t at = fsm_rng_bits(seed, FSM_RNG_TEST, (uint64_t)(9000 + k)) % (TOKENS * HIDDEN);
        compare(&s, what, "x", &r->x[at], dx[at]);
    }
    for (int i = 0; i < r->params.count; i++) {
        const fsm_layer_param *p = &r->params.items[i];
        if (strcmp(p->name, "gate.bias") == 0) continue; /* it has none */
        for (int k = 0; k < LOOKS; k++) {
            uint64_t at =
                fsm_rng_bits(seed, FSM_RNG_TEST, (uint64_t)(9100 + 10 * i + k)) % (uint64_t)(p->rows * p->cols);
            compare(&s, what, p->name, &p->value[at], grads[i][at]);
        }
    }
    for (int i = 0; i < r->params.count; i++) free(grads[i]);
    destroy(&s);
}

/* A refusal is of a key that was set, and says which. */
static void check_reason(const char *what)
{
    static const char *const keys[] = {"moe.aux_loss",        "moe.z_loss_coeff",   "moe.order",
                                       "moe.capacity_factor", "moe.capacity_group", "moe.drop_policy",
                                       "moe.aux_loss_coeff"};
    bool named = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) named |= strstr(fsmoe_last_error(), keys[i]) != NULL;
    if (!named) fail_msg("%s is refused: %s", what, fsmoe_last_error());
    fsm_fail(FSMOE_ERROR_INTERNAL, "nothing"); /* so that the next refusal has to have a sentence of its own */
}

static void test_layer_every_gate_with_every_expert(void **state)
{
    (void)state;
    for (size_t g = 0; g < COUNT(gates); g++)
        for (size_t e = 0; e < COUNT(experts); e++) {
            const char *joined[4 * MOST_SETTINGS];
            char what[512];
            const char *const *lists[] = {gates[g], experts[e], losses[0]};
            join(lists, 3, joined, what);
            check_gradients(joined, what, 10 * g + e);
        }
}

static void test_layer_every_loss_and_order(void **state)
{
    (void)state;
    int checked = 0, refused = 0;
    for (size_t g = 0; g < COUNT(gates); g++)
        for (size_t l = 0; l < COUNT(losses); l++)
            for (size_t o = 0; o < COUNT(orders); o++) {
                const char *joined[4 * MOST_SETTINGS];
                char what[512];
                const char *const *lists[] = {gates[g], orders[o], losses[l]};
                join(lists, 3, joined, what);
                bool allowed = is_allowed(joined, TOKENS);
                if (allowed) check_gradients(joined, what, 100 * g + 10 * l + o);
                else check_reason(what);
                checked += allowed;
                refused += !allowed;
            }
    assert_true(checked > 80 && refused > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_every_gate_with_every_expert),
        cmocka_unit_test(test_layer_every_loss_and_order),
    };
    return cmocka_run_group_tests(tests, add_kinds, end_world);
}
