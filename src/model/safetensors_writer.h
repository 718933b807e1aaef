/* Writes a .safetensors file, one tensor after the other, so that no more than one is in memory.
 * In:  the list of tensors (names, dtypes, shapes) first, then their bytes in that order.
 * Out: the file, complete or not there at all: it grows beside the target and gets its name when
 * everything is on disk and was read back (base/output.h).
 * A failure sticks: later calls return it again, and finish removes what was written.
 */
#ifndef FSM_MODEL_SAFETENSORS_WRITER_H
#define FSM_MODEL_SAFETENSORS_WRITER_H

#include "model/safetensors.h"

typedef struct fsm_tensor_spec {
    const char *name;
    fsm_dtype dtype;
    int rank;
    int64_t shape[FSM_TENSOR_MAX_RANK];
} fsm_tensor_spec;

typedef struct fsm_metadata {
    const char *key, *value;
} fsm_metadata;

typedef struct fsm_safetensors_writer fsm_safetensors_writer;

/* Writes the header; nothing of the arguments is kept. "__metadata__" gets "format": "pt", then metadata[n_metadata].
 * ERROR_IO; ERROR_MEMORY; ERROR_INTERNAL: two tensors of one name, or a text that is not UTF-8.
 * *writer is NULL on failure. */
fsmoe_status fsm_safetensors_writer_create(const char *path, const fsm_metadata *metadata, size_t n_metadata,
                                           const fsm_tensor_spec *tensors, size_t n_tensors,
                                           fsm_safetensors_writer **writer);

/* The next bytes of the tensors: a whole tensor, or consecutive pieces of it, never of two tensors at once.
 * ERROR_IO; ERROR_INTERNAL: more than the tensor has. */
fsmoe_status fsm_safetensors_writer_append(fsm_safetensors_writer *writer, const void *data, size_t bytes);

/* Syncs the file and gives it its name; *xxh3 (may be NULL) is the XXH3-64 of all its bytes. The writer is freed in
 * any case. The first error of any append; ERROR_INTERNAL: a tensor is missing; ERROR_IO. */
fsmoe_status fsm_safetensors_writer_finish(fsm_safetensors_writer *writer, uint64_t *xxh3);

/* Removes what was written and frees the writer; a file that had the name before stays. NULL is fine. */
void fsm_safetensors_writer_abort(fsm_safetensors_writer *writer);

#endif
