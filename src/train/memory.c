#include "train/memory.h"

#include "config/config.h"
#include "model/model.h"
#include "train/backend.h"
#include "train/batches.h"
#include "train/peak.h"
#include "train/place.h"
#include "train/products.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what comes and goes ---- */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Rank 0 gathers a piece of a tensor, from blocks, from its own: three buffers (src/model/model_io.c). */
static int64_t saving_bytes(const fsm_topo *topo, int64_t largest_elems)
{
    int64_t bytes = (int64_t)sizeof(float) * largest_elems;
    if (bytes > FSM_COMM_PIECE_BYTES) bytes = FSM_COMM_PIECE_BYTES;
    return topo->rank == 0 ? 3 * bytes : bytes;
}

/* Collectives are measured up to what a layer sends, sent and received, products with 4096 rows
 * (src/profile/operations.c). */
static int64_t measuring_bytes(const fsmoe_config *config, const fsm_topo *topo, const fsm_wire_shape *wire)
{
    const int64_t rows = 4096, hidden = config->model.hidden, width = config->model.ffn_hidden / topo->esp;
    if (topo->ranks == 1 || config->parallel.cluster[0] || strcmp(config->parallel.schedule, "dsmoe") == 0) return 0;
    int64_t collective = 2 * hidden * topo->esp * wire->max_rows, product = rows * (hidden + width) + hidden * width;
    return (int64_t)sizeof(float) * larger(collective, product);
}

/* The model that was written is read again, by rank 0, to continue a text. */
static int64_t sampling_bytes(const fsmoe_config *config, const fsm_topo *topo, int64_t parameters)
{
    return config->run.sample_prompt[0] && topo->rank == 0 ? (int64_t)sizeof(float) * parameters : 0;
}

/* Of groups that add up: fsm_comm_scratch_create. */
static int64_t summing_bytes(const fsm_topo *topo)
{
    const int64_t a_group = 2 << 20;
    int64_t bytes = 0;
    for (int g = 0; g < FSM_GROUP_COUNT; g++)
        if (fsm_topo_group_size(topo, (fsm_group)g) > 1) bytes += a_group;
    return bytes;
}

/* What the machine reaches is measured between steps, of a run that has more than the two that it waits for. */
static int64_t peak_bytes(const fsmoe_config *config, const fsm_memory_options *how)
{
    return how->breakdown || config->train.steps > 2 ? fsm_peak_bytes(how->threads, how->breakdown) : 0;
}

/* What rows of bf16 are widened into, as far as products of a pass fill it (cpu/bf16.h). */
static int64_t widening_bytes(const fsmoe_config *config, int64_t samples)
{
    const fsmoe_model_config *m = &config->model;
    if (fsm_ops_kind_of(config) != FSM_CPU_BF16) return 0;
    int64_t widest = larger((m->num_heads + 2 * m->num_kv_heads) * m->head_dim, 2 * m->ffn_hidden);
    double bytes = (double)(samples * config->data.seq_len) * (double)(m->hidden + widest) * sizeof(float);
    return bytes < FSM_CPU_BF16_WORK_BYTES ? (int64_t)bytes : FSM_CPU_BF16_WORK_BYTES;
}

static fsmoe_status add_passing(const fsmoe_config *config, const fsm_topo *topo, int64_t samples,
                                const fsm_memory_options *how, fsmoe_memory *m)
{
    fsm_params params;
    fsm_wire_shape wire;
    int64_t largest = 0, total, active;
    FSM_TRY(fsm_params_list(config, topo, &params));
    for (int i = 0; i < params.count; i++) {
        const fsm_param_spec *spec = &params.items[i].spec;
        largest = larger(largest, spec->rows * spec->cols);
    }
    fsm_params_totals(&params, config, &total, &active);
    fsm_params_destroy(&params);
    fsm_lanes_wire(config, topo, samples, &wire);
    int64_t passing = larger(saving_bytes(topo, largest), measuring_bytes(config, topo, &wire));
    passing = larger(passing, peak_bytes(config, how));
    m->workspace += larger(passing, sampling_bytes(config, topo, total)) + summing_bytes(topo);
    m->workspace += widening_bytes(config, samples);
    return FSMOE_OK;
}

/* ---- the prediction ---- */

static fsmoe_status measure_with(const fsmoe_config *config, const fsm_topo *topo, int64_t samples,
                                 const fsm_memory_options *how, const fsm_products *products, fsm_model_kinds *expected,
                                 fsm_model_kinds *most)
{
    const fsm_model_options options = {.max_samples = samples, .training = true};
    int lanes = how->lanes.lanes > 1 ? how->lanes.lanes : 1, parts = how->lanes.parts > 1 ? how->lanes.parts : 1;
    const fsm_backend_options wishes = {.threads = how->threads, .kind = fsm_ops_kind_of(config), .products = products};
    int spare = how->lanes.spare;
    fsm_ops *ops;
    FSM_TRY(fsm_backend_create_to_measure(&wishes, &ops));
    fsmoe_status status = fsm_model_measure_kinds(config, ops, topo, &options, lanes, parts, spare, true, expected);
    if (status == FSMOE_OK)
        status = fsm_model_measure_kinds(config, ops, topo, &options, lanes, parts, spare, false, most);
    fsm_ops_destroy(ops);
    return status;
}

static fsmoe_status measure(const fsmoe_config *config, const fsm_topo *topo, int64_t samples,
                            const fsm_memory_options *how, fsm_model_kinds *expected, fsm_model_kinds *most)
{
    if (how->products || !fsm_measures_products(config))
        return measure_with(config, topo, samples, how, how->products, expected, most);
    fsm_products *table = calloc(1, sizeof *table);
    if (!table) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a table of products");
    fsmoe_status status = fsm_products_of_most_memory(config, table);
    if (status == FSMOE_OK) status = measure_with(config, topo, samples, how, table, expected, most);
    free(table);
    return status;
}

static int64_t buffers_of(const fsm_model_kinds *kinds)
{
    int64_t bytes = (int64_t)kinds->host;
    for (int i = 0; i < FSM_MEMORY_KINDS; i++) bytes += (int64_t)kinds->taken[i];
    return bytes;
}

fsmoe_status fsm_memory_predict(const fsmoe_config *config, const fsm_topo *topo, const fsm_memory_options *how,
                                fsmoe_memory *memory)
{
    fsm_model_kinds expected, most;
    int64_t samples = fsm_batches_share(config->train.micro_batch, topo->dp);
    int64_t ids = 2 * FSM_MAX_LANES * samples * config->data.seq_len * (int64_t)sizeof(int32_t);
    FSM_TRY(measure(config, topo, samples, how, &expected, &most));
    int64_t values = (int64_t)sizeof(float) * expected.param_elems;
    *memory = (fsmoe_memory){.parameters = values,
                             .gradients = values,
                             .optimizer = 2 * values,
                             .saved = (int64_t)expected.taken[FSM_MEMORY_SAVED],
                             .staging = (int64_t)expected.taken[FSM_MEMORY_STAGING],
                             .packed = (int64_t)expected.packed,
                             .workspace = (int64_t)expected.taken[FSM_MEMORY_WORKSPACE],
                             .host_tables = (int64_t)expected.host + ids,
                             .worst_more = buffers_of(&most) - buffers_of(&expected)};
    return add_passing(config, topo, samples, how, memory);
}

fsmoe_status fsmoe_memory_of(const fsmoe_config *config, int nodes, int ranks_per_node, fsmoe_memory *memory)
{
    const int64_t most = INT64_MAX;
    const fsm_memory_options how = {.threads = fsm_threads_of(config, ranks_per_node)};
    fsm_topo topo;
    FSM_TRY(fsm_topo_create(nodes, ranks_per_node, &config->parallel, 0, &topo));
    *memory = (fsmoe_memory){most, most, most, most, most, most, most, most, most, most};
    if (fsm_model_is_absurd(config, fsm_batches_share(config->train.micro_batch, topo.dp))) return FSMOE_OK;
    return fsm_memory_predict(config, &topo, &how, memory);
}

int64_t fsmoe_memory_total(const fsmoe_memory *m)
{
    if (m->saved == INT64_MAX) return INT64_MAX;
    return m->parameters + m->gradients + m->optimizer + m->saved + m->staging + m->packed + m->workspace +
           m->host_tables + m->process;
}

void fsmoe_memory_describe(const fsmoe_memory *m, char *text, size_t size)
{
    const double gb = 1e-9;
    if (m->saved == INT64_MAX) {
        snprintf(text, size, "more than any machine has");
        return;
    }
    int n = snprintf(text, size,
                     "%.3f GB: parameters %.3f, gradients %.3f, optimizer %.3f, saved rows %.3f, staging %.3f, packed "
                     "weights %.3f, workspace %.3f, host tables %.3f",
                     gb * (double)fsmoe_memory_total(m), gb * (double)m->parameters, gb * (double)m->gradients,
                     gb * (double)m->optimizer, gb * (double)m->saved, gb * (double)m->staging, gb * (double)m->packed,
                     gb * (double)m->workspace, gb * (double)m->host_tables);
    if (m->process > 0 && n >= 0 && (size_t)n < size)
        n += snprintf(text + n, size - (size_t)n, ", process %.3f", gb * (double)m->process);
    if (m->worst_more > 0 && n >= 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, "; %.3f more if all tokens go to one rank", gb * (double)m->worst_more);
}
