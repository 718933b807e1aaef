/* What tests of lanes share: models, how a step may be spread over lanes, what a step leaves, and whether two leave the
 * same.
 * In:  a case, a spread. Out: a stepper whose training step is spread so, in an order that only dependencies decide.
 *      A case, a layout, what a rank is to look at. Out: all ranks have looked, and none of them found a fault.
 */
#ifndef FSM_TESTS_LANES_CASE_H
#define FSM_TESTS_LANES_CASE_H

#include "model/model_parts.h"
#include "model_case.h"
#include "plan/builder.h"
#include "plan/list.h"
#include "ranks_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_SETTINGS = 8 };

#define TINY                                                                                                  \
    "model.hidden=16", "model.ffn_hidden=24", "model.num_layers=4", "model.num_heads=2", "moe.num_experts=4", \
        "data.seq_len=8", "moe.z_loss_coeff=0.05", "moe.aux_loss_coeff=0.1", "model.vocab_size=256",          \
        "train.clip_grad=1", "parallel.threads=1"

/* How a step is spread; the last word: whether weight gradients may be late. */
typedef struct spread {
    int lanes, parts, spare;
    bool late;
} spread;

static const spread spreads[] = {
    {1, 1, 0, true}, {1, 1, 2, true}, {2, 2, 0, false}, {2, 2, 1, true}, {3, 3, 0, true},
    {4, 4, 2, true}, {2, 1, 0, true}, {3, 1, 1, true},  {4, 2, 0, true}, {4, 2, 3, true},
};
enum { SPREADS = sizeof spreads / sizeof *spreads };

/* A model, and how many micro-batches of so many samples a step has. */
typedef struct case_of {
    const char *name;
    int64_t micro_batches, samples; /* of each group */
    const char *settings[MOST_SETTINGS];
} case_of;

static const case_of lane_cases[] = {
    {"dropless", 1, 5, {"moe.top_k=2"}},
    {"dropless, four micro-batches", 4, 3, {"moe.order=tutel"}},
    {"dropping", 3, 4, {"moe.capacity_factor=1", "moe.capacity_group=4", "moe.drop_policy=probs", "moe.noisy=true"}},
    {"one-hot products", 2, 4, {"moe.capacity_factor=1", "moe.capacity_group=8", "moe.order=gshard"}},
    {"dense layers, shared experts", 2, 4, {"model.moe_every=2", "moe.shared_experts=2", "moe.shared_gate=true"}},
    {"gpt2", 2, 2, {"model.family=gpt2", "moe.shared_experts=1", "moe.aux_loss=importance_load", "moe.noisy=true"}},
    {"soft",
     2,
     3,
     {"moe.gate=soft", "moe.allow_non_causal=true", "moe.aux_loss_coeff=0", "moe.z_loss_coeff=0",
      "moe.slots_per_expert=2", "moe.normalize_slots=true"}},
    {"expert choice",
     2,
     3,
     {"moe.gate=expert_choice", "moe.allow_non_causal=true", "moe.capacity_factor=1", "moe.capacity_group=8",
      "moe.aux_loss_coeff=0"}},
    {"balanced", 2, 3, {"moe.gate=sigmoid", "moe.balanced=true", "moe.capacity_group=8", "moe.aux_loss_coeff=0"}},
    {"deepseek", 2, 3, {"moe.gate=deepseek", "moe.n_group=2", "moe.aux_loss=all_choices"}},
    {"xmoe", 2, 3, {"moe.gate=xmoe", "moe.top_k=1"}},
    {"switch", 2, 3, {"moe.gate=switch", "moe.top_k=1", "moe.jitter=0.1"}},
    {"hash", 2, 3, {"moe.gate=hash", "moe.aux_loss_coeff=0", "moe.z_loss_coeff=0"}},
};
enum { LANE_CASES = sizeof lane_cases / sizeof *lane_cases };

typedef struct rank_run rank_run;

/* What a test looks at on a rank: it writes what is wrong into r->failure. */
typedef fsmoe_status case_check(rank_run *r, fsm_comm *comm, fsmoe_config *config);

struct rank_run {
    const case_of *c;
    const char *const *layout; /* NULL: one rank */
    case_check *check;
    int rank;
    char failure[512];
    int checked; /* spreads, or whatever there is */
};

/* What a step leaves. */
typedef struct outcome {
    double loss, tokens, aux, z, dropped, norm;
    float *grads; /* owned */
} outcome;

/* ---- a step that is spread ---- */

static inline double random_number(uint64_t seed, uint64_t at)
{
    return fsm_rng_uniform(seed, FSM_RNG_TEST, at);
}

/* Its order of issue is one that its dependencies allow: tasks take as long as they happen to, and the one that happens
 * to be dearest goes first. */
static inline fsm_graph shuffled(const fsm_graph *graph, uint64_t seed)
{
    fsm_graph result;
    fsm_list list;
    double *seconds = calloc(2 * (size_t)graph->count, sizeof *seconds), *keys = seconds + graph->count;
    for (int i = 0; i < 2 * graph->count; i++) seconds[i] = random_number(seed, (uint64_t)i);
    if (fsm_list_create(graph, seconds, &list) != FSMOE_OK) abort();
    fsm_list_run(&list, keys);
    if (fsm_list_reorder(&list, &result) != FSMOE_OK) abort();
    fsm_list_destroy(&list);
    free(seconds);
    return result;
}

/* Random degrees, gradients in pieces. */
static inline fsmoe_status string(const fsm_step_shape *shape, const spread *how, uint64_t seed, fsm_graph *graph)
{
    static const int most_degree = 3;
    int64_t cuts[2][FSM_MAX_LANES][FSM_MAX_CHUNKS + 1];
    fsm_layer_cut passes[2][FSM_MAX_LANES];
    fsm_step_builder b;
    for (int phase = 0; phase < 2; phase++)
        for (int part = 0; part < how->parts; part++) {
            int64_t rows = fsm_step_part(shape, how->parts, part).nominal_rows;
            int degree = 1 + (int)(most_degree * random_number(seed, (uint64_t)(phase * FSM_MAX_LANES + part)));
            if (degree > rows) degree = (int)rows;
            fsm_step_even_cuts(rows, degree, cuts[phase][part]);
            passes[phase][part] = (fsm_layer_cut){.degree = degree, .cuts = cuts[phase][part], .split = true};
        }
    FSM_TRY(fsm_step_builder_begin(shape, (fsm_lanes){how->lanes, how->parts, how->spare}, false, graph, &b));
    b.late_weight_grads = how->late;
    b.most_elems = 3000;
    fsm_step_plain(&b, passes);
    fsm_step_update(&b);
    return fsm_step_builder_end(&b);
}

static inline fsmoe_status use_spread(fsm_stepper *s, const spread *how, uint64_t seed, bool *possible)
{
    fsm_step_shape shape;
    fsm_graph strung;
    FSM_TRY(fsm_stepper_shape(s, &shape));
    *possible =
        how->parts <= (shape.most_parts > 1 ? shape.most_parts : 1) && how->lanes / how->parts <= shape.micro_batches;
    if (*possible) {
        FSM_TRY(string(&shape, how, seed, &strung));
        FSM_TRY(fsm_stepper_use_graph(s, shuffled(&strung, seed)));
        fsm_graph_destroy(&strung);
    }
    fsm_step_shape_destroy(&shape);
    return FSMOE_OK;
}

static inline void take_outcome(fsm_stepper *s, outcome *out)
{
    fsm_model *m = s->model;
    fsm_model_sums sums = fsm_model_loss_sums(m, m->step_sums);
    size_t bytes = sizeof *out->grads * (size_t)m->params.elems;
    fsm_optimizer_take_norm(&s->optimizer);
    *out = (outcome){sums.loss, sums.tokens, m->step_aux, m->step_z, 0, s->optimizer.grad_norm, malloc(bytes)};
    for (int i = 0; i < m->moe_layers; i++) out->dropped += *fsm_model_gate_sums(m, m->step_sums, i).dropped;
    memcpy(out->grads, m->grads, bytes);
}

/* Random, but for temperatures: what is divided by a small one magnifies rounding. */
static inline void start_values(fsm_stepper *s)
{
    const fsm_params *params = &s->model->params;
    assert_int_equal(fsm_stepper_reset(s), FSMOE_OK);
    model_case_randomize(params, 0.25f, s->model->values);
    for (int i = 0; i < params->count; i++)
        if (params->items[i].spec.init == FSM_INIT_TEMPERATURE) s->model->values[params->items[i].offset] = 0.4f;
    fsm_model_update_weights(s->model);
}

/* What passes hold is no number before the step, and what it is laid out for must not matter. */
static inline void poison(fsm_model *m)
{
    memset(m->pass_memory.device.base, 0xff, m->pass_memory.device.capacity);
    fsm_model_lay_out(m, true);
}

/* ---- comparing ---- */

static inline bool near(double a, double b)
{
    return fabs(a - b) <= 1e-5 * fabs(b) + 1e-12;
}

/* Every parameter by itself: a small one must not hide behind a large one. */
static inline const char *first_different(const fsm_params *params, const float *a, const float *b)
{
    for (int i = 0; i < params->count; i++) {
        const fsm_param *p = &params->items[i];
        double worst = 0, largest = 1e-6;
        for (int64_t e = 0; e == 0 || e < p->experts; e++)
            for (int64_t k = 0; k < p->rows * p->cols; k++) {
                int64_t at = p->offset + e * p->expert_stride + k;
                worst = fmax(worst, isnan(a[at]) ? INFINITY : fabs((double)a[at] - b[at]));
                largest = fmax(largest, fabs((double)b[at]));
            }
        if (worst > 3e-5 * largest) return p->name; /* rounding alone reaches 1e-5 */
    }
    return NULL;
}

static inline void compare(rank_run *r, const fsm_model *m, const spread *how, const char *what, const outcome *got,
                           const outcome *want)
{
    const char *name = first_different(&m->params, got->grads, want->grads);
    bool same = near(got->loss, want->loss) && got->tokens == want->tokens && near(got->aux, want->aux) &&
                near(got->z, want->z) && got->dropped == want->dropped && near(got->norm, want->norm);
    if ((same && !name) || r->failure[0]) return;
    snprintf(
        r->failure, sizeof r->failure,
        "%s, rank %d, %d lanes, %d parts, %d spare, %s: loss %.9g %.9g, aux %.9g %.9g, z %.9g %.9g, dropped %g %g, "
        "norm %.9g %.9g; %s",
        r->c->name, r->rank, how->lanes, how->parts, how->spare, what, got->loss, want->loss, got->aux, want->aux,
        got->z, want->z, got->dropped, want->dropped, got->norm, want->norm, name ? name : "gradients alike");
}

/* ---- a configuration, a stepper ---- */

static inline fsmoe_config *config_of(const rank_run *r)
{
    const char *settings[48] = {TINY};
    char batch[2][64];
    int n = 0, dp = 1;
    while (settings[n]) n++;
    for (int i = 0; r->layout && r->layout[i]; i++) settings[n++] = r->layout[i];
    if (r->layout) settings[n++] = "parallel.nodes=2", settings[n++] = "parallel.ranks_per_node=2";
    for (int i = 0; i < MOST_SETTINGS && r->c->settings[i]; i++) settings[n++] = r->c->settings[i];
    for (int i = 0; i < n; i++)
        if (r->layout && strcmp(settings[i], "parallel.mp_size=1") == 0) dp = RANKS;
        else if (r->layout && strcmp(settings[i], "parallel.mp_size=2") == 0) dp = RANKS / 2;
    int64_t micro = r->c->samples * dp - (dp > 1); /* groups have different numbers of samples */
    snprintf(batch[0], 64, "train.global_batch=%lld", (long long)(micro * r->c->micro_batches));
    snprintf(batch[1], 64, "train.micro_batch=%lld", (long long)micro);
    settings[n++] = batch[0];
    settings[n++] = batch[1];
    return model_case_config(settings);
}

/* A stepper alone, which is spread. */
static inline fsmoe_config *create_alone(const case_of *c, const spread *how, fsm_comm **self, fsm_stepper *s)
{
    const rank_run r = {.c = c};
    const fsm_model_options options = {.max_samples = c->samples, .training = true};
    fsmoe_config *config = config_of(&r);
    bool possible;
    assert_int_equal(fsm_comm_create_self(self), FSMOE_OK);
    assert_int_equal(fsm_stepper_create(config, *self, &options, s), FSMOE_OK);
    assert_int_equal(use_spread(s, how, 7, &possible), FSMOE_OK);
    assert_true(possible);
    return config;
}

static inline void destroy_alone(fsmoe_config *config, fsm_comm *self, fsm_stepper *s)
{
    fsm_stepper_destroy(s);
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
}

/* ---- ranks ---- */

static inline fsmoe_status check_one_rank(fsm_comm *comm, void *own)
{
    rank_run *r = own;
    fsmoe_config *config = config_of(r);
    r->rank = comm->rank;
    fsmoe_status status = r->check(r, comm, config);
    fsmoe_config_destroy(config);
    return status;
}

/* On four ranks, or on one where no layout is given. How much was checked. */
static inline int check_case(case_check *check, const case_of *c, const char *const *layout)
{
    rank_run runs[RANKS];
    int count = layout ? RANKS : 1;
    for (int r = 0; r < count; r++) runs[r] = (rank_run){.c = c, .layout = layout, .check = check};
    if (layout) run_ranks(c->name, count, check_one_rank, runs, sizeof *runs);
    else run_alone(c->name, check_one_rank, runs);
    for (int r = 0; r < count; r++)
        if (runs[r].failure[0]) fail_msg("%s", runs[r].failure);
    return runs[0].checked;
}

#endif
