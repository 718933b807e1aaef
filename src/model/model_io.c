#include "model/model_io.h"

#include "model/finite.h"
#include "model/safetensors_writer.h"

#include <stdlib.h>
#include <string.h>

enum { READ_PIECE_BYTES = 1 << 18 }; /* what is read is looked at while it is in the cache */

/* As many rows of a tensor as make a piece, at least one: what is gathered, or read and looked at, at a time. */
static int64_t rows_a_piece(int64_t cols, int64_t piece_bytes)
{
    int64_t rows = piece_bytes / ((int64_t)sizeof(float) * (cols > 0 ? cols : 1));
    return rows > 0 ? rows : 1;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- writing ---- */

/* The block of a tensor that a rank writes; rows 0: none. */
typedef struct block {
    int64_t row0, rows, col0, cols;
} block;

static block block_of(const fsm_file_tensor *t, const fsm_topo *topo, int rank)
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

/* What of the tensor's rows row0 … row0 + rows - 1 a rank writes. */
static block block_within(const fsm_file_tensor *t, const fsm_topo *topo, int rank, int64_t row0, int64_t rows)
{
    block b = block_of(t, topo, rank);
    int64_t last = least(b.row0 + b.rows, row0 + rows);
    if (b.row0 < row0) b.row0 = row0;
    b.rows = last - b.row0;
    return b.rows > 0 ? b : (block){0};
}

typedef struct gather_buffers {
    float *mine;           /* what this rank sends */
    float *blocks, *piece; /* rank 0 only: those of all ranks one after another, and put together */
    int64_t *counts;
} gather_buffers;

/* Rows row0 … row0 + rows - 1 of the tensor put together on rank 0 from the blocks of all ranks. */
static void assemble(const fsm_file_tensor *t, const fsm_topo *topo, int64_t row0, int64_t rows,
                     const gather_buffers *buffers)
{
    const float *blocks = buffers->blocks;
    for (int rank = 0; rank < topo->ranks; rank++) {
        block b = block_within(t, topo, rank, row0, rows);
        for (int64_t r = b.row0 - row0; b.rows > 0; r++, b.rows--, blocks += b.cols)
            memcpy(buffers->piece + r * t->param->spec.cols + b.col0, blocks, sizeof(float) * (size_t)b.cols);
    }
}

static fsmoe_status gather_piece(const fsm_file_tensor *t, const fsm_topo *topo, fsm_comm *world, int64_t row0,
                                 int64_t rows, const gather_buffers *buffers)
{
    const fsm_param *p = t->param;
    int64_t local = p->experts > 0 ? t->expert % p->experts : 0;
    block mine = block_within(t, topo, topo->rank, row0, rows);
    int64_t at = p->offset + local * p->expert_stride;
    if (mine.rows > 0) at += (mine.row0 - block_of(t, topo, topo->rank).row0) * mine.cols;
    for (int rank = 0; rank < topo->ranks; rank++) {
        block b = block_within(t, topo, rank, row0, rows);
        buffers->counts[rank] = b.rows * b.cols * (int64_t)sizeof(float);
    }
    int64_t bytes = buffers->counts[topo->rank];
    t->array->ops->read(t->array->ops, (size_t)bytes, fsm_real_at(t->array->elems, at), buffers->mine);
    FSM_TRY(world->control->gather_bytes(world, buffers->mine, bytes, buffers->blocks, buffers->counts));
    if (world->rank == 0) assemble(t, topo, row0, rows, buffers);
    return FSMOE_OK;
}

/* Gathered and written piece after piece. What goes wrong in writing is kept aside, since all ranks must go through
 * every gather; what is returned is communication's. */
static fsmoe_status write_tensor(const fsm_file_tensor *t, const fsm_topo *topo, fsm_comm *world,
                                 const gather_buffers *buffers, fsm_safetensors_writer *writer, fsmoe_status *written)
{
    int64_t cols = t->param->spec.cols, all = t->param->spec.rows, most = rows_a_piece(cols, world->piece_bytes);
    for (int64_t row = 0; row < all; row += most) {
        int64_t rows = least(most, all - row);
        FSM_TRY(gather_piece(t, topo, world, row, rows, buffers));
        if (world->rank == 0 && *written == FSMOE_OK)
            *written = fsm_safetensors_writer_append(writer, buffers->piece, sizeof(float) * (size_t)(rows * cols));
    }
    return FSMOE_OK;
}

static fsmoe_status open_writer(const fsm_file_tensors *list, const char *path, fsm_safetensors_writer **writer)
{
    fsm_tensor_spec *specs = calloc(list->count + 1, sizeof *specs);
    if (!specs) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", path);
    for (size_t i = 0; i < list->count; i++) {
        specs[i] = (fsm_tensor_spec){.name = list->items[i].name,
                                     .dtype = FSM_DTYPE_F32,
                                     .rank = list->items[i].param->spec.rank};
        fsm_param_shape(list->items[i].param, specs[i].shape);
    }
    fsmoe_status status = fsm_safetensors_writer_create(path, NULL, 0, specs, list->count, writer);
    free(specs);
    return status;
}

static fsmoe_status take_buffers(const fsm_file_tensors *list, fsm_comm *world, gather_buffers *buffers)
{
    int64_t most = 0;
    for (size_t i = 0; i < list->count; i++) {
        const fsm_param_spec *spec = &list->items[i].param->spec;
        int64_t elems = spec->cols * least(spec->rows, rows_a_piece(spec->cols, world->piece_bytes));
        if (elems > most) most = elems;
    }
    *buffers = (gather_buffers){.counts = calloc((size_t)world->size, sizeof(int64_t)),
                                .mine = malloc(sizeof(float) * (size_t)(most + 1))};
    if (world->rank == 0) {
        buffers->blocks = malloc(sizeof(float) * (size_t)(most + 1));
        buffers->piece = malloc(sizeof(float) * (size_t)(most + 1));
    }
    if (!buffers->counts || !buffers->mine || (world->rank == 0 && (!buffers->blocks || !buffers->piece)))
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to gather %lld elements of a tensor", (long long)most);
    return FSMOE_OK;
}

fsmoe_status fsm_model_write(const fsm_params *params, const fsm_topo *topo, fsm_comm *world,
                             const fsm_named_array *arrays, int n_arrays, const char *path, uint64_t *hash)
{
    fsm_file_tensors list = {0};
    gather_buffers buffers = {0};
    fsm_safetensors_writer *writer = NULL;
    fsmoe_status status = fsm_file_tensors_list(params, topo->ep, arrays, n_arrays, &list), written = FSMOE_OK;
    if (status == FSMOE_OK) status = take_buffers(&list, world, &buffers);
    if (status == FSMOE_OK && world->rank == 0) status = open_writer(&list, path, &writer);
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    for (size_t i = 0; i < list.count; i++)
        FSM_TRY_GOTO(status, write_tensor(&list.items[i], topo, world, &buffers, writer, &written), done);
    if (world->rank == 0) {
        fsmoe_status finished = fsm_safetensors_writer_finish(writer, hash);
        writer = NULL;
        if (written == FSMOE_OK) written = finished;
    }
    status = fsm_comm_agree(world, written);
done:
    fsm_safetensors_writer_abort(writer);
    free(buffers.mine);
    free(buffers.blocks);
    free(buffers.piece);
    free(buffers.counts);
    fsm_file_tensors_destroy(&list);
    return status;
}

/* ---- reading ---- */

/* Another rank's expert: only its presence and shape are checked. */
static fsmoe_status check_tensor(const fsm_safetensors *file, const fsm_file_tensor *t, const int64_t *shape)
{
    float nothing;
    return fsm_safetensors_read_block(file, t->name, t->param->spec.rank, shape, 0, 0, 0, 0, &nothing, 0);
}

static fsmoe_status read_tensor(const fsm_safetensors *file, const fsm_file_tensor *t, const char *path, float *piece)
{
    const fsm_param *p = t->param;
    const fsm_ops *ops = t->array->ops;
    int64_t shape[2], local = p->experts > 0 ? t->expert - p->first_expert : 0;
    int64_t most = rows_a_piece(p->cols, READ_PIECE_BYTES);
    fsm_param_shape(p, shape);
    if (local < 0 || (p->experts > 0 && local >= p->experts)) return check_tensor(file, t, shape);
    for (int64_t row = 0; row < p->rows; row += most) {
        int64_t rows = least(most, p->rows - row), at = p->offset + local * p->expert_stride + row * p->cols;
        FSM_TRY(fsm_safetensors_read_block(file, t->name, p->spec.rank, shape, p->row0 + row, rows, p->col0, p->cols,
                                           piece, p->cols));
        fsmoe_status status = fsm_param_check_finite(p, t->name, piece, row, rows);
        if (status != FSMOE_OK) return fsm_fail_within(status, "'%s'", path);
        ops->write(ops, sizeof *piece * (size_t)(rows * p->cols), piece, fsm_real_at(t->array->elems, at));
    }
    fsm_safetensors_forget(file);
    return FSMOE_OK;
}

/* Room for the largest piece that is read. */
static float *new_piece(const fsm_params *params)
{
    int64_t most = 0;
    for (int i = 0; i < params->count; i++) {
        int64_t elems = params->items[i].cols * rows_a_piece(params->items[i].cols, READ_PIECE_BYTES);
        if (elems > most) most = elems;
    }
    return malloc(sizeof(float) * (size_t)(most + 1));
}

fsmoe_status fsm_model_read(const fsm_params *params, const fsmoe_config *config, const fsm_named_array *arrays,
                            int n_arrays, const char *path)
{
    fsm_file_tensors list = {0};
    fsm_safetensors *file = NULL;
    float *piece = new_piece(params);
    int ep = 1;
    fsmoe_status status = piece ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", path);
    for (int i = 0; i < params->count; i++)
        if (params->items[i].experts > 0) ep = (int)(config->moe.num_experts / params->items[i].experts);
    FSM_TRY_GOTO(status, status, done);
    FSM_TRY_GOTO(status, fsm_safetensors_open(path, &file), done);
    FSM_TRY_GOTO(status, fsm_file_tensors_list(params, ep, arrays, n_arrays, &list), done);
    for (size_t i = 0; i < list.count; i++) FSM_TRY_GOTO(status, read_tensor(file, &list.items[i], path, piece), done);
    status = fsm_file_tensors_check_no_other(file, config, &list, path);
done:
    fsm_safetensors_close(file);
    free(piece);
    fsm_file_tensors_destroy(&list);
    return status;
}
