/* The vocabulary: which bytes an id stands for.
 * In:  (id, bytes) in any order, holes allowed. Out: bytes by id.
 * GPT-2's files write bytes as printable characters; fsm_vocab_put_spelled() undoes that spelling.
 */
#ifndef FSM_TOKENS_VOCAB_H
#define FSM_TOKENS_VOCAB_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { FSM_VOCAB_LARGEST_ID = (1 << 24) - 1 };

typedef struct fsm_vocab_entry {
    size_t begin; /* in text */
    size_t size;  /* bytes; 0: no token has this id */
} fsm_vocab_entry;

typedef struct fsm_vocab {
    fsm_vocab_entry *entries; /* [size] */
    int32_t size;             /* largest id + 1 */
    int32_t capacity;
    char *text; /* the bytes of all tokens */
    size_t text_size, text_capacity;
} fsm_vocab;

/* Lets `id` stand for bytes[size], whatever it stood for. ERROR_FORMAT: id out of range, no bytes; ERROR_MEMORY. */
fsmoe_status fsm_vocab_put(fsm_vocab *vocab, int64_t id, const char *bytes, size_t size);

/* The same for a token spelled in GPT-2's characters; one that has other characters too stands for itself. */
fsmoe_status fsm_vocab_put_spelled(fsm_vocab *vocab, int64_t id, const char *spelling, size_t size);

/* The UTF-8 spelling of a byte, 0-terminated. */
void fsm_vocab_spell_byte(unsigned char byte, char spelling[3]);

/* The entry of an id, NULL if it stands for nothing. */
static inline const fsm_vocab_entry *fsm_vocab_get(const fsm_vocab *vocab, int32_t id)
{
    return id >= 0 && id < vocab->size && vocab->entries[id].size > 0 ? &vocab->entries[id] : NULL;
}

void fsm_vocab_destroy(fsm_vocab *vocab);

#endif
