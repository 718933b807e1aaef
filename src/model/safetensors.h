/* Reads tensors from .safetensors files (https://github.com/huggingface/safetensors, "Format").
 * In:  one .safetensors file, or a folder that holds model.safetensors or model.safetensors.index.json and its shards.
 * Out: the list of tensors, and blocks of them as float32.
 * Files are mapped, so only what is read is loaded. The header is checked whole before any tensor is handed out:
 * lengths, bounds, order, dtypes, shapes, and that every byte of the file belongs to exactly one tensor.
 */
#ifndef FSM_MODEL_SAFETENSORS_H
#define FSM_MODEL_SAFETENSORS_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* X(name as in the file, bytes an element) */
#define FSM_DTYPE_LIST(X) \
    X(BOOL, 1)            \
    X(U8, 1)              \
    X(I8, 1)              \
    X(F8_E5M2, 1)         \
    X(F8_E4M3, 1)         \
    X(I16, 2)             \
    X(U16, 2)             \
    X(F16, 2)             \
    X(BF16, 2)            \
    X(I32, 4)             \
    X(U32, 4)             \
    X(F32, 4)             \
    X(I64, 8)             \
    X(U64, 8)             \
    X(F64, 8)

typedef enum fsm_dtype {
#define FSM_DTYPE_ENUM(name, bytes) FSM_DTYPE_##name,
    FSM_DTYPE_LIST(FSM_DTYPE_ENUM)
#undef FSM_DTYPE_ENUM
        FSM_DTYPE_COUNT
} fsm_dtype;

const char *fsm_dtype_name(fsm_dtype dtype);
size_t fsm_dtype_bytes(fsm_dtype dtype);

enum { FSM_TENSOR_MAX_RANK = 8 };

typedef struct fsm_tensor_info {
    const char *name;
    fsm_dtype dtype;
    int rank; /* 0: a scalar */
    int64_t shape[FSM_TENSOR_MAX_RANK];
    size_t bytes;
    const void *data; /* the raw elements, row-major and little-endian; not aligned, so copy them out */
} fsm_tensor_info;

typedef struct fsm_safetensors fsm_safetensors;

/* Maps and checks everything. ERROR_IO: cannot read; ERROR_FORMAT: malformed, the message names file and tensor;
 * ERROR_UNSUPPORTED: a dtype or rank this reader does not know; ERROR_MEMORY. Close with fsm_safetensors_close. */
fsmoe_status fsm_safetensors_open(const char *path, fsm_safetensors **file);
/* What has been read counts as this process's memory no longer. */
void fsm_safetensors_forget(const fsm_safetensors *file);

void fsm_safetensors_close(fsm_safetensors *file);

/* Tensors are numbered 0 … count-1 by rising name. What is returned lives until the file is closed. */
size_t fsm_safetensors_count(const fsm_safetensors *file);
const char *fsm_safetensors_name(const fsm_safetensors *file, size_t i);
const fsm_tensor_info *fsm_safetensors_find(const fsm_safetensors *file, const char *name); /* NULL: no such tensor */

/* The text that "__metadata__" holds for a key (the first shard's that has it), or NULL. */
const char *fsm_safetensors_metadata(const fsm_safetensors *file, const char *key);

/* Copies rows row0 … row0+rows-1 and columns col0 … col0+cols-1 of an F32, BF16 or F16 tensor to out [rows, cols],
 * float32, rows `ld` elements apart. The tensor must have exactly shape[rank]; it is seen as a matrix whose columns are
 * its last dimension (a vector is one row, a scalar one element) and whose rows are all others.
 * ERROR_FORMAT: no such tensor, or another shape (the message has both); ERROR_UNSUPPORTED: another dtype;
 * ERROR_INTERNAL: the block lies outside of the tensor. */
fsmoe_status fsm_safetensors_read_block(const fsm_safetensors *file, const char *name, int rank, const int64_t *shape,
                                        int64_t row0, int64_t rows, int64_t col0, int64_t cols, float *out, int64_t ld);

#endif
