#define XXH_INLINE_ALL
#include "tokens/tokenizer.h"

#include "base/file.h"
#include "tokens/folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#ifndef FSMOE_DATA_DIR
#define FSMOE_DATA_DIR "data"
#endif
#ifndef FSMOE_SOURCE_DATA_DIR
#define FSMOE_SOURCE_DATA_DIR "data"
#endif

static fsmoe_status out_of_memory(void)
{
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a tokenizer");
}

static fsmoe_status load_gpt2(fsmoe_tokenizer *tokenizer)
{
    const char *const roots[] = {getenv("FSMOE_DATA"), FSMOE_SOURCE_DATA_DIR, FSMOE_DATA_DIR};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        if (!roots[i]) continue;
        char *folder = fsm_file_join(roots[i], "gpt2");
        if (!folder) return out_of_memory();
        fsmoe_status status = FSMOE_ERROR_CONFIG; /* nothing there */
        if (fsm_file_exists(folder)) status = fsm_tokenizer_load_folder(tokenizer, folder);
        free(folder);
        if (status != FSMOE_ERROR_CONFIG) return status;
    }
    return fsm_fail(FSMOE_ERROR_CONFIG,
                    "no vocab.bpe and encoder.json for tokenizer 'gpt2' in folder gpt2 of $FSMOE_DATA (%s), %s or %s",
                    roots[0] ? roots[0] : "not set", roots[1], roots[2]);
}

static fsmoe_status load(fsmoe_tokenizer *tokenizer, const char *name)
{
    struct stat info;
    if (strcmp(name, "bytes") == 0) return fsm_tokenizer_load_bytes(tokenizer);
    if (strcmp(name, "gpt2") == 0) return load_gpt2(tokenizer);
    if (stat(name, &info) != 0)
        return fsm_fail(FSMOE_ERROR_CONFIG, "tokenizer '%s' is neither 'bytes' nor 'gpt2' nor a file or folder", name);
    return S_ISDIR(info.st_mode) ? fsm_tokenizer_load_folder(tokenizer, name)
                                 : fsm_tokenizer_load_json(tokenizer, name);
}

/* The end of text is the token of that text, added or not; "bytes" has none. */
static int32_t find_end_of_text(const fsm_vocab *vocab)
{
    static const char *const names[] = {"<|endoftext|>", "<|end_of_text|>", "</s>"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int32_t id = 0; id < vocab->size; id++) {
            const fsm_vocab_entry *entry = &vocab->entries[id];
            if (entry->size == strlen(names[i]) && memcmp(vocab->text + entry->begin, names[i], entry->size) == 0)
                return id;
        }
    return -1;
}

/* Two tokenizers of one fingerprint give the same ids: it covers vocabulary, merges and added tokens. */
static uint64_t fingerprint_of(const fsmoe_tokenizer *tokenizer)
{
    const fsm_vocab *vocab = &tokenizer->vocab;
    uint64_t hash = (uint64_t)vocab->size;
    for (int32_t id = 0; id < vocab->size; id++)
        hash = XXH3_64bits_withSeed(vocab->text + vocab->entries[id].begin, vocab->entries[id].size, hash);
    const fsm_merges *merges = &tokenizer->merges;
    if (merges->slots) hash = XXH3_64bits_withSeed(merges->slots, (merges->mask + 1) * sizeof *merges->slots, hash);
    for (size_t i = 0; i < tokenizer->added.count; i++) {
        const fsm_added_token *token = &tokenizer->added.tokens[i];
        hash = XXH3_64bits_withSeed(token->content, token->size, hash + (uint64_t)token->pass);
    }
    return hash;
}

fsmoe_status fsmoe_tokenizer_create(const char *name_or_path, fsmoe_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    fsmoe_tokenizer *made = calloc(1, sizeof *made);
    if (!made) return out_of_memory();
    fsmoe_status status;
    made->name = strdup(name_or_path);
    if (!made->name) {
        status = out_of_memory();
        goto fail;
    }
    FSM_TRY_GOTO(status, load(made, name_or_path), fail);
    if (made->merges.slots) {
        FSM_TRY_GOTO(status, fsm_splitter_create(&made->splitter), fail);
        FSM_TRY_GOTO(status, fsm_words_create(&made->words), fail);
    }
    made->end_of_text = find_end_of_text(&made->vocab);
    made->fingerprint = fingerprint_of(made);
    *tokenizer = made;
    return FSMOE_OK;
fail:
    fsmoe_tokenizer_destroy(made);
    return status;
}

void fsmoe_tokenizer_destroy(fsmoe_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    fsm_added_destroy(&tokenizer->added);
    fsm_words_destroy(&tokenizer->words);
    fsm_splitter_destroy(tokenizer->splitter);
    fsm_merges_destroy(&tokenizer->merges);
    fsm_vocab_destroy(&tokenizer->vocab);
    free(tokenizer->name);
    free(tokenizer);
}

const char *fsmoe_tokenizer_name(const fsmoe_tokenizer *tokenizer)
{
    return tokenizer->name;
}

int32_t fsmoe_tokenizer_vocab_size(const fsmoe_tokenizer *tokenizer)
{
    return tokenizer->vocab.size;
}

int32_t fsmoe_tokenizer_end_of_text(const fsmoe_tokenizer *tokenizer)
{
    return tokenizer->end_of_text;
}
