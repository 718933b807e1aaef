/* Finite differences of one MoE layer's objective: every gate with every expert, every loss, every order, shared experts;
 * and conservation over random layers.
 * Oracle: (f(p + h) - f(p - h)) / 2h of sum dy y + aux + z, wherever no choice changes on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "comm/world.h"
#include "config/config.h"
#include "moe/gate/balanced.h"
#include "train/layer.h"

#include "../examples/extend/extend.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 12, HIDDEN = 8, FFN = 8, EXPERTS = 4, MOST_SETTINGS = 8, LOOKS = 6 };

static fsmoe_world *world;

/* ---- a layer with random contents ---- */

typedef struct subject {
    fsmoe_config *config;
    fsm_layer_run run;
} subject;

static void set(fsmoe_config *config, const char *assignment)
{
    if (fsmoe_config_set(config, assignment) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

/* settings: "key=value" of section moe, NULL at the end. */
static fsmoe_config *make_config(const char *const *settings, int64_t tokens)
{
    fsmoe_config *config;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    config->model.hidden = HIDDEN;
    config->model.ffn_hidden = FFN;
    config->moe.num_experts = EXPERTS;
    config->model.num_heads = 1;
    config->data.seq_len = tokens;
    config->train.global_batch = config->train.micro_batch = 1;
    config->moe.allow_non_causal = true;
    for (int i = 0; settings[i]; i++) {
        char text[128];
        snprintf(text, sizeof text, "moe.%s", settings[i]);
        set(config, text);
        if (strncmp(settings[i], "aux_loss=", 9) == 0 && !strstr(settings[i], "none")) config->moe.aux_loss_coeff = 0.5;
    }
    return config;
}

static void fill(float *array, int64_t n, double scale, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) array[i] = (float)(scale * fsm_rng_normal(seed, FSM_RNG_TEST, (uint64_t)i));
}

static fsmoe_status make(const char *const *settings, int64_t tokens, uint64_t seed, subject *s)
{
    s->config = make_config(settings, tokens);
    fsmoe_status status = fsm_config_check(s->config);
    if (status == FSMOE_OK) status = fsm_config_derive(s->config);
    if (status == FSMOE_OK)
        status = fsm_layer_run_create(s->config, world->comm, tokens, s->config->moe.noisy, &s->run);
    if (status != FSMOE_OK) return status;
    fsm_layer_run *r = &s->run;
    r->training = true;
    fill(r->x, tokens * HIDDEN, 1, seed);
    fill(r->dy, tokens * HIDDEN, 1, seed + 1000);
    if (r->noise) fill(r->noise, tokens * EXPERTS, 1, seed + 2000);
    for (int i = 0; i < r->params.count; i++) {
        const fsm_layer_param *p = &r->params.items[i];
        if (i < r->params.first_shared || i >= r->params.first_routed) continue;
        fill(p->value, p->elems, 0.5, seed + 3000 + (uint64_t)i); /* blocks of shared experts, side by side */
    }
    for (int i = 0; i < r->params.gate_count; i++)
        fill(r->params.items[i].value, r->params.items[i].elems, 0.5, seed + 4000 + (uint64_t)i);
    for (int i = 0; i < r->params.gate_count; i++)
        if (strcmp(r->params.items[i].name, "gate.temperature") == 0) *r->params.items[i].value = 0.4f;
    int64_t routed = 0;
    for (int i = r->params.first_routed; i < r->params.count; i++) routed += r->params.items[i].elems;
    fill(r->params.items[r->params.first_routed].value, routed, 0.5, seed + 5000);
    return FSMOE_OK;
}

static void destroy(subject *s)
{
    fsm_layer_run_destroy(&s->run);
    fsmoe_config_destroy(s->config);
}

/* ---- differences ---- */

static double objective(subject *s)
{
    fsm_layer_run *r = &s->run;
    double sum = s->config->moe.aux_loss_coeff, f;
    if (fsm_layer_run_step(r, NULL, 1, 1) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    f = sum * r->aux + s->config->moe.z_loss_coeff * r->z;
    for (int64_t i = 0; i < r->n * HIDDEN; i++) f += (double)r->dy[i] * r->y[i];
    return f;
}

/* What is decided rather than computed. */
static uint64_t decisions(const subject *s)
{
    const fsm_moe *moe = &s->run.moe;
    uint64_t hash = 1469598103934665603u;
    if (moe->gate.kind->mixes) return hash;
    for (int64_t i = 0; i < s->run.n * moe->gate.choices; i++)
        hash = (hash ^ (uint64_t)(moe->gate.choice[i] * 1000 + (moe->route.row[i] >= 0))) * 1099511628211u;
    return hash;
}

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

static const char *const gates[][MOST_SETTINGS] = {
    {"gate=gshard"},
    {"gate=gshard", "top_k=1"},
    {"gate=gshard", "top_k=3", "noisy=true"},
    {"gate=switch", "top_k=1", "jitter=0.1"},
    {"gate=sigmoid"},
    {"gate=sigmoid", "top_k=1", "balanced=true"},
    {"gate=xmoe", "proj_dim=5"},
    {"gate=expert_choice", "capacity_factor=1"},
    {"gate=soft", "slots_per_expert=2"},
    {"gate=soft", "normalize_slots=true"},
    {"gate=deepseek", "n_group=2", "topk_group=1", "routed_scaling_factor=2.5"},
    {"gate=hash"},
    {"gate=hash", "hash=table"},
    {"gate=balanced_test"},
    {"gate=tanh"}, /* examples/extend */
};
static const char *const experts[][MOST_SETTINGS] = {
    {"expert=gpt", "activation=gelu"},
    {"expert=gpt", "activation=gelu_tanh", "bias=false"},
    {"expert=gpt", "activation=relu_squared"},
    {"expert=mixtral", "activation=swiglu"},
    {"expert=mixtral", "activation=geglu"},
    {"expert=mixtral", "shared_experts=2"},
    {"expert=gpt", "shared_experts=1", "shared_gate=true"},
    {"expert=bilinear"}, /* examples/extend */
};
static const char *const losses[][MOST_SETTINGS] = {
    {"aux_loss=none"},
    {"aux_loss=first_choice"},
    {"aux_loss=all_choices"},
    {"aux_loss=importance_load"},
    {"aux_loss=none", "z_loss_coeff=0.1"},
};
static const char *const orders[][MOST_SETTINGS] = {
    {"order=sorted"},
    {"order=tutel", "capacity_factor=0.75"},
    {"order=tutel"},
    {"order=sorted", "capacity_factor=0.5"},
    {"order=gshard", "capacity_factor=0.75"},
    {"order=gshard", "capacity_factor=0.75", "drop_policy=probs"},
    {"order=blocks", "alltoall=counted"}, /* examples/extend */
};

static void join(const char *const *const *lists, int n, const char **joined, char what[512])
{
    int count = 0;
    what[0] = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < MOST_SETTINGS && lists[i][k]; k++) {
            joined[count++] = lists[i][k];
            snprintf(what + strlen(what), 512 - strlen(what), "%s ", lists[i][k]);
        }
    joined[count] = NULL;
}

static bool is_allowed(const char *const *settings, int64_t tokens)
{
    fsmoe_config *config = make_config(settings, tokens);
    fsm_gate gate;
    bool allowed = fsm_config_check(config) == FSMOE_OK && fsm_config_derive(config) == FSMOE_OK &&
                   fsm_gate_select(&config->moe, &gate) == FSMOE_OK;
    fsmoe_config_destroy(config);
    return allowed;
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

#define COUNT(list) (sizeof(list) / sizeof *(list))

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

/* ---- conservation ---- */

/* Each kept choice has one row of its expert, and the row holds that token; weights sum to what the gate says. */
static void check_conservation(subject *s, const char *what)
{
    const fsm_moe *moe = &s->run.moe;
    const fsm_gate *gate = &moe->gate;
    const fsm_wire *wire = &moe->wire[FSM_FORWARD];
    fsm_gate_sums sums = fsm_layer_run_sums(&s->run);
    double kept = 0, chosen = 0;
    for (int64_t e = 0; e < EXPERTS; e++) kept += sums.kept[e];
    for (int64_t e = 0; e < EXPERTS; e++) chosen += sums.chosen[e];
    if (!gate->kind->mixes && kept + *sums.dropped != chosen)
        fail_msg("%s: %g kept, %g dropped of %g", what, kept, *sums.dropped, chosen);
    if (moe->by_products) return;
    int64_t rows = 0, *taken = calloc((size_t)wire->send_total + 1, sizeof *taken);
    for (int64_t i = 0; i < s->run.n * gate->choices; i++) {
        int32_t row = wire->send_row[i];
        if ((row >= 0) != (moe->route.row[i] >= 0)) fail_msg("%s: choice %d", what, (int)i);
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
            double w = gate->weight[t * gate->choices + j];
            if (!(w >= 0 && w <= whole * (1 + 1e-6))) fail_msg("%s: a weight of %g", what, w);
            sum += w;
        }
        if (sums_to_whole && fabs(sum - whole) > 1e-5 * whole) fail_msg("%s: weights sum to %g", what, sum);
    }
}

/* ---- what is particular to a gate ---- */

/* Experts' numbers of tokens differ by one at most, and all choices of a token differ; also where all tokens want the same. */
static void check_balance(const char *top_k, int64_t tokens, bool alike)
{
    const char *const settings[] = {"gate=sigmoid", "balanced=true", top_k, NULL};
    for (uint64_t seed = 0; seed < 50; seed++) {
        subject s;
        if (make(settings, tokens, seed, &s) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
        for (int64_t i = HIDDEN; alike && i < tokens * HIDDEN; i++) s.run.x[i] = s.run.x[i - HIDDEN];
        objective(&s);
        const fsm_gate *gate = &s.run.moe.gate;
        fsm_gate_sums sums = fsm_layer_run_sums(&s.run);
        int64_t pairs = gate->choices * tokens, least = pairs / EXPERTS, most = (pairs + EXPERTS - 1) / EXPERTS;
        for (int64_t e = 0; e < EXPERTS; e++)
            if (sums.chosen[e] > (double)most || sums.chosen[e] < (double)least)
                fail_msg("%s: %g tokens of %d", top_k, sums.chosen[e], (int)tokens);
        for (int64_t i = 0; i < tokens * gate->choices; i++) {
            bool first = i % gate->choices == 0;
            for (int64_t j = i / gate->choices * gate->choices; j < i; j++)
                assert_true(gate->choice[i] != gate->choice[j]);
            assert_true(first || gate->weight[i] <= gate->weight[i - 1]);
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
    fsm_arena arena = {0};
    fsm_balanced balanced;
    float *logits = calloc(MANY * E, sizeof *logits), *prob = malloc(MANY * E * sizeof *prob);
    int32_t *choice = malloc(MANY * K * sizeof *choice);
    int64_t chosen[E] = {0};
    for (int64_t i = 0; i < MANY * E; i++) prob[i] = 1.0f / E;
    fsm_balanced_take(&arena, MANY, 0, E, K, &balanced);
    assert_int_equal(fsm_arena_create(arena.used, &arena), FSMOE_OK);
    fsm_balanced_take(&arena, MANY, 0, E, K, &balanced);
    fsm_balanced_choose(&balanced, 0, MANY, prob, logits, choice);
    for (int64_t i = 0; i < MANY * K; i++) chosen[choice[i]]++;
    for (int e = 0; e < E; e++) assert_int_equal(chosen[e], MANY * K / E);
    fsm_arena_destroy(&arena);
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
    for (int i = 0; i < 8; i++) assert_int_equal(s.run.moe.gate.choice[i], i % EXPERTS);
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
        assert_int_equal(a.run.moe.gate.choice[i], b.run.moe.gate.choice[i]);
        assert_int_equal(c.run.moe.gate.choice[i], i % EXPERTS);
        same += a.run.moe.gate.choice[i] == i % EXPERTS;
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
        checked += !s.run.moe.by_products; /* whose rows have been looked at one by one */
        destroy(&s);
    }
}

static void test_layer_a_kind_is_added_once(void **state)
{
    (void)state;
    assert_int_equal(fsm_add_gate(&my_gate), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "tanh"));
    assert_int_equal(fsm_add_order(&fsm_order_tutel), FSMOE_ERROR_CONFIG);
}

/* ---- threads ---- */

enum { MANY = 65536 / EXPERTS };

/* What a layer of so many tokens, that its loops are shared among threads, gives on one thread and on three. */
static void check_threads(const char *const *settings, const char *what)
{
    subject s[2];
    for (int i = 0; i < 2; i++) {
        if (make(settings, MANY, 9, &s[i]) != FSMOE_OK) fail_msg("%s: %s", what, fsmoe_last_error());
        omp_set_num_threads(i == 0 ? 1 : 3); /* creation has set what the configuration says */
        objective(&s[i]);
    }
    omp_set_num_threads(1);
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
    fsm_moe_gate_forward(&r->moe, &input, true, &sums);
    assert_int_equal(fsm_moe_start_counts(&r->moe, &op), FSMOE_OK);
    fsm_moe_order_forward(&r->moe);
    fsm_moe_expert_forward(&r->moe, 0);
    assert_int_equal(fsm_moe_start_combine(&r->moe, FSM_FORWARD, 0, &op), FSMOE_OK);
    fsm_moe_iorder_forward(&r->moe, r->y);
}

static void backward(subject *s)
{
    fsm_layer_run *r = &s->run;
    fsm_comm_op op = {0};
    const fsm_gate_loss_grad loss = {.share = r->loss_grads, .load = r->loss_grads + EXPERTS};
    memset(r->dx, 0, sizeof *r->dx * (size_t)(r->n * HIDDEN));
    memset(r->loss_grads, 0, sizeof *r->loss_grads * 2 * EXPERTS);
    fsm_moe_iorder_backward(&r->moe, r->dy);
    fsm_moe_expert_backward(&r->moe, 0);
    fsm_moe_weight_grad(&r->moe, 0);
    assert_int_equal(fsm_moe_start_combine(&r->moe, FSM_BACKWARD, 0, &op), FSMOE_OK);
    fsm_moe_order_backward(&r->moe, r->dx);
    fsm_moe_gate_backward(&r->moe, &loss, r->dx);
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

/* Two layers that share their staging, as those of a model do: what the second forward writes, the first backward does not
 * need. */
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
    s[1].run.moe.staging = &s[0].run.staging;
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
        cmocka_unit_test(test_layer_every_gate_with_every_expert),
        cmocka_unit_test(test_layer_every_loss_and_order),
        cmocka_unit_test(test_layer_balanced_gives_every_expert_as_many),
        cmocka_unit_test(test_layer_balanced_of_equal_tokens_ends_soon),
        cmocka_unit_test(test_layer_balanced_leaves_what_is_balanced),
        cmocka_unit_test(test_layer_noise_too_small_to_decide_has_no_gradient),
        cmocka_unit_test(test_layer_hash_table_spreads_ids),
        cmocka_unit_test(test_layer_conserves_tokens_over_random_layers),
        cmocka_unit_test(test_layer_threads_change_nothing),
        cmocka_unit_test(test_layer_a_kind_is_added_once),
        cmocka_unit_test(test_layer_two_forwards_before_their_backwards),
    };
    if (fsm_add_gate(&my_gate) != FSMOE_OK || fsm_add_expert(&my_expert) != FSMOE_OK ||
        fsm_add_order(&my_order) != FSMOE_OK || fsm_add_alltoall(&my_alltoall) != FSMOE_OK)
        return 1;
    if (fsmoe_world_create(&world) != FSMOE_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(world);
    return failed;
}
