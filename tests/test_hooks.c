/* Hooks: when they are called, with what, in which order; what they change comes true; bfloat16 on the wire is what
 * rounding in place gives, bit for bit. Alone and on four ranks (2 x 2, EP 2 x ESP 2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "comm/world.h"
#include "model_case.h"
#include "moe/extend.h"
#include "train/layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOKENS = 16, HIDDEN = 7, FFN = 8, EXPERTS = 4, MOST_CALLS = 256 };

static fsmoe_world *world;

typedef struct subject {
    fsmoe_config *config;
    fsm_layer_run run;
} subject;

static void make(subject *s)
{
    fsmoe_config *c;
    bool many = fsmoe_world_size(world) == 4;
    assert_int_equal(fsmoe_config_create(&s->config), FSMOE_OK);
    c = s->config;
    c->model.hidden = HIDDEN;
    c->model.ffn_hidden = FFN;
    c->moe.num_experts = EXPERTS;
    c->moe.aux_loss_coeff = 0;
    c->model.num_heads = c->model.num_kv_heads = 2;
    c->model.head_dim = 2;
    c->data.seq_len = TOKENS;
    c->train.global_batch = c->train.micro_batch = 1;
    c->parallel.nodes = many ? 2 : 1;
    c->parallel.ranks_per_node = many ? 2 : 1;
    c->parallel.ep_size = c->parallel.esp_size = many ? 2 : 1;
    if (fsm_config_check(c) != FSMOE_OK || fsm_config_derive(c) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    if (fsm_layer_run_create(c, world->comm, TOKENS, false, &s->run) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    fsm_layer_run *r = &s->run;
    for (int64_t i = 0; i < r->n * HIDDEN; i++) {
        r->x[i] = (float)fsm_rng_normal(1, FSM_RNG_TEST, (uint64_t)(r->first * HIDDEN + i));
        r->dy[i] = (float)fsm_rng_normal(2, FSM_RNG_TEST, (uint64_t)(r->first * HIDDEN + i));
    }
    for (int p = 0; p < r->params.count; p++) {
        fsm_layer_param *param = &r->params.items[p];
        for (int64_t i = 0; i < param->rows * param->cols; i++)
            param->value[i] = (float)(0.5 * fsm_rng_normal(3, FSM_RNG_TEST, (uint64_t)(1000 * p + i)));
    }
}

static void destroy(subject *s)
{
    fsm_layer_run_destroy(&s->run);
    fsmoe_config_destroy(s->config);
}

static void step(subject *s, int forward_degree, int backward_degree)
{
    if (fsm_layer_run_step(&s->run, NULL, forward_degree, backward_degree) != FSMOE_OK)
        fail_msg("%s", fsmoe_last_error());
}

static void add_hook(subject *s, const fsm_hook_kind *kind, void *state)
{
    s->run.hooks.kind[s->run.hooks.count] = kind;
    s->run.hooks.state[s->run.hooks.count++] = state;
}

/* ---- calls ---- */

typedef struct record {
    fsm_hook_call calls[MOST_CALLS];
    int count;
} record;

static void keep(void *state, fsm_hook_call *call)
{
    record *r = state;
    assert_true(r->count < MOST_CALLS);
    r->calls[r->count++] = *call;
}

static const fsm_hook_kind recorder = {.name = "recorder", .call = keep};

static int count_calls(const record *r, fsm_hook_point point, fsm_phase phase)
{
    int n = 0;
    for (int i = 0; i < r->count; i++) n += r->calls[i].point == point && r->calls[i].phase == phase;
    return n;
}

static int64_t count_rows(const record *r, fsm_hook_point point, fsm_phase phase)
{
    int64_t rows = 0;
    int next = 0;
    for (int i = 0; i < r->count; i++) {
        if (r->calls[i].point != point || r->calls[i].phase != phase) continue;
        assert_int_equal(r->calls[i].chunk, next++);
        assert_int_equal(r->calls[i].hidden, HIDDEN);
        assert_int_equal(r->calls[i].width, HIDDEN);
        rows += r->calls[i].rows;
    }
    return rows;
}

static void test_hooks_are_called_at_six_points_both_ways(void **state)
{
    (void)state;
    subject s;
    static record r;
    const int degrees[2] = {2, 3};
    make(&s);
    r.count = 0;
    add_hook(&s, &recorder, &r);
    step(&s, degrees[0], degrees[1]);
    for (int phase = 0; phase < 2; phase++) {
        const fsm_wire *wire = &s.run.pass.wire[phase];
        assert_int_equal(count_calls(&r, FSM_HOOK_BEFORE_MOE_START, (fsm_phase)phase), 1);
        assert_int_equal(count_calls(&r, FSM_HOOK_BEFORE_MOE_END, (fsm_phase)phase), 1);
        for (int point = FSM_HOOK_BEFORE_DISPATCH; point <= FSM_HOOK_AFTER_COMBINE; point++)
            assert_int_equal(count_calls(&r, (fsm_hook_point)point, (fsm_phase)phase), degrees[phase]);
        assert_int_equal(count_rows(&r, FSM_HOOK_BEFORE_DISPATCH, (fsm_phase)phase), wire->send_total);
        assert_int_equal(count_rows(&r, FSM_HOOK_AFTER_COMBINE, (fsm_phase)phase), wire->send_total);
        assert_int_equal(count_rows(&r, FSM_HOOK_AFTER_DISPATCH, (fsm_phase)phase), wire->recv_first[wire->chunks]);
        assert_int_equal(count_rows(&r, FSM_HOOK_BEFORE_COMBINE, (fsm_phase)phase), wire->recv_first[wire->chunks]);
    }
    assert_int_equal(r.calls[0].point, FSM_HOOK_BEFORE_MOE_START);
    assert_int_equal(r.calls[0].phase, FSM_FORWARD);
    assert_int_equal(r.calls[r.count - 1].point, FSM_HOOK_BEFORE_MOE_START);
    assert_int_equal(r.calls[r.count - 1].phase, FSM_BACKWARD);
    destroy(&s);
}

typedef struct named {
    char name;
    char *trail;
} named;

static void sign(void *state, fsm_hook_call *call)
{
    const named *n = state;
    if (call->phase == FSM_FORWARD && call->point != FSM_HOOK_BEFORE_MOE_START &&
        call->point != FSM_HOOK_BEFORE_MOE_END)
        strncat(n->trail, &n->name, 1);
}

static void test_hooks_nest(void **state)
{
    (void)state;
    subject s;
    char trail[64] = "";
    named a = {'a', trail}, b = {'b', trail};
    const fsm_hook_kind kind = {.name = "sign", .call = sign};
    make(&s);
    add_hook(&s, &kind, &a);
    add_hook(&s, &kind, &b);
    step(&s, 1, 1);
    assert_string_equal(trail, "abbaabba");
    destroy(&s);
}

/* ---- changes ---- */

static void scale_output(void *state, fsm_hook_call *call)
{
    (void)state;
    bool scales = call->point == FSM_HOOK_BEFORE_MOE_END;
    for (int64_t i = 0; scales && i < call->rows * call->hidden; i++) call->data[i] *= 2;
}

/* Twice the output, and its gradient twice: twice the gradient of the input. */
static void test_hooks_may_change_what_they_see(void **state)
{
    (void)state;
    subject plain, scaled;
    const fsm_hook_kind kind = {.name = "scale", .call = scale_output};
    make(&plain);
    make(&scaled);
    add_hook(&scaled, &kind, NULL);
    step(&plain, 1, 2);
    step(&scaled, 1, 2);
    for (int64_t i = 0; i < plain.run.n * HIDDEN; i++) {
        assert_true(fabs(scaled.run.y[i] - 2 * plain.run.y[i]) <= 1e-6 * (1 + fabs(plain.run.y[i])));
        assert_true(fabs(scaled.run.dx[i] - 2 * plain.run.dx[i]) <= 1e-5 * (1 + fabs(plain.run.dx[i])));
    }
    destroy(&plain);
    destroy(&scaled);
}

static void round_in_place(void *state, fsm_hook_call *call)
{
    (void)state;
    bool rounds = call->point == FSM_HOOK_BEFORE_DISPATCH || call->point == FSM_HOOK_BEFORE_COMBINE;
    for (int64_t i = 0; rounds && i < call->rows * call->hidden; i++) {
        uint32_t bits;
        memcpy(&bits, &call->data[i], sizeof bits);
        bits += 0x7fff + (bits >> 16 & 1);
        bits &= 0xffff0000;
        memcpy(&call->data[i], &bits, sizeof bits);
    }
}

static void test_hooks_bf16_on_the_wire_is_rounding(void **state)
{
    (void)state;
    const fsm_hook_kind rounding = {.name = "rounding", .call = round_in_place};
    static record r;
    for (int degree = 1; degree <= 3; degree++) {
        subject packed, rounded, plain;
        bool differs = false;
        make(&packed);
        make(&rounded);
        make(&plain);
        r.count = 0;
        add_hook(&packed, &fsm_hook_wire_bf16, NULL);
        add_hook(&packed, &recorder, &r); /* sees packed rows */
        add_hook(&rounded, &rounding, NULL);
        step(&packed, degree, 4 - degree);
        step(&rounded, degree, 4 - degree);
        step(&plain, degree, 4 - degree);
        size_t bytes = sizeof(float) * (size_t)(plain.run.n * HIDDEN);
        assert_memory_equal(packed.run.y, rounded.run.y, bytes);
        assert_memory_equal(packed.run.dx, rounded.run.dx, bytes);
        for (int64_t i = 0; i < plain.run.n * HIDDEN; i++) {
            assert_true(fabs(packed.run.y[i] - plain.run.y[i]) <= 0.05 * (1 + fabs(plain.run.y[i])));
            differs |= packed.run.y[i] != plain.run.y[i];
        }
        assert_true(differs || plain.run.n == 0);
        for (int i = 0; i < r.count; i++) {
            bool whole = r.calls[i].point == FSM_HOOK_BEFORE_MOE_START || r.calls[i].point == FSM_HOOK_BEFORE_MOE_END;
            assert_int_equal(r.calls[i].width, whole ? HIDDEN : (HIDDEN + 1) / 2);
        }
        destroy(&packed);
        destroy(&rounded);
        destroy(&plain);
    }
}

/* Rows that are packed are not packed again. */
static void test_hooks_bf16_twice_is_bf16_once(void **state)
{
    (void)state;
    subject once, twice;
    make(&once);
    make(&twice);
    add_hook(&once, &fsm_hook_wire_bf16, NULL);
    for (int i = 0; i < 2; i++) add_hook(&twice, &fsm_hook_wire_bf16, NULL);
    step(&once, 2, 1);
    step(&twice, 2, 1);
    assert_memory_equal(once.run.y, twice.run.y, sizeof(float) * (size_t)(once.run.n * HIDDEN));
    assert_memory_equal(once.run.dx, twice.run.dx, sizeof(float) * (size_t)(once.run.n * HIDDEN));
    destroy(&once);
    destroy(&twice);
}

/* What a kind's maker says of it is what its calls get, unless it makes a state of its own. */
static void test_hooks_get_the_data_of_whoever_adds_them(void **state)
{
    (void)state;
    static record r;
    static const fsm_hook_kind kind = {.name = "recorder_of_mine", .user = &r, .call = keep};
    fsmoe_config *config;
    fsm_hooks hooks;
    fsm_hook_call call = {.point = FSM_HOOK_BEFORE_MOE_END, .layer = 3};
    assert_int_equal(fsm_add_hook(&kind), FSMOE_OK);
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, "moe.hooks=[recorder_of_mine]"), FSMOE_OK);
    assert_int_equal(fsm_hooks_create(config, 0, &hooks), FSMOE_OK);
    r.count = 0;
    fsm_hooks_call(&hooks, &call);
    assert_true(r.count == 1 && r.calls[0].layer == 3);
    fsm_hooks_destroy(&hooks);
    fsmoe_config_destroy(config);
}

/* ---- a model's ---- */

typedef struct counted {
    int created, destroyed;
} counted;

static fsmoe_status create_counted(void *user, const fsmoe_config *config, int rank, void **state)
{
    (void)config, (void)rank;
    ((counted *)user)->created++;
    *state = user;
    return FSMOE_OK;
}

static void destroy_counted(void *state)
{
    ((counted *)state)->destroyed++;
}

static void ignore_call(void *state, fsm_hook_call *call)
{
    (void)state, (void)call;
}

/* Not when a model is measured, when a plan asks what lanes would take, or when it is laid out for others. */
static void test_hooks_are_made_once_a_model(void **state)
{
    (void)state;
    static counted count;
    static const fsm_hook_kind kind = {
        .name = "counted", .user = &count, .create = create_counted, .destroy = destroy_counted, .call = ignore_call};
    static const char *const settings[] = {"model.hidden=8",    "model.num_heads=2",    "model.num_layers=2",
                                           "data.seq_len=8",    "train.global_batch=2", "model.vocab_size=16",
                                           "moe.num_experts=4", "moe.hooks=[counted]",  NULL};
    const fsm_model_options options = {.max_samples = 2, .training = true};
    fsm_comm *self;
    fsm_stepper s;
    fsm_model_memory memory;
    fsm_step_shape shape;
    assert_int_equal(fsm_add_hook(&kind), FSMOE_OK);
    fsmoe_config *config = model_case_config(settings);
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_int_equal(fsm_stepper_create(config, self, &options, &s), FSMOE_OK);
    assert_int_equal(count.created, 1);
    assert_int_equal(fsm_model_measure(config, NULL, &s.topo, &options, &memory), FSMOE_OK);
    assert_int_equal(fsm_stepper_shape(&s, &shape), FSMOE_OK);
    assert_int_equal(fsm_model_use_lanes(s.model, 2, 2, 1), FSMOE_OK);
    assert_true(count.created == 1 && count.destroyed == 0);
    fsm_step_shape_destroy(&shape);
    fsm_stepper_destroy(&s);
    assert_true(count.created == 1 && count.destroyed == 1);
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
}

/* 3 and 5 pairs of layer 1, twice: 37.5 and 62.5 per cent of 16; evaluation does not count. */
static void test_hooks_histogram_counts_the_pairs_that_experts_get(void **state)
{
    (void)state;
    static const int64_t kept[EXPERTS] = {3, 5};
    fsmoe_config *config;
    void *histogram;
    char path[] = "/tmp/fsmoe-histogram-XXXXXX", text[256] = "";
    int file = mkstemp(path), kept_stderr = dup(2);
    fsm_hook_call call = {.point = FSM_HOOK_BEFORE_MOE_END, .training = true, .layer = 1, .kept = kept};
    assert_true(file >= 0 && kept_stderr >= 0);
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    config->model.num_layers = 2;
    config->moe.num_experts = EXPERTS;
    assert_int_equal(fsm_hook_token_histogram.create(NULL, config, 0, &histogram), FSMOE_OK);
    for (int i = 0; i < 2; i++) fsm_hook_token_histogram.call(histogram, &call);
    call.training = false;
    fsm_hook_token_histogram.call(histogram, &call);
    call.training = true;
    call.phase = FSM_BACKWARD;
    fsm_hook_token_histogram.call(histogram, &call);
    fflush(stderr);
    dup2(file, 2);
    fsm_hook_token_histogram.destroy(histogram);
    fflush(stderr);
    dup2(kept_stderr, 2);
    close(kept_stderr);
    assert_true(pread(file, text, sizeof text - 1, 0) > 0);
    close(file);
    unlink(path);
    assert_string_equal(text, "token_histogram: rank 0, layer 1, 16 pairs: 37.5% 62.5% 0.0% 0.0%\n");
    fsmoe_config_destroy(config);
}

static void test_hooks_are_found_by_name(void **state)
{
    (void)state;
    fsm_hooks hooks;
    fsmoe_config *config;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, "moe.hooks=[wire_bf16, token_histogram]"), FSMOE_OK);
    assert_int_equal(fsm_hooks_create(config, 0, &hooks), FSMOE_OK);
    assert_int_equal(hooks.count, 2);
    assert_ptr_equal(hooks.kind[0], &fsm_hook_wire_bf16);
    fsm_hooks_destroy(&hooks);
    assert_int_equal(fsmoe_config_set(config, "moe.hooks=[wire_bf61]"), FSMOE_OK);
    assert_int_equal(fsm_hooks_create(config, 0, &hooks), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "wire_bf61"));
    fsm_hooks_destroy(&hooks);
    fsmoe_config_destroy(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hooks_are_called_at_six_points_both_ways),
        cmocka_unit_test(test_hooks_nest),
        cmocka_unit_test(test_hooks_may_change_what_they_see),
        cmocka_unit_test(test_hooks_bf16_on_the_wire_is_rounding),
        cmocka_unit_test(test_hooks_bf16_twice_is_bf16_once),
        cmocka_unit_test(test_hooks_get_the_data_of_whoever_adds_them),
        cmocka_unit_test(test_hooks_are_made_once_a_model),
        cmocka_unit_test(test_hooks_histogram_counts_the_pairs_that_experts_get),
        cmocka_unit_test(test_hooks_are_found_by_name),
    };
    if (fsmoe_world_create(&world) != FSMOE_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(world);
    return failed;
}
