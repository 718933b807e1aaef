/* One MPI rank where a launcher started several processes: each would train the whole model, in the same folder.
 * SLURM_NTASKS is no witness: it is set in a plain batch script too, where one process is right. */
#include "launch.h"

#include <stdio.h>
#include <stdlib.h>

/* What a launcher tells each process it starts: how many there are, or which of them it is. */
static const struct witness {
    const char *name;
    bool is_rank;
} witnesses[] = {
    {"OMPI_COMM_WORLD_SIZE", false}, /* Open MPI */
    {"PMI_SIZE", false},             /* Hydra (MPICH, Intel MPI), srun --mpi=pmi2, Cray */
    {"MV2_COMM_WORLD_SIZE", false},  /* MVAPICH */
    {"MPI_LOCALNRANKS", false},      /* Hydra: on this node */
    {"SLURM_STEP_NUM_TASKS", false}, /* srun */
    {"FLUX_JOB_SIZE", false},        /* flux run */
    {"JSM_NAMESPACE_SIZE", false},   /* jsrun */
    {"PMIX_RANK", true},             /* srun --mpi=pmix, prterun */
    {"PMI_RANK", true},
    {"PALS_RANKID", true}, /* Cray's mpiexec */
};

enum { WITNESSES = sizeof witnesses / sizeof *witnesses };

/* How many processes there are at least, as far as the witness says; 1 when it says nothing. */
static long count_processes(const struct witness *w, const char *told)
{
    char *end;
    long number = told ? strtol(told, &end, 10) : 0;
    if (!told || end == told || *end || number < 0) return 1;
    return w->is_rank ? number + 1 : number;
}

static const struct witness *find_contradiction(void)
{
    for (int i = 0; i < WITNESSES; i++)
        if (count_processes(&witnesses[i], getenv(witnesses[i].name)) > 1) return &witnesses[i];
    return NULL;
}

static int refuse(const struct witness *w, const char *told)
{
    char sentence[768];
    snprintf(sentence, sizeof sentence,
             "1 MPI rank, but %s is %s: the launcher started %s%ld separate processes, each of which would run alone "
             "(srun without PMI, another MPI than the one fsmoe was built with, or fsmoe built without MPI). Start it "
             "with that MPI's own mpirun, or with a PMI that it knows (`srun --mpi=list`, `srun --mpi=pmix`); --alone "
             "insists on one rank",
             w->name, told, w->is_rank ? "at least " : "", count_processes(w, told));
    return command_fail_with(FSMOE_ERROR_LAYOUT, sentence);
}

int launch_world(bool alone, fsmoe_world **world)
{
    char told[32] = "";
    const struct witness *w = alone ? NULL : find_contradiction();
    if (w) snprintf(told, sizeof told, "%s", getenv(w->name)); /* now: an MPI that starts may set it anew */
    fsmoe_status status = fsmoe_world_create(world);
    if (status != FSMOE_OK) return command_fail(status);
    if (!w || fsmoe_world_size(*world) > 1) return 0;
    fsmoe_world_destroy(*world);
    *world = NULL;
    return refuse(w, told);
}
