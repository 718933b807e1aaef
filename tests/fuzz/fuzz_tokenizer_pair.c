/* vocab.json and merges.txt. An input is both, with 0xFF between; the vocabulary has all bytes where it begins with
 * ','. */
#include "json_mutator.h"
#include "tokenizer_oracle.h"

static const char *vocabulary(const uint8_t *data, size_t size)
{
    size_t length;
    char *text = NULL;
    if (size == 0 || data[0] != ',') return fuzz_file(0, data, size);
    FILE *out = open_memstream(&text, &length);
    FUZZ_CLAIM(out);
    fprintf(out, "{%s", fuzz_byte_vocabulary());
    fwrite(data, 1, size, out);
    fputs("}", out);
    fclose(out);
    const char *path = fuzz_file(0, text, length);
    free(text);
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *merges;
    size_t merges_size, vocab_size = fuzz_cut(data, size, &merges, &merges_size);
    const char *path = vocabulary(data, vocab_size);
    fuzz_load_and_check(fsm_tokenizer_load_pair, path, fuzz_file(1, merges, merges_size), data, size);
    return 0;
}
