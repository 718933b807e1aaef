#define XXH_INLINE_ALL
#include <fsmoe/tokens.h>

#include "base/output.h"
#include "tokens/input.h"
#include "tokens/token_file.h"

#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

/* A .tokens file under way. */
typedef struct token_writer {
    fsm_output output;
    fsm_token_header header;
    XXH3_state_t hash;
} token_writer;

/* The drain of the list of ids. */
static fsmoe_status write_ids(void *context, const int32_t *ids, size_t n)
{
    enum { PIECE = 4096 };
    char packed[PIECE * 4];
    token_writer *writer = context;
    for (size_t first = 0; first < n; first += PIECE) {
        size_t here = n - first < PIECE ? n - first : PIECE;
        size_t bytes = here * writer->header.id_bytes;
        fsm_token_ids_pack(ids + first, writer->header.id_bytes, here, packed);
        XXH3_64bits_update(&writer->hash, packed, bytes);
        FSM_TRY(fsm_output_write(&writer->output, packed, bytes));
    }
    writer->header.count += n;
    return FSMOE_OK;
}

static fsmoe_status write_header(token_writer *writer)
{
    char bytes[FSM_TOKEN_FILE_HEADER_BYTES];
    writer->header.payload_hash = XXH3_64bits_digest(&writer->hash);
    fsm_token_header_pack(&writer->header, bytes);
    FSM_TRY(fsm_output_rewind(&writer->output));
    return fsm_output_write(&writer->output, bytes, sizeof bytes);
}

static fsmoe_status check(token_writer *writer)
{
    char bytes[FSM_TOKEN_FILE_HEADER_BYTES];
    uint64_t head, ids;
    fsm_token_header_pack(&writer->header, bytes);
    FSM_TRY(fsm_output_read_back(&writer->output, 0, sizeof bytes, &head));
    FSM_TRY(fsm_output_read_back(&writer->output, sizeof bytes, writer->header.count * writer->header.id_bytes, &ids));
    if (head == XXH3_64bits(bytes, sizeof bytes) && ids == writer->header.payload_hash) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "'%s' reads back otherwise than it was written", writer->output.path);
}

/* The header goes first as a place holder: count and checksum are known at the end. */
static fsmoe_status write_inputs(token_writer *writer, fsmoe_tokenizer *tokenizer, const char *const *paths,
                                 size_t n_paths)
{
    fsm_ids ids = {.drain = write_ids, .context = writer};
    fsmoe_status status = write_header(writer);
    for (size_t i = 0; i < n_paths && status == FSMOE_OK; i++) status = fsm_input_read(paths[i], tokenizer, &ids);
    if (status == FSMOE_OK) status = fsm_ids_flush(&ids);
    if (status == FSMOE_OK) status = write_header(writer);
    fsm_ids_destroy(&ids);
    return status;
}

/* What stands at the path may be a text that was meant as the last input: it is not replaced. */
static fsmoe_status check_replaceable(const char *path)
{
    struct stat info;
    fsm_file_map map;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return FSMOE_OK;
    FSM_TRY(fsm_file_map_open(path, &map));
    bool ours = map.size == 0 || fsm_token_file_is(&map);
    fsm_file_map_close(&map);
    if (ours) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "'%s' is there and is no token file: remove it first, or name another to write to",
                    path);
}

fsmoe_status fsmoe_tokens_write(const char *path, fsmoe_tokenizer *tokenizer, const char *const *paths, size_t n_paths)
{
    token_writer writer = {.header = fsm_token_header_of(tokenizer)};
    if (n_paths == 0) return fsm_fail(FSMOE_ERROR_CONFIG, "no file to take tokens from");
    FSM_TRY(check_replaceable(path));
    XXH3_64bits_reset(&writer.hash);
    FSM_TRY(fsm_output_begin(path, &writer.output));
    fsmoe_status status = write_inputs(&writer, tokenizer, paths, n_paths);
    if (status == FSMOE_OK) status = check(&writer);
    return fsm_output_end(&writer.output, status);
}
