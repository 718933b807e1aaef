/* Text and JSONL. The first byte says which the name is, and the tokenizer; bytes that begin as JSONL are that under
 * any name. Ids of a text decode to the text; those of JSONL to its documents, one after another, each with the end of
 * text. */
#include "small_tokenizer.h"
#include "tokens/input.h"
#include "tokens/json_look.h"

#include <jansson.h>

static void append(char *to, size_t *used, const char *from, size_t size)
{
    memcpy(to + *used, from, size);
    *used += size;
}

/* The documents of JSONL that was accepted. */
static size_t documents(const char *text, size_t size, const char *end_of_text, char *out)
{
    static const char mark[] = "\xEF\xBB\xBF"; /* of byte order, which is no part of the first line */
    size_t used = 0, skipped = size >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
    for (const char *line = text + skipped, *end = text + size, *stop; line < end; line = stop + 1) {
        stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        json_t *json = json_loadb(line, (size_t)(stop - line), JSON_ALLOW_NUL, NULL);
        const json_t *document = json_object_get(json, "text");
        if (document) {
            append(out, &used, json_string_value(document), json_string_length(document));
            append(out, &used, end_of_text, strlen(end_of_text));
        }
        json_decref(json);
    }
    return used;
}

static void claim_same(const fsmoe_tokenizer *tokenizer, const fsm_ids *ids, const char *bytes, size_t size)
{
    char *back;
    size_t back_size;
    FUZZ_CLAIM(fsmoe_tokenizer_decode(tokenizer, ids->items, ids->count, &back, &back_size) == FSMOE_OK);
    FUZZ_CLAIM(back_size == size && memcmp(back, bytes, size) == 0);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fsmoe_tokenizer *small, *bytes;
    if (!small) {
        small = fuzz_small_tokenizer(true);
        FUZZ_CLAIM(fsmoe_tokenizer_create("bytes", &bytes) == FSMOE_OK);
    }
    uint8_t choice = fuzz_take(&data, &size);
    bool is_jsonl = choice & 1;
    fsmoe_tokenizer *tokenizer = choice & 2 ? small : bytes;
    fsm_ids ids = {0};
    const char *path = fuzz_file_in_folder(is_jsonl ? "input.jsonl" : "input.txt", data, size);
    if (fsm_input_read(path, tokenizer, &ids) == FSMOE_OK) {
        const char *text = (const char *)data, *end_of_text = tokenizer == small ? "<|endoftext|>" : "";
        char *all = malloc((strlen(end_of_text) + 1) * (size + 1));
        FUZZ_CLAIM(all && ids.count > 0);
        bool lines = is_jsonl || fsm_json_look_lines(text, size); /* the bytes say so, whatever the name */
        if (lines) claim_same(tokenizer, &ids, all, documents(text, size, end_of_text, all));
        else claim_same(tokenizer, &ids, text, size);
        free(all);
    }
    fsm_ids_destroy(&ids);
    return 0;
}
