/* One MoE layer from a file of keys and a file of tensors to a file of tensors: <fsmoe/layer.h>. */
#include <fsmoe/layer.h>

#include "base/bf16.h"
#include "base/file.h"
#include "comm/world.h"
#include "config/config.h"
#include "model/finite.h"
#include "model/safetensors_writer.h"
#include "train/layer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const keys[] = {
    "model.hidden",
    "model.ffn_hidden",
    "moe.num_experts",
    "moe.top_k",
    "moe.capacity_factor",
    "moe.capacity_group",
    "moe.drop_policy",
    "moe.gate",
    "moe.order",
    "moe.alltoall",
    "moe.expert",
    "moe.activation",
    "moe.bias",
    "moe.shared_experts",
    "moe.shared_gate",
    "moe.allow_non_causal",
    "moe.noisy",
    "moe.normalize_top_k",
    "moe.jitter",
    "moe.balanced",
    "moe.proj_dim",
    "moe.slots_per_expert",
    "moe.normalize_slots",
    "moe.n_group",
    "moe.topk_group",
    "moe.routed_scaling_factor",
    "moe.bias_update_rate",
    "moe.hash",
    "moe.aux_loss",
    "moe.aux_loss_coeff",
    "moe.z_loss_coeff",
    "moe.hooks",
    "parallel.nodes",
    "parallel.ranks_per_node",
    "parallel.ep_size",
    "parallel.esp_size",
    "parallel.mp_size",
    "parallel.schedule",
    "parallel.forward_degree",
    "parallel.backward_degree",
    "train.compute_dtype",
};

typedef struct job {
    const fsmoe_layer_options *options;
    fsm_comm *world;
    fsmoe_config *config;
    fsm_safetensors *file;
    int64_t samples, seq_len; /* B, L */
    fsm_layer_run run;
} job;

/* ---- configuration ---- */

static fsmoe_status set_text(char **field, const char *text)
{
    char *copy = strdup(text);
    if (!copy) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for '%s'", text);
    free(*field);
    *field = copy;
    return FSMOE_OK;
}

/* Nothing is lost or added unless it is asked for. */
static fsmoe_status load_keys(job *j)
{
    fsmoe_config *c;
    FSM_TRY(fsmoe_config_create(&j->config));
    c = j->config;
    FSM_TRY(set_text(&c->moe.aux_loss, "none"));
    FSM_TRY(set_text(&c->parallel.schedule, "dsmoe"));
    c->moe.aux_loss_coeff = 0;
    FSM_TRY(fsm_config_load_flat(c, j->options->layer, keys, sizeof keys / sizeof *keys));
    c->moe.allow_non_causal = true; /* a layer alone has no order of tokens */
    return fsm_config_check_given(c);
}

/* Tokens are one long sample, so that capacity groups may be of any size, but where samples are mixed. */
static fsmoe_status complete(job *j)
{
    fsmoe_config *c = j->config;
    bool mixes = fsm_gate_find(c->moe.gate)->mixes;
    c->data.seq_len = mixes ? j->seq_len : j->samples * j->seq_len;
    c->train.global_batch = c->train.micro_batch = mixes ? j->samples : 1;
    c->model.num_heads = c->model.num_kv_heads = c->parallel.mp_size;
    c->model.head_dim = 2;
    FSM_TRY(fsm_config_check(c));
    return fsm_config_derive(c);
}

/* ---- in ---- */

static fsmoe_status find_sizes(job *j)
{
    const fsm_tensor_info *x = fsm_safetensors_find(j->file, "x");
    if (!x) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' has no tensor 'x'", j->options->in);
    if (x->rank != 3 || x->shape[2] != j->config->model.hidden || x->shape[0] < 1 || x->shape[1] < 1)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': 'x' is not [B, L, %lld], which is 'hidden'", j->options->in,
                        (long long)j->config->model.hidden);
    j->samples = x->shape[0];
    j->seq_len = x->shape[1];
    return FSMOE_OK;
}

/* Only a gate that draws noise can be given some. */
static bool reads_noise(const job *j)
{
    return j->config->moe.noisy && fsm_safetensors_find(j->file, "gate.noise");
}

/* A tensor that nobody reads is a mistake. */
static fsmoe_status check_names(const job *j)
{
    const fsm_layer_params *params = &j->run.params;
    for (size_t i = 0; i < fsm_safetensors_count(j->file); i++) {
        const char *name = fsm_safetensors_name(j->file, i);
        bool known = strcmp(name, "x") == 0 || strcmp(name, "dy") == 0 ||
                     (j->config->moe.noisy && strcmp(name, "gate.noise") == 0);
        for (int p = 0; p < params->count; p++) known |= strcmp(params->items[p].name, name) == 0;
        if (!known)
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': nothing in this layer is called '%s'", j->options->in, name);
    }
    return FSMOE_OK;
}

/* This rank's tokens of a tensor of `width` numbers a token; the message counts tokens of the whole. */
static fsmoe_status read_host_tokens(const job *j, const char *name, int rank, const int64_t *shape, int64_t width,
                                     float *to)
{
    const fsm_layer_run *r = &j->run;
    FSM_TRY(fsm_safetensors_read_block(j->file, name, rank, shape, r->first, r->n, 0, width, to, width));
    int64_t at = fsm_first_not_finite(to, r->n * width);
    if (at == r->n * width) return FSMOE_OK;
    return fsm_fail_not_finite(name, to[at], r->first + at / width, at % width);
}

/* Floats become elements of rows, which are no larger. */
static void narrow_to_rows(const fsm_ops *ops, int64_t n, float *host)
{
    for (int64_t i = 0; ops->row_bytes < FSM_REAL_BYTES && i < n; i++) {
        uint16_t half = fsm_to_bf16(host[i]);
        memcpy((char *)host + ops->row_bytes * i, &half, sizeof half);
    }
}

/* The same into a tensor of rows, or of reals. */
static fsmoe_status read_tokens(const job *j, const char *name, int rank, const int64_t *shape, int64_t width,
                                fsm_row *rows, fsm_real *reals)
{
    const fsm_ops *ops = j->run.ops;
    const int64_t n = j->run.n * width;
    float *host = malloc(sizeof *host * (size_t)n + 1);
    if (!host) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", name);
    fsmoe_status status = read_host_tokens(j, name, rank, shape, width, host);
    if (status == FSMOE_OK && rows) narrow_to_rows(ops, n, host);
    if (status == FSMOE_OK)
        ops->write(ops, (size_t)(n * (rows ? ops->row_bytes : FSM_REAL_BYTES)), host, rows ? (void *)rows : reals);
    free(host);
    return status;
}

static fsmoe_status read_all(job *j)
{
    fsm_layer_run *r = &j->run;
    int64_t hidden = j->config->model.hidden, experts = j->config->moe.num_experts;
    const int64_t tokens[3] = {j->samples, j->seq_len, hidden}, noise[2] = {r->total, experts};
    FSM_TRY(read_tokens(j, "x", 3, tokens, hidden, r->x, NULL));
    FSM_TRY(read_tokens(j, "dy", 3, tokens, hidden, NULL, r->dy));
    if (r->noise) FSM_TRY(read_tokens(j, "gate.noise", 2, noise, experts, NULL, r->noise));
    return fsm_layer_params_read(j->file, r->ops, &r->params);
}

static fsmoe_status read_tensors(job *j)
{
    FSM_TRY(check_names(j));
    fsmoe_status status = read_all(j);
    return status == FSMOE_ERROR_NUMERIC ? fsm_fail_within(status, "'%s'", j->options->in) : status;
}

/* ---- out ---- */

enum { MOST_TENSORS = 3 * FSM_MAX_PARAMS_A_MODULE + 11 };

typedef struct output {
    fsm_tensor_spec specs[MOST_TENSORS];
    char names[MOST_TENSORS][80];
    void *data[MOST_TENSORS]; /* owned */
    int count;
} output;

/* A tensor of zeros. */
static void *add(output *out, const char *name, fsm_dtype dtype, int rank, const int64_t *shape)
{
    fsm_tensor_spec *spec = &out->specs[out->count];
    int64_t elems = 1;
    snprintf(out->names[out->count], sizeof out->names[0], "%s", name);
    *spec = (fsm_tensor_spec){.name = out->names[out->count], .dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++) elems *= spec->shape[i] = shape[i];
    return out->data[out->count++] = calloc((size_t)elems + 1, fsm_dtype_bytes(dtype));
}

static fsmoe_status no_memory(void)
{
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a layer's results");
}

/* The parts of all ranks, which are 0 elsewhere, become the whole on each. */
static fsmoe_status sum_parts(const job *j, float *whole, int64_t elems)
{
    fsm_comm_op op;
    FSM_TRY(fsm_comm_start_all_reduce(&op, j->world, FSM_COMM_FP32, whole, elems));
    return fsm_comm_finish(&op);
}

/* y or dx, [B, L, M]. */
static fsmoe_status add_tokens(const job *j, output *out, const char *name, const fsm_real *mine)
{
    const fsm_layer_run *r = &j->run;
    int64_t hidden = j->config->model.hidden;
    const int64_t shape[3] = {j->samples, j->seq_len, hidden};
    float *whole = add(out, name, FSM_DTYPE_F32, 3, shape);
    FSM_TRY(fsm_comm_agree(j->world, whole ? FSMOE_OK : no_memory()));
    r->ops->read(r->ops, sizeof *whole * (size_t)(r->n * hidden), mine, whole + r->first * hidden);
    return sum_parts(j, whole, r->total * hidden);
}

static bool has_gradient(const job *j, const fsm_layer_param *p)
{
    return strcmp(p->name, "gate.bias") != 0 || !j->run.moe.gate.kind->after_step;
}

static fsmoe_status add_gradients(const job *j, output *out)
{
    const fsm_layer_params *params = &j->run.params;
    for (int i = 0; i < params->count; i++) {
        const fsm_layer_param *p = &params->items[i];
        char name[80];
        if (!has_gradient(j, p)) continue;
        snprintf(name, sizeof name, "d.%s", p->name);
        float *whole = add(out, name, FSM_DTYPE_F32, p->rank, p->shape);
        FSM_TRY(fsm_comm_agree(j->world, whole ? FSMOE_OK : no_memory()));
        fsm_layer_param_place(params, p, j->run.ops, whole);
        FSM_TRY(sum_parts(j, whole, fsm_layer_param_elems(p)));
    }
    return FSMOE_OK;
}

static fsmoe_status add_number(output *out, const char *name, double value)
{
    const int64_t one = 1;
    float *number = add(out, name, FSM_DTYPE_F32, 1, &one);
    if (!number) return no_memory();
    *number = (float)value;
    return FSMOE_OK;
}

static fsmoe_status add_sums(const job *j, output *out)
{
    const fsm_ops *ops = j->run.ops;
    const int64_t one = 1, experts = j->config->moe.num_experts;
    double sums[FSM_GATE_SUMS_COUNT(experts)];
    FSM_TRY(add_number(out, "aux_loss", j->run.aux));
    FSM_TRY(add_number(out, "z_loss", j->run.z));
    int64_t *load = add(out, "tokens_per_expert", FSM_DTYPE_I64, 1, &experts);
    int64_t *dropped = add(out, "dropped", FSM_DTYPE_I64, 1, &one);
    if (!load || !dropped) return no_memory();
    ops->read(ops, sizeof sums, j->run.sums, sums);
    for (int64_t e = 0; e < experts; e++) load[e] = (int64_t)sums[FSM_GATE_SUMS_KEPT(experts) + e];
    *dropped = (int64_t)sums[FSM_GATE_SUMS_DROPPED(experts)];
    return FSMOE_OK;
}

/* A rank's choices, read from the device. */
typedef struct choices {
    int32_t *row, *choice; /* [n, k] */
    float *weight;
} choices;

static bool read_choices(const fsm_layer_run *r, choices *c)
{
    const fsm_ops *ops = r->ops;
    size_t pairs = (size_t)(r->n * r->moe.gate.choices), bytes = 4 * pairs;
    *c = (choices){malloc(bytes + 1), malloc(bytes + 1), malloc(bytes + 1)};
    if (!c->row || !c->choice || !c->weight) return false;
    ops->read(ops, bytes, r->pass.route.row, c->row);
    ops->read(ops, bytes, r->pass.gate.choice, c->choice);
    ops->read(ops, bytes, r->pass.gate.weight, c->weight);
    return true;
}

static void free_choices(choices *c)
{
    free(c->row);
    free(c->choice);
    free(c->weight);
}

/* Choices by falling score; -1 and 0 where a place was lost. */
static fsmoe_status add_choices(const job *j, output *out)
{
    const fsm_layer_run *r = &j->run;
    const fsm_gate_kind *kind = r->moe.gate.kind;
    const int64_t k = r->moe.gate.choices, pairs = r->total * k, shape[2] = {r->total, k};
    choices own = {0};
    if (kind->mixes || kind->experts_choose) return FSMOE_OK;
    int32_t *indices = add(out, "indices", FSM_DTYPE_I32, 2, shape);
    float *weights = add(out, "weights", FSM_DTYPE_F32, 2, shape);
    double *both = calloc(2 * (size_t)pairs + 1, sizeof *both);
    bool fits = indices && weights && both && read_choices(r, &own);
    fsmoe_status status = fsm_comm_agree(j->world, fits ? FSMOE_OK : no_memory());
    for (int64_t i = 0; status == FSMOE_OK && i < r->n * k; i++) {
        bool kept = own.row[i] >= 0;
        both[r->first * k + i] = kept ? own.choice[i] + 1 : 0;
        both[pairs + r->first * k + i] = kept ? own.weight[i] : 0;
    }
    if (status == FSMOE_OK) status = fsm_comm_all_reduce_double(j->world, both, 2 * pairs);
    for (int64_t i = 0; status == FSMOE_OK && i < pairs; i++) {
        indices[i] = (int32_t)both[i] - 1;
        weights[i] = (float)both[pairs + i];
    }
    free_choices(&own);
    free(both);
    return status;
}

/* What a step changes in the gate besides gradients. */
static fsmoe_status add_state(const job *j, output *out)
{
    const fsm_gate *gate = &j->run.moe.gate;
    const fsm_layer_params *params = &j->run.params;
    for (int i = 0; i < params->gate_count; i++) {
        const fsm_layer_param *p = &params->items[i];
        if (has_gradient(j, p)) continue;
        float *now = add(out, p->name, FSM_DTYPE_F32, p->rank, p->shape);
        if (!now) return no_memory();
        gate->ops->read(gate->ops, sizeof *now * (size_t)p->elems, gate->params[i].value, now);
    }
    return FSMOE_OK;
}

/* Tensors of more than one dimension are seen as rows of their last. */
static fsmoe_status check_finite(const output *out)
{
    for (int i = 0; i < out->count; i++) {
        const fsm_tensor_spec *spec = &out->specs[i];
        int64_t elems = 1, cols = spec->shape[spec->rank - 1];
        for (int k = 0; k < spec->rank; k++) elems *= spec->shape[k];
        if (spec->dtype != FSM_DTYPE_F32) continue;
        const float *values = out->data[i];
        int64_t at = fsm_first_not_finite(values, elems);
        if (at < elems) return fsm_fail_not_finite(spec->name, values[at], spec->rank > 1 ? at / cols : -1, at % cols);
    }
    return FSMOE_OK;
}

static fsmoe_status write_file(const job *j, const output *out)
{
    fsm_safetensors_writer *writer;
    fsmoe_status status =
        fsm_safetensors_writer_create(j->options->out, NULL, 0, out->specs, (size_t)out->count, &writer);
    for (int i = 0; status == FSMOE_OK && i < out->count; i++) {
        size_t bytes = fsm_dtype_bytes(out->specs[i].dtype);
        for (int k = 0; k < out->specs[i].rank; k++) bytes *= (size_t)out->specs[i].shape[k];
        status = fsm_safetensors_writer_append(writer, out->data[i], bytes);
        if (status != FSMOE_OK) fsm_safetensors_writer_abort(writer);
    }
    return status == FSMOE_OK ? fsm_safetensors_writer_finish(writer, NULL) : status;
}

static fsmoe_status write_results(const job *j)
{
    output out = {0};
    fsmoe_status status = add_tokens(j, &out, "y", j->run.y);
    if (status == FSMOE_OK) status = add_tokens(j, &out, "dx", j->run.dx);
    if (status == FSMOE_OK) status = add_gradients(j, &out);
    if (status == FSMOE_OK) status = add_choices(j, &out);
    fsmoe_status rest = FSMOE_OK;
    if (status == FSMOE_OK) rest = add_sums(j, &out);
    if (status == FSMOE_OK && rest == FSMOE_OK) rest = add_state(j, &out);
    if (status == FSMOE_OK && rest == FSMOE_OK && j->world->rank == 0) rest = check_finite(&out);
    if (status == FSMOE_OK && rest == FSMOE_OK && j->world->rank == 0) rest = write_file(j, &out);
    if (status == FSMOE_OK) status = fsm_comm_agree(j->world, rest);
    for (int i = 0; i < out.count; i++) free(out.data[i]);
    return status;
}

/* ---- the whole ---- */

static fsmoe_status prepare(job *j)
{
    fsm_gate gate;
    if (j->world->rank == 0) FSM_TRY(fsm_file_can_write(j->options->out));
    FSM_TRY(load_keys(j));
    FSM_TRY(fsm_config_place(j->config, fsm_gate_select(&j->config->moe, &gate)));
    FSM_TRY(fsm_safetensors_open(j->options->in, &j->file));
    FSM_TRY(find_sizes(j));
    return complete(j);
}

static fsmoe_status run(job *j)
{
    const fsmoe_parallel_config *p = &j->config->parallel;
    fsm_gate *gate = &j->run.moe.gate;
    bool in_order = strcmp(p->schedule, "dsmoe") == 0;
    FSM_TRY(fsm_comm_agree(j->world, read_tensors(j)));
    j->run.training = !j->options->eval;
    FSM_TRY(fsm_layer_run_step(&j->run, in_order ? NULL : p->schedule,
                               (int)(p->forward_degree > 0 ? p->forward_degree : 1),
                               (int)(p->backward_degree > 0 ? p->backward_degree : 1)));
    if (gate->kind->after_step && !j->options->eval) gate->kind->after_step(gate, fsm_layer_run_sums(&j->run).chosen);
    return write_results(j);
}

fsmoe_status fsmoe_layer(fsmoe_world *world, const fsmoe_layer_options *options)
{
    job j = {.options = options, .world = world->comm};
    fsmoe_status status = fsm_comm_agree(j.world, prepare(&j));
    if (status == FSMOE_OK) {
        status = fsm_layer_run_create(j.config, j.world, j.samples * j.seq_len, reads_noise(&j), &j.run);
        if (status == FSMOE_OK) status = run(&j);
        if (status != FSMOE_ERROR_COMM) fsm_layer_run_destroy(&j.run); /* else groups cannot be taken apart any more */
    }
    fsm_safetensors_close(j.file);
    fsmoe_config_destroy(j.config);
    return status;
}
