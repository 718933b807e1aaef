/* A gate that runs on the host, where tensors are not the host's: all of them lie in memory that nobody may touch but
 * the table's reads and writes. Its results have the bits that it gives on arrays; rows of bfloat16 are widened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "moe/extend.h"
#include "moe/gate/on_host.h"
#include "ops/ref.h"

#include "../examples/extend/extend.h"

#include <fsmoe/config.h>
#include <string.h>
#include <sys/mman.h>

enum {
    TOKENS = 6,
    HIDDEN = 8,
    EXPERTS = 4,
    K = 2,
    SCORES = TOKENS * EXPERTS,
    PAIRS = TOKENS * K,
    ELEMS = TOKENS * HIDDEN
};

/* ---- a device whose memory is closed to the host ---- */

static fsm_arena *device;

static void open_device(bool open)
{
    if (device->base) mprotect(device->base, device->capacity, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

static void read_apart(const fsm_ops *self, size_t bytes, const void *tensor, void *host)
{
    open_device(true);
    fsm_ref_read(self, bytes, tensor, host);
    open_device(false);
}

static void write_apart(const fsm_ops *self, size_t bytes, const void *host, void *tensor)
{
    open_device(true);
    fsm_ref_write(self, bytes, host, tensor);
    open_device(false);
}

static fsm_ops table_of(bool apart, int64_t row_bytes)
{
    fsm_ops ops = fsm_ops_reference;
    ops.row_bytes = row_bytes;
    ops.on_host = !apart;
    if (apart) ops.read = read_apart, ops.write = write_apart;
    return ops;
}

/* ---- a kind with memory of its own, as large as the gate says; and one token at a time ---- */

typedef struct doubling {
    float *logits; /* [N, E] */
} doubling;

static void take_doubling(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    doubling *d = FSM_TAKE_HOST(memory, doubling, 1);
    float *logits = FSM_TAKE_HOST(memory, float, max_tokens * pass->gate->num_experts);
    if (d) d->logits = logits;
    pass->own = d;
}

static void double_token(const fsm_gate_pass *pass, int64_t token)
{
    const doubling *d = pass->own;
    int64_t experts = pass->gate->num_experts;
    for (int64_t i = token * experts; i < (token + 1) * experts; i++) d->logits[i] = 2 * pass->logits[i];
}

static void doubling_forward(fsm_gate_pass *pass)
{
    const doubling *d = pass->own;
    fsm_router_project(pass, pass->input.x);
    fsm_router_each_token(pass, pass->gate->num_experts, double_token);
    fsm_router_softmax(pass);
    fsm_router_choose(pass, d->logits);
    fsm_router_softmax_weights(pass);
}

static void doubling_backward(fsm_gate_pass *pass)
{
    fsm_router_losses_backward(pass);
    fsm_router_softmax_weights_backward(pass);
    fsm_router_project_backward(pass);
}

static const fsm_gate_kind doubling_gate = {
    .name = "doubling",
    .description = "experts by twice their logits",
    .source = "this test",
    .has_logits = true,
    .has_probability = true,
    .has_weights = true,
    .runs_on_host = true,
    .list_params = fsm_router_list_weight,
    .take = take_doubling,
    .forward = doubling_forward,
    .backward = doubling_backward,
};

/* ---- one gate, forward and back ---- */

typedef struct results {
    float logits[SCORES], prob[SCORES], lse[TOKENS], score[PAIRS], weight[PAIRS], dx[ELEMS], dw[EXPERTS * HIDDEN];
    int32_t choice[PAIRS];
} results;

typedef struct subject {
    fsm_ops ops;
    fsm_memory memory;
    fsm_gate gate;
    fsm_gate_pass pass;
    float *dlogits, *dweight, *dx;
    void *x;
    double *loss;
} subject;

static void take(fsm_memory *memory, subject *s)
{
    fsm_param_view *p = &s->gate.params[FSM_ROUTER_WEIGHT];
    s->dlogits = fsm_take_reals(memory, SCORES);
    fsm_gate_take(memory, &s->gate, TOKENS, s->dlogits, &s->pass);
    *p = (fsm_param_view){fsm_take_reals(memory, EXPERTS * HIDDEN), fsm_take_reals(memory, EXPERTS * HIDDEN), EXPERTS,
                          HIDDEN};
    s->gate.weights[FSM_ROUTER_WEIGHT] = (fsm_weight){p->value, EXPERTS, HIDDEN, NULL};
    s->dweight = fsm_take_reals(memory, PAIRS);
    s->dx = fsm_take_reals(memory, ELEMS);
    s->x = fsm_take_reals(memory, ELEMS); /* room for rows of any type */
    s->loss = fsm_take_sums(memory, 2 * EXPERTS + 1);
}

/* Normal numbers that bfloat16 holds, too. */
static float number(int64_t i)
{
    float x = (float)fsm_rng_normal(1, FSM_RNG_TEST, (uint64_t)i);
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0xffff0000u;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

static void fill(float *x, int64_t n, int64_t first)
{
    for (int64_t i = 0; i < n; i++) x[i] = number(first + i);
}

static void fill_rows(subject *s)
{
    for (int64_t i = 0; i < ELEMS; i++) {
        float value = number(500 + i);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        if (s->ops.row_bytes == 2) ((uint16_t *)s->x)[i] = (uint16_t)(bits >> 16);
        else ((float *)s->x)[i] = value;
    }
}

static void copy_results(const subject *s, results *r)
{
    const fsm_gate_pass *p = &s->pass;
    memcpy(r->logits, p->logits, sizeof r->logits);
    memcpy(r->prob, p->prob, sizeof r->prob);
    memcpy(r->lse, p->lse, sizeof r->lse);
    memcpy(r->score, p->score, sizeof r->score);
    memcpy(r->weight, p->weight, sizeof r->weight);
    memcpy(r->choice, p->choice, sizeof r->choice);
    memcpy(r->dx, s->dx, sizeof r->dx);
    memcpy(r->dw, s->gate.params[FSM_ROUTER_WEIGHT].grad, sizeof r->dw);
}

/* Where the host may look, the kind itself. */
static void run(const subject *s, fsm_gate_pass *pass)
{
    if (!pass->host) {
        s->gate.kind->forward(pass);
        s->gate.kind->backward(pass);
        return;
    }
    open_device(false);
    fsm_gate_host_forward(pass);
    fsm_gate_host_backward(pass);
    open_device(true);
}

static results results_of(const char *gate, const char *aux_loss, bool apart, int64_t row_bytes)
{
    subject s = {.ops = table_of(apart, row_bytes)};
    fsm_memory measure = fsm_memory_measure(row_bytes);
    fsmoe_config *config;
    results r;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    config->moe.num_experts = EXPERTS;
    config->moe.top_k = K;
    assert_int_equal(fsmoe_config_set(config, gate), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, aux_loss), FSMOE_OK);
    assert_int_equal(fsm_gate_select(&config->moe, &s.gate), FSMOE_OK);
    s.gate.ops = &s.ops;
    s.gate.hidden = HIDDEN;
    take(&measure, &s);
    assert_int_equal(fsm_memory_create(&measure, &s.memory), FSMOE_OK);
    take(&s.memory, &s);
    assert_int_equal(fsm_memory_used(&s.memory), fsm_memory_used(&measure));
    device = &s.memory.device;
    assert_true(!s.pass.host == !apart);
    fill_rows(&s);
    fill((float *)s.gate.params[FSM_ROUTER_WEIGHT].value, EXPERTS * HIDDEN, 0);
    fill(s.gate.params[FSM_ROUTER_WEIGHT].grad, EXPERTS * HIDDEN, 100);
    fill(s.dweight, PAIRS, 200);
    fill(s.dx, ELEMS, 300);
    for (int i = 0; i <= 2 * EXPERTS; i++) s.loss[i] = 0.1 * i;
    s.pass.input = (fsm_gate_input){.n = TOKENS, .x = s.x, .training = true};
    s.pass.dweight = s.dweight;
    s.pass.dx = s.dx;
    s.pass.loss = (fsm_gate_loss_grad){.share = s.loss, .load = s.loss + EXPERTS, .z = s.loss + 2 * EXPERTS};
    run(&s, &s.pass);
    copy_results(&s, &r);
    fsm_memory_destroy(&s.memory);
    fsmoe_config_destroy(config);
    return r;
}

static const char *const gates[] = {"moe.gate=tanh", "moe.gate=doubling"};

static void test_gate_on_host_gives_the_bits_of_arrays(void **state)
{
    const char *const losses[] = {"moe.aux_loss=none", "moe.aux_loss=first_choice"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        results here = results_of(gates[i / 2], losses[i % 2], false, FSM_REAL_BYTES);
        results apart = results_of(gates[i / 2], losses[i % 2], true, FSM_REAL_BYTES);
        assert_memory_equal(&apart, &here, sizeof here);
    }
}

static void test_gate_on_host_widens_bfloat16(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        results here = results_of(gates[i], "moe.aux_loss=first_choice", false, FSM_REAL_BYTES);
        results narrow = results_of(gates[i], "moe.aux_loss=first_choice", true, 2);
        assert_memory_equal(&narrow, &here, sizeof here);
    }
}

/* Before there are operations, as a plan counts it: the rows' type says whether copies are needed. */
static size_t host_bytes_before_operations(int64_t row_bytes)
{
    subject s = {.ops = table_of(false, row_bytes)};
    fsm_memory measure = fsm_memory_measure(row_bytes);
    fsmoe_config *config;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, "moe.gate=doubling"), FSMOE_OK);
    assert_int_equal(fsm_gate_select(&config->moe, &s.gate), FSMOE_OK);
    s.gate.hidden = HIDDEN;
    take(&measure, &s);
    fsmoe_config_destroy(config);
    return measure.host.used;
}

static void test_gate_on_host_is_measured_before_operations(void **state)
{
    (void)state;
    assert_true(host_bytes_before_operations(2) >= host_bytes_before_operations(FSM_REAL_BYTES) + 6 * ELEMS);
}

/* What has no copies there is refused. */
static void test_gate_on_host_is_chosen_by_scores(void **state)
{
    const fsm_gate_kind mixing = {.name = "mixing", .runs_on_host = true, .mixes = true};
    (void)state;
    assert_int_equal(fsm_add_gate(&mixing), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "mixing"));
}

static int add_kind(void **state)
{
    (void)state;
    return fsm_add_gate(&my_gate) == FSMOE_OK && fsm_add_gate(&doubling_gate) == FSMOE_OK ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gate_on_host_gives_the_bits_of_arrays),
        cmocka_unit_test(test_gate_on_host_widens_bfloat16),
        cmocka_unit_test(test_gate_on_host_is_measured_before_operations),
        cmocka_unit_test(test_gate_on_host_is_chosen_by_scores),
    };
    return cmocka_run_group_tests(tests, add_kind, NULL);
}
