/* The same layer run otherwise gives the same: on another number of threads, to rounding; and with another layer's
 * forward between its forward and its backward, to the bit. */
#include "layer_case.h"

/* ---- threads ---- */

enum { MANY = 65536 / EXPERTS };

/* What a layer of so many tokens, that its loops are shared among threads, gives on one thread and on three. */
static void check_threads(const char *const *settings, const char *what)
{
    subject s[2];
    for (int i = 0; i < 2; i++) {
        layer_threads = i == 0 ? 1 : 3;
        if (make(settings, MANY, 9, &s[i]) != FSMOE_OK) fail_msg("%s: %s", what, fsmoe_last_error());
        objective(&s[i]);
    }
    layer_threads = 1;
    const fsm_layer_run *one = &s[0].run, *three = &s[1].run;
    if (decisions(&s[0]) != decisions(&s[1])) fail_msg("%s: threads decide", what);
    for (int64_t i = 0; i < MANY * HIDDEN; i++) {
        double off = fmax(fabs(one->y[i] - three->y[i]), fabs(one->dx[i] - three->dx[i]));
        if (!(off <= 1e-5 * (1 + fabs(one->y[i]) + fabs(one->dx[i]))))
            fail_msg("%s: token %d", what, (int)(i / HIDDEN));
    }
    for (int p = 0; p < one->params.count; p++)
        for (int64_t i = 0; i < one->params.items[p].elems; i++) {
            double a = one->params.items[p].grad[i], b = three->params.items[p].grad[i];
            if (!(fabs(a - b) <= 1e-3 * (1 + fabs(a))))
                fail_msg("%s: d.%s: %g, %g", what, one->params.items[p].name, a, b);
        }
    for (int i = 0; i < 2; i++) destroy(&s[i]);
}

static void test_layer_threads_change_nothing(void **state)
{
    (void)state;
    static const char *const grouped[] = {"capacity_factor=0.75", "capacity_group=256"};
    static const char *const kinds[] = {"order=sorted", "order=tutel", "order=gshard"};
    int checked = 0;
    for (size_t g = 0; g < COUNT(gates); g++)
        for (size_t o = 0; o < COUNT(kinds); o++) {
            const char *joined[4 * MOST_SETTINGS];
            char what[512];
            const char *const order[] = {kinds[o], grouped[0], grouped[1], NULL};
            const char *const *lists[] = {gates[g], (const char *const[]){"shared_experts=1", "shared_gate=true", NULL},
                                          order};
            bool mixes = strstr(gates[g][0], "soft") != NULL; /* which has an order and groups of its own */
            join(lists, mixes ? 2 : 3, joined, what);
            if (!is_allowed(joined, MANY) || (mixes && o > 0)) continue;
            check_threads(joined, what);
            checked++;
        }
    assert_true(checked > 30);
}

/* ---- two forwards before their backwards ---- */

static void forward(subject *s)
{
    fsm_layer_run *r = &s->run;
    fsm_comm_op op = {0};
    const fsm_gate_input input = {.n = r->n, .x = r->x, .noise = r->noise, .training = true};
    fsm_gate_sums sums = fsm_layer_run_sums(r);
    memset(r->sums, 0, sizeof *r->sums * FSM_GATE_SUMS_COUNT(EXPERTS));
    memset(r->y, 0, sizeof *r->y * (size_t)(r->n * HIDDEN));
    fsm_moe_gate_forward(&r->pass, &input, true, &sums);
    assert_int_equal(fsm_moe_start_counts(&r->pass, &op), FSMOE_OK);
    fsm_moe_order_forward(&r->pass);
    fsm_moe_expert_forward(&r->pass, 0);
    assert_int_equal(fsm_moe_start_combine(&r->pass, FSM_FORWARD, 0, &op), FSMOE_OK);
    fsm_moe_iorder_forward(&r->pass, r->y);
}

static void backward(subject *s)
{
    fsm_layer_run *r = &s->run;
    fsm_comm_op op = {0};
    const fsm_gate_loss_grad loss = {.share = r->loss_grads, .load = r->loss_grads + EXPERTS};
    memset(r->dx, 0, sizeof *r->dx * (size_t)(r->n * HIDDEN));
    memset(r->loss_grads, 0, sizeof *r->loss_grads * 2 * EXPERTS);
    fsm_moe_iorder_backward(&r->pass, r->dy);
    fsm_moe_expert_backward(&r->pass, 0);
    fsm_moe_weight_grad(&r->pass, 0);
    assert_int_equal(fsm_moe_start_combine(&r->pass, FSM_BACKWARD, 0, &op), FSMOE_OK);
    fsm_moe_order_backward(&r->pass, r->dx);
    fsm_moe_gate_backward(&r->pass, &loss, r->dx);
}

/* dx and all gradients of parameters, from zero. */
static void backward_alone(subject *s, float *gradients)
{
    const fsm_layer_params *params = &s->run.params;
    for (int i = 0; i < params->count; i++)
        memset(params->items[i].grad, 0, sizeof(float) * (size_t)params->items[i].elems);
    backward(s);
    memcpy(gradients, s->run.dx, sizeof(float) * TOKENS * HIDDEN);
    gradients += TOKENS * HIDDEN;
    for (int i = 0; i < params->count; i++) {
        memcpy(gradients, params->items[i].grad, sizeof(float) * (size_t)params->items[i].elems);
        gradients += params->items[i].elems;
    }
}

/* The pass has staging and scratch of another layer. */
static void borrow(fsm_moe_pass *pass, const fsm_layer_run *other)
{
    pass->staging = &other->staging;
    pass->scratch = &other->scratch;
    pass->gate.dlogits = other->scratch.dlogits;
    pass->shared.scratch = &other->scratch.shared;
    pass->mixing.scratch = &other->scratch.mixing;
    pass->mixing.grads = &other->staging.mixing;
}

/* Two layers that share their staging and scratch, as those of a model do: what the second forward writes, the first
 * backward does not need. */
static void check_two_forwards(const char *const *settings, const char *what)
{
    enum { MOST = 8192 };
    static float one[2][MOST], two[2][MOST];
    subject s[2];
    for (int i = 0; i < 2; i++) {
        if (make(settings, TOKENS, 5 + (uint64_t)i, &s[i]) != FSMOE_OK) fail_msg("%s: %s", what, fsmoe_last_error());
        int64_t elems = TOKENS * HIDDEN;
        for (int p = 0; p < s[i].run.params.count; p++) elems += s[i].run.params.items[p].elems;
        assert_true(elems <= MOST);
    }
    memset(one, 0, sizeof one);
    memset(two, 0, sizeof two);
    for (int i = 0; i < 2; i++) { /* one after the other */
        forward(&s[i]);
        backward_alone(&s[i], one[i]);
    }
    borrow(&s[1].run.pass, &s[0].run);
    for (int i = 0; i < 2; i++) forward(&s[i]);
    for (int i = 1; i >= 0; i--) backward_alone(&s[i], two[i]);
    for (int i = 0; i < 2; i++) {
        if (memcmp(one[i], two[i], sizeof one[i]) != 0) fail_msg("%s: layer %d", what, i);
        destroy(&s[i]);
    }
}

static void test_layer_two_forwards_before_their_backwards(void **state)
{
    (void)state;
    for (size_t g = 0; g < COUNT(gates); g++)
        for (size_t o = 0; o < COUNT(orders); o++) {
            const char *joined[4 * MOST_SETTINGS];
            char what[512];
            const char *const *lists[] = {gates[g], orders[o], experts[(g + o) % COUNT(experts)]};
            join(lists, 3, joined, what);
            if (is_allowed(joined, TOKENS)) check_two_forwards(joined, what);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_threads_change_nothing),
        cmocka_unit_test(test_layer_two_forwards_before_their_backwards),
    };
    return cmocka_run_group_tests(tests, add_kinds, end_world);
}
