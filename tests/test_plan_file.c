/* Plan files that are damaged or lie: each is refused with the file, the key or the task in the message, and none ends
 * the process. Oracles: a sound file, and edits of its JSON. */
#include "plan_case.h"

#include "base/file.h"
#include "base/rng.h"

#include <jansson.h>

static char dir[] = "/tmp/fsmoe-plan-file-XXXXXX";
static char file[FSM_PATH_BYTES];
static json_t *sound;

static int make_case(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    if (!mkdtemp(dir) || fsm_file_path(dir, "plan.json", file) != FSMOE_OK) return -1;
    fsm_plan plan = rich_plan(&cluster);
    fsmoe_status status = fsm_plan_write(&plan, &cluster, file);
    fsm_plan_destroy(&plan);
    sound = status == FSMOE_OK ? json_load_file(file, 0, NULL) : NULL;
    return sound ? 0 : -1;
}

static int remove_case(void **state)
{
    (void)state;
    json_decref(sound);
    return fsm_file_remove_tree(dir) == FSMOE_OK ? 0 : -1;
}

static void write_bytes(const char *bytes, size_t size)
{
    if (fsm_file_replace(file, bytes, size) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

static char *text_of(const json_t *root)
{
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    assert_non_null(text);
    return text;
}

static fsmoe_status read_and_check(void)
{
    fsm_plan plan;
    fsm_cluster cluster;
    fsmoe_status status = fsm_plan_read(file, &plan, &cluster);
    if (status != FSMOE_OK) return status;
    status = fsm_plan_check(&plan, &cluster);
    fsm_plan_destroy(&plan);
    fsm_cluster_destroy(&cluster);
    return status;
}

static bool is_index(const char *word)
{
    return word[0] >= '0' && word[0] <= '9';
}

static json_t *member(json_t *of, const char *word)
{
    return is_index(word) ? json_array_get(of, strtoul(word, NULL, 10)) : json_object_get(of, word);
}

/* A copy of the sound file in which the value at a path such as "graph.tasks.3.size" is another, or is gone (NULL). */
static json_t *edited(const char *path, const char *value)
{
    char words[128], *rest, *word, *next;
    json_t *root = json_deep_copy(sound), *of = root;
    snprintf(words, sizeof words, "%s", path);
    word = strtok_r(words, ".", &rest);
    for (; (next = strtok_r(NULL, ".", &rest)); word = next) of = member(of, word);
    if (!member(of, word)) fail_msg("no '%s' in a plan file", path);
    json_t *json = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    assert_true(json || !value);
    if (is_index(word) && json) json_array_set_new(of, strtoul(word, NULL, 10), json);
    else if (is_index(word)) json_array_remove(of, strtoul(word, NULL, 10));
    else if (json) json_object_set_new(of, word, json);
    else json_object_del(of, word);
    return root;
}

static void write_edited(const char *path, const char *value)
{
    json_t *root = edited(path, value);
    char *text = text_of(root);
    write_bytes(text, strlen(text));
    free(text);
    json_decref(root);
}

/* Refused, with the key and, by reading, the file in the message. */
static void assert_edit_is_refused(const char *path, const char *value, const char *says)
{
    write_edited(path, value);
    fsm_plan plan;
    fsm_cluster cluster;
    fsmoe_status status = fsm_plan_read(file, &plan, &cluster);
    if (status == FSMOE_OK) {
        status = fsm_plan_check(&plan, &cluster);
        fsm_plan_destroy(&plan);
        fsm_cluster_destroy(&cluster);
    } else {
        assert_says(file);
    }
    if (status != FSMOE_ERROR_FORMAT) fail_msg("%s = %s: status %d", path, value ? value : "nothing", status);
    assert_says(says);
}

static void test_plan_file_that_is_written_again_is_sound(void **state)
{
    (void)state;
    write_edited("version", "1");
    if (read_and_check() != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

/* ---- keys ---- */

static void test_plan_file_needs_every_key_of_its_type(void **state)
{
    (void)state;
    static const char *const inside[] = {"", "shape", "certificate", "certificate.bound"};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        json_t *object = sound;
        const char *key;
        json_t *value;
        char path[128];
        if (i == 1 || i == 2) object = json_object_get(sound, inside[i]);
        if (i == 3) object = json_object_get(json_object_get(sound, "certificate"), "bound");
        json_object_foreach(object, key, value)
        {
            snprintf(path, sizeof path, "%s%s%s", inside[i], i ? "." : "", key);
            const char *says = i == 3 ? "bound" : key;
            bool optional = strcmp(path, "shape.parts") == 0 ||
                            strcmp(path, "shape.memory") == 0; /* needed where the graph has any */
            if (!optional) assert_edit_is_refused(path, NULL, says);
            assert_edit_is_refused(path, "null", says);
            assert_edit_is_refused(path, json_is_array(value) ? "7" : "[7]", says);
        }
    }
    json_t *task = json_array_get(json_object_get(json_object_get(sound, "graph"), "tasks"), 5), *value;
    const char *key;
    json_object_foreach(task, key, value)
    {
        char path[128];
        snprintf(path, sizeof path, "graph.tasks.5.%s", key);
        assert_edit_is_refused(path, NULL, "task 5");
        assert_edit_is_refused(path, "null", "task 5");
        assert_edit_is_refused(path, "{}", "task 5");
    }
}

static void test_plan_file_messages_name_key_and_reason(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value, *says;
    } cases[] = {
        {"format", "\"fsmoe-run\"", "'format' is not"},
        {"version", "2", "'version' is not 1"},
        {"schedule", "\"0123456789012345678901234567890123\"", "'schedule'"},
        {"schedule", "\"fsmoe-y\"", "no schedule is named 'fsmoe-y'"},
        {"split", "false", "'split'"},
        {"one_stream", "true", "'one_stream'"},
        {"shape.num_layers", "4294967298", "'shape.num_layers'"},
        {"shape.num_layers", "1048576", "too few for 1048576 layers"},
        {"shape.micro_batches", "2000000000", "micro-batches"},
        {"shape.micro_batches", "0", "'shape'"},
        {"shape.moe_every", "0", "'shape'"},
        {"shape.nominal_rows", "0", "'shape'"},
        {"shape.hidden", "-16", "'shape.hidden'"},
        {"shape.hidden", "1.5", "'shape.hidden'"},
        {"shape.link.0", "\"compute\"", "'shape.link' names no link"},
        {"shape.link.0", NULL, "'shape.link'"},
        {"shape.group_size.1", "0", "'shape.group_size'"},
        {"shape.group_size.1", "\"2\"", "'shape.group_size'"},
        {"shape.group_size.1", "4294967298", "'shape.group_size'"}, /* 2 as an int */
        {"shape.regions.0", "[0, 5]", "'shape.regions'"},
        {"shape.regions.0", "[99, 0, 16]", "'shape.regions'"},
        {"shape.regions.0", "[0, 16, 0]", "'shape.regions'"},
        {"shape.regions", "[[0,0,1],[0,1,2],[0,2,3],[0,3,4]]", "'shape.regions'"},
        {"shape.gradients.0", "[9, 0, 16, 0, \"head\"]", "'shape.gradients'"},
        {"shape.gradients.0", "[0, 0, 16, 0, \"heads\"]", "'shape.gradients' names no task"},
        {"shape.gradients.1", NULL, "nothing is said to finish"},
        {"seconds.0", NULL, "'seconds'"},
        {"start_s.0", "\"0\"", "'start_s'"},
        {"end_s", "[]", "'end_s'"},
        {"certificate.bound.binding", "\"luck\"", "'bound'"},
        {"certificate.gap", "0.5", "'certificate.gap' is not"},
        {"certificate.makespan_s", "1e-9", "'certificate.gap'"},
        {"certificate.load_s.intra", NULL, "'certificate.load_s'"},
        {"certificate.load_s.inter", "-1", "'certificate.load_s'"},
        {"certificate.load_s.compute", "1e-9", "the load of compute"},
        {"cluster.alltoall", NULL, "'alltoall' is missing"},
        {"cluster.gemm.alpha", "-1", "gemm.alpha"},
        {"cluster.gemm.beta", "1e-9", "costs"},
        {"graph.tasks.4.kind", "\"experts\"", "task 4: no kind is named 'experts'"},
        {"graph.tasks.4.after", "[4]", "task 4: 'after' names task 4"},
        {"graph.tasks.4.after", "[5]", "task 4: 'after' names task 5"},
        {"graph.tasks.4.after", "[-1]", "task 4: 'after' names task -1"},
        {"graph.tasks.4.after", "[4294967296]", "task 4: 'after' names task 4294967296"},
        {"graph.tasks.4.after", "[]", "does not wait for task 3"},
        {"graph.tasks.4.rows", "[1, 0]", "task 4"},
        {"graph.tasks.4.rows", "[0]", "task 4"},
        {"graph.tasks.4.size", "\"16\"", "task 4"},
        {"graph.tasks.4", NULL, "task 4: 'after' names task 4"},
        {"graph.tasks", "[]", "'seconds'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_edit_is_refused(cases[i].path, cases[i].value, cases[i].says);
}

/* ---- bytes ---- */

static void test_plan_file_that_is_cut_or_no_json_is_refused(void **state)
{
    (void)state;
    char *text = text_of(sound);
    size_t size = strlen(text);
    for (size_t cut = 0; cut < size; cut += 1 + size / 199) {
        write_bytes(text, cut);
        assert_int_equal(read_and_check(), FSMOE_ERROR_FORMAT);
        assert_says(file);
    }
    static const char *const others[] = {
        "[]", "7", "null", "{}", "model:\n  hidden: 16\n", "{\"format\": \"fsmoe-plan\"}"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        write_bytes(others[i], strlen(others[i]));
        assert_int_equal(read_and_check(), FSMOE_ERROR_FORMAT);
        assert_says(file);
    }
    free(text);
    fsm_plan plan;
    fsm_cluster cluster;
    assert_int_equal(fsm_plan_read("/nowhere/plan.json", &plan, &cluster), FSMOE_ERROR_IO);
    assert_says("/nowhere/plan.json");
    fsm_plan_destroy(&plan); /* holds nothing */
}

static uint64_t draws;

static size_t draw(size_t limit)
{
    return fsm_rng_bits(61, FSM_RNG_TEST, draws++) % limit;
}

static void test_plan_file_with_random_bytes_never_ends_the_process(void **state)
{
    (void)state;
    char *text = text_of(sound);
    size_t size = strlen(text);
    int refused = 0;
    for (int round = 0; round < 600; round++) {
        char *copy = malloc(size + 1);
        assert_non_null(copy);
        memcpy(copy, text, size + 1);
        size_t changed = size;
        for (size_t n = 1 + draw(4); n > 0; n--) {
            size_t at = draw(changed);
            if (draw(4) == 0) memmove(copy + at, copy + at + 1, --changed - at);
            else if (draw(2)) copy[at] = "0123456789-.e\"[]{},:"[draw(20)];
            else copy[at] = (char)draw(256);
        }
        write_bytes(copy, changed);
        refused += read_and_check() != FSMOE_OK;
        free(copy);
    }
    free(text);
    assert_true(refused > 300);
}

/* Every number of the shape becomes one that no step has, or that no memory holds. */
static void test_plan_file_with_absurd_numbers_is_refused(void **state)
{
    (void)state;
    static const char *const values[] = {"-1", "0", "2147483647", "9223372036854775807", "1e300"};
    json_t *shape = json_object_get(sound, "shape"), *value;
    const char *key;
    json_object_foreach(shape, key, value)
    {
        char path[64];
        snprintf(path, sizeof path, "shape.%s", key);
        for (size_t i = 0; i < sizeof values / sizeof *values && !json_is_array(value); i++) {
            write_edited(path, values[i]);
            fsmoe_status status = read_and_check();
            /* a limit of 0 is none; some sizes are the bound's alone, or nobody's */
            if (status == FSMOE_OK && strcmp(values[i], "-1") == 0) fail_msg("%s = -1 is taken", path);
            if (status != FSMOE_OK && status != FSMOE_ERROR_FORMAT && status != FSMOE_ERROR_NUMERIC)
                fail_msg("%s = %s: status %d", path, values[i], status);
        }
    }
    for (size_t i = 0; i < 60; i++) {
        json_t *tasks = json_object_get(json_object_get(sound, "graph"), "tasks");
        static const char *const keys[] = {"layer",  "micro",  "size",    "launches",
                                           "rows.0", "rows.1", "slice.0", "slice.1"};
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            char path[64];
            snprintf(path, sizeof path, "graph.tasks.%zu.%s", draw(json_array_size(tasks)), keys[k]);
            write_edited(path, values[draw(sizeof values / sizeof *values)]);
            read_and_check();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_file_that_is_written_again_is_sound),
        cmocka_unit_test(test_plan_file_needs_every_key_of_its_type),
        cmocka_unit_test(test_plan_file_messages_name_key_and_reason),
        cmocka_unit_test(test_plan_file_that_is_cut_or_no_json_is_refused),
        cmocka_unit_test(test_plan_file_with_random_bytes_never_ends_the_process),
        cmocka_unit_test(test_plan_file_with_absurd_numbers_is_refused),
    };
    return cmocka_run_group_tests_name("plan file", tests, make_case, remove_case);
}
