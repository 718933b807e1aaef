#define XXH_INLINE_ALL
#include <fsmoe/tokens.h>

#include "tokens/input.h"
#include "tokens/token_file.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* A .tokens file under way. */
typedef struct token_writer {
    FILE *file;
    char *path; /* of the temporary file */
    fsm_token_header header;
    XXH3_state_t hash;
} token_writer;

static fsmoe_status write_failed(const token_writer *writer)
{
    return fsm_fail(FSMOE_ERROR_IO, "cannot write '%s': %s", writer->path, strerror(errno));
}

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
        if (fwrite(packed, 1, bytes, writer->file) != bytes) return write_failed(writer);
    }
    writer->header.count += n;
    return FSMOE_OK;
}

static fsmoe_status write_header(token_writer *writer)
{
    char bytes[FSM_TOKEN_FILE_HEADER_BYTES];
    writer->header.payload_hash = XXH3_64bits_digest(&writer->hash);
    fsm_token_header_pack(&writer->header, bytes);
    rewind(writer->file);
    return fwrite(bytes, 1, sizeof bytes, writer->file) == sizeof bytes ? FSMOE_OK : write_failed(writer);
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

static fsmoe_status sync_folder_of(const char *path)
{
    char *copy = strdup(path);
    if (!copy) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", path);
    fsmoe_status status = fsm_file_sync(dirname(copy));
    free(copy);
    return status;
}

static fsmoe_status put_in_place(const token_writer *writer, const char *path)
{
    FSM_TRY(fsm_file_sync(writer->path));
    if (rename(writer->path, path) != 0)
        return fsm_fail(FSMOE_ERROR_IO, "cannot rename '%s' to '%s': %s", writer->path, path, strerror(errno));
    return sync_folder_of(path);
}

/* What stands at the path may be a device, or a text that was meant as the last input: neither is replaced. */
static fsmoe_status check_replaceable(const char *path)
{
    struct stat info;
    fsm_file_map map;
    if (stat(path, &info) != 0) return FSMOE_OK;
    if (!S_ISREG(info.st_mode))
        return fsm_fail(FSMOE_ERROR_IO, "'%s' is no regular file, and a token file is not written to another", path);
    FSM_TRY(fsm_file_map_open(path, &map));
    bool ours = map.size == 0 || fsm_token_file_is(&map);
    fsm_file_map_close(&map);
    if (ours) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "'%s' is there and is no token file: remove it first, or name another to write to",
                    path);
}

/* Through a symbolic link, to the file it leads to; the caller frees. */
static char *end_of_links(const char *path)
{
    char *end = realpath(path, NULL);
    return end ? end : strdup(path);
}

static fsmoe_status write_file(const char *path, fsmoe_tokenizer *tokenizer, const char *const *paths, size_t n_paths)
{
    token_writer writer = {.header = fsm_token_header_of(tokenizer)};
    XXH3_64bits_reset(&writer.hash);
    size_t size = strlen(path) + sizeof ".tmp";
    writer.path = malloc(size);
    if (!writer.path) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", path);
    snprintf(writer.path, size, "%s.tmp", path);

    fsmoe_status status;
    writer.file = fopen(writer.path, "wb");
    if (!writer.file) {
        status = write_failed(&writer);
        goto done;
    }
    status = write_inputs(&writer, tokenizer, paths, n_paths);
    if (fclose(writer.file) != 0 && status == FSMOE_OK) status = write_failed(&writer);
    if (status == FSMOE_OK) status = put_in_place(&writer, path);
    if (status != FSMOE_OK) unlink(writer.path);
done:
    free(writer.path);
    return status;
}

fsmoe_status fsmoe_tokens_write(const char *path, fsmoe_tokenizer *tokenizer, const char *const *paths, size_t n_paths)
{
    if (n_paths == 0) return fsm_fail(FSMOE_ERROR_CONFIG, "no file to take tokens from");
    FSM_TRY(check_replaceable(path));
    char *to = end_of_links(path);
    if (!to) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to write '%s'", path);
    fsmoe_status status = write_file(to, tokenizer, paths, n_paths);
    free(to);
    return status;
}
