#include "tokens/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static fsmoe_status encode_word(fsmoe_tokenizer *tokenizer, const char *word, size_t size, fsm_ids *ids)
{
    int32_t *at;
    FSM_TRY(fsm_ids_reserve(ids, size, &at));
    size_t count = fsm_words_get(&tokenizer->words, word, size, at);
    if (count == 0) {
        count = size;
        for (size_t i = 0; i < size; i++) at[i] = tokenizer->byte_ids[(unsigned char)word[i]];
        FSM_TRY(fsm_merges_apply(&tokenizer->merges, at, &count));
        fsm_words_put(&tokenizer->words, word, size, at, count);
    }
    fsm_ids_commit(ids, count);
    return FSMOE_OK;
}

static fsmoe_status encode_words(fsmoe_tokenizer *tokenizer, const char *bytes, size_t size, fsm_ids *ids)
{
    fsm_splitter_begin(tokenizer->splitter, bytes, size);
    const char *word;
    size_t word_size;
    for (;;) {
        FSM_TRY(fsm_splitter_next(tokenizer->splitter, &word, &word_size));
        if (word_size == 0) return FSMOE_OK;
        FSM_TRY(encode_word(tokenizer, word, word_size, ids));
    }
}

/* Takes the added tokens of this pass out of the text; what stands between them goes to the next pass, at last to
 * words. */
static fsmoe_status encode_pass(fsmoe_tokenizer *tokenizer, int pass, const char *bytes, size_t size, fsm_ids *ids)
{
    if (pass == FSM_ADDED_PASSES) return encode_words(tokenizer, bytes, size, ids);
    while (size > 0) {
        size_t before;
        const fsm_added_token *token = fsm_added_find(&tokenizer->added, pass, bytes, size, &before);
        FSM_TRY(encode_pass(tokenizer, pass + 1, bytes, before, ids));
        if (!token) break;
        FSM_TRY(fsm_ids_add(ids, token->id));
        bytes += before + token->size;
        size -= before + token->size;
    }
    return FSMOE_OK;
}

fsmoe_status fsm_tokenizer_encode(fsmoe_tokenizer *tokenizer, const char *bytes, size_t size, fsm_ids *ids)
{
    if (tokenizer->splitter) return encode_pass(tokenizer, 0, bytes, size, ids);
    for (size_t i = 0; i < size; i++) FSM_TRY(fsm_ids_add(ids, tokenizer->byte_ids[(unsigned char)bytes[i]]));
    return FSMOE_OK;
}

fsmoe_status fsmoe_tokenizer_encode(fsmoe_tokenizer *tokenizer, const char *bytes, size_t size, int32_t **ids,
                                    size_t *count)
{
    fsm_ids list = {0};
    *ids = NULL;
    *count = 0;
    fsmoe_status status = fsm_tokenizer_encode(tokenizer, bytes, size, &list);
    if (status != FSMOE_OK) {
        fsm_ids_destroy(&list);
        return status;
    }
    *ids = list.items;
    *count = list.count;
    return FSMOE_OK;
}

fsmoe_status fsmoe_tokenizer_decode(const fsmoe_tokenizer *tokenizer, const int32_t *ids, size_t count, char **bytes,
                                    size_t *size)
{
    const fsm_vocab *vocab = &tokenizer->vocab;
    *bytes = NULL;
    *size = 0;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const fsm_vocab_entry *entry = fsm_vocab_get(vocab, ids[i]);
        if (!entry)
            return fsm_fail(FSMOE_ERROR_FORMAT, "id %d at position %zu is no token of tokenizer '%s'", (int)ids[i], i,
                            tokenizer->name);
        total += entry->size;
    }
    char *text = malloc(total + 1);
    if (!text) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %zu bytes of text", total);
    char *at = text;
    for (size_t i = 0; i < count; i++) {
        const fsm_vocab_entry *entry = fsm_vocab_get(vocab, ids[i]);
        memcpy(at, vocab->text + entry->begin, entry->size);
        at += entry->size;
    }
    *at = 0;
    *bytes = text;
    *size = total;
    return FSMOE_OK;
}
