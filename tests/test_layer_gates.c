/* What is particular to a gate, or to every layer: tokens and weights are conserved, whatever is dropped; balanced
 * assignments are; noise that decides nothing has no gradient; tables are tables; kinds are added once. */
#include "layer_case.h"
#include "moe/gate/balanced.h"
#include "moe/on_host.h"

/* ---- conservation ---- */

/* Each kept choice has one row of its expert, and the row holds that token; weights sum to what the gate says. */
static void check_conservation(subject *s, const char *what)
{
    const fsm_moe_pass *pass = &s->run.pass;
    const fsm_gate *gate = pass->gate.gate;
    const fsm_wire *wire = &pass->wire[FSM_FORWARD];
    fsm_gate_sums sums = fsm_layer_run_sums(&s->run);
    double kept = 0, chosen = 0;
    for (int64_t e = 0; e < EXPERTS; e++) kept += sums.kept[e];
    for (int64_t e = 0; e < EXPERTS; e++) chosen += sums.chosen[e];
    if (!gate->kind->mixes && kept + *sums.dropped != chosen)
        fail_msg("%s: %g kept, %g dropped of %g", what, kept, *sums.dropped, chosen);
    if (pass->by_products) return;
    int64_t rows = 0, *taken = calloc((size_t)wire->send_total + 1, sizeof *taken);
    for (int64_t i = 0; i < s->run.n * gate->choices; i++) {
        int32_t row = wire->send_row[i];
        if ((row >= 0) != (pass->route.row[i] >= 0)) fail_msg("%s: choice %d", what, (int)i);
        if (row < 0) continue;
        rows++;
        if (taken[row]++ || wire->token[row] != i / gate->choices) fail_msg("%s: row %d", what, row);
    }
    free(taken);
    assert_true((double)rows == kept);
}

static void check_weights(subject *s, const char *what)
{
    const fsm_gate *gate = &s->run.moe.gate;
    double whole = strcmp(gate->kind->name, "deepseek") == 0 ? s->config->moe.routed_scaling_factor : 1;
    bool sums_to_whole =
        strcmp(gate->kind->name, "deepseek") == 0 || strcmp(gate->kind->name, "hash") == 0 ||
        ((strcmp(gate->kind->name, "gshard") == 0 || strcmp(gate->kind->name, "xmoe") == 0) && gate->choices > 1);
    for (int64_t t = 0; t < s->run.n; t++) {
        double sum = 0;
        for (int64_t j = 0; j < gate->choices; j++) {
            double w = s->run.pass.gate.weight[t * gate->choices + j];
            if (!(w >= 0 && w <= whole * (1 + 1e-6))) fail_msg("%s: a weight of %g", what, w);
            sum += w;
        }
        if (sums_to_whole && fabs(sum - whole) > 1e-5 * whole) fail_msg("%s: weights sum to %g", what, sum);
    }
}

/* ---- what is particular to a gate ---- */

/* Experts' numbers of tokens differ by one at most, and all choices of a token differ; also where all tokens want the
 * same. */
static void check_balance(const char *top_k, int64_t tokens, bool alike)
{
    const char *const settings[] = {"gate=sigmoid", "balanced=true", top_k, NULL};
    for (uint64_t seed = 0; seed < 50; seed++) {
        subject s;
        if (make(settings, tokens, seed, &s) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
        for (int64_t i = HIDDEN; alike && i < tokens * HIDDEN; i++) s.run.x[i] = s.run.x[i - HIDDEN];
        objective(&s);
        const fsm_gate *gate = &s.run.moe.gate;
        const fsm_gate_pass *pass = &s.run.pass.gate;
        fsm_gate_sums sums = fsm_layer_run_sums(&s.run);
        int64_t pairs = gate->choices * tokens, least = pairs / EXPERTS, most = (pairs + EXPERTS - 1) / EXPERTS;
        for (int64_t e = 0; e < EXPERTS; e++)
            if (sums.chosen[e] > (double)most || sums.chosen[e] < (double)least)
                fail_msg("%s: %g tokens of %d", top_k, sums.chosen[e], (int)tokens);
        for (int64_t i = 0; i < tokens * gate->choices; i++) {
            bool first = i % gate->choices == 0;
            for (int64_t j = i / gate->choices * gate->choices; j < i; j++)
                assert_true(pass->choice[i] != pass->choice[j]);
            assert_true(first || pass->weight[i] <= pass->weight[i - 1]);
        }
        destroy(&s);
    }
}

static void test_layer_balanced_gives_every_expert_as_many(void **state)
{
    (void)state;
    check_balance("top_k=1", 24, false);
    check_balance("top_k=1", 24, true);
    check_balance("top_k=2", 24, false);
    check_balance("top_k=3", 23, false);
    check_balance("top_k=3", 23, true);
    check_balance("top_k=1", 7, false);
    check_balance("top_k=4", 5, false);
    check_balance("top_k=1", 1, false);
}

/* Many tokens that want the same are soon given seats: every one of them has to trade. */
static void test_layer_balanced_of_equal_tokens_ends_soon(void **state)
{
    (void)state;
    enum { MANY = 8192, K = 3, E = 4 };
    fsm_memory measure = fsm_memory_measure(FSM_REAL_BYTES), memory;
    fsm_balanced balanced;
    float *logits = calloc(MANY * E, sizeof *logits), *prob = malloc(MANY * E * sizeof *prob);
    int32_t *choice = malloc(MANY * K * sizeof *choice);
    int64_t chosen[E] = {0};
    for (int64_t i = 0; i < MANY * E; i++) prob[i] = 1.0f / E;
    fsm_balanced_take(&measure, MANY, 0, E, K, &balanced);
    assert_int_equal(fsm_memory_create(&measure, &memory), FSMOE_OK);
    fsm_balanced_take(&memory, MANY, 0, E, K, &balanced);
    fsm_balanced_choose(&balanced, 0, MANY, prob, logits, choice);
    for (int64_t i = 0; i < MANY * K; i++) chosen[choice[i]]++;
    for (int e = 0; e < E; e++) assert_int_equal(chosen[e], MANY * K / E);
    fsm_memory_destroy(&memory);
    free(logits);
    free(prob);
    free(choice);
}

/* Tokens go where they want to as long as there is room: with logits that are balanced already, nothing moves. */
static void test_layer_balanced_leaves_what_is_balanced(void **state)
{
    (void)state;
    const char *const settings[] = {"gate=sigmoid", "balanced=true", "top_k=1", NULL};
    subject s;
    if (make(settings, 8, 1, &s) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    float *weight = s.run.params.items[0].value; /* [E, M]: expert e looks at element e */
    for (int64_t i = 0; i < EXPERTS * HIDDEN; i++) weight[i] = i / HIDDEN == i % HIDDEN ? 1 : 0;
    for (int64_t i = 0; i < 8 * HIDDEN; i++) s.run.x[i] = i % HIDDEN == i / HIDDEN % EXPERTS ? 2 : 0;
    objective(&s);
    for (int i = 0; i < 8; i++) assert_int_equal(s.run.pass.gate.choice[i], i % EXPERTS);
    destroy(&s);
}

/* x Wn^T far below zero: the noise decides nothing, the load is a count, and no gradient is infinite or no number. */
static void test_layer_noise_too_small_to_decide_has_no_gradient(void **state)
{
    (void)state;
    const char *const settings[] = {"gate=gshard", "noisy=true", "aux_loss=importance_load", NULL};
    subject s;
    if (make(settings, TOKENS, 3, &s) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    for (int64_t i = 0; i < s.run.params.items[1].elems; i++) s.run.params.items[1].value[i] *= 80;
    assert_string_equal(s.run.params.items[1].name, "gate.noise_weight");
    objective(&s);
    for (int64_t i = 0; i < TOKENS * HIDDEN; i++) assert_true(isfinite(s.run.dx[i]));
    for (int64_t i = 0; i < EXPERTS * HIDDEN; i++) assert_true(isfinite(s.run.params.items[1].grad[i]));
    destroy(&s);
}

/* A table is no modulo: ids next to each other go anywhere, the same everywhere, about equally many to each. */
static void test_layer_hash_table_spreads_ids(void **state)
{
    (void)state;
    const char *const table[] = {"gate=hash", "hash=table", "top_k=1", NULL};
    const char *const modulo[] = {"gate=hash", "top_k=1", NULL};
    enum { IDS = 1000 };
    subject a, b, c;
    if (make(table, IDS, 1, &a) != FSMOE_OK || make(table, IDS, 2, &b) != FSMOE_OK ||
        make(modulo, IDS, 1, &c) != FSMOE_OK)
        fail_msg("%s", fsmoe_last_error());
    subject *all[] = {&a, &b, &c};
    for (int i = 0; i < 3; i++) objective(all[i]);
    int same = 0;
    for (int i = 0; i < IDS; i++) {
        assert_int_equal(a.run.pass.gate.choice[i], b.run.pass.gate.choice[i]);
        assert_int_equal(c.run.pass.gate.choice[i], i % EXPERTS);
        same += a.run.pass.gate.choice[i] == i % EXPERTS;
    }
    assert_true(same > IDS / 5 && same < IDS / 3);
    for (int e = 0; e < EXPERTS; e++) assert_true(fabs(fsm_layer_run_sums(&a.run).chosen[e] - IDS / EXPERTS) < 60);
    for (int i = 0; i < 3; i++) destroy(all[i]);
}

static void test_layer_conserves_tokens_over_random_layers(void **state)
{
    (void)state;
    static const char *const factors[] = {"capacity_factor=0", "capacity_factor=0.5", "capacity_factor=1",
                                          "capacity_factor=8"};
    int checked = 0;
    for (uint64_t seed = 0; checked < 240; seed++) {
        assert_true(seed < 2000);
        const char *joined[4 * MOST_SETTINGS];
        char what[512];
        size_t g = fsm_rng_bits(seed, FSM_RNG_TEST, 1) % COUNT(gates),
               o = fsm_rng_bits(seed, FSM_RNG_TEST, 2) % COUNT(orders);
        const char *factor[] = {factors[fsm_rng_bits(seed, FSM_RNG_TEST, 3) % 4], NULL};
        const char *const *lists[] = {gates[g], (const char *const[]){orders[o][0], NULL}, factor};
        subject s;
        int64_t tokens = 1 + (int64_t)(fsm_rng_bits(seed, FSM_RNG_TEST, 4) % 40);
        join(lists, 3, joined, what);
        if (!is_allowed(joined, tokens)) continue;
        if (make(joined, tokens, seed, &s) != FSMOE_OK) fail_msg("%s: %s", what, fsmoe_last_error());
        objective(&s);
        check_conservation(&s, what);
        check_weights(&s, what);
        checked += !s.run.pass.by_products; /* whose rows have been looked at one by one */
        destroy(&s);
    }
}

/* Whether the configuration takes a key of section moe for a gate; it looks at names where kinds have flags. */
static bool takes(const fsm_gate_kind *kind, const char *setting)
{
    fsmoe_config *config;
    char gate[64];
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    config->data.seq_len = 16;
    snprintf(gate, sizeof gate, "moe.gate=%s", kind->name);
    set(config, gate);
    if (strcmp(kind->name, "switch") == 0) config->moe.top_k = 1;
    if (kind->experts_choose) config->moe.capacity_factor = 1;
    config->moe.allow_non_causal = strcmp(setting, "moe.allow_non_causal=false") != 0;
    set(config, setting);
    bool taken = fsm_config_check(config) == FSMOE_OK;
    fsmoe_config_destroy(config);
    return taken;
}

static void test_layer_configuration_knows_what_gates_have(void **state)
{
    (void)state;
    for (int i = 0; fsm_gate_at(i); i++) {
        const fsm_gate_kind *kind = fsm_gate_at(i);
        if (kind == &my_gate) continue; /* of which it has never heard */
        bool non_causal = kind->experts_choose || kind->mixes;
        if (takes(kind, "moe.z_loss_coeff=0.1") != kind->has_logits) fail_msg("%s: z-loss", kind->name);
        if (takes(kind, "moe.aux_loss_coeff=0.1") != kind->has_probability) fail_msg("%s: losses", kind->name);
        if (takes(kind, "moe.allow_non_causal=false") != !non_causal) fail_msg("%s: causality", kind->name);
    }
}

static void test_layer_a_kind_is_added_once(void **state)
{
    (void)state;
    assert_int_equal(fsm_add_gate(&my_gate), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "tanh"));
    assert_int_equal(fsm_add_order(&fsm_order_tutel), FSMOE_ERROR_CONFIG);
}

/* Of a kind that was compiled against other contracts, nothing but the name can be known. */
static void test_layer_a_kind_of_another_version_is_refused(void **state)
{
    enum { OTHER = FSM_EXTEND_VERSION + 1 };
    const char *const name = "elsewhere"; /* where every kind's struct begins */
    (void)state;
    fsmoe_status refused[] = {
        fsm_add_gate_v((const void *)&name, OTHER),   fsm_add_order_v((const void *)&name, OTHER),
        fsm_add_expert_v((const void *)&name, OTHER), fsm_add_alltoall_v((const void *)&name, OTHER),
        fsm_add_hook_v((const void *)&name, OTHER),
    };
    for (size_t i = 0; i < COUNT(refused); i++) assert_int_equal(refused[i], FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "elsewhere"));
    char version[32];
    snprintf(version, sizeof version, "version %d", OTHER);
    assert_non_null(strstr(fsmoe_last_error(), version));
    assert_null(fsm_gate_find("elsewhere"));
}

/* An expert that looks at rows of fp32 finds none where they are bf16. */
static void test_layer_an_expert_on_the_host_is_refused_with_bf16(void **state)
{
    (void)state;
    fsmoe_config *config;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    if (!fsm_expert_find(my_expert.name)) assert_int_equal(fsm_add_expert(&my_expert), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, "moe.expert=bilinear"), FSMOE_OK);
    assert_int_equal(fsm_config_check(config), FSMOE_OK);
    assert_int_equal(fsmoe_config_set(config, "train.compute_dtype=bf16"), FSMOE_OK);
    assert_int_equal(fsm_config_check(config), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "'moe.expert' is bilinear, which looks at rows of fp32"));
    fsmoe_config_destroy(config);
    fsm_ops ops = fsm_ops_reference;
    assert_int_equal(fsm_expert_check_host(&my_expert, &ops), FSMOE_OK);
    assert_int_equal(fsm_expert_check_host(&my_expert, NULL), FSMOE_OK);
    ops.on_host = false;
    assert_int_equal(fsm_expert_check_host(&my_expert, &ops), FSMOE_ERROR_CONFIG);
    assert_int_equal(fsm_expert_check_host(&fsm_expert_mixtral, &ops), FSMOE_OK);
}

/* Says what copies its tensors to the host, and only under the configuration that does. */
static void test_layer_gates_say_what_runs_on_the_host(void **state)
{
    static const struct {
        const char *settings[MOST_SETTINGS], *what;
    } cases[] = {
        {{"gate=gshard"}, NULL},
        {{"gate=gshard", "noisy=true"}, NULL},
        {{"gate=gshard", "noisy=true", "aux_loss=importance_load"}, "smooth load"},
        {{"gate=sigmoid"}, NULL},
        {{"gate=sigmoid", "balanced=true"}, "balanced assignment"},
        {{"gate=deepseek"}, NULL},
        {{"gate=tanh"}, "tanh"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        fsmoe_config *config = make_config(cases[i].settings, TOKENS);
        const char *what = fsm_gate_on_host(&config->moe);
        assert_true(!what == !cases[i].what);
        if (what) assert_non_null(strstr(what, cases[i].what));
        fsmoe_config_destroy(config);
    }
}

#define HEAVIEST "moe.drop_policy probs: the heaviest choices of a group"

/* Beside its gate, what drops by weight, where anything is dropped, and every hook. */
static void test_layer_says_what_runs_on_the_host(void **state)
{
    static const struct {
        const char *settings[MOST_SETTINGS], *what;
    } cases[] = {
        {{"capacity_factor=1"}, ""},
        {{"gate=gshard", "noisy=true"}, ""},
        {{"drop_policy=probs"}, ""}, /* and no capacity */
        {{"drop_policy=probs", "capacity_factor=1"}, HEAVIEST},
        {{"hooks=[wire_bf16]"}, "moe.hooks: wire_bf16"},
        {{"hooks=[wire_bf16, token_histogram]"}, "moe.hooks: wire_bf16, moe.hooks: token_histogram"},
        {{"gate=tanh"}, "moe.gate: tanh"},
        {{"gate=tanh", "drop_policy=probs", "capacity_factor=1", "hooks=[token_histogram]"},
         "moe.gate: tanh, " HEAVIEST ", moe.hooks: token_histogram"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[FSM_ON_HOST_BYTES];
        fsmoe_config *config = make_config(cases[i].settings, TOKENS);
        assert_int_equal(fsm_moe_on_host(&config->moe, text), cases[i].what[0] != 0);
        assert_string_equal(text, cases[i].what);
        fsmoe_config_destroy(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_balanced_gives_every_expert_as_many),
        cmocka_unit_test(test_layer_balanced_of_equal_tokens_ends_soon),
        cmocka_unit_test(test_layer_balanced_leaves_what_is_balanced),
        cmocka_unit_test(test_layer_noise_too_small_to_decide_has_no_gradient),
        cmocka_unit_test(test_layer_hash_table_spreads_ids),
        cmocka_unit_test(test_layer_conserves_tokens_over_random_layers),
        cmocka_unit_test(test_layer_configuration_knows_what_gates_have),
        cmocka_unit_test(test_layer_a_kind_is_added_once),
        cmocka_unit_test(test_layer_a_kind_of_another_version_is_refused),
        cmocka_unit_test(test_layer_an_expert_on_the_host_is_refused_with_bf16),
        cmocka_unit_test(test_layer_gates_say_what_runs_on_the_host),
        cmocka_unit_test(test_layer_says_what_runs_on_the_host),
    };
    return cmocka_run_group_tests(tests, add_kinds, end_world);
}
