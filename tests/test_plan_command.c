/* `fsmoe plan` and `fsmoe simulate` on a command line: tables, JSON, plan files, pictures, the paper's grid.
 * Oracles: one layer computed by hand, the checker, relations between schedules that hold in every row. */
#include "plan_command_case.h"

/* ---- a model ---- */

static void test_plan_command_table_has_every_schedule(void **state)
{
    const command_case *c = *state;
    outcome o = run(c, ARGS(PLAN));
    assert_has(o.out, "4 layers, 4 with experts, on 8 ranks of 4 nodes");
    for (int i = 0; i < SCHEDULES; i++) {
        char start[32];
        snprintf(start, sizeof start, "\n%s ", schedules[i]);
        assert_int_equal(count_text(o.out, start), 1);
    }
    assert_has(o.out, "\nuncut, its tasks are ");
    assert_has(o.out, " step/load ");
    assert_has(o.out, "\nin one lane a rank takes ");
    assert_string_equal(o.err, "");
    assert_works(o);
}

/* What a plan says of its lanes and loads. Every plan is of the same step, so loads are the same. */
static void check_loads(const json_t *plan, const json_t *first)
{
    static const char *const names[] = {"compute", "intra", "inter"};
    double most_ms = 0;
    for (int r = 0; r < 3; r++) {
        double load_ms = number(json_object_get(plan, "load_ms"), names[r]);
        assert_near(load_ms, number(json_object_get(first, "load_ms"), names[r]));
        most_ms = fmax(most_ms, load_ms);
    }
    assert_near(number(plan, "step_over_load"), number(plan, "step_ms") / most_ms);
    assert_true(number(plan, "step_over_load") > 1 - 1e-9);
    assert_true(number(plan, "lanes") >= 1 && number(plan, "parts") <= number(plan, "lanes"));
}

static void check_times(const json_t *plan)
{
    static const char *const names[] = {"compute", "intra", "inter"};
    double step_ms = number(plan, "step_ms"), bound_ms = number(plan, "lower_bound_ms");
    assert_true(bound_ms > 0 && bound_ms <= step_ms * (1 + 1e-9));
    assert_true(number(plan, "order_bound_ms") <= step_ms * (1 + 1e-9));
    assert_true(fabs(number(plan, "gap") - (step_ms / bound_ms - 1)) < 1e-6);
    for (int r = 0; r < 3; r++) {
        double busy = number(json_object_get(plan, "busy"), names[r]);
        assert_true((busy > 0 || r == 1) && busy <= 1 + 1e-9); /* one stream may leave a link idle */
    }
}

/* Schedules of layers cut each of them, dsmoe and lanes in a fixed order none; fsmoe-lanes may have lanes instead of
 * chunks. */
static void check_degrees(const json_t *plan, int schedule)
{
    const json_t *layers = json_object_get(plan, "layers"), *entry;
    size_t k;
    bool free_to_cut = schedule == SCHEDULES - 1, cuts = schedule > 0 && schedule < OF_LAYERS;
    assert_int_equal(json_array_size(layers), 4);
    json_array_foreach(layers, k, entry)
    {
        static const char *const keys[] = {"forward_degree", "backward_degree"};
        assert_int_equal(json_integer_value(json_object_get(entry, "layer")), k);
        for (int phase = 0; phase < 2; phase++) {
            json_int_t degree = json_integer_value(json_object_get(entry, keys[phase]));
            assert_true(degree >= 1);
            if (!free_to_cut) assert_true((degree > 1) == cuts);
        }
    }
}

static void test_plan_command_json_says_what_the_plan_is(void **state)
{
    const command_case *c = *state;
    json_t *root = json_of(run(c, ARGS(PLAN, "--json"))), *plans = json_object_get(root, "schedules"), *plan;
    size_t i;
    double step_ms[SCHEDULES];
    assert_int_equal(json_array_size(plans), SCHEDULES);
    json_array_foreach(plans, i, plan)
    {
        assert_string_equal(json_string_value(json_object_get(plan, "schedule")), schedules[i]);
        step_ms[i] = number(plan, "step_ms");
        check_times(plan);
        check_loads(plan, json_array_get(plans, 0));
        check_degrees(plan, (int)i);
    }
    for (int s = 0; s < 5; s++) assert_true(step_ms[5] <= step_ms[s] * (1 + 1e-9));
    assert_true(step_ms[6] <= step_ms[5] * (1 + 1e-9));
    for (int s = 6; s < SCHEDULES; s++) assert_true(step_ms[SCHEDULES - 1] <= step_ms[s] * (1 + 1e-9));
    assert_true(step_ms[5] < step_ms[1]); /* what the planner is for */
    json_decref(root);
}

static size_t count_events(const command_case *c, const char *name)
{
    char *trace = read_text(c, name, NULL);
    json_t *events = json_loads(trace, 0, NULL);
    size_t count = json_array_size(json_is_object(events) ? json_object_get(events, "traceEvents") : events);
    json_decref(events);
    free(trace);
    return count;
}

static void test_plan_command_files_are_checked_and_simulated(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS(PLAN, "--schedule", "fsmoe", "--out", "plan.json")));
    outcome o = run(c, ARGS("plan", "--check", "plan.json"));
    assert_has(o.out, "plan.json: fsmoe, ");
    assert_has(o.out, "all claims hold");
    assert_works(o);
    o = run(c, ARGS("simulate", "plan.json", "--gantt", "step.svg", "--trace", "step.json"));
    assert_has(o.out, "fsmoe: ");
    assert_works(o);
    char *svg = read_text(c, "step.svg", NULL);
    assert_has(svg, "<svg");
    assert_has(svg, "</svg>");
    free(svg);
    assert_true(count_events(c, "step.json") > 100);
    assert_works(run(c, ARGS(PLAN, "--out", "best.json"))); /* without --schedule, the best of them */
    o = run(c, ARGS("plan", "--check", "best.json"));
    assert_has(o.out, "best.json: fsmoe-lanes, ");
    assert_works(o);
    assert_works(run(c, ARGS(PLAN, "--schedule", "fsmoe", "--paper", "--out", "paper.json")));
    assert_works(run(c, ARGS("plan", "--check", "paper.json")));
}

/* However far from its beginning the plan begins, and where it can be looked at but once. */
static void test_plan_command_knows_a_plan_by_its_first_letter(void **state)
{
    const command_case *c = *state;
    size_t bytes, blank = 5000;
    assert_works(run(c, ARGS(PLAN, "--schedule", "dsmoe", "--out", "plan.json")));
    char *text = read_text(c, "plan.json", &bytes), *later = malloc(blank + bytes);
    assert_non_null(later);
    memset(later, '\n', blank);
    memcpy(later + blank, text, bytes);
    write_text(c, "later.json", later, blank + bytes);
    outcome o = run(c, ARGS("simulate", "later.json"));
    assert_has(o.out, "dsmoe: ");
    assert_works(o);
    o = spawn(c, ARGS("sh", "-c", "cat later.json | exec \"$0\" simulate /dev/stdin", FSMOE_COMMAND), (streams){0});
    assert_has(o.out, "dsmoe: ");
    assert_works(o);
    memset(later, 0, blank); /* no blanks: it is a model, if anything */
    write_text(c, "zeros", later, blank);
    o = run(c, ARGS("simulate", "zeros"));
    assert_has(o.err, "--cluster");
    assert_int_not_equal(o.exit_code, 0);
    forget(o);
    free(text);
    free(later);
}

static void test_plan_command_finds_a_file_that_lies(void **state)
{
    const command_case *c = *state;
    size_t size;
    assert_works(run(c, ARGS(PLAN, "--schedule", "fsmoe", "--out", "plan.json")));
    char *text = read_text(c, "plan.json", &size), *claim = strstr(text, "\"makespan_s\":");
    assert_non_null(claim);
    claim += strcspn(claim, "123456789");
    *claim = *claim == '9' ? '8' : (char)(*claim + 1);
    write_text(c, "lie.json", text, size);
    free(text);
    assert_fails(run(c, ARGS("plan", "--check", "lie.json")), FSMOE_ERROR_FORMAT, ARGS("lie.json"));
    assert_fails(run(c, ARGS("simulate", "lie.json", "--gantt", "lie.svg")), FSMOE_ERROR_FORMAT, ARGS("lie.json"));
    assert_false(has(c, "lie.svg"));
}

static void test_plan_command_names_the_file_of_a_false_claim(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS(PLAN, "--schedule", "fsmoe-lanes", "--out", "plan.json")));
    char *written = read_text(c, "plan.json", NULL);
    json_t *plan = json_loads(written, 0, NULL);
    assert_non_null(plan);
    free(written);
    json_object_set_new(json_object_get(plan, "graph"), "spare", json_integer(5));
    char *text = json_dumps(plan, 0);
    write_text(c, "false.json", text, strlen(text));
    assert_fails(run(c, ARGS("plan", "--check", "false.json")), FSMOE_ERROR_FORMAT,
                 ARGS("plan 'false.json'", "5 spare"));
    json_decref(plan);
    free(text);
}

static void test_plan_command_explains_degrees(void **state)
{
    const command_case *c = *state;
    outcome o = run(c, ARGS(PLAN, "--schedule", "fsmoe", "--explain"));
    assert_has(o.out, "fsmoe, forward of an MoE layer without gradients: degree ");
    assert_has(o.out, "fsmoe, backward of an MoE layer without gradients: degree ");
    assert_has(o.out, "\n>"); /* the chosen one among its neighbours */
    assert_has(o.out, "\nfsmoe, what waits: a step of ");
    assert_has(o.out, "\n  inter    load ");
    assert_has(o.out, " after its last task\n");
    assert_null(strstr(o.out, "one lane or one chunk"));
    assert_works(o);
    o = run(c, ARGS(PLAN, "--schedule", "fsmoe", "--explain", "--json"));
    assert_has(o.err, "degree ");
    json_decref(json_of(o));
}

/* Updates that follow their pieces, and cost something: how many there are, and when each begins, is the plan's to
 * choose. */
static void test_plan_command_bound_holds_where_updates_cost(void **state)
{
    const command_case *c = *state;
    static const struct {
        const char *model, *cluster;
    } cases[] = {
        {"data: {tokenizer: bytes, seq_len: 16}\n"
         "model: {family: mixtral, hidden: 32, ffn_hidden: 64, vocab_size: 256, num_layers: 3, num_heads: 4}\n"
         "moe: {num_experts: 4}\n"
         "train: {micro_batch: 4, global_batch: 4, clip_grad: 0}\n"
         "parallel: {ep_size: 2}\n",
         "{\"name\": \"many\", \"unit\": \"ms\", \"nodes\": 2, \"ranks_per_node\": 2,"
         "\"gemm\": {\"alpha\": 2.1e-3, \"beta\": 6.8e-9}, \"alltoall\": {\"alpha\": 2.8e-4, \"beta\": 1.65e-5},"
         "\"allgather\": {\"alpha\": 4.9e-3, \"beta\": 5.8e-5}, \"reducescatter\": {\"alpha\": 3.6e-4, \"beta\": "
         "3.4e-6},"
         "\"allreduce\": {\"alpha\": 0.0153, \"beta\": 4.2e-7},"
         "\"tasks\": {\"optimizer.update\": {\"alpha\": 0.0231, \"beta\": 1e-9}}}"},
        {"data: {tokenizer: bytes, seq_len: 16}\n"
         "model: {family: gpt2, hidden: 32, ffn_hidden: 64, vocab_size: 16384, num_layers: 6, num_heads: 4, "
         "tie_embeddings: true}\n"
         "moe: {num_experts: 4, top_k: 2, capacity_factor: 1, capacity_group: 16}\n"
         "train: {micro_batch: 16, global_batch: 16, clip_grad: 0}\n"
         "parallel: {ep_size: 2}\n",
         "{\"name\": \"large\", \"unit\": \"ms\", \"nodes\": 2, \"ranks_per_node\": 2,"
         "\"gemm\": {\"alpha\": 1e-3, \"beta\": 4e-8}, \"alltoall\": {\"alpha\": 0.01, \"beta\": 4e-5},"
         "\"allgather\": {\"alpha\": 0.002, \"beta\": 2e-6}, \"reducescatter\": {\"alpha\": 0.002, \"beta\": 2e-6},"
         "\"allreduce\": {\"alpha\": 5e-4, \"beta\": 4e-5},"
         "\"tasks\": {\"optimizer.update\": {\"alpha\": 5e-4, \"beta\": 1.2e-5}}}"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(c, "update.yaml", cases[i].model, strlen(cases[i].model));
        write_text(c, "update.json", cases[i].cluster, strlen(cases[i].cluster));
        assert_works(run(c, ARGS("plan", "update.yaml", "--cluster", "update.json", "--schedule", "fsmoe-lanes",
                                 "--out", "update.plan")));
        outcome o = run(c, ARGS("plan", "--check", "update.plan"));
        assert_has(o.out, "all claims hold");
        assert_works(o);
    }
}

/* Their buffers are counted though nobody communicates. */
static void test_plan_command_counts_hierarchical_alltoalls(void **state)
{
    const command_case *c = *state;
    static const char *const kinds[] = {"1dh", "2dh"};
    for (int i = 0; i < 2; i++) {
        char setting[64];
        snprintf(setting, sizeof setting, "moe.alltoall=%s", kinds[i]);
        outcome o = run(c, ARGS(PLAN, "--schedule", "dsmoe", "--set", setting));
        assert_has(o.out, "in one lane a rank takes ");
        assert_works(o);
    }
}

static void test_plan_command_of_plain_steps_is_plain(void **state)
{
    const command_case *c = *state;
    outcome o = run(c, ARGS(PLAN, "--set", "model.moe_every=9", "--explain"));
    assert_has(o.out, "4 layers, 0 with experts");
    assert_int_equal(count_text(o.out, " -\n"), SCHEDULES); /* degrees */
    assert_int_equal(count_text(o.out, "no layer has experts"), SCHEDULES);
    assert_works(o);
    json_t *root = json_of(run(c, ARGS(PLAN, "--json", "--nodes", "1", "--ranks-per-node", "1", ALONE))), *plan;
    size_t i;
    double first_ms = 0;
    json_array_foreach(json_object_get(root, "schedules"), i, plan)
    {
        if (i == 0) first_ms = number(plan, "step_ms"); /* one rank: nothing to overlap with */
        assert_near(number(plan, "step_ms"), first_ms);
        assert_near(number(plan, "lower_bound_ms"), first_ms);
        assert_int_equal(number(plan, "allreduces"), 0);
    }
    json_decref(root);
    o = run(c, ARGS(PLAN, "--set", "moe.capacity_factor=1e-6")); /* one row an expert cannot be cut */
    assert_int_equal(count_text(o.out, "1/1 x 4\n"), SCHEDULES);
    assert_works(o);
}

/* ---- one layer, by hand ---- */

/* Two GEMMs take 2 (2 + 1) = 6 ms, alltoall 3, allgather 2.5, reducescatter 1.25. Forward at degree 1: 3 + 2.5 + 6 +
 * 1.25 + 3 = 15.75; at degree 2, the other there is, stages take 2, 1.5, 5, 0.75, 2 a chunk, so at least 2 * 5 + 6.25 =
 * 16.25. Backward the experts take twice as long. An all-reduce of 10 elements takes 6 ms, of 100 51 ms; it fits beside
 * the experts, or makes the link the longest: 3 + 51 + 3. */
static void test_plan_command_of_a_layer_is_as_computed_by_hand(void **state)
{
    const command_case *c = *state;
    static const struct {
        const char *schedule, *gradients;
        double backward_ms;
        const char *binding; /* NULL: several bind */
    } cases[] = {
        {"dsmoe", "", 21.75, NULL},
        {"dsmoe", "allreduce_elems: 10\n", 27.75, NULL},
        {"tutel", "allreduce_elems: 10\n", 27.75, NULL},
        {"fsmoe", "", 21.75, NULL},
        {"fsmoe", "allreduce_elems: 0\n", 21.75, NULL},
        {"fsmoe", "allreduce_elems: 10\n", 21.75, NULL},
        {"fsmoe", "allreduce_elems: 100\n", 57, "inter"},
        {"fsmoe-x", "", 17.5, NULL}, /* weight gradients end last: 3 + 2.5 + 6 + 6 */
        {"fsmoe-x", "allreduce_elems: 100\n", 57, "inter"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s%s", layer, cases[i].gradients);
        write_text(c, "l.yaml", text, strlen(text));
        json_t *root = json_of(run(c, ARGS("plan", "--layer", "l.yaml", "--cluster", "hand.json", "--schedule",
                                           cases[i].schedule, "--json")));
        assert_string_equal(json_string_value(json_object_get(root, "schedule")), cases[i].schedule);
        for (int phase = 0; phase < 2; phase++) {
            json_t *direction = json_object_get(root, phase ? "backward" : "forward");
            const char *binding = json_string_value(json_object_get(direction, "binding"));
            double expected_ms = phase ? cases[i].backward_ms : 15.75;
            assert_int_equal(json_object_size(direction), 5);
            assert_int_equal(json_integer_value(json_object_get(direction, "degree")), 1);
            assert_near(number(direction, "makespan_ms"), expected_ms);
            assert_near(number(direction, "lower_bound_ms"), expected_ms);
            assert_near(number(direction, "gap"), 0);
            assert_non_null(binding);
            if (phase && cases[i].binding) assert_string_equal(binding, cases[i].binding);
        }
        json_decref(root);
    }
    outcome o = run(c, ARGS("plan", "--layer", "layer.yaml", "--cluster", "hand.json", "--explain"));
    assert_has(o.out, "forward   degree   1      15.750 ms");
    assert_has(o.out, "forward: degree 1 of at most 2, 15.750 ms");
    assert_has(o.out, "+3.17%"); /* degree 2: 16.25 ms */
    assert_works(o);
}

/* ---- simulate ---- */

/* "… tasks, 5.623 ms a step (3.351 ms as planned); …" */
static void read_steps(outcome o, double *step_ms, double *planned_ms)
{
    if (o.exit_code != 0) fail_msg("exit code %d: %s", o.exit_code, o.err);
    const char *step = strstr(o.out, "tasks, "), *planned = strstr(o.out, "step (");
    assert_non_null(step);
    *step_ms = strtod(step + 7, NULL);
    *planned_ms = planned ? strtod(planned + 6, NULL) : NAN;
    forget(o);
}

static void test_plan_command_simulates_slower_ranks(void **state)
{
    const command_case *c = *state;
    double step_ms, planned_ms, alone_ms, ignored_ms;
    read_steps(run(c, ARGS(SIMULATE)), &alone_ms, &planned_ms);
    assert_true(alone_ms > 0 && isnan(planned_ms));
    read_steps(run(c, ARGS(SIMULATE, "--class", "all=8")), &step_ms, &planned_ms);
    assert_true(step_ms == alone_ms && planned_ms == alone_ms);
    static const char *const slower[] = {"slow=2,compute=2", "slow=2,intra=3", "slow=2,inter=2",
                                         "slow=2,compute=2,intra=2,inter=2"};
    for (int i = 0; i < 4; i++) {
        read_steps(run(c, ARGS(SIMULATE, "--class", slower[i], "--class", "rest=6")), &step_ms, &planned_ms);
        assert_true(planned_ms == alone_ms);
        assert_true(step_ms > 1.01 * alone_ms && step_ms < 3 * alone_ms);
    }
    assert_true(fabs(step_ms - 2 * alone_ms) <= 0.0021); /* all twice as long, printed to 1 us */
    read_steps(run(c, ARGS(SIMULATE, "--class", "fast=8,compute=0.5,intra=0.5,inter=0.5")), &step_ms, &ignored_ms);
    assert_true(fabs(step_ms - alone_ms / 2) <= 0.0011);
    read_steps(run(c, ARGS(SIMULATE, "--priority")), &step_ms, &planned_ms);
    assert_true(planned_ms == alone_ms && step_ms > 0.8 * alone_ms && step_ms < 1.5 * alone_ms);
    outcome o = run(c, ARGS(SIMULATE, "--class", "slow=2,compute=2", "--class", "rest=6"));
    assert_has(o.out, "slow ");
    assert_has(o.out, "2 ranks");
    assert_works(o);
}

/* ---- the paper's grid ---- */

enum { GRID_ROWS = 1458 * OF_LAYERS };

static void check_layer(const double forward_ms[], const double step_ms[])
{
    for (int s = 0; s < 5; s++)
        if (!(step_ms[5] <= step_ms[s] * (1 + 1e-9)))
            fail_msg("fsmoe %.9g ms, %s %.9g ms, forward %.9g ms", step_ms[5], schedules[s], step_ms[s], forward_ms[s]);
    if (!(step_ms[6] <= step_ms[5] * (1 + 1e-9))) fail_msg("fsmoe-x %.9g ms, fsmoe %.9g ms", step_ms[6], step_ms[5]);
}

static void test_plan_command_grid_orders_schedules_in_every_row(void **state)
{
    const command_case *c = *state;
    static const char header[] = "batch,heads,seq_len,hidden,ffn_hidden,capacity_factor,expert,schedule,forward_degree,"
                                 "backward_degree,forward_ms,backward_ms,step_ms,lower_bound_ms";
    static const char *const clusters[] = {FSMOE_SOURCE_DIR "/examples/clusters/paper-a.json",
                                           FSMOE_SOURCE_DIR "/examples/clusters/paper-b.json"};
    for (int k = 0; k < 2; k++) {
        outcome o = run(c, ARGS("simulate", "--grid", "paper", "--cluster", clusters[k], "--csv", "grid.csv"));
        assert_has(o.out, "1458 layers on cluster");
        assert_works(o);
        char *text = read_text(c, "grid.csv", NULL), *rest, *line = strtok_r(text, "\n", &rest), last[128] = "";
        double forward_ms[SCHEDULES], step_ms[SCHEDULES];
        int rows = 0;
        assert_string_equal(line, header);
        for (; (line = strtok_r(NULL, "\n", &rest)); rows++) {
            int s = rows % OF_LAYERS, degree[2], used = 0;
            char shape[128], name[32];
            double backward_ms, bound_ms;
            int read = sscanf(line, "%127[^a-z]%31[^,],%n", shape, name, &used);
            assert_int_equal(read, 2);
            strncat(shape, name, sizeof shape - strlen(shape) - 1);
            read = sscanf(line + used, "%31[^,],%d,%d,%lf,%lf,%lf,%lf", name, &degree[0], &degree[1], &forward_ms[s],
                          &backward_ms, &step_ms[s], &bound_ms);
            assert_int_equal(read, 7);
            assert_string_equal(name, schedules[s]);
            if (s > 0) assert_string_equal(shape, last); /* a layer under all schedules, one after another */
            else assert_string_not_equal(shape, last);
            strcpy(last, shape);
            assert_true(degree[0] >= 1 && degree[1] >= 1 && bound_ms > 0);
            assert_true(fabs(step_ms[s] - forward_ms[s] - backward_ms) <= 1e-8 * step_ms[s]); /* 9 digits */
            assert_true(bound_ms <= step_ms[s] * (1 + 1e-9));
            if (s == OF_LAYERS - 1) check_layer(forward_ms, step_ms);
        }
        assert_int_equal(rows, GRID_ROWS);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_plan_command_table_has_every_schedule),
        CASE(test_plan_command_json_says_what_the_plan_is),
        CASE(test_plan_command_files_are_checked_and_simulated),
        CASE(test_plan_command_knows_a_plan_by_its_first_letter),
        CASE(test_plan_command_finds_a_file_that_lies),
        CASE(test_plan_command_names_the_file_of_a_false_claim),
        CASE(test_plan_command_explains_degrees),
        CASE(test_plan_command_bound_holds_where_updates_cost),
        CASE(test_plan_command_counts_hierarchical_alltoalls),
        CASE(test_plan_command_of_plain_steps_is_plain),
        CASE(test_plan_command_of_a_layer_is_as_computed_by_hand),
        CASE(test_plan_command_simulates_slower_ranks),
        CASE(test_plan_command_grid_orders_schedules_in_every_row),
    };
    return cmocka_run_group_tests_name("plan command", tests, NULL, NULL);
}
