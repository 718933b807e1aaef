/* A cache of words already encoded: text repeats few words many times.
 * In:  a word and its ids. Out: the ids, when the word was seen of late.
 * One cache line a word, direct mapped: a word evicts another of the same slot; long words are not kept.
 */
#ifndef FSM_TOKENS_WORDS_H
#define FSM_TOKENS_WORDS_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { FSM_WORD_BYTES = 30, FSM_WORD_IDS = 8 };

typedef struct fsm_word {
    uint8_t size, count; /* size 0: an empty slot */
    char bytes[FSM_WORD_BYTES];
    int32_t ids[FSM_WORD_IDS];
} fsm_word;

typedef struct fsm_words {
    fsm_word *slots;
} fsm_words;

/* ERROR_MEMORY. */
fsmoe_status fsm_words_create(fsm_words *words);
void fsm_words_destroy(fsm_words *words);

/* Copies the word's ids to `ids`, which has room for `size` of them, and returns how many; 0 if it is not here. */
size_t fsm_words_get(const fsm_words *words, const char *bytes, size_t size, int32_t *ids);
void fsm_words_put(fsm_words *words, const char *bytes, size_t size, const int32_t *ids, size_t count);

#endif
