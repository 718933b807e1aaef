/* step_times.json: what was read, written out again, reads back to the same bits. */
#include "exec/step_times.h"
#include "json_mutator.h"

static void claim_same(const fsm_timeline *a, const fsm_timeline *b, int count)
{
    FUZZ_CLAIM(count == 0 || memcmp(a->start_s, b->start_s, sizeof(double) * (size_t)count) == 0);
    FUZZ_CLAIM(count == 0 || memcmp(a->end_s, b->end_s, sizeof(double) * (size_t)count) == 0);
    FUZZ_CLAIM(a->makespan_s == b->makespan_s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_step_times times, back;
    if (fsm_step_times_read(fuzz_file(0, data, size), &times) != FSMOE_OK) return 0;
    const char *path = fuzz_path("again.json");
    FUZZ_CLAIM(fsm_step_times_write(&times, path) == FSMOE_OK);
    FUZZ_CLAIM(fsm_step_times_read(path, &back) == FSMOE_OK);
    FUZZ_CLAIM(times.step == back.step && times.n_ranks == back.n_ranks && strcmp(times.schedule, back.schedule) == 0);
    FUZZ_CLAIM(times.graph.count == back.graph.count && times.has_planned == back.has_planned);
    if (times.has_planned) claim_same(&times.planned, &back.planned, times.graph.count);
    for (int r = 0; r < times.n_ranks; r++) claim_same(&times.ranks[r], &back.ranks[r], times.graph.count);
    fsm_step_times_destroy(&back);
    fsm_step_times_destroy(&times);
    return 0;
}
