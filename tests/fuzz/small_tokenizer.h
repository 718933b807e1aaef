/* A byte-level tokenizer with a few merges, made once. */
#ifndef FSM_FUZZ_SMALL_TOKENIZER_H
#define FSM_FUZZ_SMALL_TOKENIZER_H

#include "tokenizer_oracle.h"

/* Merges by ids, the most important first; the k-th makes id 256 + k. */
static const int32_t fuzz_merges[][2] = {{'h', 'e'}, {'t', 256}, {' ', 257}, {'a', 'a'},   {259, 'a'},
                                         {259, 259}, {'a', 'b'}, {262, 'a'}, {0xC3, 0xA9}, {' ', ' '},
                                         {0, 0},     {'e', 'e'}, {'1', '2'}, {0xFF, 0xFE}};
enum { FUZZ_MERGES = sizeof fuzz_merges / sizeof *fuzz_merges };

/* The spelling of an id in a JSON string; none of the merged bytes needs an escape. */
static inline void fuzz_spell(int32_t id, FILE *out)
{
    char spelling[3];
    if (id >= 256) {
        fuzz_spell(fuzz_merges[id - 256][0], out);
        fuzz_spell(fuzz_merges[id - 256][1], out);
        return;
    }
    fsm_vocab_spell_byte((unsigned char)id, spelling);
    fputs(spelling, out);
}

/* added: "<|endoftext|>", and two tokens that are looked for one after the other. */
static inline fsmoe_tokenizer *fuzz_small_tokenizer(bool added)
{
    size_t length;
    char *text = NULL;
    fsmoe_tokenizer *tokenizer;
    FILE *out = open_memstream(&text, &length);
    FUZZ_CLAIM(out);
    fprintf(out, "{\"model\":{\"vocab\":{%s", fuzz_byte_vocabulary());
    for (int k = 0; k < FUZZ_MERGES; k++) fputs(",\"", out), fuzz_spell(256 + k, out), fprintf(out, "\":%d", 256 + k);
    fputs("},\"merges\":[", out);
    for (int k = 0; k < FUZZ_MERGES; k++) {
        fputs(k ? ",[\"" : "[\"", out), fuzz_spell(fuzz_merges[k][0], out);
        fputs("\",\"", out), fuzz_spell(fuzz_merges[k][1], out), fputs("\"]", out);
    }
    fputs("]},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"}", out);
    if (added)
        fputs(",\"added_tokens\":[{\"id\":300,\"content\":\"<|endoftext|>\"},{\"id\":301,\"content\":\"<|\"},"
              "{\"id\":302,\"content\":\"the\",\"normalized\":true}]",
              out);
    fputs("}", out);
    fclose(out);
    FUZZ_CLAIM(fsmoe_tokenizer_create(fuzz_file(1, text, length), &tokenizer) == FSMOE_OK);
    free(text);
    return tokenizer;
}

#endif
