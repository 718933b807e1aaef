#include "model/params.h"

#include "base/rng.h"
#include "moe/expert/expert.h"
#include "moe/gate/gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT_ELEMS = 16 };

/* As floats more than addresses reach; what one tensor's experts add to it stays within 63 bits (config/sections.c). */
static const int64_t largest_elems = (int64_t)1 << 47;

/* What the list is being built from. */
typedef struct builder {
    const fsmoe_config *config;
    const fsm_topo *topo;
    const fsm_expert_kind *expert;
    fsm_params *params;
    int layer;
    fsmoe_status status;
} builder;

static void write_name(const builder *b, fsm_role role, const char *suffix, char *name, size_t size)
{
    const char *pattern = b->params->family->names[role], *at = strstr(pattern, "{layer}");
    if (at) snprintf(name, size, "%.*s%d%s%s", (int)(at - pattern), pattern, b->layer, at + strlen("{layer}"), suffix);
    else snprintf(name, size, "%s%s", pattern, suffix);
}

static void split_dimension(builder *b, const fsm_param *p, int64_t whole, int64_t *part, int64_t *first)
{
    int parts = fsm_topo_group_size(b->topo, p->shard_group);
    if (whole % parts != 0)
        b->status =
            fsm_fail(FSMOE_ERROR_LAYOUT, "%s: %lld does not divide over %d ranks", p->name, (long long)whole, parts);
    *part = whole / parts;
    *first = *part * fsm_topo_group_index(b->topo, p->shard_group);
}

/* The lowest rank of those that hold the same values owns them. */
static bool is_owned(const builder *b, const fsm_param *p)
{
    if (p->spec.shard == FSM_SHARD_NONE && p->sum_group != FSM_GROUP_WORLD &&
        fsm_topo_group_index(b->topo, p->shard_group) != 0)
        return false;
    return fsm_topo_group_index(b->topo, p->sum_group) == 0;
}

static fsm_param *add(builder *b, fsm_role role, int slot, fsm_param_spec spec, fsm_group shard_group,
                      fsm_group sum_group)
{
    fsm_params *params = b->params;
    fsm_param *p = &params->items[params->count];
    *p = (fsm_param){.role = role,
                     .slot = slot,
                     .layer = b->layer,
                     .spec = spec,
                     .shard_group = shard_group,
                     .sum_group = sum_group,
                     .rows = spec.rows,
                     .cols = spec.cols,
                     .number = (uint32_t)params->count};
    write_name(b, role, spec.name, p->name, sizeof p->name);
    if (spec.shard == FSM_SHARD_ROWS) split_dimension(b, p, spec.rows, &p->rows, &p->row0);
    if (spec.shard == FSM_SHARD_COLS) split_dimension(b, p, spec.cols, &p->cols, &p->col0);
    p->owned = is_owned(b, p);
    params->count++;
    return p;
}

static fsm_param_spec matrix(int64_t rows, int64_t cols, fsm_shard shard, fsm_init init)
{
    return (fsm_param_spec){"", rows, cols, 2, shard, init, true};
}

static fsm_param_spec vector(int64_t n, fsm_shard shard, fsm_init init)
{
    return (fsm_param_spec){"", 1, n, 1, shard, init, false};
}

static void add_norm(builder *b, fsm_role gain)
{
    int64_t hidden = b->config->model.hidden;
    add(b, gain, 0, vector(hidden, FSM_SHARD_NONE, FSM_INIT_ONE), FSM_GROUP_MP, FSM_GROUP_WORLD);
    if (b->params->family->layernorm) /* the bias role follows the gain's */
        add(b, gain + 1, 0, vector(hidden, FSM_SHARD_NONE, FSM_INIT_ZERO), FSM_GROUP_MP, FSM_GROUP_WORLD);
}

static void add_attention(builder *b)
{
    const fsmoe_model_config *m = &b->config->model;
    const int64_t heads[3] = {m->num_heads, m->num_kv_heads, m->num_kv_heads};
    add(b, FSM_ROLE_O, 0, matrix(m->hidden, m->num_heads * m->head_dim, FSM_SHARD_COLS, FSM_INIT_NORMAL_RESIDUAL),
        FSM_GROUP_MP, FSM_GROUP_DP);
    if (b->params->family->biases)
        add(b, FSM_ROLE_O_BIAS, 0, vector(m->hidden, FSM_SHARD_NONE, FSM_INIT_ZERO), FSM_GROUP_MP, FSM_GROUP_WORLD);
    for (int i = 0; i < 3; i++) {
        fsm_param_spec spec = matrix(heads[i] * m->head_dim, m->hidden, FSM_SHARD_ROWS, FSM_INIT_NORMAL);
        add(b, FSM_ROLE_Q + i, 0, spec, FSM_GROUP_MP, FSM_GROUP_DP)->joined = i > 0;
    }
    for (int i = 0; i < 3 && b->params->family->biases; i++) {
        fsm_param_spec spec = vector(heads[i] * m->head_dim, FSM_SHARD_COLS, FSM_INIT_ZERO);
        add(b, FSM_ROLE_Q_BIAS + i, 0, spec, FSM_GROUP_MP, FSM_GROUP_DP)->joined = i > 0;
    }
}

/* The specs of a feed-forward block; of one expert they lie side by side, expert after expert. */
static void add_block(builder *b, fsm_role role, fsm_group shard_group, fsm_group sum_group, int64_t experts,
                      int64_t first_expert)
{
    const fsmoe_config *c = b->config;
    fsm_param_spec specs[FSM_MAX_PARAMS_A_MODULE];
    int n = b->expert->list_params(&c->moe, c->model.hidden, c->model.ffn_hidden, specs);
    int64_t stride = 0;
    fsm_param *first = &b->params->items[b->params->count];
    for (int i = 0; i < n; i++) {
        fsm_param *p = add(b, role, i, specs[i], shard_group, sum_group);
        p->joined = i > 0;
        p->experts = experts;
        p->first_expert = first_expert;
        stride += p->rows * p->cols;
    }
    for (int i = 0; i < n; i++) first[i].expert_stride = stride;
}

/* Whole on every rank: each runs them on its own tokens. */
static void add_shared(builder *b)
{
    const fsmoe_config *c = b->config;
    fsm_param_spec specs[FSM_MAX_PARAMS_A_MODULE];
    int n = b->expert->list_params(&c->moe, c->model.hidden, c->model.ffn_hidden, specs);
    for (int e = 0; e < c->moe.shared_experts; e++) {
        for (int i = 0; i < n; i++) {
            char name[64];
            fsm_param_spec spec = specs[i];
            snprintf(name, sizeof name, "%d.%s", e, specs[i].name);
            spec.name = name;
            spec.shard = FSM_SHARD_NONE;
            fsm_param *p = add(b, FSM_ROLE_SHARED, e * n + i, spec, FSM_GROUP_MP, FSM_GROUP_WORLD);
            p->joined = i > 0;
            p->spec.name = specs[i].name;
        }
    }
    if (c->moe.shared_gate)
        add(b, FSM_ROLE_SHARED_GATE, 0, matrix(c->moe.shared_experts, c->model.hidden, FSM_SHARD_NONE, FSM_INIT_NORMAL),
            FSM_GROUP_MP, FSM_GROUP_WORLD);
}

static void add_moe(builder *b)
{
    const fsmoe_config *c = b->config;
    int64_t local = c->moe.num_experts / b->topo->ep;
    add_block(b, FSM_ROLE_EXPERT, FSM_GROUP_ESP, FSM_GROUP_EDP, local, local * b->topo->ep_index);
    fsm_param_spec specs[FSM_MAX_PARAMS_A_MODULE];
    const fsm_gate_kind *gate = fsm_gate_find(c->moe.gate);
    int n = gate->list_params ? gate->list_params(&c->moe, c->model.hidden, specs) : 0;
    for (int i = 0; i < n; i++) add(b, FSM_ROLE_GATE, i, specs[i], FSM_GROUP_MP, FSM_GROUP_WORLD);
    add_shared(b);
}

/* In the order in which backward finishes gradients. */
static void add_all(builder *b)
{
    const fsmoe_model_config *m = &b->config->model;
    fsm_param_spec table = matrix(m->vocab_size, m->hidden, FSM_SHARD_NONE, FSM_INIT_NORMAL);
    b->layer = -1;
    if (!m->tie_embeddings) add(b, FSM_ROLE_HEAD, 0, table, FSM_GROUP_MP, FSM_GROUP_WORLD);
    add_norm(b, FSM_ROLE_FINAL_NORM);
    for (b->layer = (int)m->num_layers - 1; b->layer >= 0; b->layer--) {
        if (fsm_layer_is_moe(m->moe_every, b->layer)) add_moe(b);
        else add_block(b, FSM_ROLE_FFN, FSM_GROUP_MP, FSM_GROUP_DP, 0, 0);
        add_norm(b, FSM_ROLE_NORM2);
        add_attention(b);
        add_norm(b, FSM_ROLE_NORM1);
    }
    if (b->params->family->learned_positions) {
        fsm_param_spec positions = matrix(m->max_seq_len, m->hidden, FSM_SHARD_NONE, FSM_INIT_NORMAL);
        add(b, FSM_ROLE_POSITIONS, 0, positions, FSM_GROUP_MP, FSM_GROUP_WORLD);
    }
    add(b, FSM_ROLE_EMBEDDING, 0, table, FSM_GROUP_MP, FSM_GROUP_WORLD);
}

/* Groups that contain the same ranks share a region. */
static fsm_group region_of(const fsm_topo *topo, fsm_group group)
{
    return fsm_topo_group_size(topo, group) == topo->ranks ? FSM_GROUP_WORLD : group;
}

static int64_t aligned(int64_t elems)
{
    return (elems + ALIGNMENT_ELEMS - 1) / ALIGNMENT_ELEMS * ALIGNMENT_ELEMS;
}

static fsmoe_status place_region(fsm_params *params, const fsm_topo *topo, fsm_group group)
{
    int64_t at = params->elems;
    fsm_region region = {group, at, at};
    for (int i = 0; i < params->count; i++) {
        fsm_param *p = &params->items[i];
        if (region_of(topo, p->sum_group) != group) continue;
        int64_t size = p->rows * p->cols;
        if (p->joined) {
            p->offset = params->items[i - 1].offset + params->items[i - 1].rows * params->items[i - 1].cols;
            if (p->experts == 0) at = p->offset + size;
        } else {
            p->offset = at = aligned(at);
            at += p->experts > 0 ? p->experts * p->expert_stride : size;
        }
        if (at > largest_elems)
            return fsm_fail(FSMOE_ERROR_MEMORY, "the model has more parameters than can be addressed: %s", p->name);
    }
    region.last = params->elems = aligned(at);
    if (region.last > region.first) params->regions[params->region_count++] = region;
    return FSMOE_OK;
}

fsmoe_status fsm_params_list(const fsmoe_config *config, const fsm_topo *topo, fsm_params *params)
{
    *params = (fsm_params){.family = fsm_family_find(config->model.family)};
    if (!params->family)
        return fsm_fail(FSMOE_ERROR_CONFIG, "model.family: no family is named '%s'", config->model.family);
    if (config->moe.num_experts % topo->ep != 0)
        return fsm_fail(FSMOE_ERROR_LAYOUT, "moe.num_experts = %lld does not divide over parallel.ep_size = %d",
                        (long long)config->moe.num_experts, topo->ep);
    builder b = {.config = config, .topo = topo, .params = params};
    FSM_TRY(fsm_expert_select(&config->moe, &b.expert));
    size_t most = (size_t)(config->model.num_layers + 1) *
                  (FSM_ROLE_COUNT + (2 + (size_t)config->moe.shared_experts) * FSM_MAX_PARAMS_A_MODULE);
    params->items = calloc(most, sizeof *params->items);
    if (!params->items) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the table of parameters");
    add_all(&b);
    if (b.status != FSMOE_OK) fsm_params_destroy(params);
    return b.status;
}

fsmoe_status fsm_params_create(const fsmoe_config *config, const fsm_topo *topo, fsm_params *params)
{
    static const fsm_group groups[] = {FSM_GROUP_WORLD, FSM_GROUP_DP, FSM_GROUP_EDP};
    fsmoe_status status = fsm_params_list(config, topo, params);
    for (size_t i = 0; status == FSMOE_OK && i < sizeof groups / sizeof *groups; i++)
        status = place_region(params, topo, groups[i]);
    if (status != FSMOE_OK) fsm_params_destroy(params);
    return status;
}

void fsm_params_destroy(fsm_params *params)
{
    free(params->items);
    *params = (fsm_params){0};
}

const fsm_param *fsm_params_find(const fsm_params *params, fsm_role role, int slot, int layer)
{
    for (int i = 0; i < params->count; i++) {
        const fsm_param *p = &params->items[i];
        if (p->role == role && p->slot == slot && p->layer == layer) return p;
    }
    return NULL;
}

fsm_param_view fsm_params_view(const fsm_param *param, int64_t expert, fsm_real *values, fsm_real *grads)
{
    int64_t at = param->offset + expert * param->expert_stride;
    return (fsm_param_view){fsm_real_at(values, at), grads ? fsm_real_at(grads, at) : NULL, param->rows, param->cols};
}

void fsm_param_name(const fsm_param *param, int64_t expert, char name[160])
{
    const char *at = strstr(param->name, "{expert}");
    if (at)
        snprintf(name, 160, "%.*s%lld%s", (int)(at - param->name), param->name, (long long)expert,
                 at + strlen("{expert}"));
    else snprintf(name, 160, "%s", param->name);
}

static double init_value(const fsm_param *p, double std, uint64_t seed, uint64_t index)
{
    switch (p->spec.init) {
    case FSM_INIT_ZERO:
        return 0;
    case FSM_INIT_ONE:
        return 1;
    case FSM_INIT_TEMPERATURE:
        return 0.3;
    default:
        return std * fsm_rng_normal(seed, FSM_RNG_INIT + p->number, index);
    }
}

/* Row r of the block of local expert e. */
static void init_row(const fsm_param *p, double std, uint64_t seed, int64_t e, int64_t r, float *values)
{
    int64_t row = (p->first_expert + e) * p->spec.rows + p->row0 + r;
    for (int64_t c = 0; c < p->cols; c++)
        values[c] = (float)init_value(p, std, seed, (uint64_t)(row * p->spec.cols + p->col0 + c));
}

enum { INIT_ELEMS = 1 << 16 }; /* that are made at a time, but no less than a row */

static int64_t rows_at_once(const fsm_param *p)
{
    return p->cols > 0 && p->cols < INIT_ELEMS ? INIT_ELEMS / p->cols : 1;
}

static void init_param(const fsm_param *p, double std, uint64_t seed, const fsm_ops *ops, float *piece,
                       fsm_real *values)
{
    int64_t most = rows_at_once(p);
    for (int64_t e = 0; e == 0 || e < p->experts; e++)
        for (int64_t row = 0; row < p->rows; row += most) {
            int64_t rows = p->rows - row < most ? p->rows - row : most;
            for (int64_t r = 0; r < rows; r++) init_row(p, std, seed, e, row + r, piece + r * p->cols);
            ops->write(ops, sizeof *piece * (size_t)(rows * p->cols), piece,
                       fsm_real_at(values, p->offset + e * p->expert_stride + row * p->cols));
        }
}

fsmoe_status fsm_params_init(const fsm_params *params, const fsmoe_config *config, const fsm_ops *ops, fsm_real *values)
{
    int64_t most = INIT_ELEMS;
    for (int i = 0; i < params->count; i++)
        if (params->items[i].cols > most) most = params->items[i].cols;
    float *piece = malloc(sizeof *piece * (size_t)most);
    if (!piece) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %lld initial values", (long long)most);
    for (int i = 0; i < params->count; i++) {
        const fsm_param *p = &params->items[i];
        double std = config->model.init_std;
        if (p->spec.init == FSM_INIT_NORMAL_RESIDUAL) std /= sqrt(2.0 * (double)config->model.num_layers);
        init_param(p, std, (uint64_t)config->train.seed, ops, piece, values);
    }
    free(piece);
    return FSMOE_OK;
}

void fsm_params_totals(const fsm_params *params, const fsmoe_config *config, int64_t *total, int64_t *active)
{
    bool mixes = fsm_gate_find(config->moe.gate)->mixes;
    int64_t experts = config->moe.num_experts, chosen = mixes ? experts : config->moe.top_k;
    *total = *active = 0;
    for (int i = 0; i < params->count; i++) {
        const fsm_param *p = &params->items[i];
        int64_t size = p->spec.rows * p->spec.cols;
        *total += p->experts > 0 ? size * experts : size;
        *active += p->experts > 0 ? size * chosen : size;
    }
}
