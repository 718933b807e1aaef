/* `fsmoe plan` where the configuration says how many lanes there are to be, and what memory they may take:
 * parallel.lanes, parallel.memory. Oracles: what is asked for; a plan with all memory; the same plan as a table and as
 * JSON; the least memory that is not refused. */
#include "plan_command_case.h"

#define LANES PLAN, "--schedule", "fsmoe-lanes"

/* Four micro-batches, in which tokens compete: none may be parted, and side by side they take as many times the
 * memory. */
#define FOUR "train.global_batch=64", "train.micro_batch=16", "moe.capacity_factor=1"

typedef struct summary {
    int lanes, parts;
    double step_ms, memory_bytes;
} summary;

/* The command with those keys of the configuration set. */
static outcome run_set(const command_case *c, const char *const *command, const char *const *keys)
{
    const char *args[MOST_ARGS] = {NULL};
    int n = 0;
    for (; *command; command++) args[n++] = *command;
    for (; *keys; keys++) args[n++] = "--set", args[n++] = *keys;
    return run(c, args);
}

static summary summary_of(const json_t *plan)
{
    return (summary){(int)number(plan, "lanes"), (int)number(plan, "parts"), number(plan, "step_ms"),
                     number(plan, "memory_bytes")};
}

static summary plan_with(const command_case *c, const char *const *keys)
{
    json_t *root = json_of(run_set(c, ARGS(LANES, "--json"), keys));
    summary s = summary_of(json_array_get(json_object_get(root, "schedules"), 0));
    json_decref(root);
    return s;
}

static void assert_refused(const command_case *c, const char *const *keys, const char *const *parts)
{
    assert_fails(run_set(c, ARGS(LANES), keys), FSMOE_ERROR_CONFIG, parts);
}

/* ---- lanes ---- */

static void test_plan_lanes_command_takes_as_many_as_are_asked_for(void **state)
{
    const command_case *c = *state;
    static const char *const keys[] = {"parallel.lanes=1", "parallel.lanes=2", "parallel.lanes=3", "parallel.lanes=4"};
    for (int lanes = 1; lanes <= 4; lanes++) {
        summary s = plan_with(c, ARGS(keys[lanes - 1]));
        assert_int_equal(s.lanes, lanes);
        assert_int_equal(s.parts, lanes); /* of the one micro-batch */
    }
    assert_refused(c, ARGS("parallel.lanes=5"), ARGS("'parallel.lanes'", "4"));
}

/* They are asked of fsmoe-lanes; what it is held against keeps its own. */
static void test_plan_lanes_command_leaves_other_schedules_their_lanes(void **state)
{
    const command_case *c = *state;
    json_t *asked = json_of(run_set(c, ARGS(PLAN, "--json"), ARGS("parallel.lanes=3"))), *plan;
    json_t *free_to_choose = json_of(run(c, ARGS(PLAN, "--json")));
    size_t i;
    json_array_foreach(json_object_get(asked, "schedules"), i, plan)
    {
        summary s = summary_of(plan), own = summary_of(json_array_get(json_object_get(free_to_choose, "schedules"), i));
        if (i == SCHEDULES - 1) assert_int_equal(s.lanes, 3);
        else assert_true(s.lanes == own.lanes && s.step_ms == own.step_ms);
        if (i < OF_LAYERS) assert_int_equal(s.lanes, 1);
    }
    json_decref(asked);
    json_decref(free_to_choose);
}

/* What other schedules do with as many lanes, it may do, too. */
static void test_plan_lanes_command_is_never_slower_in_as_many_lanes(void **state)
{
    const command_case *c = *state;
    static const char *const keys[] = {"parallel.lanes=1", "parallel.lanes=2"};
    for (int lanes = 1; lanes <= 2; lanes++) {
        json_t *root = json_of(run_set(c, ARGS(PLAN, "--json"), ARGS(keys[lanes - 1]))),
               *plans = json_object_get(root, "schedules"), *plan;
        summary best = summary_of(json_array_get(plans, SCHEDULES - 1));
        size_t i, compared = 0;
        json_array_foreach(plans, i, plan)
        {
            summary s = summary_of(plan);
            if (s.lanes != lanes) continue;
            assert_true(best.step_ms <= s.step_ms * (1 + 1e-9));
            compared++;
        }
        assert_true(compared >= 3);
        json_decref(root);
    }
}

static void test_plan_lanes_command_refuses_lanes_of_other_schedules(void **state)
{
    const command_case *c = *state;
    for (int i = 0; i < SCHEDULES - 1; i++) {
        char schedule[64];
        snprintf(schedule, sizeof schedule, "parallel.schedule=%s", schedules[i]);
        assert_fails(run_set(c, ARGS(PLAN), ARGS(schedule, "parallel.lanes=2")), FSMOE_ERROR_CONFIG,
                     ARGS("'parallel.lanes' has no effect", "fsmoe-lanes"));
        assert_fails(run_set(c, ARGS(PLAN, "--schedule", schedules[i]), ARGS("parallel.lanes=2")), FSMOE_ERROR_CONFIG,
                     ARGS("'parallel.lanes' has no effect", "fsmoe-lanes"));
        assert_works(run_set(c, ARGS(PLAN), ARGS(schedule, "parallel.memory=1GiB"))); /* a limit for all */
    }
}

/* Parts would change which tokens compete for an expert's places; whole groups of capacity compete as before. */
static void test_plan_lanes_command_refuses_parts_that_change_drops(void **state)
{
    const command_case *c = *state;
#define DROPPING "moe.capacity_factor=1.25"
    assert_refused(c, ARGS(DROPPING, "parallel.lanes=2"),
                   ARGS("cannot be taken in 2 lanes", "1 at most", "moe.capacity_group is 0"));
    assert_int_equal(plan_with(c, ARGS(DROPPING)).lanes, 1);
    summary s = plan_with(c, ARGS(DROPPING, "moe.capacity_group=32", "parallel.lanes=2"));
    assert_true(s.lanes == 2 && s.parts == 2);
    assert_refused(c, ARGS(FOUR, "parallel.lanes=2"), /* there it is memory that may help */
                   ARGS("1 at most", "moe.capacity_group is 0", "parallel.memory has to allow more"));
#undef DROPPING
}

#define CANONICAL "parallel.canonical_sums=true", "train.global_batch=64", "train.micro_batch=16"

/* Its sums are of a whole micro-batch; and micro-batches add to gradients in their order, whatever memory there is. */
static void test_plan_lanes_command_refuses_lanes_of_canonical_sums(void **state)
{
    const command_case *c = *state;
    outcome o = run_set(c, ARGS(LANES), ARGS(CANONICAL, "parallel.memory=1TiB", "parallel.lanes=2"));
    assert_null(strstr(o.err, "parallel.memory")); /* no memory would help */
    assert_fails(o, FSMOE_ERROR_CONFIG, ARGS("cannot be taken in 2 lanes", "1 at most", "parallel.canonical_sums"));
}

static void test_plan_lanes_command_gives_canonical_sums_one_lane(void **state)
{
    const command_case *c = *state;
    assert_int_equal(plan_with(c, ARGS(CANONICAL)).lanes, 1);
    assert_int_equal(plan_with(c, ARGS(CANONICAL, "parallel.memory=1TiB")).lanes, 1);
}

/* ---- memory ---- */

/* Side by side, where there is room for it and nothing may be parted, and faster for that. */
static void test_plan_lanes_command_puts_micro_batches_side_by_side(void **state)
{
    const command_case *c = *state;
    summary one = plan_with(c, ARGS(FOUR)), many = plan_with(c, ARGS(FOUR, "parallel.memory=1TiB")),
            two = plan_with(c, ARGS(FOUR, "parallel.memory=1TiB", "parallel.lanes=2"));
    assert_true(one.lanes == 1 && one.parts == 1);
    assert_true(many.lanes > 1 && many.parts == 1);
    assert_true(two.lanes == 2 && two.parts == 1);
    assert_true(many.step_ms < one.step_ms && many.step_ms <= two.step_ms);
    assert_true(many.memory_bytes > one.memory_bytes && two.memory_bytes > one.memory_bytes);
}

/* The number in what is said of too little memory is the least that is enough. */
static void test_plan_lanes_command_says_how_much_one_lane_takes(void **state)
{
    const command_case *c = *state;
    char key[64], said[128];
    outcome o = run_set(c, ARGS(LANES), ARGS("parallel.memory=2kB"));
    const char *takes = strstr(o.err, "one lane takes ");
    assert_non_null(takes);
    long long least = atoll(takes + strlen("one lane takes "));
    assert_fails(o, FSMOE_ERROR_CONFIG, ARGS("parallel.memory is 2000 bytes, but one lane takes "));
    snprintf(key, sizeof key, "parallel.memory=%lldB", least);
    summary s = plan_with(c, ARGS(key));
    assert_true(s.lanes >= 1 && s.memory_bytes <= (double)least);
    snprintf(key, sizeof key, "parallel.memory=%lldB", least - 1);
    snprintf(said, sizeof said, "parallel.memory is %lld bytes, but one lane takes %lld", least - 1, least);
    assert_refused(c, ARGS(key), ARGS(said));
    assert_refused(c, ARGS(key, "parallel.lanes=1"), ARGS("--set: ", said));
    assert_fails(run_set(c, ARGS(PLAN, "--schedule", "dsmoe"), ARGS(key)), FSMOE_ERROR_CONFIG, ARGS(said));
    assert_refused(c, ARGS("parallel.memory=plenty"), ARGS("'parallel.memory'", "'plenty'", "16GiB"));
}

/* A plan that memory keeps from more lanes, in a file: the checker holds it to that. */
static void test_plan_lanes_command_stays_within_memory(void **state)
{
    const command_case *c = *state;
    char key[64];
    summary two = plan_with(c, ARGS(FOUR, "parallel.memory=1TiB", "parallel.lanes=2"));
    snprintf(key, sizeof key, "parallel.memory=%.0fB", two.memory_bytes);
    summary s = plan_with(c, ARGS(FOUR, key));
    assert_true(s.lanes == 2 && s.parts == 1 && s.memory_bytes <= two.memory_bytes);
    assert_refused(c, ARGS(FOUR, key, "parallel.lanes=4"), ARGS("cannot be taken in 4 lanes", "parallel.memory"));
    assert_works(run_set(c, ARGS(LANES, "--out", "lanes.json"), ARGS(FOUR, key)));
    outcome o = run(c, ARGS("plan", "--check", "lanes.json"));
    assert_has(o.out, "all claims hold");
    assert_works(o);
}

/* ---- what is printed ---- */

/* The row of a schedule: what stands under lanes, parts, GB. */
static void assert_row(const char *table, const char *schedule, summary want)
{
    char start[32], binds[16];
    int lanes, parts;
    double gb;
    snprintf(start, sizeof start, "\n%s ", schedule);
    const char *row = strstr(table, start);
    assert_non_null(row);
    assert_int_equal(sscanf(row + 1, "%*s %*f %*s %*s %*f %*f %*f%% %15s %d %d %lf", binds, &lanes, &parts, &gb), 4);
    assert_int_equal(lanes, want.lanes);
    assert_int_equal(parts, want.parts);
    assert_true(fabs(gb - want.memory_bytes / 1e9) <= 0.0005001);
}

static void test_plan_lanes_command_table_has_lanes_and_memory(void **state)
{
    const command_case *c = *state;
#define LARGE "model.hidden=512", "model.ffn_hidden=1024", "train.global_batch=32", "train.micro_batch=16"
    outcome o = run_set(c, ARGS(PLAN), ARGS(LARGE, "parallel.memory=1TiB"));
    json_t *root = json_of(run_set(c, ARGS(PLAN, "--json"), ARGS(LARGE, "parallel.memory=1TiB")));
    int side_by_side = 0;
    assert_has(o.out, "  binds    lanes parts       GB  degrees ");
    for (int i = 0; i < SCHEDULES; i++) {
        summary s = summary_of(json_array_get(json_object_get(root, "schedules"), (size_t)i));
        assert_row(o.out, schedules[i], s);
        side_by_side += s.lanes > s.parts;
    }
    assert_true(side_by_side > 0);
    json_decref(root);
    assert_works(o);
#undef LARGE
}

static void test_plan_lanes_command_explains_lanes(void **state)
{
    const command_case *c = *state;
    outcome o = run(c, ARGS(LANES, "--explain", "--out", "lanes.json"));
    assert_null(strstr(o.out, "of an MoE layer without gradients")); /* a layer alone is not what was planned */
    assert_has(o.out, "\nfsmoe-lanes, what waits: a step of ");
    assert_has(o.out, ", lane 1");
    const char *others = strstr(o.out, "\nfsmoe-lanes, one lane or one chunk more or less:\n");
    assert_non_null(others);
    assert_int_equal(count_text(others, "\n> "), 1);
    assert_true(count_text(others, "%") > 4); /* the step itself, fewer lanes, more chunks of either direction … */
    assert_works(o);
    o = run(c, ARGS("simulate", "lanes.json", "--gantt", "lanes.svg", "--trace", "lanes.json.trace"));
    assert_has(o.out, " lanes; uncut, the tasks are ");
    assert_works(o);
    char *svg = read_text(c, "lanes.svg", NULL), *trace = read_text(c, "lanes.json.trace", NULL);
    assert_has(svg, "lane 1");
    assert_has(trace, "\"name\":\"lane 1\"");
    free(svg);
    free(trace);
}

/* "  0.003 GB would allow 4 lanes and a step of 5.623 ms", against the plan that has all memory. */
static void test_plan_lanes_command_explains_what_memory_costs(void **state)
{
    const command_case *c = *state;
    double gb, step_ms;
    int lanes;
    char key[64];
    summary one = plan_with(c, ARGS(FOUR, "parallel.lanes=1")), all = plan_with(c, ARGS(FOUR, "parallel.memory=1TiB"));
    snprintf(key, sizeof key, "parallel.memory=%.0fB", one.memory_bytes);
    outcome o = run_set(c, ARGS(LANES, "--explain"), ARGS(FOUR, key));
    const char *limit = strstr(o.out, "GB a rank (parallel.memory):\n");
    assert_non_null(limit);
    assert_int_equal(sscanf(strchr(limit, '\n'), " %lf GB would allow %d lanes and a step of %lf ms", &gb, &lanes,
                            &step_ms),
                     3);
    assert_int_equal(lanes, all.lanes);
    assert_true(fabs(step_ms - all.step_ms) <= 0.00051 && step_ms < one.step_ms);
    assert_true(fabs(gb - all.memory_bytes / 1e9) <= 0.0005001);
    assert_works(o);
    o = run_set(c, ARGS(LANES, "--explain"), ARGS(FOUR, "parallel.memory=1TiB"));
    assert_has(o.out, "with 1099.512 GB a rank (parallel.memory); more memory would gain nothing\n");
    assert_works(o);
    o = run_set(c, ARGS(LANES, "--explain"), ARGS(FOUR));
    assert_has(o.out, "GB a rank (what one lane takes, with room for late weight gradients):\n");
    assert_works(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_plan_lanes_command_takes_as_many_as_are_asked_for),
        CASE(test_plan_lanes_command_leaves_other_schedules_their_lanes),
        CASE(test_plan_lanes_command_is_never_slower_in_as_many_lanes),
        CASE(test_plan_lanes_command_refuses_lanes_of_other_schedules),
        CASE(test_plan_lanes_command_refuses_parts_that_change_drops),
        CASE(test_plan_lanes_command_refuses_lanes_of_canonical_sums),
        CASE(test_plan_lanes_command_gives_canonical_sums_one_lane),
        CASE(test_plan_lanes_command_puts_micro_batches_side_by_side),
        CASE(test_plan_lanes_command_says_how_much_one_lane_takes),
        CASE(test_plan_lanes_command_stays_within_memory),
        CASE(test_plan_lanes_command_table_has_lanes_and_memory),
        CASE(test_plan_lanes_command_explains_lanes),
        CASE(test_plan_lanes_command_explains_what_memory_costs),
    };
    return cmocka_run_group_tests_name("plan lanes command", tests, NULL, NULL);
}
