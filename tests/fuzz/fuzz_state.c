/* state.json of a checkpoint: what is accepted has a step and an id, and written out it reads back to the same. */
#include "config/config.h"
#include "json_mutator.h"
#include "train/state.h"

#include <math.h>

static fsm_stepper *stepper(void)
{
    static fsm_stepper s;
    static fsmoe_config *config;
    if (config) return &s;
    FUZZ_CLAIM(fsmoe_config_create(&config) == FSMOE_OK && fsm_config_derive(config) == FSMOE_OK);
    s = (fsm_stepper){.config = config, .threads = 1, .topo = {.nodes = 1, .ranks = 1, .ep = 1, .esp = 1, .mp = 1}};
    return &s;
}

static bool same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const fsm_run_state now = {.best_loss = NAN};
    fsm_run_state first, second;
    fsm_state_changes changes, none;
    fuzz_file_in_folder(FSM_STATE_FILE, data, size);
    if (fsm_state_read(fuzz_folder(), stepper(), &now, &first, &changes) != FSMOE_OK) return 0;
    FUZZ_CLAIM(first.step >= 0 && fsm_run_id_is_valid(first.run.text));
    FUZZ_CLAIM(memchr(changes.told, 0, sizeof changes.told) && memchr(changes.refused, 0, sizeof changes.refused));
    FUZZ_CLAIM(fsm_state_write(fuzz_folder(), stepper(), &first) == FSMOE_OK);
    FUZZ_CLAIM(fsm_state_read(fuzz_folder(), stepper(), &first, &second, &none) == FSMOE_OK);
    FUZZ_CLAIM(first.step == second.step && fsm_run_id_equal(&first.run, &second.run));
    FUZZ_CLAIM(first.train.tokens == second.train.tokens && first.train.hash == second.train.hash);
    FUZZ_CLAIM(!isfinite(first.best_loss) || same(first.best_loss, second.best_loss));
    FUZZ_CLAIM(!none.told[0] && !none.refused[0]);
    return 0;
}
