/* Inside a tokenizer, for the files of this folder.
 * In:  made by fsmoe_tokenizer_create. Out: ids into a list, bytes of an id, a fingerprint.
 */
#ifndef FSM_TOKENS_TOKENIZER_H
#define FSM_TOKENS_TOKENIZER_H

#include <fsmoe/tokenizer.h>

#include "tokens/added.h"
#include "tokens/ids.h"
#include "tokens/merges.h"
#include "tokens/splitter.h"
#include "tokens/vocab.h"
#include "tokens/words.h"

struct fsmoe_tokenizer {
    char *name;
    fsm_vocab vocab;
    int32_t byte_ids[256];
    int32_t end_of_text; /* -1: none */
    uint64_t fingerprint;
    fsm_splitter *splitter; /* NULL: every byte is a token, and what follows is empty */
    fsm_merges merges;
    fsm_words words;
    fsm_added added;
};

/* Adds the ids of bytes[size] to the list. ERROR_MEMORY, or what the list's drain returns. */
fsmoe_status fsm_tokenizer_encode(fsmoe_tokenizer *tokenizer, const char *bytes, size_t size, fsm_ids *ids);

/* Bytes of text the id stands for; 0 for the end of text and for ids without a token. */
static inline size_t fsm_tokenizer_text_bytes(const fsmoe_tokenizer *tokenizer, int32_t id)
{
    const fsm_vocab_entry *entry = fsm_vocab_get(&tokenizer->vocab, id);
    return entry && id != tokenizer->end_of_text ? entry->size : 0;
}

/* load_*.c: fill vocab, byte_ids, merges and added from files. */
fsmoe_status fsm_tokenizer_load_bytes(fsmoe_tokenizer *tokenizer);
/* encoder.json and vocab.bpe, or vocab.json and merges.txt. */
fsmoe_status fsm_tokenizer_load_pair(fsmoe_tokenizer *tokenizer, const char *vocab_path, const char *merges_path);
/* tokenizer.json */
fsmoe_status fsm_tokenizer_load_json(fsmoe_tokenizer *tokenizer, const char *path);

#endif
