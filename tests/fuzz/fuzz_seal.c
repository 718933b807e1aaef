/* The seal of a folder: what is accepted is, to the byte, what sealing the folder anew writes. */
#include "fuzz.h"
#include "run/seal.h"

static const char *const names[] = {"state.json"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_run_id id;
    fuzz_file_in_folder(names[0], "{}", 2);
    fuzz_file_in_folder(FSM_SEAL_FILE, data, size);
    bool sound = fsm_seal_check(fuzz_folder(), names, 1, &id) == FSMOE_OK;
    if (!sound) return 0;
    FUZZ_CLAIM(fsm_run_id_is_valid(id.text) && fsm_seal_owns(fuzz_folder(), &id));
    FUZZ_CLAIM(fsm_seal_write(fuzz_folder(), &id, NULL, 0) == FSMOE_OK);
    char *again;
    size_t again_size;
    FUZZ_CLAIM(fsm_file_read(fuzz_path(FSM_SEAL_FILE), &again, &again_size) == FSMOE_OK);
    FUZZ_CLAIM(again_size <= size && memcmp(again, data, again_size) == 0); /* a file may be listed twice */
    free(again);
    return 0;
}
