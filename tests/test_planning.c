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
        assert_has(o.err, "planned from slow.json: 1 lane, degrees ");
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

/* Costs of a layout, a batch or a number of threads that the run no longer has. */
static void test_planning_measures_anew_where_costs_no_longer_hold(void **state)
{
    command_case *c = *state;
    if (!has_mpi(c)) skip();
    static const struct {
        const char *const changes[7], *why;
    } cases[] = {
        {{"--set", "parallel.ep_size=4", "--set", "parallel.esp_size=1"},
         "are of 2 nodes, 2 ranks a node, EP 2, ESP 2, MP 2"},
        {{"--set", "parallel.mp_size=1"}, "are of 2 nodes, 2 ranks a node, EP 4, ESP 1, MP 2"},
        {{"--set", "parallel.nodes=4", "--set", "parallel.ranks_per_node=1"},
         "are of 2 nodes, 2 ranks a node, EP 4, ESP 1, MP 1"},
        {{"--set", "train.micro_batch=2"}, "are of another model or batch"},
        {{"--set", "parallel.threads=2"}, "4 ranks x 1 threads"},
    };
    const char *args[MOST_ARGS] = {TRAIN("run"), "--set", "parallel.schedule=fsmoe", "--set", "train.steps=1"};
    int n = 0;
    while (args[n]) n++;
    assert_works(run_ranks(c, "4", args));
    args[n++] = "--resume";
    args[n++] = "--allow-changes";                              /* of the batch */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) { /* each on top of those before it */
        for (int j = 0; cases[i].changes[j]; j++) args[n++] = cases[i].changes[j];
        outcome o = run_ranks(c, "4", args);
        assert_has(o.err, "planned from costs measured now (those of the run's beginning ");
        assert_has(o.err, cases[i].why);
        assert_works(o);
    }
    outcome o = run_ranks(c, "4", args);
    assert_has(o.err, "planned from the costs of the run's beginning: ");
    assert_works(o);
}

static void write_layout(const command_case *c, const char *layout)
{
    char text[1024];
    snprintf(text, sizeof text, "{%s,%s", layout, strchr(slow_cluster, '\n')); /* instead of the first line */
    write_text(c, "other.json", text, strlen(text));
}

static void test_planning_refuses_costs_of_another_layout(void **state)
{
    command_case *c = *state;
    static const struct {
        const char *file, *names;
    } layouts[] = {{"\"nodes\": 4, \"ranks_per_node\": 1", "has costs of 4 nodes, 1 rank a node,"},
                   {"\"nodes\": 2, \"ranks_per_node\": 4", "has costs of 2 nodes, 4 ranks a node,"},
                   {"\"ep_size\": 4, \"esp_size\": 1", "has costs of EP 4, ESP 1,"},
                   {"\"mp_size\": 1", "has costs of MP 1,"}};
    if (!has_mpi(c)) skip();
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        static const char here[] = "but this runs on 2 nodes, 2 ranks a node, EP 2, ESP 2, MP 2";
        write_layout(c, layouts[i].file);
        assert_fails(run_ranks(c, "4",
                               ARGS(TRAIN("run"), "--set", "parallel.schedule=fsmoe", "--set",
                                    "parallel.cluster=other.json")),
                     FSMOE_ERROR_CONFIG, ARGS("parallel.cluster", "other.json", layouts[i].names, here));
        assert_fails(run_ranks(c, "4", ARGS("bench", "schedules", "config.yaml", LAYOUT, "--cluster", "other.json")),
                     FSMOE_ERROR_CONFIG, ARGS("--cluster", "other.json", layouts[i].names, here));
    }
    assert_false(has(c, "run"));
    write_layout(c, "\"nodes\": 2, \"ep_size\": 2, \"mp_size\": 2"); /* what is not said is taken to fit */
    assert_works(
        run_ranks(c, "4",
                  ARGS(TRAIN("run"), "--set", "parallel.schedule=fsmoe", "--set", "parallel.cluster=other.json")));
}

/* A plan is a forecast: it says so, and goes on. */
static void test_planning_ahead_says_that_costs_are_of_another_layout(void **state)
{
    static const char says[] = "the costs are of MP 1, the plan is for 2 nodes, 2 ranks a node, EP 2, ESP 2, MP 2";
    command_case *c = *state;
    write_layout(c, "\"mp_size\": 1");
    const char *const *const commands[] = {ARGS("plan", "config.yaml", LAYOUT, "--cluster", "other.json"),
                                           ARGS("plan", "config.yaml", LAYOUT, "--cluster", "other.json", "--json"),
                                           ARGS("simulate", "config.yaml", LAYOUT, "--cluster", "other.json")};
    outcome o;
    for (int i = 0; i < 3; i++) {
        o = run(c, commands[i]);
        assert_has(o.err, says);
        assert_works(o);
    }
    write_layout(c, "\"mp_size\": 2");
    o = run(c, ARGS("plan", "config.yaml", LAYOUT, "--cluster", "other.json"));
    assert_null(strstr(o.err, "the costs are of"));
    assert_works(o);
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
    if (!strstr(o.err, "step 2: plan changed, lanes 1 -> 1, degrees "))
        assert_has(o.err, "step 2: measured again, the plan stays");
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
        cmocka_unit_test_setup_teardown(test_planning_measures_anew_where_costs_no_longer_hold, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_planning_refuses_costs_of_another_layout, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_planning_ahead_says_that_costs_are_of_another_layout, make_case,
                                        remove_case),
        cmocka_unit_test_setup_teardown(test_planning_renews_the_plan_between_steps, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_planning_says_what_is_wrong_with_its_keys, make_case, remove_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
