/* One rank where a launcher's environment says that there are more: refused, unless somebody insists. */
#include "command_case.h"

#define NO_LEAKS "ASAN_OPTIONS=detect_leaks=0" /* of MPI's, which only some variables start (tests/CMakeLists.txt) */

static outcome run_told(const command_case *c, const char *told, const char *const *args)
{
    const char *first = strncmp(told, "SLURM", 5) == 0 ? "SLURM_JOB_ID=1" : NO_LEAKS;
    const char *argv[MOST_ARGS] = {"env", first, "SLURM_NTASKS=4", told, FSMOE_COMMAND};
    for (int i = 0; args[i]; i++) argv[i + 5] = args[i];
    return spawn(c, argv, (streams){0});
}

#define TRAIN "train", "config.yaml", "--set", "run.dir=alone"

static void test_launch_of_separate_processes_is_refused_by_all_that_take_ranks(void **state)
{
    static const char told[] = "SLURM_STEP_NUM_TASKS=4";
    static const char *const parts[] = {"1 MPI rank, but SLURM_STEP_NUM_TASKS is 4", "4 separate processes", "--alone",
                                        NULL};
    const command_case *c = *state;
    assert_fails(run_told(c, told, ARGS(TRAIN)), FSMOE_ERROR_LAYOUT, parts);
    assert_fails(run_told(c, told, ARGS("bench", "schedules", "config.yaml")), FSMOE_ERROR_LAYOUT, parts);
    assert_fails(run_told(c, told, ARGS("profile", "config.yaml", "--out", "c.json")), FSMOE_ERROR_LAYOUT, parts);
    assert_false(has(c, "alone"));
    assert_false(has(c, "c.json"));
}

static void test_launch_is_refused_by_every_launchers_word(void **state)
{
    static const char *const words[][2] = {
        {"OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_SIZE is 4: the launcher started 4"},
        {"PMI_SIZE=4", "PMI_SIZE is 4: the launcher started 4"},
        {"MV2_COMM_WORLD_SIZE=2", "MV2_COMM_WORLD_SIZE is 2: the launcher started 2"},
        {"FLUX_JOB_SIZE=8", "FLUX_JOB_SIZE is 8: the launcher started 8"},
        {"PMIX_RANK=3", "PMIX_RANK is 3: the launcher started at least 4"},
    };
    const command_case *c = *state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        assert_fails(run_told(c, words[i][0], ARGS(TRAIN)), FSMOE_ERROR_LAYOUT, ARGS(words[i][1]));
}

static void test_launch_alone_insists(void **state)
{
    const command_case *c = *state;
    assert_works(run_told(c, "SLURM_STEP_NUM_TASKS=4", ARGS(TRAIN, "--alone")));
    assert_true(has(c, "alone/model"));
}

/* A batch script, an srun of one task, and words that are none. */
static void test_launch_of_one_process_is_none_of_it(void **state)
{
    static const char *const words[] = {"SLURM_STEP_NUM_TASKS=1", "SLURM_PROCID=0",
                                        "SLURM_STEP_NUM_TASKS=", "SLURM_STEP_NUM_TASKS=x4"};
    const command_case *c = *state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) assert_works(run_told(c, words[i], ARGS(TRAIN)));
}

/* More ranks than one found each other, so the launcher did what it was asked for. */
static void test_launch_of_ranks_that_find_each_other_is_right(void **state)
{
    const command_case *c = *state;
    if (!has_mpi(c)) skip();
    const char *const argv[] = {
        "env", NO_LEAKS, "SLURM_STEP_NUM_TASKS=4", FSMOE_SOURCE_DIR "/scripts/mpirun", "2", FSMOE_COMMAND, TRAIN, NULL};
    assert_works(spawn(c, argv, (streams){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_launch_of_separate_processes_is_refused_by_all_that_take_ranks, make_case,
                                        remove_case),
        cmocka_unit_test_setup_teardown(test_launch_is_refused_by_every_launchers_word, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_launch_alone_insists, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_launch_of_one_process_is_none_of_it, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_launch_of_ranks_that_find_each_other_is_right, make_case, remove_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
