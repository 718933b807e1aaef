/* breakdown.json: what was read, written out again, reads back to the same bits. */
#include "json_mutator.h"
#include "run/breakdown.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fsm_breakdown first, back;
    if (fsm_breakdown_read(fuzz_file(0, data, size), &first) != FSMOE_OK) return 0;
    const char *path = fuzz_path("again.json");
    FUZZ_CLAIM(fsm_breakdown_write(&first, path) == FSMOE_OK);
    FUZZ_CLAIM(fsm_breakdown_read(path, &back) == FSMOE_OK);
    FUZZ_CLAIM(memcmp(&first, &back, sizeof first) == 0);
    return 0;
}
