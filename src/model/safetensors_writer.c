#include "model/safetensors_writer.h"

#include "base/json.h"
#include "base/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { HEADER_ALIGNMENT = 8 };

struct fsm_safetensors_writer {
    char *path;
    fsm_output output;
    bool begun;
    XXH3_state_t *hash;
    json_t *header;     /* owns the tensors' names */
    const char **names; /* [count] */
    size_t *left;       /* [count] bytes not yet appended */
    size_t count, current, written;
    fsmoe_status status; /* the first failure … */
    char *cause;         /* … and its sentence */
};

/* Remembers a failure; every later call returns it. */
static fsmoe_status stick(fsm_safetensors_writer *writer, fsmoe_status status)
{
    writer->status = status;
    if (!writer->cause) writer->cause = strdup(fsmoe_last_error());
    return status;
}

static fsmoe_status out_of_memory(const char *path)
{
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", path);
}

static fsmoe_status put(fsm_safetensors_writer *writer, const void *data, size_t bytes)
{
    if (bytes == 0) return FSMOE_OK;
    FSM_TRY(fsm_output_write(&writer->output, data, bytes));
    XXH3_64bits_update(writer->hash, data, bytes);
    writer->written += bytes;
    return FSMOE_OK;
}

static json_t *metadata_object(const fsm_metadata *metadata, size_t count, bool *failed)
{
    json_t *object = json_object();
    fsm_json_set(object, "format", json_string("pt"), failed);
    for (size_t i = 0; i < count; i++) fsm_json_set(object, metadata[i].key, json_string(metadata[i].value), failed);
    return object;
}

/* {"dtype": …, "shape": […], "data_offsets": [begin, end]} */
static json_t *tensor_object(const fsm_tensor_spec *tensor, size_t begin, size_t bytes, bool *failed)
{
    json_t *object = json_object(), *shape = json_array(), *offsets = json_array();
    for (int i = 0; i < tensor->rank; i++) fsm_json_append(shape, json_integer(tensor->shape[i]), failed);
    fsm_json_append(offsets, json_integer((json_int_t)begin), failed);
    fsm_json_append(offsets, json_integer((json_int_t)(begin + bytes)), failed);
    fsm_json_set(object, "dtype", json_string(fsm_dtype_name(tensor->dtype)), failed);
    fsm_json_set(object, "shape", shape, failed);
    fsm_json_set(object, "data_offsets", offsets, failed);
    return object;
}

static size_t tensor_bytes(const fsm_tensor_spec *tensor)
{
    size_t bytes = fsm_dtype_bytes(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++) bytes *= (size_t)tensor->shape[i];
    return bytes;
}

/* Fills header, names and left. */
static fsmoe_status describe(fsm_safetensors_writer *writer, const fsm_metadata *metadata, size_t n_metadata,
                             const fsm_tensor_spec *tensors, size_t n_tensors)
{
    bool failed = false;
    writer->header = json_object();
    writer->names = calloc(n_tensors + 1, sizeof *writer->names);
    writer->left = calloc(n_tensors + 1, sizeof *writer->left);
    if (!writer->header || !writer->names || !writer->left) return out_of_memory(writer->path);
    fsm_json_set(writer->header, "__metadata__", metadata_object(metadata, n_metadata, &failed), &failed);
    if (failed) return fsm_fail(FSMOE_ERROR_INTERNAL, "'%s': the metadata is not UTF-8, or no memory", writer->path);
    size_t begin = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        const char *name = tensors[i].name;
        if (json_object_get(writer->header, name))
            return fsm_fail(FSMOE_ERROR_INTERNAL, "'%s': two tensors are named '%s'", writer->path, name);
        writer->left[i] = tensor_bytes(&tensors[i]);
        fsm_json_set(writer->header, name, tensor_object(&tensors[i], begin, writer->left[i], &failed), &failed);
        if (failed)
            return fsm_fail(FSMOE_ERROR_INTERNAL, "'%s': the tensor name '%s' is not UTF-8, or no memory", writer->path,
                            name);
        writer->names[i] = json_object_iter_key(json_object_iter_at(writer->header, name));
        begin += writer->left[i];
    }
    writer->count = n_tensors;
    return FSMOE_OK;
}

/* The length, then the JSON padded with spaces so that the data is aligned. */
static fsmoe_status put_header(fsm_safetensors_writer *writer)
{
    char *text;
    FSM_TRY(fsm_json_text(json_incref(writer->header), false, JSON_COMPACT, writer->path, &text));
    size_t bytes = strlen(text), padding = (HEADER_ALIGNMENT - bytes % HEADER_ALIGNMENT) % HEADER_ALIGNMENT;
    uint64_t length = bytes + padding;
    fsmoe_status status;
    FSM_TRY_GOTO(status, put(writer, &length, sizeof length), done);
    FSM_TRY_GOTO(status, put(writer, text, bytes), done);
    status = put(writer, "        ", padding);
done:
    free(text);
    return status;
}

static fsmoe_status start(fsm_safetensors_writer *writer, const char *path)
{
    writer->path = strdup(path);
    writer->hash = XXH3_createState();
    if (!writer->path || !writer->hash) return out_of_memory(path);
    XXH3_64bits_reset(writer->hash);
    FSM_TRY(fsm_output_begin(path, &writer->output));
    writer->begun = true;
    return FSMOE_OK;
}

fsmoe_status fsm_safetensors_writer_create(const char *path, const fsm_metadata *metadata, size_t n_metadata,
                                           const fsm_tensor_spec *tensors, size_t n_tensors,
                                           fsm_safetensors_writer **out)
{
    fsm_safetensors_writer *writer = calloc(1, sizeof *writer);
    fsmoe_status status;
    *out = NULL;
    if (!writer) return out_of_memory(path);
    FSM_TRY_GOTO(status, start(writer, path), failed);
    FSM_TRY_GOTO(status, describe(writer, metadata, n_metadata, tensors, n_tensors), failed);
    FSM_TRY_GOTO(status, put_header(writer), failed);
    *out = writer;
    return FSMOE_OK;
failed:
    fsm_safetensors_writer_abort(writer);
    return status;
}

/* Passes over tensors that have no bytes left. */
static void skip_complete(fsm_safetensors_writer *writer)
{
    while (writer->current < writer->count && writer->left[writer->current] == 0) writer->current++;
}

fsmoe_status fsm_safetensors_writer_append(fsm_safetensors_writer *writer, const void *data, size_t bytes)
{
    if (writer->status != FSMOE_OK) return fsm_fail(writer->status, "%s", writer->cause ? writer->cause : "");
    if (bytes == 0) return FSMOE_OK;
    skip_complete(writer);
    size_t at = writer->current, left = at < writer->count ? writer->left[at] : 0;
    if (bytes > left)
        return stick(writer, fsm_fail(FSMOE_ERROR_INTERNAL, "'%s': %zu bytes for tensor '%s', which lacks %zu",
                                      writer->path, bytes, at < writer->count ? writer->names[at] : "", left));
    fsmoe_status status = put(writer, data, bytes);
    if (status != FSMOE_OK) return stick(writer, status);
    writer->left[at] -= bytes;
    return FSMOE_OK;
}

/* What is on disk is what was appended. */
static fsmoe_status check(fsm_safetensors_writer *writer)
{
    uint64_t back;
    FSM_TRY(fsm_output_read_back(&writer->output, 0, writer->written, &back));
    if (back == XXH3_64bits_digest(writer->hash)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "'%s' reads back otherwise than it was written", writer->path);
}

static fsmoe_status complete(fsm_safetensors_writer *writer)
{
    if (writer->status != FSMOE_OK) return fsm_fail(writer->status, "%s", writer->cause ? writer->cause : "");
    skip_complete(writer);
    if (writer->current < writer->count)
        return fsm_fail(FSMOE_ERROR_INTERNAL, "'%s': tensor '%s' was not written", writer->path,
                        writer->names[writer->current]);
    return check(writer);
}

fsmoe_status fsm_safetensors_writer_finish(fsm_safetensors_writer *writer, uint64_t *xxh3)
{
    fsmoe_status status = fsm_output_end(&writer->output, complete(writer));
    writer->begun = false;
    if (status == FSMOE_OK && xxh3) *xxh3 = XXH3_64bits_digest(writer->hash);
    fsm_safetensors_writer_abort(writer);
    return status;
}

void fsm_safetensors_writer_abort(fsm_safetensors_writer *writer)
{
    if (!writer) return;
    if (writer->begun) fsm_output_end(&writer->output, FSMOE_ERROR_IO);
    free(writer->cause);
    free(writer->left);
    free(writer->names);
    json_decref(writer->header);
    XXH3_freeState(writer->hash);
    free(writer->path);
    free(writer);
}
