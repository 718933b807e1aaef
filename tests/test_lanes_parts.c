/* Parts of a micro-batch: which samples a part has, which configurations allow parts, what memory lanes take; parts of
 * a batch that is given, of the layers alone, and what hooks are told. Oracles: the whole; what is reserved. */
#include "lanes_case.h"

#include "moe/extend.h"
#include "plan/step_memory.h"

/* ---- which samples, which configurations ---- */

static int64_t samples_of(int64_t samples, int parts, int part)
{
    int64_t first, last;
    fsm_lanes_part(samples, parts, part, &first, &last);
    assert_true(first <= last && (part > 0 || first == 0) && (part < parts - 1 || last == samples));
    if (part > 0) {
        int64_t before, end;
        fsm_lanes_part(samples, parts, part - 1, &before, &end);
        assert_int_equal(end, first);
    }
    return last - first;
}

/* Parts are as even as they go, and memory for the largest batch is enough for every smaller one. */
static void test_lanes_parts_are_all_samples_once(void **state)
{
    (void)state;
    for (int parts = 1; parts <= FSM_MAX_LANES; parts++)
        for (int64_t most = 1; most <= 40; most++)
            for (int64_t samples = 0; samples <= most; samples++)
                for (int part = 0; part < parts; part++) {
                    int64_t n = samples_of(samples, parts, part);
                    assert_true(n >= samples / parts && n <= (samples + parts - 1) / parts);
                    assert_true(n <= samples_of(most, parts, part));
                }
}

static void check_most_parts(const char *const *settings, int64_t samples, int most, const char *reason)
{
    const char *all[MOST_SETTINGS + 2] = {"data.seq_len=16"}, *why;
    for (int i = 0; settings[i]; i++) all[i + 1] = settings[i];
    fsmoe_config *config = model_case_config(all);
    int parts = fsm_lanes_most_parts(config, samples, &why);
    if (parts != most) fail_msg("%s: %d parts, not %d", settings[0], parts, most);
    if (!reason) assert_null(why);
    else if (!why || !strstr(why, reason)) fail_msg("%s: '%s', not '%s'", settings[0], why ? why : "-", reason);
    fsmoe_config_destroy(config);
}

static void test_lanes_parts_that_would_change_a_number_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *settings[MOST_SETTINGS];
        int64_t samples;
        int most;
        const char *reason;
    } cases[] = {
        {{NULL}, 8, 4, NULL},
        {{NULL}, 3, 3, NULL},
        {{NULL}, 1, 1, "train.micro_batch"},
        {{"parallel.canonical_sums=true"}, 8, 1, "parallel.canonical_sums"},
        {{"moe.capacity_factor=1.5"}, 8, 1, "moe.capacity_group"},
        {{"moe.capacity_factor=1.5", "moe.capacity_group=8"}, 8, 4, NULL},
        {{"moe.capacity_factor=1", "moe.order=gshard"}, 8, 1, "moe.capacity_group"},
        {{"moe.gate=sigmoid", "moe.balanced=true", "moe.aux_loss_coeff=0"}, 8, 1, "moe.capacity_group"},
        {{"moe.gate=sigmoid", "moe.balanced=true", "moe.aux_loss_coeff=0", "moe.capacity_group=4"}, 8, 4, NULL},
        {{"moe.gate=soft", "moe.allow_non_causal=true", "moe.aux_loss_coeff=0"}, 8, 4, NULL},
        {{"moe.aux_loss_scope=rank", "moe.aux_loss_coeff=0.1"}, 8, 4, NULL},
        {{"moe.aux_loss_scope=rank", "moe.aux_loss_coeff=0.1", "parallel.mp_size=2"}, 8, 1, "moe.aux_loss_scope"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_most_parts(cases[i].settings, cases[i].samples, cases[i].most, cases[i].reason);
}

/* ---- steps on a batch that is given ---- */

static void random_ids(int32_t *ids, int n)
{
    for (int i = 0; i < n; i++) ids[i] = (int32_t)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) % 256);
}

/* Also of a batch that is given as it is; noise follows the numbers of tokens. */
static void test_lanes_parts_of_a_given_batch_are_the_batch(void **state)
{
    (void)state;
    enum { SAMPLES = 5, TOKENS = SAMPLES * 8 };
    static const case_of noisy = {"noisy", 1, SAMPLES, {"moe.noisy=true"}};
    static const spread whole = {1, 1, 0, false}, parted = {3, 3, 0, true};
    int32_t ids[2 * TOKENS];
    outcome out[2];
    rank_run r = {.c = &noisy};
    random_ids(ids, 2 * TOKENS);
    const fsm_batch batch = {
        .samples = SAMPLES, .seq_len = 8, .first_token = 1000, .ids = ids, .targets = ids + TOKENS};
    for (int i = 0; i < 2; i++) {
        fsm_comm *self;
        fsm_stepper s;
        fsmoe_config *config = create_alone(&noisy, i ? &parted : &whole, &self, &s);
        start_values(&s);
        assert_int_equal(fsm_stepper_train_batch(&s, &batch, TOKENS), FSMOE_OK);
        take_outcome(&s, &out[i]);
        if (i == 1) compare(&r, s.model, &parted, "given", &out[1], &out[0]);
        destroy_alone(config, self, &s);
    }
    if (r.failure[0]) fail_msg("%s", r.failure);
    free(out[0].grads);
    free(out[1].grads);
}

/* ---- the layers alone ---- */

/* A step of the layers alone, as `fsmoe bench schedules --layer` runs it, leaves gradients of the layers' parameters,
 * and of their input in each pass. */
typedef struct layers_alone {
    float *grads; /* [grad_elems]; owned, as the next */
    float *dx;    /* [dx_elems] part after part */
    int64_t grad_elems, dx_elems;
} layers_alone;

static void take_layers(const fsm_stepper *s, layers_alone *out)
{
    const fsm_model *m = s->model;
    size_t bytes = sizeof *out->grads * (size_t)m->params.elems;
    *out = (layers_alone){.grads = malloc(bytes), .dx = malloc(bytes), .grad_elems = m->params.elems};
    assert_true(out->grads && out->dx);
    memcpy(out->grads, m->grads, bytes);
    for (int part = 0; part < s->parts; part++) {
        const fsm_pass *pass = &m->passes[part];
        int64_t elems = pass->n_local * m->config->model.hidden;
        assert_true(out->dx_elems + elems <= out->grad_elems);
        memcpy(out->dx + out->dx_elems, pass->dx, sizeof *out->dx * (size_t)elems);
        out->dx_elems += elems;
    }
}

static void run_layers(const case_of *c, const spread *how, const fsm_batch *batch, layers_alone *out)
{
    const rank_run r = {.c = c};
    const fsm_model_options options = {.max_samples = c->samples, .training = true};
    fsmoe_config *config = config_of(&r);
    fsm_comm *self;
    fsm_stepper s;
    bool possible;
    double step_s;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_int_equal(fsm_stepper_create(config, self, &options, &s), FSMOE_OK);
    assert_int_equal(fsm_stepper_experts_only(&s), FSMOE_OK);
    assert_int_equal(use_spread(&s, how, 7, &possible), FSMOE_OK);
    assert_true(possible);
    start_values(&s);
    poison(s.model);
    assert_int_equal(fsm_stepper_run_experts(&s, batch, &step_s), FSMOE_OK);
    assert_int_equal(s.parts, how->parts);
    take_layers(&s, out);
    destroy_alone(config, self, &s);
}

static void assert_near(const spread *how, const char *what, const float *got, const float *want, int64_t n)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs((double)got[i] - want[i]) <= 1e-4 * fabs((double)want[i]) + 1e-5))
            fail_msg("%d parts, %d spare: %s %lld is %.9g, not %.9g", how->parts, how->spare, what, (long long)i,
                     got[i], want[i]);
        largest = fmax(largest, fabs((double)want[i]));
    }
    assert_true(largest > 0.01);
}

/* Parts that reached into one another's memory, or that nobody began, would leave other numbers. */
static void test_lanes_parts_of_the_layers_alone_are_the_layers(void **state)
{
    (void)state;
    enum { SAMPLES = 5, TOKENS = SAMPLES * 8 };
    static const case_of alone = {"alone", 1, SAMPLES, {"moe.top_k=2", "moe.aux_loss_coeff=0", "moe.z_loss_coeff=0"}};
    static const spread whole = {1, 1, 0, false};
    int32_t ids[2 * TOKENS];
    const fsm_batch batch = {.samples = SAMPLES, .seq_len = 8, .ids = ids, .targets = ids + TOKENS};
    layers_alone want, got;
    int compared = 0;
    random_ids(ids, 2 * TOKENS);
    run_layers(&alone, &whole, &batch, &want);
    for (int i = 0; i < SPREADS; i++) {
        if (spreads[i].lanes != spreads[i].parts) continue; /* the layers are of one micro-batch */
        run_layers(&alone, &spreads[i], &batch, &got);
        assert_int_equal(got.dx_elems, want.dx_elems);
        assert_near(&spreads[i], "gradient", got.grads, want.grads, want.grad_elems);
        assert_near(&spreads[i], "dx", got.dx, want.dx, want.dx_elems);
        compared += spreads[i].parts > 1;
        free(got.grads);
        free(got.dx);
    }
    assert_true(compared >= 3);
    free(want.grads);
    free(want.dx);
}

/* ---- hooks ---- */

static int calls_of[FSM_MAX_LANES];

static void count_call(void *user, fsm_hook_call *call)
{
    (void)user;
    if (call->point == FSM_HOOK_BEFORE_MOE_END) calls_of[call->lane]++;
}

static void test_lanes_parts_are_told_to_hooks_as_lanes(void **state)
{
    (void)state;
    static const fsm_hook_kind counter = {.name = "lane_counter", .description = "a test's", .call = count_call};
    static const case_of hooked = {"hooked", 1, 4, {"moe.hooks=[lane_counter]"}};
    static const spread parted = {3, 3, 0, true};
    int32_t ids[2 * 4 * 8] = {0};
    const fsm_batch batch = {.samples = 4, .seq_len = 8, .ids = ids, .targets = ids + 32};
    fsm_comm *self;
    fsm_stepper s;
    assert_int_equal(fsm_add_hook(&counter), FSMOE_OK);
    fsmoe_config *config = create_alone(&hooked, &parted, &self, &s);
    assert_int_equal(fsm_stepper_train_batch(&s, &batch, 32), FSMOE_OK);
    for (int lane = 0; lane < 3; lane++) assert_int_equal(calls_of[lane], 2 * 4); /* phases, layers */
    destroy_alone(config, self, &s);
}

/* ---- memory ---- */

/* What is measured is what is reserved. */
static void check_memory(const case_of *c)
{
    for (int i = 0; i < SPREADS; i++) {
        const spread *how = &spreads[i];
        fsm_comm *self;
        fsm_stepper s;
        fsm_model_memory memory;
        fsm_step_shape shape;
        if (how->parts > c->samples || how->lanes / how->parts > c->micro_batches) continue;
        fsmoe_config *config = create_alone(c, how, &self, &s);
        fsm_model *m = s.model;
        assert_int_equal(fsm_model_measure(config, NULL, &s.topo, &m->options, &memory), FSMOE_OK);
        assert_int_equal(fsm_stepper_shape(&s, &shape), FSMOE_OK);
        int64_t bytes = fsm_step_bytes(&shape, (fsm_lanes){how->lanes, how->parts, how->spare});
        size_t told = (size_t)(bytes - 4 * (int64_t)sizeof(float) * memory.param_elems);
        fsm_step_shape_destroy(&shape);
        if (fsm_memory_used(&m->memory) + fsm_memory_used(&m->pass_memory) != told)
            fail_msg("%s, %d lanes, %d parts: %zu bytes, not %zu", c->name, how->lanes, how->parts,
                     fsm_memory_used(&m->memory) + fsm_memory_used(&m->pass_memory), told);
        assert_true(memory.whole_bytes <= memory.pass_bytes[0] && memory.spare_bytes[how->parts - 1] > 0);
        destroy_alone(config, self, &s);
    }
}

static size_t all_of(const fsm_model_kinds *kinds)
{
    size_t bytes = kinds->host;
    for (int i = 0; i < FSM_MEMORY_KINDS; i++) bytes += kinds->taken[i];
    return bytes;
}

static void check_kinds(const case_of *c, const spread *how)
{
    fsm_comm *self;
    fsm_stepper s;
    fsm_model_kinds most, expected;
    fsmoe_config *config = create_alone(c, how, &self, &s);
    const fsm_model *m = s.model;
    assert_int_equal(fsm_model_measure_kinds(config, NULL, &s.topo, &m->options, how->lanes, how->parts, how->spare,
                                             false, &most),
                     FSMOE_OK);
    assert_int_equal(fsm_model_measure_kinds(config, NULL, &s.topo, &m->options, how->lanes, how->parts, how->spare,
                                             true, &expected),
                     FSMOE_OK);
    size_t reserved = fsm_memory_used(&m->memory) + fsm_memory_used(&m->pass_memory);
    if (all_of(&most) != reserved)
        fail_msg("%s, %d lanes, %d parts: %zu bytes, not %zu", c->name, how->lanes, how->parts, all_of(&most),
                 reserved);
    assert_true(all_of(&expected) <= all_of(&most) && most.taken[FSM_MEMORY_SAVED] > 0);
    assert_true(most.taken[FSM_MEMORY_STAGING] > 0 && most.taken[FSM_MEMORY_WORKSPACE] > 0);
    destroy_alone(config, self, &s);
}

static void test_lanes_parts_take_the_memory_that_is_told(void **state)
{
    (void)state;
    check_memory(&lane_cases[0]);
    check_memory(&lane_cases[1]);
    check_memory(&lane_cases[2]);
}

static void test_lanes_parts_kinds_of_memory_add_up_to_what_is_reserved(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < SPREADS; j++)
            if (spreads[j].parts <= lane_cases[i].samples &&
                spreads[j].lanes / spreads[j].parts <= lane_cases[i].micro_batches)
                check_kinds(&lane_cases[i], &spreads[j]);
}

/* A model as large as some that are trained; nothing is reserved. */
static void test_lanes_parts_hold_what_the_whole_holds(void **state)
{
    (void)state;
    const char *const settings[] = {"model.hidden=1024",      "model.ffn_hidden=2048", "model.num_layers=8",
                                    "model.num_heads=16",     "moe.num_experts=8",     "data.seq_len=512",
                                    "train.global_batch=8",   "parallel.ep_size=2",    "moe.capacity_factor=1.2",
                                    "moe.capacity_group=512", "model.vocab_size=256",  NULL};
    fsmoe_config *config = model_case_config(settings);
    const fsm_model_options options = {.max_samples = 8, .training = true};
    fsm_topo topo;
    fsm_model_memory memory;
    assert_int_equal(fsm_topo_create(1, 2, &config->parallel, 0, &topo), FSMOE_OK);
    assert_int_equal(fsm_model_measure(config, NULL, &topo, &options, &memory), FSMOE_OK);
    for (int parts = 2; parts <= FSM_MAX_LANES; parts++) {
        double ratio = (double)memory.pass_bytes[parts - 1] / (double)memory.pass_bytes[0];
        if (!(ratio >= 0.99 && ratio <= 1.02)) fail_msg("%d parts: %g of the whole", parts, ratio);
        ratio = (double)memory.spare_bytes[parts - 1] / (double)memory.spare_bytes[0];
        if (!(ratio >= 0.99 && ratio <= 1.02)) fail_msg("%d parts: a spare is %g of the whole's", parts, ratio);
    }
    fsmoe_config_destroy(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes_parts_are_all_samples_once),
        cmocka_unit_test(test_lanes_parts_that_would_change_a_number_are_refused),
        cmocka_unit_test(test_lanes_parts_of_a_given_batch_are_the_batch),
        cmocka_unit_test(test_lanes_parts_of_the_layers_alone_are_the_layers),
        cmocka_unit_test(test_lanes_parts_are_told_to_hooks_as_lanes),
        cmocka_unit_test(test_lanes_parts_take_the_memory_that_is_told),
        cmocka_unit_test(test_lanes_parts_kinds_of_memory_add_up_to_what_is_reserved),
        cmocka_unit_test(test_lanes_parts_hold_what_the_whole_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
