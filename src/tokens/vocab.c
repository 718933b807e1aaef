#include "tokens/vocab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* 188 bytes are printable in Latin-1 and spell themselves; 0-32, 127-160 and 173 follow U+00FF in that order. */
enum { N_UNPRINTABLE = 68, FIRST_GAP = 33, GAP_SHIFT = 127 - FIRST_GAP, SOFT_HYPHEN = 173 };

static bool spells_itself(unsigned byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

static unsigned code_of(unsigned byte)
{
    if (spells_itself(byte)) return byte;
    if (byte < FIRST_GAP) return 256 + byte;
    return 256 + (byte == SOFT_HYPHEN ? N_UNPRINTABLE - 1 : byte - GAP_SHIFT);
}

/* The byte that a code spells, or -1. */
static int byte_of(unsigned code)
{
    if (spells_itself(code)) return (int)code;
    if (code < 256 || code >= 256 + N_UNPRINTABLE) return -1;
    unsigned order = code - 256;
    if (order < FIRST_GAP) return (int)order;
    return order == N_UNPRINTABLE - 1 ? SOFT_HYPHEN : (int)order + GAP_SHIFT;
}

void fsm_vocab_spell_byte(unsigned char byte, char spelling[3])
{
    unsigned code = code_of(byte);
    bool ascii = code < 0x80;
    spelling[0] = (char)(ascii ? code : 0xC0 | code >> 6);
    spelling[1] = (char)(ascii ? 0 : 0x80 | (code & 0x3F));
    spelling[2] = 0;
}

static fsmoe_status make_room(fsm_vocab *vocab, int32_t id, size_t size)
{
    if (id >= vocab->capacity) {
        int32_t capacity = id + id / 2 + 256;
        fsm_vocab_entry *entries = realloc(vocab->entries, (size_t)capacity * sizeof *entries);
        if (!entries) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a vocabulary of %d tokens", (int)capacity);
        vocab->entries = entries;
        vocab->capacity = capacity;
    }
    if (vocab->text_capacity - vocab->text_size < size) {
        size_t capacity = vocab->text_capacity * 2 + size + 4096;
        char *text = realloc(vocab->text, capacity);
        if (!text) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a vocabulary of %zu bytes", capacity);
        vocab->text = text;
        vocab->text_capacity = capacity;
    }
    return FSMOE_OK;
}

fsmoe_status fsm_vocab_put(fsm_vocab *vocab, int64_t id, const char *bytes, size_t size)
{
    if (id < 0 || id > FSM_VOCAB_LARGEST_ID)
        return fsm_fail(FSMOE_ERROR_FORMAT, "token '%s' has id %lld, outside 0 to %d", bytes, (long long)id,
                        FSM_VOCAB_LARGEST_ID);
    if (size == 0) return fsm_fail(FSMOE_ERROR_FORMAT, "token %lld is empty", (long long)id);
    FSM_TRY(make_room(vocab, (int32_t)id, size));
    while (vocab->size <= id) vocab->entries[vocab->size++] = (fsm_vocab_entry){0};
    vocab->entries[id] = (fsm_vocab_entry){vocab->text_size, size};
    memcpy(vocab->text + vocab->text_size, bytes, size);
    vocab->text_size += size;
    return FSMOE_OK;
}

/* The byte that the next character spells, or -1; only one- and two-byte characters spell any. */
static int next_byte(const char *spelling, size_t size, size_t *at)
{
    unsigned first = (unsigned char)spelling[(*at)++];
    if (first < 0x80) return byte_of(first);
    if ((first & 0xE0) != 0xC0 || *at == size) return -1;
    return byte_of((first & 0x1F) << 6 | ((unsigned char)spelling[(*at)++] & 0x3F));
}

fsmoe_status fsm_vocab_put_spelled(fsm_vocab *vocab, int64_t id, const char *spelling, size_t size)
{
    FSM_TRY(fsm_vocab_put(vocab, id, spelling, size));
    /* The bytes overwrite the copy of the spelling, which is at least as long, once all of them are known. */
    for (size_t at = 0; at < size;)
        if (next_byte(spelling, size, &at) < 0) return FSMOE_OK;
    fsm_vocab_entry *entry = &vocab->entries[id];
    size_t n = 0;
    for (size_t at = 0; at < size;) vocab->text[entry->begin + n++] = (char)next_byte(spelling, size, &at);
    vocab->text_size -= size - n;
    entry->size = n;
    return FSMOE_OK;
}

void fsm_vocab_destroy(fsm_vocab *vocab)
{
    free(vocab->entries);
    free(vocab->text);
    *vocab = (fsm_vocab){0};
}
