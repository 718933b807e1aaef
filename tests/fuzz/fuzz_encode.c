/* Text to ids and back. Bytes survive, with added tokens and without; ids are those of merging as the paper has it, one
 * best pair after the other; what the cache of words says is what was worked out; ids of any value are decoded or
 * refused. */
#include "small_tokenizer.h"

static int rank_of(int32_t left, int32_t right)
{
    for (int k = 0; k < FUZZ_MERGES; k++)
        if (fuzz_merges[k][0] == left && fuzz_merges[k][1] == right) return k;
    return FUZZ_MERGES;
}

/* ids[n] of one word's bytes, merged; the new n. */
static size_t merge_plainly(int32_t *ids, size_t n)
{
    for (;;) {
        int best = FUZZ_MERGES;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int rank = rank_of(ids[i], ids[i + 1]);
            if (rank < best) best = rank, at = i;
        }
        if (best == FUZZ_MERGES) return n;
        ids[at] = 256 + best;
        memmove(ids + at + 1, ids + at + 2, sizeof *ids * (n - at - 2));
        n--;
    }
}

static void claim_plain_merges(fsmoe_tokenizer *tokenizer, const char *bytes, size_t size)
{
    int32_t *ids, *word_ids = malloc(sizeof *word_ids * (size + 1));
    size_t count, at = 0, word_size;
    const char *word;
    FUZZ_CLAIM(word_ids);
    FUZZ_CLAIM(fsmoe_tokenizer_encode(tokenizer, bytes, size, &ids, &count) == FSMOE_OK);
    fsm_splitter_begin(tokenizer->splitter, bytes, size);
    while (fsm_splitter_next(tokenizer->splitter, &word, &word_size) == FSMOE_OK && word_size > 0) {
        for (size_t i = 0; i < word_size; i++) word_ids[i] = (unsigned char)word[i];
        size_t n = merge_plainly(word_ids, word_size);
        FUZZ_CLAIM(n <= count - at && memcmp(word_ids, ids + at, sizeof *ids * n) == 0);
        at += n;
    }
    FUZZ_CLAIM(at == count);
    free(word_ids);
    free(ids);
}

static void decode_anything(const fsmoe_tokenizer *tokenizer, const uint8_t *data, size_t size)
{
    int32_t ids[64];
    size_t count = size / sizeof *ids < 64 ? size / sizeof *ids : 64, bytes;
    char *text;
    if (count) memcpy(ids, data, sizeof *ids * count);
    if (fsmoe_tokenizer_decode(tokenizer, ids, count, &text, &bytes) == FSMOE_OK) free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fsmoe_tokenizer *plain, *added, *bytes;
    if (!plain) {
        plain = fuzz_small_tokenizer(false);
        added = fuzz_small_tokenizer(true);
        FUZZ_CLAIM(fsmoe_tokenizer_create("bytes", &bytes) == FSMOE_OK);
    }
    if (size > 2048) return 0; /* merging plainly takes the square of a word's length */
    claim_plain_merges(plain, (const char *)data, size);
    fuzz_round_trip(plain, data, size); /* now from the cache */
    fuzz_round_trip(added, data, size);
    fuzz_round_trip(bytes, data, size);
    decode_anything(added, data, size);
    return 0;
}
