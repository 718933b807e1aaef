/* One MoE layer from a file of keys and a file of tensors to a file of tensors: <fsmoe/layer.h>. */
#include "train/layer_file.h"

#include "base/bf16.h"
#include "base/file.h"
#include "comm/world.h"
#include "config/config.h"
#include "model/finite.h"

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
static fsmoe_status load_keys(fsm_layer_job *j)
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
static fsmoe_status complete(fsm_layer_job *j)
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

static fsmoe_status find_sizes(fsm_layer_job *j)
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
static bool reads_noise(const fsm_layer_job *j)
{
    return j->config->moe.noisy && fsm_safetensors_find(j->file, "gate.noise");
}

/* A tensor that nobody reads is a mistake. */
static fsmoe_status check_names(const fsm_layer_job *j)
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
static fsmoe_status read_host_tokens(const fsm_layer_job *j, const char *name, int rank, const int64_t *shape,
                                     int64_t width, float *to)
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
static fsmoe_status read_tokens(const fsm_layer_job *j, const char *name, int rank, const int64_t *shape, int64_t width,
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

static fsmoe_status read_all(fsm_layer_job *j)
{
    fsm_layer_run *r = &j->run;
    int64_t hidden = j->config->model.hidden, experts = j->config->moe.num_experts;
    const int64_t tokens[3] = {j->samples, j->seq_len, hidden}, noise[2] = {r->total, experts};
    FSM_TRY(read_tokens(j, "x", 3, tokens, hidden, r->x, NULL));
    FSM_TRY(read_tokens(j, "dy", 3, tokens, hidden, NULL, r->dy));
    if (r->noise) FSM_TRY(read_tokens(j, "gate.noise", 2, noise, experts, NULL, r->noise));
    return fsm_layer_params_read(j->file, r->ops, &r->params);
}

static fsmoe_status read_tensors(fsm_layer_job *j)
{
    FSM_TRY(check_names(j));
    fsmoe_status status = read_all(j);
    return status == FSMOE_ERROR_NUMERIC ? fsm_fail_within(status, "'%s'", j->options->in) : status;
}

/* ---- the whole ---- */

static fsmoe_status prepare(fsm_layer_job *j)
{
    fsm_gate gate;
    if (j->world->rank == 0) FSM_TRY(fsm_file_can_write(j->options->out));
    FSM_TRY(load_keys(j));
    FSM_TRY(fsm_config_place(j->config, fsm_gate_select(&j->config->moe, &gate)));
    FSM_TRY(fsm_safetensors_open(j->options->in, &j->file));
    FSM_TRY(find_sizes(j));
    return complete(j);
}

static fsmoe_status run(fsm_layer_job *j)
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
    return fsm_layer_write_results(j);
}

fsmoe_status fsmoe_layer(fsmoe_world *world, const fsmoe_layer_options *options)
{
    fsm_layer_job j = {.options = options, .world = world->comm};
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
