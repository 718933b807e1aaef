/* log.jsonl of a run that is resumed after step 3: every byte is in the log or in log.cut.jsonl afterwards, in
 * order. */
#include "json_mutator.h"
#include "run/log.h"

static char *read_or_empty(const char *name, size_t *size)
{
    char *text = calloc(1, 1);
    *size = 0;
    if (!fsm_file_exists(fuzz_path(name))) return text;
    free(text);
    FUZZ_CLAIM(fsm_file_read(fuzz_path(name), &text, size) == FSMOE_OK);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_run_log log;
    fsm_run_log_cut cut;
    size_t kept, moved, at = 0, aside = 0;
    fsm_file_remove_tree(fuzz_path("log.cut.jsonl"));
    fuzz_file_in_folder("log.jsonl", data, size);
    FUZZ_CLAIM(fsm_run_log_open(fuzz_folder(), 3, &log, &cut) == FSMOE_OK);
    FUZZ_CLAIM(fsm_run_log_close(&log) == FSMOE_OK);
    char *log_text = read_or_empty("log.jsonl", &kept), *cut_text = read_or_empty("log.cut.jsonl", &moved);
    FUZZ_CLAIM(kept + moved == size + cut.torn);
    for (size_t i = 0; i < size;) { /* each line is the next of one of the two */
        const uint8_t *end = memchr(data + i, '\n', size - i);
        size_t n = end ? (size_t)(end - data) + 1 - i : size - i;
        if (at + n <= kept && memcmp(log_text + at, data + i, n) == 0) at += n;
        else if (aside + n <= moved && memcmp(cut_text + aside, data + i, n) == 0) aside += n;
        else FUZZ_CLAIM(!"a line is lost");
        i += n;
    }
    free(log_text);
    free(cut_text);
    return 0;
}
