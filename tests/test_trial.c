/* A configuration as it is trained with, tried: `fsmoe bench` and `fsmoe profile` take the keys that say how it is to
 * be planned. Oracle: what the keys say, in the rows of the bench and in its refusals. */
#include "command_case.h"

#define BENCH "bench", "schedules", "planned.yaml", "--steps", "1", "--budget", "0.01"
#define PROFILE "profile", "planned.yaml", "--points", "4", "--repeats", "2", "--budget", "0.2", "--out", "costs.json"

/* The case's configuration with one more key. */
static void write_config(const command_case *c, const char *key)
{
    size_t size;
    char *text = read_text(c, "config.yaml", &size), *planned = malloc(size + 64);
    const char *at = strstr(text, "threads: 1");
    assert_true(planned && at);
    int n = sprintf(planned, "%.*s%s, %s", (int)(at - text), text, key, at);
    write_text(c, "planned.yaml", planned, (size_t)n);
    free(planned);
    free(text);
}

/* The last number of the only row. */
static int lanes_of(const command_case *c)
{
    char *text = read_text(c, "rows.csv", NULL);
    assert_int_equal(count_text(text, "\n"), 2);
    int lanes = atoi(strrchr(text, ',') + 1);
    assert_int_equal(strncmp(strrchr(strtok(text, "\n"), ',') + 1, "lanes", 5), 0);
    free(text);
    return lanes;
}

/* It works, and no key is said to be left without effect. */
static void assert_taken(outcome o)
{
    if (strstr(o.err, "effect")) fail_msg("%s", o.err);
    assert_works(o);
}

static void check_key(const command_case *c, const char *key)
{
    write_config(c, key);
    assert_taken(run(c, ARGS(BENCH, "--schedules", "dsmoe,fsmoe-lanes")));
    assert_taken(run(c, ARGS(PROFILE)));
    assert_true(has(c, "costs.json"));
}

static void test_trial_takes_lanes(void **state)
{
    const command_case *c = *state;
    check_key(c, "lanes: 2");
    assert_works(run(c, ARGS(BENCH, "--schedules", "fsmoe-lanes", "--csv", "rows.csv")));
    assert_int_equal(lanes_of(c), 2);
    write_config(c, "lanes: 3");
    assert_works(run(c, ARGS(BENCH, "--schedules", "fsmoe-lanes", "--csv", "rows.csv")));
    assert_int_equal(lanes_of(c), 3);
    assert_works(run(c, ARGS(BENCH, "--schedules", "dsmoe", "--csv", "rows.csv")));
    assert_int_equal(lanes_of(c), 1);
}

static void test_trial_takes_memory(void **state)
{
    const command_case *c = *state;
    check_key(c, "memory: 1GiB");
    write_config(c, "memory: 1kB");
    assert_fails(run(c, ARGS(BENCH, "--schedules", "fsmoe-lanes")), FSMOE_ERROR_CONFIG,
                 ARGS("parallel.memory is 1000 bytes", "one lane takes"));
}

/* The costs are those of the bench. */
static void test_trial_takes_a_cluster(void **state)
{
    check_key(*state, "cluster: costs-of-training.json");
}

static void test_trial_takes_plans_that_are_renewed(void **state)
{
    check_key(*state, "replan_every: 2");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, make_case, remove_case)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_trial_takes_lanes),
        CASE(test_trial_takes_memory),
        CASE(test_trial_takes_a_cluster),
        CASE(test_trial_takes_plans_that_are_renewed),
    };
    return cmocka_run_group_tests_name("trial", tests, NULL, NULL);
}
