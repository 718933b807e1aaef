/* MoE layers with random contents, of every kind there is and of the examples' own, alone on one process.
 * In:  settings "key=value" of section moe, a number of tokens, a seed. Out: a layer that is ready to run (subject);
 *      its objective sum dy y + aux + z; what it decided. add_kinds and end_world go around a program's tests.
 */
#ifndef FSM_TESTS_LAYER_CASE_H
#define FSM_TESTS_LAYER_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "comm/world.h"
#include "config/config.h"
#include "train/layer.h"

#include "../examples/extend/extend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 12, HIDDEN = 8, FFN = 8, EXPERTS = 4, MOST_SETTINGS = 8 };

static fsmoe_world *world;
static int layer_threads; /* of layers made from now on; 0: as many as there are cores */

/* ---- a layer with random contents ---- */

typedef struct subject {
    fsmoe_config *config;
    fsm_layer_run run;
} subject;

static inline void set(fsmoe_config *config, const char *assignment)
{
    if (fsmoe_config_set(config, assignment) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

/* settings: "key=value" of section moe, NULL at the end. */
static inline fsmoe_config *make_config(const char *const *settings, int64_t tokens)
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
    config->parallel.threads = layer_threads;
    for (int i = 0; settings[i]; i++) {
        char text[128];
        snprintf(text, sizeof text, "moe.%s", settings[i]);
        set(config, text);
        if (strncmp(settings[i], "aux_loss=", 9) == 0 && !strstr(settings[i], "none")) config->moe.aux_loss_coeff = 0.5;
    }
    return config;
}

static inline void fill(float *array, int64_t n, double scale, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) array[i] = (float)(scale * fsm_rng_normal(seed, FSM_RNG_TEST, (uint64_t)i));
}

static inline fsmoe_status make(const char *const *settings, int64_t tokens, uint64_t seed, subject *s)
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

static inline void destroy(subject *s)
{
    fsm_layer_run_destroy(&s->run);
    fsmoe_config_destroy(s->config);
}

/* ---- what it gives ---- */

static inline double objective(subject *s)
{
    fsm_layer_run *r = &s->run;
    double sum = s->config->moe.aux_loss_coeff, f;
    if (fsm_layer_run_step(r, NULL, 1, 1) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    f = sum * r->aux + s->config->moe.z_loss_coeff * r->z;
    for (int64_t i = 0; i < r->n * HIDDEN; i++) f += (double)r->dy[i] * r->y[i];
    return f;
}

/* What is decided rather than computed. */
static inline uint64_t decisions(const subject *s)
{
    const fsm_moe_pass *pass = &s->run.pass;
    uint64_t hash = 1469598103934665603u;
    if (pass->moe->gate.kind->mixes) return hash;
    for (int64_t i = 0; i < s->run.n * pass->moe->gate.choices; i++)
        hash = (hash ^ (uint64_t)(pass->gate.choice[i] * 1000 + (pass->route.row[i] >= 0))) * 1099511628211u;
    return hash;
}

/* ---- kinds ---- */

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

static inline void join(const char *const *const *lists, int n, const char **joined, char what[512])
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

static inline bool is_allowed(const char *const *settings, int64_t tokens)
{
    fsmoe_config *config = make_config(settings, tokens);
    fsm_gate gate;
    bool allowed = fsm_config_check(config) == FSMOE_OK && fsm_config_derive(config) == FSMOE_OK &&
                   fsm_gate_select(&config->moe, &gate) == FSMOE_OK;
    fsmoe_config_destroy(config);
    return allowed;
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Set-up and end of a program's tests. */
static inline int add_kinds(void **state)
{
    (void)state;
    if (fsm_add_gate(&my_gate) != FSMOE_OK || fsm_add_expert(&my_expert) != FSMOE_OK ||
        fsm_add_order(&my_order) != FSMOE_OK || fsm_add_alltoall(&my_alltoall) != FSMOE_OK)
        return 1;
    return fsmoe_world_create(&world) == FSMOE_OK ? 0 : 1;
}

static inline int end_world(void **state)
{
    (void)state;
    fsmoe_world_destroy(world);
    return 0;
}

#endif
