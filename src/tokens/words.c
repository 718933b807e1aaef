#define XXH_INLINE_ALL
#include "tokens/words.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { N_SLOTS = 1 << 16 };

_Static_assert(sizeof(fsm_word) == 64, "a word fills one cache line");

fsmoe_status fsm_words_create(fsm_words *words)
{
    words->slots = aligned_alloc(sizeof(fsm_word), N_SLOTS * sizeof(fsm_word));
    if (!words->slots) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a cache of words");
    memset(words->slots, 0, N_SLOTS * sizeof(fsm_word));
    return FSMOE_OK;
}

void fsm_words_destroy(fsm_words *words)
{
    free(words->slots);
    words->slots = NULL;
}

static fsm_word *slot_of(const fsm_words *words, const char *bytes, size_t size)
{
    return &words->slots[XXH3_64bits(bytes, size) % N_SLOTS];
}

size_t fsm_words_get(const fsm_words *words, const char *bytes, size_t size, int32_t *ids)
{
    if (size > FSM_WORD_BYTES) return 0;
    const fsm_word *word = slot_of(words, bytes, size);
    if (word->size != size || memcmp(word->bytes, bytes, size) != 0) return 0;
    memcpy(ids, word->ids, word->count * sizeof *ids);
    return word->count;
}

void fsm_words_put(fsm_words *words, const char *bytes, size_t size, const int32_t *ids, size_t count)
{
    if (size > FSM_WORD_BYTES || count > FSM_WORD_IDS) return;
    fsm_word *word = slot_of(words, bytes, size);
    word->size = (uint8_t)size;
    word->count = (uint8_t)count;
    memcpy(word->bytes, bytes, size);
    memcpy(word->ids, ids, count * sizeof *ids);
}
