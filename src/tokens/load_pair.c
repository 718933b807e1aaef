#include "tokens/load.h"

#include <string.h>

fsmoe_status fsm_tokenizer_load_bytes(fsmoe_tokenizer *tokenizer)
{
    for (int byte = 0; byte < 256; byte++) {
        tokenizer->byte_ids[byte] = byte;
        FSM_TRY(fsm_vocab_put(&tokenizer->vocab, byte, &(char){(char)byte}, 1));
    }
    return FSMOE_OK;
}

static size_t count_lines(const char *bytes, size_t size)
{
    size_t n = 1;
    for (const char *at = bytes, *end = bytes + size; at < end && (at = memchr(at, '\n', (size_t)(end - at))); at++)
        n++;
    return n;
}

/* Lines "left right", the most important first, under a line "#version…". */
static fsmoe_status load_merges(fsmoe_tokenizer *tokenizer, const json_t *vocab, const char *bytes, size_t size,
                                const char *path)
{
    static const char version[] = "#version";
    FSM_TRY(fsm_merges_create(count_lines(bytes, size), &tokenizer->merges));
    const char *end = bytes + size;
    size_t number = 0;
    for (const char *line = bytes, *next; line < end; line = next) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        next = stop + (stop < end);
        number++;
        if (stop > line && stop[-1] == '\r') stop--;
        size_t length = (size_t)(stop - line);
        if (length == 0 ||
            (number == 1 && length >= sizeof version - 1 && memcmp(line, version, sizeof version - 1) == 0))
            continue;
        fsm_spelled left, right;
        if (!fsm_load_cut_merge(line, length, &left, &right))
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s', line %zu: '%.*s' is not two tokens with a space between", path,
                            number, (int)(length < 80 ? length : 80), line);
        FSM_TRY(fsm_load_merge(tokenizer, vocab, left, right, path, number));
    }
    return FSMOE_OK;
}

fsmoe_status fsm_tokenizer_load_pair(fsmoe_tokenizer *tokenizer, const char *vocab_path, const char *merges_path)
{
    json_t *vocab = NULL;
    fsm_file_map map = {0};
    fsmoe_status status;
    FSM_TRY_GOTO(status, fsm_load_json_file(vocab_path, &vocab), done);
    FSM_TRY_GOTO(status, fsm_load_vocab(tokenizer, vocab, vocab_path), done);
    FSM_TRY_GOTO(status, fsm_load_map(merges_path, &map), done);
    status = load_merges(tokenizer, vocab, map.bytes ? map.bytes : "", map.size, merges_path);
done:
    fsm_file_map_close(&map);
    json_decref(vocab);
    return status;
}
