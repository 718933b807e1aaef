/* Lanes: which samples a part has, which configurations allow parts, what memory they take; and that a step taken by several
 * passes at once, in any order that its dependencies allow, is the step. */
#include "model/model_parts.h"
#include "model_case.h"
#include "moe/extend.h"
#include "plan/builder.h"
#include "plan/list.h"
#include "plan/step_memory.h"
#include "thread_comm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RANKS = 4, MOST_SETTINGS = 8 };

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

/* ---- steps ---- */

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

static const case_of cases[] = {
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
enum { CASES = sizeof cases / sizeof *cases };

/* How a model lies over four ranks. */
static const char *const layouts[][MOST_SETTINGS] = {
    {"parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=2"},
    {"parallel.ep_size=4", "parallel.mp_size=1"},
    {"parallel.ep_size=2", "parallel.mp_size=2", "train.clip_grad=0"},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static fsmoe_tokens *tokens;

typedef struct rank_run {
    const case_of *c;
    const char *const *layout; /* NULL: one rank */
    thread_group *group;
    int rank;
    bool guarded; /* one rank's passes are watched */
    char failure[512];
    int checked; /* spreads */
} rank_run;

/* What a step leaves. */
typedef struct outcome {
    double loss, tokens, aux, z, dropped, norm;
    float *grads; /* owned */
} outcome;

static double random_number(uint64_t seed, uint64_t at)
{
    return fsm_rng_uniform(seed, FSM_RNG_TEST, at);
}

/* Its order of issue is one that its dependencies allow: tasks take as long as they happen to, and the one that happens to
 * be dearest goes first. */
static fsm_graph shuffled(const fsm_graph *graph, uint64_t seed)
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
static fsmoe_status string(const fsm_step_shape *shape, const spread *how, uint64_t seed, fsm_graph *graph)
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

static fsmoe_status use_spread(fsm_stepper *s, const spread *how, uint64_t seed, bool *possible)
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

static void take_outcome(fsm_stepper *s, outcome *out)
{
    fsm_model *m = s->model;
    fsm_model_sums sums = fsm_model_loss_sums(m, m->step_sums);
    size_t bytes = sizeof *out->grads * (size_t)m->params.elems;
    *out = (outcome){sums.loss, sums.tokens, m->step_aux, m->step_z, 0, s->optimizer.grad_norm, malloc(bytes)};
    for (int i = 0; i < m->moe_layers; i++) out->dropped += *fsm_model_gate_sums(m, m->step_sums, i).dropped;
    memcpy(out->grads, m->grads, bytes);
}

/* Random, but for temperatures: what is divided by a small one magnifies rounding. */
static void start_values(fsm_stepper *s)
{
    const fsm_params *params = &s->model->params;
    fsm_stepper_reset(s);
    model_case_randomize(params, 0.25f, s->model->values);
    for (int i = 0; i < params->count; i++)
        if (params->items[i].spec.init == FSM_INIT_TEMPERATURE) s->model->values[params->items[i].offset] = 0.4f;
    fsm_model_update_weights(s->model);
}

/* What passes hold is no number before the step, and what it is laid out for must not matter. */
static void poison(fsm_model *m)
{
    memset(m->pass_arena.base, 0xff, m->pass_arena.capacity);
    fsm_model_lay_out(m, true);
}

static fsmoe_status take_step(fsm_stepper *s, fsm_batches *batches, outcome *out)
{
    start_values(s);
    FSM_TRY(fsm_stepper_train(s, batches, 5));
    take_outcome(s, out);
    return FSMOE_OK;
}

/* ---- comparing ---- */

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-5 * fabs(b) + 1e-12;
}

/* Every parameter by itself: a small one must not hide behind a large one. */
static const char *first_different(const fsm_params *params, const float *a, const float *b)
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

static void compare(rank_run *r, const fsm_model *m, const spread *how, const char *what, const outcome *got,
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

static void compare_bits(rank_run *r, const fsm_model *m, const outcome *a, const outcome *b)
{
    bool same = a->loss == b->loss && a->aux == b->aux && a->z == b->z && a->norm == b->norm &&
                memcmp(a->grads, b->grads, sizeof *a->grads * (size_t)m->params.elems) == 0;
    if (!same && !r->failure[0]) snprintf(r->failure, sizeof r->failure, "%s: other bits when repeated", r->c->name);
}

/* ---- a task touches its own pass, and leaves nothing in scratch ---- */

static char *before; /* of the passes' arena */
static rank_run *watching;

/* Where a lane's memory begins: it is laid out lane after lane. */
static size_t begin_of(const fsm_model *m, int lane)
{
    return lane < m->lanes ? (size_t)((char *)m->passes[lane].position - m->pass_arena.base) : m->pass_arena.used;
}

static bool touches_others(const fsm_model *m, int lane)
{
    size_t first = begin_of(m, lane), last = begin_of(m, lane + 1);
    return memcmp(before, m->pass_arena.base, first) != 0 ||
           memcmp(before + last, m->pass_arena.base + last, m->pass_arena.used - last) != 0;
}

static void spoil(float *scratch, int64_t elems)
{
    for (int64_t i = 0; scratch && i < elems; i++) scratch[i] = NAN;
}

/* At least some of each; a matrix of one-hot rows alone is to be zeros. */
static void spoil_scratch(fsm_model *m)
{
    fsm_wire_shape wire;
    fsm_lanes_wire(m->config, &m->topo, m->options.max_samples, &wire);
    int64_t tokens_held = wire.max_tokens, hidden = m->config->model.hidden;
    fsm_moe_scratch *s = &m->moe_scratch;
    spoil(m->logits, m->config->model.vocab_size);
    spoil(m->dqkv, tokens_held * m->qkv_width);
    spoil(m->dattended, tokens_held * m->heads * m->head_dim);
    spoil(m->dact, tokens_held * m->ffn_width);
    if (fsm_gate_find(m->config->moe.gate)->has_logits) spoil(s->dlogits, tokens_held * wire.num_experts);
    spoil(s->dact, wire.max_expert_rows);
    spoil(s->shared.out, tokens_held * hidden);
    spoil(s->shared.dx, tokens_held * hidden);
    spoil(s->shared.dy, tokens_held * hidden);
    spoil(s->mixing.d_matrix, s->mixing.d_matrix ? 1 : 0);
    spoil(s->mixing.slots, s->mixing.slots ? hidden : 0);
}

static fsmoe_status run_watched(void *object, const fsm_task *t)
{
    fsm_stepper *s = object;
    fsm_model *m = s->model;
    char name[128];
    bool of_pass = t->phase != FSM_UPDATE && t->kind != FSM_TASK_SUMS;
    spoil_scratch(m);
    memcpy(before, m->pass_arena.base, m->pass_arena.used);
    FSM_TRY(fsm_stepper_tasks.run[t->kind][t->phase](object, t));
    fsm_task_name(t, name);
    if (of_pass && touches_others(m, fsm_task_lane(t)) && !watching->failure[0])
        snprintf(watching->failure, sizeof watching->failure, "%s: %s touches another pass", watching->c->name, name);
    return FSMOE_OK;
}

/* Once more after a step, which has begun as this one would. */
static fsmoe_status take_watched_step(rank_run *r, fsm_stepper *s, outcome *out)
{
    fsm_task_table table = fsm_stepper_tasks;
    fsm_model *m = s->model;
    const fsmoe_train_config *c = &s->config->train;
    watching = r;
    before = malloc(m->pass_arena.used);
    for (int kind = 0; kind < FSM_TASK_KIND_COUNT; kind++)
        for (int phase = 0; phase < FSM_PHASE_COUNT; phase++)
            if (table.run[kind][phase]) table.run[kind][phase] = run_watched;
    start_values(s);
    fsm_model_begin_step(m, c->global_batch / c->micro_batch, c->global_batch * s->config->data.seq_len);
    fsmoe_status status = fsm_exec_run(s->exec, &s->train_graph, &table, s, NULL, 0);
    free(before);
    if (status == FSMOE_OK) take_outcome(s, out);
    return status;
}

/* ---- a rank ---- */

/* Evaluation has the same memory in between, and the same numbers however training is spread. */
static fsmoe_status check_evaluation(rank_run *r, fsm_stepper *s, fsm_batches *batches, double *want)
{
    fsm_model_sums sums;
    start_values(s);
    FSM_TRY(fsm_stepper_evaluate(s, batches, 3, s->config->train.micro_batch + 1, &sums));
    if (*want == 0) *want = sums.loss;
    if (sums.loss != *want && !r->failure[0])
        snprintf(r->failure, sizeof r->failure, "%s: evaluation %.9g, not %.9g", r->c->name, sums.loss, *want);
    return FSMOE_OK;
}

static fsmoe_status check_spread(rank_run *r, fsm_stepper *s, fsm_batches *batches, int index, const outcome *want)
{
    const spread *how = &spreads[index];
    outcome got[3];
    bool possible;
    double evaluated = 0;
    int n = r->guarded ? 3 : 2;
    FSM_TRY(use_spread(s, how, 100 + (uint64_t)index, &possible));
    if (!possible) return FSMOE_OK;
    poison(s->model);
    FSM_TRY(take_step(s, batches, &got[0]));
    FSM_TRY(check_evaluation(r, s, batches, &evaluated));
    FSM_TRY(take_step(s, batches, &got[1]));
    FSM_TRY(check_evaluation(r, s, batches, &evaluated));
    if (r->guarded) {
        FSM_TRY(take_step(s, batches, &got[2]));
        free(got[2].grads);
        FSM_TRY(take_watched_step(r, s, &got[2]));
    }
    compare(r, s->model, how, "shuffled", &got[0], want);
    for (int i = 1; i < n; i++) compare_bits(r, s->model, &got[0], &got[i]);
    for (int i = 0; i < n; i++) free(got[i].grads);
    r->checked++;
    return FSMOE_OK;
}

static fsmoe_config *config_of(const rank_run *r)
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

static fsmoe_status check_rank(rank_run *r, fsm_comm *comm, fsmoe_config *config)
{
    const fsm_model_options options = {.max_samples = r->c->samples, .training = true};
    fsm_stepper s;
    fsm_batches batches;
    outcome want;
    FSM_TRY(fsm_stepper_create(config, comm, &options, &s));
    FSM_TRY(fsm_batches_create(tokens, config->data.seq_len, 3, true, config->train.micro_batch, &s.topo, &batches));
    FSM_TRY(take_step(&s, &batches, &want));
    for (int i = 0; i < SPREADS; i++) FSM_TRY(check_spread(r, &s, &batches, i, &want));
    free(want.grads);
    fsm_batches_destroy(&batches);
    fsm_stepper_destroy(&s);
    return FSMOE_OK;
}

static void *run_rank(void *user)
{
    rank_run *r = user;
    fsm_comm *comm = NULL;
    fsmoe_config *config = config_of(r);
    if (r->group) comm = thread_comm_of(r->group, r->rank);
    else if (fsm_comm_create_self(&comm) != FSMOE_OK) abort();
    if (check_rank(r, comm, config) != FSMOE_OK) {
        fprintf(stderr, "%s, rank %d: %s\n", r->c->name, r->rank, fsmoe_last_error());
        abort(); /* the others wait for it */
    }
    fsmoe_config_destroy(config);
    fsm_comm_destroy(comm);
    return NULL;
}

/* ---- one rank, and four ---- */

/* A stepper alone, which is spread. */
static fsmoe_config *create_alone(const case_of *c, const spread *how, fsm_comm **self, fsm_stepper *s)
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

static void destroy_alone(fsmoe_config *config, fsm_comm *self, fsm_stepper *s)
{
    fsm_stepper_destroy(s);
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
}

static void test_lanes_one_rank_takes_the_same_step(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        rank_run r = {.c = &cases[i], .guarded = true};
        run_rank(&r);
        if (r.failure[0]) fail_msg("%s", r.failure);
        assert_true(r.checked >= 3);
    }
}

static void check_four_ranks(const case_of *c, const char *const *layout)
{
    pthread_t threads[RANKS];
    rank_run runs[RANKS];
    thread_group *group = thread_group_create(RANKS);
    for (int r = 0; r < RANKS; r++) {
        runs[r] = (rank_run){.c = c, .layout = layout, .group = group, .rank = r};
        assert_int_equal(pthread_create(&threads[r], NULL, run_rank, &runs[r]), 0);
    }
    for (int r = 0; r < RANKS; r++) pthread_join(threads[r], NULL);
    for (int r = 0; r < RANKS; r++)
        if (runs[r].failure[0]) fail_msg("%s", runs[r].failure);
    assert_true(runs[0].checked >= 3);
}

static void test_lanes_four_ranks_take_the_same_step(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) check_four_ranks(&cases[i], layouts[i % LAYOUTS]);
}

/* Also of a batch that is given as it is; noise follows the numbers of tokens. */
static void test_lanes_a_given_batch_is_parted_too(void **state)
{
    (void)state;
    enum { SAMPLES = 5, TOKENS = SAMPLES * 8 };
    static const case_of noisy = {"noisy", 1, SAMPLES, {"moe.noisy=true"}};
    static const spread whole = {1, 1, 0, false}, parted = {3, 3, 0, true};
    int32_t ids[2 * TOKENS];
    outcome out[2];
    rank_run r = {.c = &noisy};
    for (int i = 0; i < 2 * TOKENS; i++) ids[i] = (int32_t)(fsm_rng_bits(1, FSM_RNG_TEST, (uint64_t)i) % 256);
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

/* ---- hooks ---- */

static int calls_of[FSM_MAX_LANES];

static void count_call(void *user, fsm_hook_call *call)
{
    (void)user;
    if (call->point == FSM_HOOK_BEFORE_MOE_END) calls_of[call->lane]++;
}

static void test_lanes_hooks_are_told_the_lane(void **state)
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
        if (m->arena.capacity + m->pass_arena.capacity != told)
            fail_msg("%s, %d lanes, %d parts: %zu bytes, not %zu", c->name, how->lanes, how->parts,
                     m->arena.capacity + m->pass_arena.capacity, told);
        assert_true(memory.whole_bytes <= memory.pass_bytes[0] && memory.spare_bytes[how->parts - 1] > 0);
        destroy_alone(config, self, &s);
    }
}

static void test_lanes_memory_is_what_is_told(void **state)
{
    (void)state;
    check_memory(&cases[0]);
    check_memory(&cases[1]);
    check_memory(&cases[2]);
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

static int open_tokens(void **state)
{
    (void)state;
    static const char *const text = FSMOE_SOURCE_DIR "/data/austen/persuasion.txt";
    fsmoe_tokenizer *tokenizer;
    alarm(500); /* ranks that wait for each other would wait for ever */
    if (fsmoe_tokenizer_create("bytes", &tokenizer) != FSMOE_OK) return 1;
    fsmoe_status status = fsmoe_tokens_open(&text, 1, tokenizer, &tokens);
    fsmoe_tokenizer_destroy(tokenizer);
    return status != FSMOE_OK;
}

static int close_tokens(void **state)
{
    (void)state;
    fsmoe_tokens_close(tokens);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes_parts_are_all_samples_once),
        cmocka_unit_test(test_lanes_parts_that_would_change_a_number_are_refused),
        cmocka_unit_test(test_lanes_memory_is_what_is_told),
        cmocka_unit_test(test_lanes_parts_hold_what_the_whole_holds),
        cmocka_unit_test(test_lanes_a_given_batch_is_parted_too),
        cmocka_unit_test(test_lanes_hooks_are_told_the_lane),
        cmocka_unit_test(test_lanes_one_rank_takes_the_same_step),
        cmocka_unit_test(test_lanes_four_ranks_take_the_same_step),
    };
    return cmocka_run_group_tests(tests, open_tokens, close_tokens);
}
