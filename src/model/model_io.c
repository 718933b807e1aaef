#include "model/model_io.h"

#include "model/safetensors_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 192 };

/* One tensor of a file: which parameter, which expert of all, in which array. */
typedef struct file_tensor {
    const fsm_param *param;
    int64_t expert;
    const fsm_named_array *array;
    char name[NAME_BYTES];
} file_tensor;

typedef struct tensor_list {
    file_tensor *items;
    size_t count;
} tensor_list;

static int64_t global_experts(const fsm_param *p, const fsm_topo *topo)
{
    return p->experts > 0 ? p->experts * topo->ep : 1;
}

static fsmoe_status list_tensors(const fsm_params *params, const fsm_topo *topo, const fsm_named_array *arrays,
                                 int n_arrays, tensor_list *list)
{
    size_t most = 0;
    for (int i = 0; i < params->count; i++) most += (size_t)global_experts(&params->items[i], topo) * (size_t)n_arrays;
    *list = (tensor_list){calloc(most + 1, sizeof(file_tensor)), 0};
    if (!list->items) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a list of %zu tensors", most);
    for (int a = 0; a < n_arrays; a++) {
        for (int i = 0; i < params->count; i++) {
            const fsm_param *p = &params->items[i];
            for (int64_t e = 0; e < global_experts(p, topo); e++) {
                file_tensor *t = &list->items[list->count++];
                char name[160];
                fsm_param_name(p, e, name);
                *t = (file_tensor){.param = p, .expert = e, .array = &arrays[a]};
                snprintf(t->name, sizeof t->name, "%s%s", arrays[a].prefix, name);
            }
        }
    }
    return FSMOE_OK;
}

static void tensor_shape(const fsm_param *p, int64_t shape[2])
{
    shape[0] = p->spec.rank == 1 ? p->spec.cols : p->spec.rows;
    shape[1] = p->spec.cols;
}

/* ---- writing ---- */

/* The block of a tensor that a rank writes; rows 0: none. */
typedef struct block {
    int64_t row0, rows, col0, cols;
} block;

static block block_of(const file_tensor *t, const fsm_topo *topo, int rank)
{
    const fsm_param *p = t->param;
    fsm_topo at = fsm_topo_at(topo, rank);
    bool replica = fsm_topo_group_index(&at, p->sum_group) != 0 ||
                   (p->spec.shard == FSM_SHARD_NONE && p->sum_group != FSM_GROUP_WORLD &&
                    fsm_topo_group_index(&at, p->shard_group) != 0);
    if (replica || (p->experts > 0 && t->expert / p->experts != at.ep_index)) return (block){0};
    int shard = fsm_topo_group_index(&at, p->shard_group);
    block b = {0, p->rows, 0, p->cols};
    if (p->spec.shard == FSM_SHARD_ROWS) b.row0 = shard * p->rows;
    if (p->spec.shard == FSM_SHARD_COLS) b.col0 = shard * p->cols;
    return b;
}

/* The tensor put together on rank 0 from the blocks of all ranks, which come one after another in `blocks`. */
static void assemble(const file_tensor *t, const fsm_topo *topo, const float *blocks, float *tensor)
{
    for (int rank = 0; rank < topo->ranks; rank++) {
        block b = block_of(t, topo, rank);
        for (int64_t r = 0; r < b.rows; r++, blocks += b.cols)
            memcpy(tensor + (b.row0 + r) * t->param->spec.cols + b.col0, blocks, sizeof(float) * (size_t)b.cols);
    }
}

typedef struct gather_buffers {
    float *blocks, *tensor; /* rank 0 only */
    int64_t *counts;
} gather_buffers;

static fsmoe_status gather_tensor(const file_tensor *t, const fsm_topo *topo, fsm_comm *world, gather_buffers *buffers)
{
    block mine = block_of(t, topo, topo->rank);
    const fsm_param *p = t->param;
    int64_t local = p->experts > 0 ? t->expert % p->experts : 0;
    const float *send = t->array->elems + p->offset + local * p->expert_stride;
    for (int rank = 0; rank < topo->ranks; rank++) {
        block b = block_of(t, topo, rank);
        buffers->counts[rank] = b.rows * b.cols * (int64_t)sizeof(float);
    }
    FSM_TRY(world->table->gather_bytes(world, send, mine.rows * mine.cols * (int64_t)sizeof(float), buffers->blocks,
                                       buffers->counts));
    if (world->rank == 0) assemble(t, topo, buffers->blocks, buffers->tensor);
    return FSMOE_OK;
}

static fsmoe_status open_writer(const tensor_list *list, const char *path, fsm_safetensors_writer **writer)
{
    fsm_tensor_spec *specs = calloc(list->count + 1, sizeof *specs);
    if (!specs) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", path);
    for (size_t i = 0; i < list->count; i++) {
        specs[i] = (fsm_tensor_spec){.name = list->items[i].name,
                                     .dtype = FSM_DTYPE_F32,
                                     .rank = list->items[i].param->spec.rank};
        tensor_shape(list->items[i].param, specs[i].shape);
    }
    fsmoe_status status = fsm_safetensors_writer_create(path, NULL, 0, specs, list->count, writer);
    free(specs);
    return status;
}

static fsmoe_status take_buffers(const tensor_list *list, fsm_comm *world, gather_buffers *buffers)
{
    int64_t most = 0;
    for (size_t i = 0; i < list->count; i++) {
        int64_t elems = list->items[i].param->spec.rows * list->items[i].param->spec.cols;
        if (elems > most) most = elems;
    }
    *buffers = (gather_buffers){.counts = calloc((size_t)world->size, sizeof(int64_t))};
    if (world->rank == 0) {
        buffers->blocks = malloc(sizeof(float) * (size_t)(most + 1));
        buffers->tensor = malloc(sizeof(float) * (size_t)(most + 1));
    }
    if (!buffers->counts || (world->rank == 0 && (!buffers->blocks || !buffers->tensor)))
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to gather a tensor of %lld elements", (long long)most);
    return FSMOE_OK;
}

fsmoe_status fsm_model_write(const fsm_params *params, const fsm_topo *topo, fsm_comm *world,
                             const fsm_named_array *arrays, int n_arrays, const char *path, uint64_t *hash)
{
    tensor_list list = {0};
    gather_buffers buffers = {0};
    fsm_safetensors_writer *writer = NULL;
    fsmoe_status status = list_tensors(params, topo, arrays, n_arrays, &list);
    if (status == FSMOE_OK) status = take_buffers(&list, world, &buffers);
    if (status == FSMOE_OK && world->rank == 0) status = open_writer(&list, path, &writer);
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    fsmoe_status written = FSMOE_OK; /* kept aside: all ranks must go through every gather */
    for (size_t i = 0; i < list.count; i++) {
        const fsm_param *p = list.items[i].param;
        FSM_TRY_GOTO(status, gather_tensor(&list.items[i], topo, world, &buffers), done);
        if (world->rank == 0 && written == FSMOE_OK)
            written = fsm_safetensors_writer_append(writer, buffers.tensor,
                                                    sizeof(float) * (size_t)(p->spec.rows * p->spec.cols));
    }
    if (world->rank == 0) {
        fsmoe_status finished = fsm_safetensors_writer_finish(writer, hash);
        writer = NULL;
        if (written == FSMOE_OK) written = finished;
    }
    status = fsm_comm_agree(world, written);
done:
    fsm_safetensors_writer_abort(writer);
    free(buffers.blocks);
    free(buffers.tensor);
    free(buffers.counts);
    free(list.items);
    return status;
}

/* ---- reading ---- */

static fsmoe_status read_tensor(const fsm_safetensors *file, const file_tensor *t)
{
    const fsm_param *p = t->param;
    int64_t shape[2], local = p->experts > 0 ? t->expert - p->first_expert : 0;
    tensor_shape(p, shape);
    if (local < 0 || (p->experts > 0 && local >= p->experts)) {
        float nothing; /* another rank's expert: only its presence and shape are checked */
        return fsm_safetensors_read_block(file, t->name, p->spec.rank, shape, 0, 0, 0, 0, &nothing, 0);
    }
    return fsm_safetensors_read_block(file, t->name, p->spec.rank, shape, p->row0, p->rows, p->col0, p->cols,
                                      t->array->elems + p->offset + local * p->expert_stride, p->cols);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const file_tensor *)a)->name, ((const file_tensor *)b)->name);
}

/* Some tools write the head of a model that shares it with the embedding; the shared tensor is the same. */
static bool is_shared_head(const fsmoe_config *config, const char *name)
{
    return config->model.tie_embeddings && strcmp(name, "lm_head.weight") == 0;
}

static fsmoe_status check_no_extra(const fsm_safetensors *file, const fsmoe_config *config, tensor_list *list,
                                   const char *path)
{
    qsort(list->items, list->count, sizeof *list->items, by_name);
    for (size_t i = 0; i < fsm_safetensors_count(file); i++) {
        file_tensor key = {0};
        const char *name = fsm_safetensors_name(file, i);
        snprintf(key.name, sizeof key.name, "%s", name);
        if (!bsearch(&key, list->items, list->count, sizeof *list->items, by_name) && !is_shared_head(config, name))
            return fsm_fail(FSMOE_ERROR_FORMAT, "%s: tensor '%s' is not one of this model's", path, name);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_model_read(const fsm_params *params, const fsmoe_config *config, const fsm_named_array *arrays,
                            int n_arrays, const char *path)
{
    tensor_list list = {0};
    fsm_safetensors *file = NULL;
    fsm_topo topo = {.ep = 1};
    fsmoe_status status = FSMOE_OK;
    for (int i = 0; i < params->count; i++)
        if (params->items[i].experts > 0) topo.ep = (int)(config->moe.num_experts / params->items[i].experts);
    FSM_TRY_GOTO(status, fsm_safetensors_open(path, &file), done);
    FSM_TRY_GOTO(status, list_tensors(params, &topo, arrays, n_arrays, &list), done);
    for (size_t i = 0; i < list.count; i++) FSM_TRY_GOTO(status, read_tensor(file, &list.items[i]), done);
    status = check_no_extra(file, config, &list, path);
done:
    fsm_safetensors_close(file);
    free(list.items);
    return status;
}
