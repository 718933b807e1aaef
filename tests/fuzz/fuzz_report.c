/* A run folder to its page: the log and run.json, with 0xFF between. A page that is written is whole. */
#include "json_mutator.h"

#include <fsmoe/report.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *run;
    size_t run_size, log_size = fuzz_cut(data, size, &run, &run_size), page_size;
    char *page;
    fuzz_file_in_folder("log.jsonl", data, log_size);
    const char *path = fuzz_file_in_folder("run.json", run, run_size);
    if (run_size == 0) unlink(path);
    if (fsmoe_report_write(fuzz_folder()) != FSMOE_OK) return 0;
    FUZZ_CLAIM(fsm_file_read(fuzz_path("report.html"), &page, &page_size) == FSMOE_OK);
    FUZZ_CLAIM(strlen(page) == page_size && strstr(page, "</html>"));
    free(page);
    return 0;
}
