/* run.json: a layout that is accepted fits. */
#include "json_mutator.h"
#include "report/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_run run;
    if (fsm_run_read(fuzz_file(0, data, size), &run) != FSMOE_OK) return 0;
    FUZZ_CLAIM(run.nodes >= 1 && run.ranks_per_node >= 1 && run.ranks == run.nodes * run.ranks_per_node);
    FUZZ_CLAIM(run.dp * run.mp == run.ranks && run.edp * run.ep * run.esp == run.ranks);
    fsm_run_text(&run, "version");
    fsm_run_number(&run, "val_loss");
    fsm_run_destroy(&run);
    return 0;
}
