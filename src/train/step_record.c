#include "train/step_record.h"

#include "exec/step_times.h"

#include <stdlib.h>
#include <string.h>

/* Times since the first task began, starts then ends. */
static void since_start(const fsm_latest_step *latest, double *times)
{
    double start_s = 0;
    for (int i = 0; i < latest->count; i++)
        if (latest->end_s[i] > 0 && (start_s == 0 || latest->start_s[i] < start_s)) start_s = latest->start_s[i];
    for (int i = 0; i < 2 * latest->count; i++)
        times[i] = latest->start_s[i] > 0 ? latest->start_s[i] - start_s : 0; /* ends follow starts */
}

static fsmoe_status write_all(const fsm_stepper *s, const fsm_planning *planning, int64_t step, const double *times,
                              const char *path)
{
    fsm_step_times all;
    size_t tasks = (size_t)s->train_graph.count;
    FSM_TRY(fsm_step_times_create(&s->train_graph, planning ? &planning->timeline : NULL, s->config->parallel.schedule,
                                  step, s->world->size, &all));
    if (planning) memcpy(all.load_s, planning->load_s, sizeof all.load_s);
    for (int rank = 0; rank < s->world->size; rank++, times += 2 * tasks)
        fsm_step_times_set(&all, rank, times, times + tasks);
    fsmoe_status status = fsm_step_times_write(&all, path);
    fsm_step_times_destroy(&all);
    return status;
}

fsmoe_status fsm_step_record_write(const fsm_stepper *s, const fsm_planning *planning, int64_t step, const char *path)
{
    fsm_comm *world = s->world;
    size_t times = 2 * (size_t)s->latest.count, ranks = world->rank == 0 ? (size_t)world->size : 0;
    double *mine = malloc((times + 1) * sizeof *mine), *all = malloc((ranks * times + 1) * sizeof *all);
    int64_t *bytes = malloc((size_t)world->size * sizeof *bytes);
    fsmoe_status status =
        mine && all && bytes ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the times of a step");
    status = fsm_comm_agree(world, status);
    if (status == FSMOE_OK) {
        since_start(&s->latest, mine);
        for (int rank = 0; rank < world->size; rank++) bytes[rank] = (int64_t)(times * sizeof *mine);
        status = world->control->gather_bytes(world, mine, bytes[0], all, bytes);
        if (status == FSMOE_OK && world->rank == 0) status = write_all(s, planning, step, all, path);
        status = fsm_comm_agree(world, status);
    }
    free(bytes);
    free(all);
    free(mine);
    return status;
}
