/* tokenizer.json. An input is the file itself; or, after '+', parts of one that has all bytes, with 0xFF between:
 * further tokens of the vocabulary, merges, added tokens, further keys. */
#include "json_mutator.h"
#include "tokenizer_oracle.h"

static fsmoe_status load(fsmoe_tokenizer *tokenizer, const char *path, const char *none)
{
    (void)none;
    return fsm_tokenizer_load_json(tokenizer, path);
}

static const char *as_file(const uint8_t *data, size_t size)
{
    const uint8_t *part[4] = {data + 1};
    size_t bytes[4] = {size ? size - 1 : 0}, length;
    char *text = NULL;
    if (size == 0 || data[0] != '+') return fuzz_file(0, data, size);
    for (int i = 0; i < 3; i++) bytes[i] = fuzz_cut(part[i], bytes[i], &part[i + 1], &bytes[i + 1]);
    FILE *out = open_memstream(&text, &length);
    FUZZ_CLAIM(out);
    fprintf(out, "{\"model\":{\"vocab\":{%s", fuzz_byte_vocabulary());
    fwrite(part[0], 1, bytes[0], out);
    fputs("},\"merges\":[", out);
    fwrite(part[1], 1, bytes[1], out);
    fputs("]},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[", out);
    fwrite(part[2], 1, bytes[2], out);
    fputs("]", out);
    fwrite(part[3], 1, bytes[3], out);
    fputs("}", out);
    fclose(out);
    const char *path = fuzz_file(0, text, length);
    free(text);
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_load_and_check(load, as_file(data, size), NULL, data, size);
    return 0;
}
