#define XXH_INLINE_ALL
#include "tokens/token_file.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

static const char MAGIC[8] = {'F', 'S', 'M', 'O', 'E', 'T', 'O', 'K'};

enum {
    AT_VERSION = 8,
    AT_ID_BYTES = 12,
    AT_VOCAB = 16,
    AT_COUNT = 24,
    AT_PAYLOAD_HASH = 32,
    AT_FINGERPRINT = 40,
    AT_NAME = 48,
    AT_HEADER_HASH = 120,
};

_Static_assert(AT_NAME + FSM_TOKEN_FILE_NAME_BYTES == AT_HEADER_HASH, "the name ends where the checksum begins");

static void put_u32(char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static void put_u64(char *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static uint32_t get_u32(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static uint64_t get_u64(const char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

fsm_token_header fsm_token_header_of(const fsmoe_tokenizer *tokenizer)
{
    fsm_token_header header = {
        .id_bytes = tokenizer->vocab.size <= 1 << 16 ? 2 : 4,
        .vocab_size = (uint64_t)tokenizer->vocab.size,
        .fingerprint = tokenizer->fingerprint,
    };
    memcpy(header.tokenizer, tokenizer->name, strnlen(tokenizer->name, FSM_TOKEN_FILE_NAME_BYTES));
    return header;
}

void fsm_token_header_pack(const fsm_token_header *header, char bytes[FSM_TOKEN_FILE_HEADER_BYTES])
{
    memcpy(bytes, MAGIC, sizeof MAGIC);
    put_u32(bytes + AT_VERSION, FSM_TOKEN_FILE_VERSION);
    put_u32(bytes + AT_ID_BYTES, header->id_bytes);
    put_u64(bytes + AT_VOCAB, header->vocab_size);
    put_u64(bytes + AT_COUNT, header->count);
    put_u64(bytes + AT_PAYLOAD_HASH, header->payload_hash);
    put_u64(bytes + AT_FINGERPRINT, header->fingerprint);
    memcpy(bytes + AT_NAME, header->tokenizer, FSM_TOKEN_FILE_NAME_BYTES);
    put_u64(bytes + AT_HEADER_HASH, XXH3_64bits(bytes, AT_HEADER_HASH));
}

bool fsm_token_file_is(const fsm_file_map *map)
{
    return map->size >= sizeof MAGIC && memcmp(map->bytes, MAGIC, sizeof MAGIC) == 0;
}

static fsmoe_status unpack_header(const fsm_file_map *map, const char *path, fsm_token_header *header)
{
    const char *bytes = map->bytes;
    if (!fsm_token_file_is(map))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is no .tokens file: it does not start with %.8s", path, MAGIC);
    if (map->size < FSM_TOKEN_FILE_HEADER_BYTES)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is truncated: %zu bytes are less than a header", path, map->size);
    if (get_u32(bytes + AT_VERSION) != FSM_TOKEN_FILE_VERSION)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is of version %" PRIu32 " of the .tokens format, only %d can be read",
                        path, get_u32(bytes + AT_VERSION), FSM_TOKEN_FILE_VERSION);
    if (get_u64(bytes + AT_HEADER_HASH) != XXH3_64bits(bytes, AT_HEADER_HASH))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the header does not match its checksum", path);
    *header = (fsm_token_header){
        .id_bytes = get_u32(bytes + AT_ID_BYTES),
        .vocab_size = get_u64(bytes + AT_VOCAB),
        .count = get_u64(bytes + AT_COUNT),
        .payload_hash = get_u64(bytes + AT_PAYLOAD_HASH),
        .fingerprint = get_u64(bytes + AT_FINGERPRINT),
    };
    memcpy(header->tokenizer, bytes + AT_NAME, FSM_TOKEN_FILE_NAME_BYTES);
    if (header->id_bytes != 2 && header->id_bytes != 4)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' has %" PRIu32 " bytes per id, neither 2 nor 4", path,
                        header->id_bytes);
    return FSMOE_OK;
}

static fsmoe_status check_size(const fsm_file_map *map, const fsm_token_header *header, const char *path)
{
    size_t payload = map->size - FSM_TOKEN_FILE_HEADER_BYTES;
    if (header->count == 0) return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' holds no token", path);
    if (header->count > payload / header->id_bytes)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is truncated: it holds %zu of %" PRIu64 " ids", path,
                        payload / header->id_bytes, header->count);
    if (header->count * header->id_bytes != payload)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' has %zu bytes after its last id", path,
                        payload - (size_t)header->count * header->id_bytes);
    return FSMOE_OK;
}

static fsmoe_status check_tokenizer(const fsm_token_header *header, const fsmoe_tokenizer *tokenizer, const char *path)
{
    if (header->vocab_size > (uint64_t)tokenizer->vocab.size)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' was made with tokenizer '%s' of %" PRIu64 " ids; '%s' has only %d",
                        path, header->tokenizer, header->vocab_size, tokenizer->name, (int)tokenizer->vocab.size);
    if (header->fingerprint != tokenizer->fingerprint)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' was made with tokenizer '%s', which gives other ids than '%s'", path,
                        header->tokenizer, tokenizer->name);
    return FSMOE_OK;
}

static fsmoe_status check_ids(const char *payload, const fsm_token_header *header, const char *path)
{
    enum { PIECE = 4096 };
    int32_t ids[PIECE];
    for (uint64_t first = 0; first < header->count; first += PIECE) {
        size_t n = header->count - first < PIECE ? (size_t)(header->count - first) : PIECE;
        fsm_token_ids_unpack(payload + first * header->id_bytes, header->id_bytes, n, ids);
        for (size_t i = 0; i < n; i++)
            if ((uint32_t)ids[i] >= header->vocab_size)
                return fsm_fail(FSMOE_ERROR_FORMAT,
                                "'%s': id %" PRIu32 " at position %" PRIu64 " is outside the vocabulary", path,
                                (uint32_t)ids[i], first + i);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_token_file_check(const fsm_file_map *map, const fsmoe_tokenizer *tokenizer, const char *path,
                                  fsm_token_header *header)
{
    FSM_TRY(unpack_header(map, path, header));
    FSM_TRY(check_size(map, header, path));
    FSM_TRY(check_tokenizer(header, tokenizer, path));
    const char *payload = map->bytes + FSM_TOKEN_FILE_HEADER_BYTES;
    if (XXH3_64bits(payload, (size_t)header->count * header->id_bytes) != header->payload_hash)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': the ids do not match their checksum", path);
    return check_ids(payload, header, path);
}

void fsm_token_ids_unpack(const char *packed, uint32_t id_bytes, size_t n, int32_t *ids)
{
    if (id_bytes == 2) {
        for (size_t i = 0; i < n; i++) {
            uint16_t id;
            memcpy(&id, packed + 2 * i, sizeof id);
            ids[i] = le16toh(id);
        }
    } else {
        for (size_t i = 0; i < n; i++) ids[i] = (int32_t)get_u32(packed + 4 * i);
    }
}

void fsm_token_ids_pack(const int32_t *ids, uint32_t id_bytes, size_t n, char *packed)
{
    if (id_bytes == 2) {
        for (size_t i = 0; i < n; i++) {
            uint16_t id = htole16((uint16_t)ids[i]);
            memcpy(packed + 2 * i, &id, sizeof id);
        }
    } else {
        for (size_t i = 0; i < n; i++) put_u32(packed + 4 * i, (uint32_t)ids[i]);
    }
}
