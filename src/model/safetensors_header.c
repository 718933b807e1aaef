#include "model/safetensors_header.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors files are little-endian and read as they are");

enum { LENGTH_BYTES = 8, LARGEST_HEADER_BYTES = 100000000 };

static const char *const dtype_names[] = {
#define DTYPE_NAME(name, bytes) #name,
    FSM_DTYPE_LIST(DTYPE_NAME)
#undef DTYPE_NAME
};

const char *fsm_dtype_name(fsm_dtype dtype)
{
    return dtype < FSM_DTYPE_COUNT ? dtype_names[dtype] : "?";
}

size_t fsm_dtype_bytes(fsm_dtype dtype)
{
    static const size_t bytes_of[] = {
#define DTYPE_BYTES(name, bytes) bytes,
        FSM_DTYPE_LIST(DTYPE_BYTES)
#undef DTYPE_BYTES
    };
    return dtype < FSM_DTYPE_COUNT ? bytes_of[dtype] : 0;
}

static fsmoe_status parse_dtype(const fsm_safetensors_shard *shard, const json_t *entry, fsm_tensor_info *info)
{
    const char *word = json_string_value(json_object_get(entry, "dtype"));
    if (!word) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tensor '%s' has no dtype", shard->path, info->name);
    for (int i = 0; i < FSM_DTYPE_COUNT; i++) {
        if (strcmp(word, dtype_names[i]) != 0) continue;
        info->dtype = (fsm_dtype)i;
        return FSMOE_OK;
    }
    return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': tensor '%s' has the unknown dtype '%s'", shard->path, info->name,
                    word);
}

/* Fills rank, shape and bytes. */
static fsmoe_status parse_shape(const fsm_safetensors_shard *shard, const json_t *entry, fsm_tensor_info *info)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tensor '%s' has no shape", shard->path, info->name);
    size_t rank = json_array_size(shape);
    if (rank > FSM_TENSOR_MAX_RANK)
        return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': tensor '%s' has %zu dimensions, at most %d are read",
                        shard->path, info->name, rank, FSM_TENSOR_MAX_RANK);
    info->rank = (int)rank;
    info->bytes = fsm_dtype_bytes(info->dtype);
    for (size_t i = 0; i < rank; i++) {
        const json_t *extent = json_array_get(shape, i);
        info->shape[i] = json_integer_value(extent);
        if (!json_is_integer(extent) || info->shape[i] < 0)
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': dimension %zu of tensor '%s' is not a whole number >= 0",
                            shard->path, i, info->name);
        if (__builtin_mul_overflow(info->bytes, (size_t)info->shape[i], &info->bytes))
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tensor '%s' has more elements than memory has bytes",
                            shard->path, info->name);
    }
    return FSMOE_OK;
}

/* Fills data, once dtype and shape are known. */
static fsmoe_status parse_offsets(const fsm_safetensors_shard *shard, const json_t *entry, const char *data,
                                  size_t data_bytes, fsm_tensor_info *info)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (!json_is_integer(first) || !json_is_integer(last) || json_array_size(offsets) != 2)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tensor '%s' has no data_offsets [begin, end]", shard->path,
                        info->name);
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return fsm_fail(FSMOE_ERROR_FORMAT,
                        "'%s': tensor '%s' lies at bytes [%" PRId64 ", %" PRId64 ") of data that has %zu bytes",
                        shard->path, info->name, begin, end, data_bytes);
    if ((size_t)(end - begin) != info->bytes)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tensor '%s' takes %" PRId64 " bytes, its dtype and shape take %zu",
                        shard->path, info->name, end - begin, info->bytes);
    info->data = data + begin;
    return FSMOE_OK;
}

static fsmoe_status parse_tensor(const fsm_safetensors_shard *shard, const json_t *entry, const char *data,
                                 size_t data_bytes, fsm_tensor_info *info)
{
    if (!json_is_object(entry) || json_object_size(entry) != 3)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tensor '%s' is not described by dtype, shape and data_offsets alone",
                        shard->path, info->name);
    FSM_TRY(parse_dtype(shard, entry, info));
    FSM_TRY(parse_shape(shard, entry, info));
    return parse_offsets(shard, entry, data, data_bytes, info);
}

static fsmoe_status check_metadata(const fsm_safetensors_shard *shard, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': __metadata__ is not an object", shard->path);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': '%s' of __metadata__ is not a text", shard->path, key);
    }
    return FSMOE_OK;
}

static int by_place(const void *left, const void *right)
{
    const fsm_tensor_info *a = left, *b = right;
    const char *a_data = a->data, *b_data = b->data;
    if (a_data != b_data) return a_data < b_data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* Every byte of the data belongs to exactly one tensor. Sorts the tensors. */
static fsmoe_status check_cover(const fsm_safetensors_shard *shard, const char *data, size_t data_bytes,
                                fsm_tensor_info *tensors, size_t count)
{
    const char *end = data;
    qsort(tensors, count, sizeof *tensors, by_place);
    for (size_t i = 0; i < count; i++) {
        const char *begin = tensors[i].data;
        if (begin < end)
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': tensors '%s' and '%s' overlap", shard->path, tensors[i - 1].name,
                            tensors[i].name);
        if (begin > end)
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %zu bytes before tensor '%s' belong to no tensor", shard->path,
                            (size_t)(begin - end), tensors[i].name);
        end = begin + tensors[i].bytes;
    }
    size_t left = (size_t)(data + data_bytes - end);
    if (left > 0)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': %zu trailing bytes belong to no tensor", shard->path, left);
    return FSMOE_OK;
}

/* Parses the JSON header; *data points behind it. */
static fsmoe_status load_header(fsm_safetensors_shard *shard, const char **data)
{
    const fsm_file_map *map = &shard->map;
    uint64_t header_bytes;
    if (map->size < LENGTH_BYTES)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is no safetensors file: it has %zu bytes", shard->path, map->size);
    memcpy(&header_bytes, map->bytes, LENGTH_BYTES);
    if (header_bytes > LARGEST_HEADER_BYTES || header_bytes > map->size - LENGTH_BYTES)
        return fsm_fail(FSMOE_ERROR_FORMAT,
                        "'%s' is no safetensors file or is cut short: a header of %" PRIu64
                        " bytes does not fit in its %zu bytes",
                        shard->path, header_bytes, map->size);
    json_error_t why;
    shard->header = fsm_json_decode(map->bytes + LENGTH_BYTES, (size_t)header_bytes, JSON_REJECT_DUPLICATES, &why);
    if (!shard->header && json_error_code(&why) == json_error_out_of_memory)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", shard->path);
    if (!shard->header)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the header is not sound JSON: %s", shard->path, why.text);
    if (!json_is_object(shard->header))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the header is not a JSON object", shard->path);
    *data = map->bytes + LENGTH_BYTES + header_bytes;
    return FSMOE_OK;
}

fsmoe_status fsm_safetensors_shard_open(const char *path, fsm_safetensors_shard *shard, fsm_tensor_list *tensors)
{
    *shard = (fsm_safetensors_shard){.path = strdup(path)};
    if (!shard->path) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to open '%s'", path);
    const char *data;
    FSM_TRY(fsm_file_map_open(path, &shard->map));
    FSM_TRY(load_header(shard, &data));
    size_t data_bytes = (size_t)(shard->map.bytes + shard->map.size - data);

    size_t most = tensors->count + json_object_size(shard->header) + 1;
    fsm_tensor_info *items = realloc(tensors->items, most * sizeof *items);
    if (!items) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the tensors of '%s'", path);
    tensors->items = items;

    const char *name;
    json_t *entry;
    size_t before = tensors->count;
    json_object_foreach(shard->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) {
            FSM_TRY(check_metadata(shard, entry));
            continue;
        }
        fsm_tensor_info *info = &items[tensors->count];
        *info = (fsm_tensor_info){.name = name};
        FSM_TRY(parse_tensor(shard, entry, data, data_bytes, info));
        tensors->count++;
    }
    return check_cover(shard, data, data_bytes, items + before, tensors->count - before);
}

void fsm_safetensors_shard_close(fsm_safetensors_shard *shard)
{
    json_decref(shard->header);
    fsm_file_map_close(&shard->map);
    free(shard->path);
    *shard = (fsm_safetensors_shard){0};
}
