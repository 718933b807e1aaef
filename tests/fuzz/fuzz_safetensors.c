/* Safetensors files: every byte of the data is of exactly one tensor, and every block of a tensor can be read. */
#include "json_mutator.h"
#include "model/safetensors.h"

/* The mutator wants the JSON, so an input is the header without its length, then, behind the first 0xFF, the data; with
 * a first byte '!' it is the file as it stands. */
static const char *as_file(const uint8_t *data, size_t size)
{
    const uint8_t *second;
    size_t second_size;
    if (size > 0 && data[0] == '!') return fuzz_file(0, data + 1, size - 1);
    uint64_t header_bytes = fuzz_cut(data, size, &second, &second_size);
    char *bytes = malloc(8 + header_bytes + second_size);
    FUZZ_CLAIM(bytes);
    memcpy(bytes, &header_bytes, 8);
    memcpy(bytes + 8, data, header_bytes);
    if (second_size) memcpy(bytes + 8 + header_bytes, second, second_size);
    const char *path = fuzz_file(0, bytes, 8 + header_bytes + second_size);
    free(bytes);
    return path;
}

/* The whole tensor, then each of its rows: the same floats. */
static void read_blocks(const fsm_safetensors *file, const fsm_tensor_info *info)
{
    bool is_number = info->dtype == FSM_DTYPE_F32 || info->dtype == FSM_DTYPE_BF16 || info->dtype == FSM_DTYPE_F16;
    int64_t cols = info->rank > 0 ? info->shape[info->rank - 1] : 1, rows = 1;
    for (int i = 0; i + 1 < info->rank; i++) rows *= info->shape[i];
    size_t elems = info->bytes / fsm_dtype_bytes(info->dtype);
    float *whole = malloc(sizeof *whole * (elems + 1)), *row = malloc(sizeof *row * (elems + 1));
    FUZZ_CLAIM(whole && row && elems <= info->bytes);
    fsmoe_status status =
        fsm_safetensors_read_block(file, info->name, info->rank, info->shape, 0, rows, 0, cols, whole, cols);
    FUZZ_CLAIM(status == (is_number ? FSMOE_OK : FSMOE_ERROR_UNSUPPORTED));
    for (int64_t r = 0; is_number && r < rows && r < 16 && cols > 0; r++) {
        FUZZ_CLAIM(fsm_safetensors_read_block(file, info->name, info->rank, info->shape, r, 1, cols / 2,
                                              cols - cols / 2, row, cols) == FSMOE_OK);
        FUZZ_CLAIM(memcmp(row, whole + r * cols + cols / 2, sizeof *row * (size_t)(cols - cols / 2)) == 0);
    }
    FUZZ_CLAIM(fsm_safetensors_read_block(file, info->name, info->rank, info->shape, rows, 1, 0, cols, row, cols) !=
               FSMOE_OK);
    free(row);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_safetensors *file;
    size_t bytes = 0;
    if (fsm_safetensors_open(as_file(data, size), &file) != FSMOE_OK) return 0;
    for (size_t i = 0; i < fsm_safetensors_count(file); i++) {
        const fsm_tensor_info *info = fsm_safetensors_find(file, fsm_safetensors_name(file, i));
        FUZZ_CLAIM(info && (i == 0 || strcmp(fsm_safetensors_name(file, i - 1), info->name) < 0));
        bytes += info->bytes;
        read_blocks(file, info);
    }
    FUZZ_CLAIM(bytes < size);
    fsm_safetensors_metadata(file, "format");
    fsm_safetensors_close(file);
    return 0;
}
