#include "model/file_tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fsm_param_shape(const fsm_param *param, int64_t shape[2])
{
    shape[0] = param->spec.rank == 1 ? param->spec.cols : param->spec.rows;
    shape[1] = param->spec.cols;
}

static int64_t experts_of(const fsm_param *p, int ep)
{
    return p->experts > 0 ? p->experts * ep : 1;
}

static size_t count_tensors(const fsm_params *params, int ep, int n_arrays)
{
    size_t count = 0;
    for (int i = 0; i < params->count; i++) count += (size_t)experts_of(&params->items[i], ep) * (size_t)n_arrays;
    return count;
}

static void name_tensor(const fsm_param *p, int64_t expert, const char *prefix, fsm_file_tensor *tensor)
{
    char name[160];
    fsm_param_name(p, expert, name);
    *tensor = (fsm_file_tensor){.param = p, .expert = expert};
    snprintf(tensor->name, sizeof tensor->name, "%s%s", prefix, name);
}

fsmoe_status fsm_file_tensors_list(const fsm_params *params, int ep, const fsm_named_array *arrays, int n_arrays,
                                   fsm_file_tensors *list)
{
    size_t count = count_tensors(params, ep, n_arrays);
    *list = (fsm_file_tensors){calloc(count + 1, sizeof *list->items), 0};
    if (!list->items) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a list of %zu tensors", count);
    for (int a = 0; a < n_arrays; a++) {
        for (int i = 0; i < params->count; i++) {
            for (int64_t e = 0; e < experts_of(&params->items[i], ep); e++) {
                fsm_file_tensor *tensor = &list->items[list->count++];
                name_tensor(&params->items[i], e, arrays[a].prefix, tensor);
                tensor->array = &arrays[a];
            }
        }
    }
    return FSMOE_OK;
}

void fsm_file_tensors_destroy(fsm_file_tensors *list)
{
    free(list->items);
    *list = (fsm_file_tensors){0};
}

/* ---- others ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const fsm_file_tensor *)a)->name, ((const fsm_file_tensor *)b)->name);
}

/* Some tools write the head of a model that shares it with the embedding; the shared tensor is the same. */
static bool is_shared_head(const fsmoe_config *config, const char *name)
{
    return config->model.tie_embeddings && strcmp(name, "lm_head.weight") == 0;
}

fsmoe_status fsm_file_tensors_check_no_other(const fsm_safetensors *file, const fsmoe_config *config,
                                             fsm_file_tensors *list, const char *path)
{
    qsort(list->items, list->count, sizeof *list->items, by_name);
    for (size_t i = 0; i < fsm_safetensors_count(file); i++) {
        fsm_file_tensor key = {0};
        const char *name = fsm_safetensors_name(file, i);
        snprintf(key.name, sizeof key.name, "%s", name);
        if (!bsearch(&key, list->items, list->count, sizeof *list->items, by_name) && !is_shared_head(config, name))
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tensor '%s' is not one of this model's", path, name);
    }
    return FSMOE_OK;
}

/* ---- a file as a whole ---- */

/* A block of no elements: the file has the tensor, of this shape and a type that can be read. */
static fsmoe_status check_tensor(const fsm_safetensors *file, const fsm_file_tensor *tensor)
{
    int64_t shape[2];
    float nothing;
    fsm_param_shape(tensor->param, shape);
    return fsm_safetensors_read_block(file, tensor->name, tensor->param->spec.rank, shape, 0, 0, 0, 0, &nothing, 0);
}

/* Ends at the first that is missing, so never goes through more than the file has. */
static fsmoe_status check_each(const fsm_safetensors *file, const fsm_params *params, const char *prefix)
{
    for (int i = 0; i < params->count; i++) {
        for (int64_t e = 0; e < experts_of(&params->items[i], 1); e++) {
            fsm_file_tensor tensor;
            name_tensor(&params->items[i], e, prefix, &tensor);
            FSM_TRY(check_tensor(file, &tensor));
        }
    }
    return FSMOE_OK;
}

static fsmoe_status check_all(const fsm_safetensors *file, const fsm_params *params, const fsmoe_config *config,
                              const fsm_named_array *arrays, int n_arrays, const char *path)
{
    fsm_file_tensors list;
    for (int a = 0; a < n_arrays; a++) FSM_TRY(check_each(file, params, arrays[a].prefix));
    FSM_TRY(fsm_file_tensors_list(params, 1, arrays, n_arrays, &list));
    fsmoe_status status = fsm_file_tensors_check_no_other(file, config, &list, path);
    fsm_file_tensors_destroy(&list);
    return status;
}

/* The numbers that shapes and names come from, as config.json calls them. */
static fsmoe_status explain(fsmoe_status status, const fsmoe_config *config)
{
    const fsmoe_model_config *m = &config->model;
    if (status != FSMOE_ERROR_FORMAT) return status;
    return fsm_fail(status,
                    "%s; the configuration has hidden_size %" PRId64 ", intermediate_size %" PRId64
                    ", num_hidden_layers %" PRId64 ", num_attention_heads %" PRId64 ", num_key_value_heads %" PRId64
                    ", head_dim %" PRId64 ", vocab_size %" PRId64 ", max_position_embeddings %" PRId64
                    ", num_local_experts %" PRId64,
                    fsmoe_last_error(), m->hidden, m->ffn_hidden, m->num_layers, m->num_heads, m->num_kv_heads,
                    m->head_dim, m->vocab_size, m->max_seq_len, config->moe.num_experts);
}

fsmoe_status fsm_file_tensors_check(const fsmoe_config *config, const fsm_named_array *arrays, int n_arrays,
                                    const char *path)
{
    const fsmoe_parallel_config alone = {.ep_size = 1, .esp_size = 1, .mp_size = 1};
    fsm_topo topo;
    fsm_params params;
    fsm_safetensors *file;
    FSM_TRY(fsm_topo_create(1, 1, &alone, 0, &topo));
    FSM_TRY(fsm_safetensors_open(path, &file));
    fsmoe_status status = fsm_params_list(config, &topo, &params);
    if (status == FSMOE_OK) {
        status = explain(check_all(file, &params, config, arrays, n_arrays, path), config);
        fsm_params_destroy(&params);
    }
    fsm_safetensors_close(file);
    return status;
}
