/* The tensors that a layer's step leaves: y and dx, gradients, choices, loads, and what the gate has changed. */
#include "comm/world.h"
#include "model/finite.h"
#include "model/safetensors_writer.h"
#include "train/layer_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
static fsmoe_status sum_parts(const fsm_layer_job *j, float *whole, int64_t elems)
{
    fsm_comm_op op;
    FSM_TRY(fsm_comm_start_all_reduce(&op, j->world, FSM_COMM_FP32, whole, elems));
    return fsm_comm_finish(&op);
}

/* y or dx, [B, L, M]. */
static fsmoe_status add_tokens(const fsm_layer_job *j, output *out, const char *name, const fsm_real *mine)
{
    const fsm_layer_run *r = &j->run;
    int64_t hidden = j->config->model.hidden;
    const int64_t shape[3] = {j->samples, j->seq_len, hidden};
    float *whole = add(out, name, FSM_DTYPE_F32, 3, shape);
    FSM_TRY(fsm_comm_agree(j->world, whole ? FSMOE_OK : no_memory()));
    r->ops->read(r->ops, sizeof *whole * (size_t)(r->n * hidden), mine, whole + r->first * hidden);
    return sum_parts(j, whole, r->total * hidden);
}

static bool has_gradient(const fsm_layer_job *j, const fsm_layer_param *p)
{
    return strcmp(p->name, "gate.bias") != 0 || !j->run.moe.gate.kind->after_step;
}

static fsmoe_status add_gradients(const fsm_layer_job *j, output *out)
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

static fsmoe_status add_sums(const fsm_layer_job *j, output *out)
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
static fsmoe_status add_choices(const fsm_layer_job *j, output *out)
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
static fsmoe_status add_state(const fsm_layer_job *j, output *out)
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

static fsmoe_status write_file(const fsm_layer_job *j, const output *out)
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

fsmoe_status fsm_layer_write_results(const fsm_layer_job *j)
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
