/* step_times.json. Oracles: a round trip to the bit; one broken key at a time and the error that must name it. */
#include "plan_by_hand.h"

#include "exec/step_times.h"

static char folder[] = "/tmp/fsmoe-step-times-XXXXXX", path[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/fsmoe-step-times-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/%s", folder, FSM_STEP_TIMES_FILE);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return fsm_file_remove_tree(folder) != FSMOE_OK;
}

/* Two ranks, one a third slower than planned, whose times have no short decimals. */
static fsm_step_times make_times(const plan *p, bool planned)
{
    fsm_step_times times;
    int n = p->graph.count;
    assert_int_equal(fsm_step_times_create(&p->graph, planned ? &p->timeline : NULL, "fsmoe", 1234567890123, 2, &times),
                     FSMOE_OK);
    for (int r = 0; r < FSM_RESOURCE_COUNT && planned; r++) times.load_s[r] = r / 3.0;
    double *start_s = malloc((size_t)n * sizeof(double)), *end_s = malloc((size_t)n * sizeof(double));
    for (int r = 0; r < 2; r++) {
        for (int i = 0; i < n; i++) {
            start_s[i] = p->timeline.start_s[i] * (r + 3) / 3;
            end_s[i] = p->timeline.end_s[i] * (r + 3) / 3;
        }
        fsm_step_times_set(&times, r, start_s, end_s);
    }
    free(start_s);
    free(end_s);
    return times;
}

static void assert_same_timeline(const fsm_timeline *a, const fsm_timeline *b, int n)
{
    assert_memory_equal(a->start_s, b->start_s, (size_t)n * sizeof(double));
    assert_memory_equal(a->end_s, b->end_s, (size_t)n * sizeof(double));
    assert_memory_equal(&a->makespan_s, &b->makespan_s, sizeof(double));
}

static void test_step_times_read_back_to_the_bit(void **state)
{
    (void)state;
    plan p = make_plan(3, 2);
    for (int planned = 0; planned < 2; planned++) {
        fsm_step_times times = make_times(&p, planned), back;
        times.ranks[1].start_s[0] = times.ranks[1].end_s[0] = 0; /* did not run */
        times.ranks[1].start_s[1] = 5e-324;
        assert_int_equal(fsm_step_times_write(&times, path), FSMOE_OK);
        assert_int_equal(fsm_step_times_read(path, &back), FSMOE_OK);
        assert_string_equal(back.schedule, "fsmoe");
        assert_true(back.step == 1234567890123);
        assert_int_equal(back.n_ranks, 2);
        assert_int_equal(back.has_planned, planned);
        assert_memory_equal(back.load_s, times.load_s, sizeof back.load_s);
        char *graphs[2];
        assert_int_equal(fsm_graph_to_json(&p.graph, &graphs[0]), FSMOE_OK);
        assert_int_equal(fsm_graph_to_json(&back.graph, &graphs[1]), FSMOE_OK);
        assert_string_equal(graphs[0], graphs[1]);
        for (int r = 0; r < 2; r++) {
            assert_same_timeline(&times.ranks[r], &back.ranks[r], p.graph.count);
            assert_true(fabs(back.ranks[r].makespan_s * 3 / (r + 3) - p.timeline.makespan_s) < 1e-15);
            free(graphs[r]);
        }
        if (planned) assert_same_timeline(&p.timeline, &back.planned, p.graph.count);
        fsm_step_times_destroy(&times);
        fsm_step_times_destroy(&back);
    }
    destroy(&p);
}

static void test_step_times_refuses_to_write_what_is_no_span_of_time(void **state)
{
    (void)state;
    static const double spans[][2] = {{NAN, 1}, {0, NAN}, {0, INFINITY}, {-1e-9, 1}, {2, 1}};
    plan p = make_plan(1, 1);
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        fsm_step_times times = make_times(&p, true);
        times.ranks[1].start_s[2] = spans[i][0];
        times.ranks[1].end_s[2] = spans[i][1];
        assert_int_equal(fsm_step_times_write(&times, path), FSMOE_ERROR_NUMERIC);
        char name[128];
        fsm_task_name(&p.graph.tasks[2], name);
        assert_non_null(strstr(fsmoe_last_error(), name));
        assert_non_null(strstr(fsmoe_last_error(), "rank 1"));
        assert_false(fsm_file_exists(path));
        fsm_step_times_destroy(&times);
    }
    destroy(&p);
}

/* The sound file as a tree, to be broken in one place. */
static json_t *sound_file(void)
{
    plan p = make_plan(1, 1);
    fsm_step_times times = make_times(&p, true);
    assert_int_equal(fsm_step_times_write(&times, path), FSMOE_OK);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    fsm_step_times_destroy(&times);
    destroy(&p);
    return root;
}

/* Reads what is left of the file; the error must name the file and say `error`. Takes the tree. */
static void assert_refused(json_t *root, const char *error)
{
    fsm_step_times times;
    assert_int_equal(json_dump_file(root, path, JSON_REAL_PRECISION(17)), 0);
    json_decref(root);
    assert_int_equal(fsm_step_times_read(path, &times), FSMOE_ERROR_FORMAT);
    if (!strstr(fsmoe_last_error(), path) || !strstr(fsmoe_last_error(), error))
        fail_msg("'%s' lacks '%s'", fsmoe_last_error(), error);
}

static void test_step_times_names_the_key_that_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *error;
    } cases[] = {{"format", "\"other\"", "'format' is not"},
                 {"version", "2", "'version' is not 1"},
                 {"schedule", "7", "'schedule' is no"},
                 {"schedule", "\"0123456789012345678901234567890123\"", "'schedule' is no"},
                 {"step", "-1", "'step' is no"},
                 {"step", "1.5", "'step' is no"},
                 {"planned", "[]", "'planned' is not an object"},
                 {"planned", "{}", "'planned.start_s' is not a list"},
                 {"load_s", "[]", "'load_s' does not say"},
                 {"load_s", "{\"compute\": 1, \"intra\": 1}", "'load_s' does not say"},
                 {"load_s", "{\"compute\": 1, \"intra\": 1, \"inter\": -1}", "'load_s' does not say"},
                 {"ranks", "[]", "'ranks' is not a list"},
                 {"ranks", "[7]", "'ranks[0].rank'"},
                 {"ranks", "[{\"rank\": 1}]", "'ranks[0].rank'"},
                 {"ranks", "[{\"rank\": 0, \"start_s\": [0]}]", "'ranks[0].start_s' holds 1 numbers"},
                 {"graph", "{}", "'graph': graph: no array 'tasks'"},
                 {"graph", "{\"tasks\": [7]}", "'graph': task 0"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = sound_file();
        assert_int_equal(json_object_set_new(root, cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL)), 0);
        assert_refused(root, cases[i].error);
    }
    static const char *const keys[] = {"format", "version", "schedule", "step", "graph", "ranks"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *root = sound_file();
        json_object_del(root, keys[i]);
        assert_refused(root, keys[i]);
    }
}

static void test_step_times_names_the_rank_and_task_that_are_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *start, *end, *error;
    } cases[] = {{"null", "1", "'ranks[1].start_s' holds something else"},
                 {"0", "\"1\"", "'ranks[1].end_s' holds something else"},
                 {"2", "1", "'ranks[1].end_s' of task 3 are no span of time: 2 to 1"},
                 {"-1", "1", "of task 3 are no span of time: -1 to 1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = sound_file(), *rank = json_array_get(json_object_get(root, "ranks"), 1);
        json_array_set_new(json_object_get(rank, "start_s"), 3, json_loads(cases[i].start, JSON_DECODE_ANY, NULL));
        json_array_set_new(json_object_get(rank, "end_s"), 3, json_loads(cases[i].end, JSON_DECODE_ANY, NULL));
        assert_refused(root, cases[i].error);
    }
    json_t *root = sound_file();
    json_array_append_new(json_object_get(json_object_get(root, "planned"), "end_s"), json_real(1));
    assert_refused(root, "'planned.end_s' holds");
}

static void test_step_times_refuses_a_torn_or_missing_file(void **state)
{
    (void)state;
    fsm_step_times times;
    assert_int_equal(fsm_step_times_read(path, &times), FSMOE_ERROR_IO);
    assert_int_equal(fsm_file_replace(path, "{\"format\": 1e999}", 17), FSMOE_OK);
    assert_int_equal(fsm_step_times_read(path, &times), FSMOE_ERROR_FORMAT);
    json_decref(sound_file());
    char *bytes;
    size_t size;
    assert_int_equal(fsm_file_read(path, &bytes, &size), FSMOE_OK);
    assert_int_equal(fsm_file_replace(path, bytes, size / 2), FSMOE_OK);
    free(bytes);
    assert_int_equal(fsm_step_times_read(path, &times), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), path));
}

int main(void)
{
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_step_times_read_back_to_the_bit),
        WITH_FOLDER(test_step_times_refuses_to_write_what_is_no_span_of_time),
        WITH_FOLDER(test_step_times_names_the_key_that_is_wrong),
        WITH_FOLDER(test_step_times_names_the_rank_and_task_that_are_wrong),
        WITH_FOLDER(test_step_times_refuses_a_torn_or_missing_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
