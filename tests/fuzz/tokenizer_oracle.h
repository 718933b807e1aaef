/* What must hold of a tokenizer that was loaded: any bytes survive it, those of its own tokens among them. */
#ifndef FSM_FUZZ_TOKENIZER_ORACLE_H
#define FSM_FUZZ_TOKENIZER_ORACLE_H

#include "fuzz.h"
#include "tokens/tokenizer.h"

static inline void fuzz_round_trip(fsmoe_tokenizer *tokenizer, const void *bytes, size_t size)
{
    int32_t *ids;
    size_t count, back_size;
    char *back;
    FUZZ_CLAIM(fsmoe_tokenizer_encode(tokenizer, bytes, size, &ids, &count) == FSMOE_OK);
    for (size_t i = 0; i < count; i++) FUZZ_CLAIM(ids[i] >= 0 && ids[i] < fsmoe_tokenizer_vocab_size(tokenizer));
    FUZZ_CLAIM(fsmoe_tokenizer_decode(tokenizer, ids, count, &back, &back_size) == FSMOE_OK);
    FUZZ_CLAIM(back_size == size && memcmp(back, bytes, size) == 0);
    free(back);
    free(ids);
}

/* `data` is a text as good as any; of the tokens, some. */
static inline void fuzz_check_tokenizer(fsmoe_tokenizer *tokenizer, const uint8_t *data, size_t size)
{
    char bytes[256];
    int tried = 0;
    for (int byte = 0; byte < 256; byte++) bytes[byte] = (char)byte;
    fuzz_round_trip(tokenizer, data, size);
    fuzz_round_trip(tokenizer, bytes, sizeof bytes);
    for (int32_t id = tokenizer->vocab.size - 1; id >= 0 && tried < 16; id--) {
        const fsm_vocab_entry *entry = fsm_vocab_get(&tokenizer->vocab, id);
        if (!entry) continue;
        tried++;
        fuzz_round_trip(tokenizer, tokenizer->vocab.text + entry->begin, entry->size);
    }
    FUZZ_CLAIM(fsmoe_tokenizer_end_of_text(tokenizer) < fsmoe_tokenizer_vocab_size(tokenizer));
}

/* `"!": 0, …` of all bytes, without braces: what any vocabulary has. */
static inline const char *fuzz_byte_vocabulary(void)
{
    static char text[256 * 16];
    size_t used = strlen(text);
    for (int byte = 0; used == 0 && byte < 256; byte++) {
        char spelling[3];
        fsm_vocab_spell_byte((unsigned char)byte, spelling);
        bool escaped = byte == '"' || byte == '\\';
        sprintf(text + strlen(text), "%s\"%s%s\":%d", byte ? "," : "", escaped ? "\\" : "", spelling, byte);
    }
    return text;
}

enum { FUZZ_WORDS = 1 << 16 }; /* as src/tokens/words.c has them */

/* Loads as fsmoe_tokenizer_create does and checks what was loaded; but the splitter and the cache of words, whose
 * making takes longer than most files, are made once and lent. */
static inline void fuzz_load_and_check(fsmoe_status (*load)(fsmoe_tokenizer *, const char *, const char *),
                                       const char *path, const char *merges, const uint8_t *data, size_t size)
{
    static fsm_splitter *splitter;
    static fsm_words words;
    fsmoe_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    FUZZ_CLAIM(tokenizer);
    tokenizer->name = strdup(path);
    tokenizer->end_of_text = -1;
    if (!splitter) FUZZ_CLAIM(fsm_splitter_create(&splitter) == FSMOE_OK && fsm_words_create(&words) == FSMOE_OK);
    if (load(tokenizer, path, merges) == FSMOE_OK) {
        FUZZ_CLAIM(tokenizer->merges.slots);
        memset(words.slots, 0, FUZZ_WORDS * sizeof *words.slots); /* those of another vocabulary */
        tokenizer->splitter = splitter;
        tokenizer->words = words;
        fuzz_check_tokenizer(tokenizer, data, size);
        tokenizer->splitter = NULL;
        tokenizer->words = (fsm_words){0};
    }
    fsmoe_tokenizer_destroy(tokenizer);
}

#endif
