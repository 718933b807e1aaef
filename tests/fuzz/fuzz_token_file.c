/* .tokens files. The first byte says which checksums are put right, so that what lies behind them is reached. Ids are
 * those of the file, inside the vocabulary, and the same by either way of reading. */
#define XXH_INLINE_ALL
#include "fuzz.h"
#include "tokens/input.h"
#include "tokens/token_file.h"

#include <fsmoe/tokens.h>
#include <xxhash.h>

enum { AT_PAYLOAD_HASH = 32, AT_FINGERPRINT = 40, AT_HEADER_HASH = 120 };

static void put(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof value); /* little-endian, as everything here runs on */
}

static void put_right(uint8_t *bytes, size_t size, uint8_t which, const fsmoe_tokenizer *tokenizer)
{
    enum { HEADER = FSM_TOKEN_FILE_HEADER_BYTES };
    if (size < HEADER) return;
    if (which & 1) put(bytes + AT_PAYLOAD_HASH, XXH3_64bits(bytes + HEADER, size - HEADER));
    if (which & 2) put(bytes + AT_FINGERPRINT, tokenizer->fingerprint);
    if (which & 4) put(bytes + AT_HEADER_HASH, XXH3_64bits(bytes, AT_HEADER_HASH));
}

/* The id at place i of the file, taken from its bytes. */
static int32_t id_at(const uint8_t *file, int64_t i)
{
    enum { AT_ID_BYTES = 12 };
    uint32_t id = 0;
    memcpy(&id, file + FSM_TOKEN_FILE_HEADER_BYTES + i * file[AT_ID_BYTES], file[AT_ID_BYTES]);
    return (int32_t)id;
}

static void claim_same(const char *path, const uint8_t *file, fsmoe_tokenizer *tokenizer, const fsmoe_tokens *tokens)
{
    fsm_ids ids = {0};
    int64_t count = fsmoe_tokens_count(tokens), n_bytes;
    int32_t *copy = malloc(sizeof *copy * (size_t)count);
    FUZZ_CLAIM(copy && fsmoe_tokens_copy(tokens, 0, count, copy) == FSMOE_OK);
    FUZZ_CLAIM(fsmoe_tokens_copy(tokens, 1, count, copy) != FSMOE_OK);
    FUZZ_CLAIM(fsmoe_tokens_bytes(tokens, 0, count, &n_bytes) == FSMOE_OK && n_bytes == count);
    for (int64_t i = 0; i < count; i++) FUZZ_CLAIM(copy[i] >= 0 && copy[i] < 256 && copy[i] == id_at(file, i));
    FUZZ_CLAIM(fsm_input_read(path, tokenizer, &ids) == FSMOE_OK && (int64_t)ids.count == count);
    FUZZ_CLAIM(memcmp(ids.items, copy, sizeof *copy * (size_t)count) == 0);
    fsm_ids_destroy(&ids);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fsmoe_tokenizer *tokenizer;
    fsmoe_tokens *tokens;
    if (!tokenizer) FUZZ_CLAIM(fsmoe_tokenizer_create("bytes", &tokenizer) == FSMOE_OK);
    uint8_t which = fuzz_take(&data, &size), *bytes = malloc(size + 1);
    FUZZ_CLAIM(bytes);
    memcpy(bytes, data, size);
    put_right(bytes, size, which, tokenizer);
    const char *path = fuzz_file_in_folder("fuzz.tokens", bytes, size);
    if (fsmoe_tokens_open(&path, 1, tokenizer, &tokens) == FSMOE_OK) {
        claim_same(path, bytes, tokenizer, tokens);
        fsmoe_tokens_close(tokens);
    }
    free(bytes);
    return 0;
}
