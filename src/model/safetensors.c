#include "model/safetensors.h"

#include "base/file.h"
#include "base/json.h"
#include "model/safetensors_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct fsm_safetensors {
    char *path; /* as given to open, for messages */
    fsm_safetensors_shard *shards;
    size_t shard_count;
    fsm_tensor_list tensors; /* sorted by name */
};

static int by_name(const void *left, const void *right)
{
    return strcmp(((const fsm_tensor_info *)left)->name, ((const fsm_tensor_info *)right)->name);
}

static fsmoe_status out_of_memory(const char *path)
{
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to open '%s'", path);
}

static void sort_by_name(fsm_tensor_list *tensors)
{
    if (tensors->count > 0) qsort(tensors->items, tensors->count, sizeof *tensors->items, by_name);
}

static fsmoe_status open_single(fsm_safetensors *file, const char *path)
{
    file->shards = calloc(1, sizeof *file->shards);
    if (!file->shards) return out_of_memory(path);
    file->shard_count = 1;
    FSM_TRY(fsm_safetensors_shard_open(path, &file->shards[0], &file->tensors));
    sort_by_name(&file->tensors);
    return FSMOE_OK;
}

/* Keeps the tensors from `first` on that the map assigns to `shard_name`; one the map has elsewhere is left out. */
static fsmoe_status keep_mapped(fsm_safetensors *file, size_t first, const char *shard_name, const json_t *weight_map)
{
    fsm_tensor_list *tensors = &file->tensors;
    size_t kept = first;
    for (size_t i = first; i < tensors->count; i++) {
        const char *name = tensors->items[i].name;
        const char *home = json_string_value(json_object_get(weight_map, name));
        if (!home)
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the index does not list tensor '%s' of '%s'", file->path, name,
                            shard_name);
        if (strcmp(home, shard_name) == 0) tensors->items[kept++] = tensors->items[i];
    }
    tensors->count = kept;
    return FSMOE_OK;
}

static fsmoe_status open_shard(fsm_safetensors *file, const char *shard_name, const json_t *weight_map)
{
    if (strchr(shard_name, '/'))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the index names the shard '%s' outside of the folder", file->path,
                        shard_name);
    char *path = fsm_file_join(file->path, shard_name);
    if (!path) return out_of_memory(file->path);
    size_t first = file->tensors.count;
    fsmoe_status status = fsm_safetensors_shard_open(path, &file->shards[file->shard_count++], &file->tensors);
    free(path);
    return status == FSMOE_OK ? keep_mapped(file, first, shard_name, weight_map) : status;
}

/* The set of shard names, as the keys of an object. */
static fsmoe_status shard_names(const char *index_path, json_t *weight_map, json_t **names)
{
    if (!json_is_object(weight_map)) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' has no weight_map", index_path);
    *names = json_object();
    const char *tensor;
    json_t *value;
    json_object_foreach(weight_map, tensor, value)
    {
        if (!json_is_string(value))
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': weight_map has no file for tensor '%s'", index_path, tensor);
        if (json_object_set(*names, json_string_value(value), json_true()) != 0) return out_of_memory(index_path);
    }
    return FSMOE_OK;
}

static fsmoe_status check_all_found(const fsm_safetensors *file, json_t *weight_map)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(weight_map, tensor, value)
    {
        if (!fsm_safetensors_find(file, tensor))
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the index places tensor '%s' in '%s', which does not have it",
                            file->path, tensor, json_string_value(value));
    }
    return FSMOE_OK;
}

static fsmoe_status open_sharded(fsm_safetensors *file, const char *index_path)
{
    json_t *index, *names = NULL;
    FSM_TRY(fsm_json_read(index_path, &index));
    json_t *weight_map = json_object_get(index, "weight_map");
    fsmoe_status status;
    FSM_TRY_GOTO(status, shard_names(index_path, weight_map, &names), done);
    file->shards = calloc(json_object_size(names) + 1, sizeof *file->shards);
    if (!file->shards) {
        status = out_of_memory(file->path);
        goto done;
    }
    const char *name;
    json_t *unused;
    json_object_foreach(names, name, unused) FSM_TRY_GOTO(status, open_shard(file, name, weight_map), done);
    sort_by_name(&file->tensors);
    status = check_all_found(file, weight_map);
done:
    json_decref(names);
    json_decref(index);
    return status;
}

static fsmoe_status open_folder(fsm_safetensors *file, const char *folder)
{
    char *single = fsm_file_join(folder, "model.safetensors");
    char *index = fsm_file_join(folder, "model.safetensors.index.json");
    fsmoe_status status;
    if (!single || !index) status = out_of_memory(folder);
    else if (fsm_file_exists(single)) status = open_single(file, single);
    else if (fsm_file_exists(index)) status = open_sharded(file, index);
    else status = fsm_fail(FSMOE_ERROR_IO, "'%s' has no model.safetensors and no model.safetensors.index.json", folder);
    free(index);
    free(single);
    return status;
}

fsmoe_status fsm_safetensors_open(const char *path, fsm_safetensors **out)
{
    struct stat entry;
    fsm_safetensors *file = calloc(1, sizeof *file);
    *out = NULL;
    if (!file || !(file->path = strdup(path))) {
        free(file);
        return out_of_memory(path);
    }
    bool is_folder = stat(path, &entry) == 0 && S_ISDIR(entry.st_mode);
    fsmoe_status status = is_folder ? open_folder(file, path) : open_single(file, path);
    if (status != FSMOE_OK) {
        fsm_safetensors_close(file);
        return status;
    }
    *out = file;
    return FSMOE_OK;
}

void fsm_safetensors_close(fsm_safetensors *file)
{
    if (!file) return;
    free(file->tensors.items);
    for (size_t i = 0; i < file->shard_count; i++) fsm_safetensors_shard_close(&file->shards[i]);
    free(file->shards);
    free(file->path);
    free(file);
}

void fsm_safetensors_forget(const fsm_safetensors *file)
{
    for (size_t i = 0; i < file->shard_count; i++)
        fsm_file_map_forget(&file->shards[i].map, 0, file->shards[i].map.size);
}

size_t fsm_safetensors_count(const fsm_safetensors *file)
{
    return file->tensors.count;
}

const char *fsm_safetensors_name(const fsm_safetensors *file, size_t i)
{
    return i < file->tensors.count ? file->tensors.items[i].name : NULL;
}

const fsm_tensor_info *fsm_safetensors_find(const fsm_safetensors *file, const char *name)
{
    fsm_tensor_info wanted = {.name = name};
    if (file->tensors.count == 0) return NULL;
    return bsearch(&wanted, file->tensors.items, file->tensors.count, sizeof wanted, by_name);
}

const char *fsm_safetensors_metadata(const fsm_safetensors *file, const char *key)
{
    const char *value = NULL;
    for (size_t i = 0; i < file->shard_count && !value; i++)
        value = json_string_value(json_object_get(json_object_get(file->shards[i].header, "__metadata__"), key));
    return value;
}

/* "[4, 8]", cut short with the buffer. */
static const char *shape_text(int rank, const int64_t *shape, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i > 0 ? ", " : "", shape[i]);
    if (used < size) snprintf(text + used, size - used, "]");
    return text;
}

static fsmoe_status find_of_shape(const fsm_safetensors *file, const char *name, int rank, const int64_t *shape,
                                  const fsm_tensor_info **info)
{
    char found[256], wanted[256];
    *info = fsm_safetensors_find(file, name);
    shape_text(rank, shape, wanted, sizeof wanted);
    if (!*info)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' has no tensor '%s' (wanted of shape %s)", file->path, name, wanted);
    bool same = (*info)->rank == rank;
    for (int i = 0; same && i < rank; i++) same = (*info)->shape[i] == shape[i];
    if (!same)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tensor '%s' has shape %s, wanted %s", file->path, name,
                        shape_text((*info)->rank, (*info)->shape, found, sizeof found), wanted);
    return FSMOE_OK;
}

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE 754 binary16; every value of it is a float32. */
static float from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 1023u;
    if (exponent == 0) return (sign ? -0x1.0p-24f : 0x1.0p-24f) * (float)fraction;
    if (exponent == 31) return from_bits(sign | 0x7f800000u | fraction << 13);
    return from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

/* One row of `count` elements at `from`, which need not be aligned. */
static void convert_row(fsm_dtype dtype, const char *from, int64_t count, float *out)
{
    uint16_t half;
    if (dtype == FSM_DTYPE_F32) {
        memcpy(out, from, (size_t)count * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        memcpy(&half, from + 2 * i, sizeof half);
        out[i] = dtype == FSM_DTYPE_BF16 ? from_bits((uint32_t)half << 16) : from_f16(half);
    }
}

fsmoe_status fsm_safetensors_read_block(const fsm_safetensors *file, const char *name, int rank, const int64_t *shape,
                                        int64_t row0, int64_t rows, int64_t col0, int64_t cols, float *out, int64_t ld)
{
    const fsm_tensor_info *info;
    FSM_TRY(find_of_shape(file, name, rank, shape, &info));
    if (info->dtype != FSM_DTYPE_F32 && info->dtype != FSM_DTYPE_BF16 && info->dtype != FSM_DTYPE_F16)
        return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': tensor '%s' is %s, only F32, BF16 and F16 are read as numbers",
                        file->path, name, fsm_dtype_name(info->dtype));
    int64_t width = rank > 0 ? shape[rank - 1] : 1, height = 1;
    for (int i = 0; i < rank - 1; i++) height *= shape[i];
    if (row0 < 0 || rows < 0 || row0 > height - rows || col0 < 0 || cols < 0 || col0 > width - cols || ld < cols)
        return fsm_fail(FSMOE_ERROR_INTERNAL,
                        "rows %" PRId64 "+%" PRId64 ", columns %" PRId64 "+%" PRId64 " lie outside of tensor '%s'",
                        row0, rows, col0, cols, name);
    if (cols == 0) return FSMOE_OK;
    size_t element = fsm_dtype_bytes(info->dtype);
    for (int64_t i = 0; i < rows; i++) {
        const char *from = (const char *)info->data + (size_t)((row0 + i) * width + col0) * element;
        convert_row(info->dtype, from, cols, out + i * ld);
    }
    return FSMOE_OK;
}
