/* Training by a plan, as a user runs it: the same losses as in order, costs read, measured, kept for a resumed run,
 * and renewed. Oracle: the in-order run. */
#include "command_case.h"

/* Slow links and next to no alpha, so that there is something to cut: milliseconds. */
static const char slow_cluster[] = "{\"name\": \"slow\", \"unit\": \"ms\", \"nodes\": 2, \"ranks_per_node\": 2,\n"
                                   " \"gemm\": {\"alpha\": 1e-6, \"beta\": 1e-6},\n"
                                   " \"alltoall\": {\"alpha\": 1e-6, \"beta\": 1e-4},\n"
                                   " \"allgather\": {\"alpha\": 1e-6, \"beta\": 5e-5},\n"
                                   " \"reducescatter\": {\"alpha\": 1e-6, \"beta\": 5e-5},\n"
                                   " \"allreduce\": {\"alpha\": 1e-6, \"beta\": 1e-4}}\n";

#define LAYOUT                                                                                                 \
    "--set", "parallel.nodes=2", "--set", "parallel.ranks_per_node=2", "--set", "parallel.ep_size=2", "--set", \
        "parallel.esp_size=2", "--set", "parallel.mp_size=2"
#define TRAIN(dir) "train", "config.yaml", LAYOUT, "--set", "run.dir=" dir

static void write_cluster(const command_case *c)
{
    write_text(c, "slow.json", slow_cluster, sizeof slow_cluster - 1);
}

static void test_planning_keeps_the_losses_of_every_schedule(void **state)
{
    static const char *const schedules[] = {"tutel", "pipemoe-lina", "fsmoe", "fsmoe-x"};
    command_case *c = *state;
    if (!has_mpi(c)) skip();
    write_cluster(c);
    assert_works(run_ranks(c, "4", ARGS(TRAIN("in-order"), "--set", "parallel.schedule=dsmoe")));
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
        char schedule[64], dir[64];
        snprintf(schedule, sizeof schedule, "parallel.schedule=%s", schedules[i]);
        snprintf(dir, sizeof dir, "run.dir=%s", schedules[i]);
        outcome o =
            run_ranks(c, "4",
                      ARGS(TRAIN("unused"), "--set", dir, "--set", schedule, "--set", "parallel.cluster=slow.json"));
        assert_has(o.err, "planned from slow.json: degrees ");
        assert_works(o);
        assert_losses_agree(c, schedules[i], "in-order", 1e-5);
    }
}

static void test_planning_measures_when_there_is_no_cluster_file(void **state)
{
    command_case *c = *state;
    if (!has_mpi(c)) skip();
    assert_works(run_ranks(c, "4", ARGS(TRAIN("in-order"), "--set", "parallel.schedule=dsmoe")));
    outcome o = run_ranks(c, "4", ARGS(TRAIN("measured"), "--set", "parallel.schedule=fsmoe-x"));
    assert_has(o.err, "planned from costs measured now");
    assert_works(o);
    assert_losses_agree(c, "measured", "in-order", 1e-6); /* the steps that were measured are undone */
    assert_true(has(c, "measured/cluster.json"));
}

/* The second half plans from what the first one measured, so both halves are the whole run planned from that, to the
 * bit. */
static void test_planning_resumes_with_the_costs_of_the_beginning(void **state)
{
    command_case *c = *state;
    if (!has_mpi(c)) skip();
#define PLANNED(dir) TRAIN(dir), "--set", "parallel.schedule=fsmoe", "--set", "train.min_lr=1e-3"
    assert_works(run_ranks(c, "4", ARGS(PLANNED("halves"), "--set", "train.steps=2")));
    char *before = read_text(c, "halves/cluster.json", NULL);
    outcome o = run_ranks(c, "4", ARGS(PLANNED("halves"), "--resume"));
    assert_has(o.err, "planned from the costs of the run's beginning");
    assert_works(o);
    char *after = read_text(c, "halves/cluster.json", NULL);
    assert_string_equal(before, after);
    assert_works(run_ranks(c, "4", ARGS(PLANNED("whole"), "--set", "parallel.cluster=halves/cluster.json")));
    assert_losses_agree(c, "halves", "whole", 0);
    free(before);
    free(after);
#undef PLANNED
}

static void test_planning_renews_the_plan_between_steps(void **state)
{
    command_case *c = *state;
    if (!has_mpi(c)) skip();
    write_cluster(c);
    assert_works(run_ranks(c, "4", ARGS(TRAIN("in-order"), "--set", "parallel.schedule=dsmoe")));
    outcome o =
        run_ranks(c, "4",
                  ARGS(TRAIN("renewed"), "--set", "parallel.schedule=fsmoe-x", "--set", "parallel.cluster=slow.json",
                       "--set", "parallel.replan_every=2", "--trace", "trace.json"));
    if (!strstr(o.err, "step 2: plan changed, degrees ")) assert_has(o.err, "step 2: measured again, the plan stays");
    assert_works(o);
    assert_losses_agree(c, "renewed", "in-order", 1e-5);
    assert_true(has(c, "trace.json"));
}

static void test_planning_says_what_is_wrong_with_its_keys(void **state)
{
    command_case *c = *state;
    write_text(c, "bad.json", "{}", 2);
    if (has_mpi(c)) { /* one process plans nothing, and reads no costs */
        assert_fails(run_ranks(c, "4",
                               ARGS(TRAIN("run"), "--set", "parallel.schedule=fsmoe", "--set",
                                    "parallel.cluster=none.json")),
                     FSMOE_ERROR_IO, ARGS("parallel.cluster", "none.json"));
        assert_fails(run_ranks(c, "4",
                               ARGS(TRAIN("run"), "--set", "parallel.schedule=fsmoe", "--set",
                                    "parallel.cluster=bad.json")),
                     FSMOE_ERROR_FORMAT, ARGS("parallel.cluster", "bad.json", "gemm"));
    }
#define IN_ORDER "train", "config.yaml", "--set", "parallel.schedule=dsmoe"
    assert_fails(run(c, ARGS(IN_ORDER, "--set", "parallel.cluster=bad.json")), FSMOE_ERROR_CONFIG,
                 ARGS("parallel.cluster", "no effect"));
    assert_fails(run(c, ARGS(IN_ORDER, "--set", "parallel.replan_every=3")), FSMOE_ERROR_CONFIG,
                 ARGS("parallel.replan_every", "no effect"));
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "parallel.schedule=fsmo")), FSMOE_ERROR_CONFIG,
                 ARGS("parallel.schedule", "fsmo"));
    assert_false(has(c, "run"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_planning_keeps_the_losses_of_every_schedule, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_planning_measures_when_there_is_no_cluster_file, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_planning_resumes_with_the_costs_of_the_beginning, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_planning_renews_the_plan_between_steps, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_planning_says_what_is_wrong_with_its_keys, make_case, remove_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
