/* What `fsmoe plan` and `fsmoe simulate` refuse: wrong use, bad input, outputs that cannot be; and sizes that no
 * machine holds. Oracle: what a message must name. */
#include "plan_command_case.h"

static void test_plan_refusals_of_wrong_use(void **state)
{
    const command_case *c = *state;
    static const struct {
        const char *args[12], *says;
    } cases[] = {
        {{"plan"}, "is missing"},
        {{"plan", "model.yaml"}, "--cluster is missing"},
        {{"plan", "--cluster", "c.json"}, "MODEL.yaml is missing"},
        {{"plan", "a.yaml", "b.yaml", "--cluster", "c.json"}, "not also 'b.yaml'"},
        {{PLAN, "--nodes", "0"}, "--nodes takes"},
        {{PLAN, "--nodes", "4294967300"}, "--nodes takes"},
        {{PLAN, "--ranks-per-node", "two"}, "--ranks-per-node takes"},
        {{PLAN, "--layer", "layer.yaml"}, "--layer"},
        {{"plan", "--layer", "layer.yaml"}, "--cluster is missing"},
        {{"plan", "--layer", "layer.yaml", "--cluster", "c.json", "--out", "p.json"}, "--out"},
        {{"plan", "--check", "p.json", "model.yaml"}, "--check takes"},
        {{"simulate"}, "is missing"},
        {{"simulate", "model.yaml"}, "--cluster"},
        {{SIMULATE, "--csv", "g.csv"}, "--csv goes with --grid"},
        {{SIMULATE, "--class", "slow"}, "'slow'"},
        {{SIMULATE, "--class", "slow=0"}, "--class"},
        {{SIMULATE, "--class", "slow=2,speed=2"}, "'speed'"},
        {{SIMULATE, "--class", "slow=2,compute=0"}, "--class"},
        {{SIMULATE, "--class", "slow=2,compute=nan"}, "--class"},
        {{SIMULATE, "--class", ""}, "--class"},
        {{"simulate", "--grid", "papr", "--cluster", "c.json", "--csv", "g.csv"}, "'papr'"},
        {{"simulate", "--grid", "paper", "--csv", "g.csv"}, "--cluster is missing"},
        {{"simulate", "--grid", "paper", "--cluster", "c.json"}, "--csv is missing"},
        {{"simulate", "model.yaml", "--grid", "paper", "--cluster", "c.json", "--csv", "g.csv"}, "'model.yaml'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outcome o = run(c, cases[i].args);
        if (o.exit_code != fsmoe_status_exit_code(FSMOE_ERROR_USAGE)) fail_msg("case %zu: code %d", i, o.exit_code);
        assert_int_equal(o.out_bytes, 0);
        assert_has(o.err, cases[i].says);
        forget(o);
    }
}

static void test_plan_refusals_of_bad_input(void **state)
{
    const command_case *c = *state;
    static const char layer_typo[] = "batch: 1\nseq_length: 4\n", layer_zero[] = "batch: 0\n",
                      layer_top[] = "batch: 1\nseq_len: 4\nhidden: 2\nffn_hidden: 8\ntop_k: 3\ncapacity_factor: 1\n"
                                    "expert: gpt\nesp_size: 2\nnum_experts: 2\n";
    const struct {
        fsmoe_status status;
        const char *const *args, *const *parts;
    } cases[] = {
        {FSMOE_ERROR_CONFIG, ARGS(PLAN, "--schedule", "fsmo"), ARGS("'fsmo'", "'fsmoe'")},
        {FSMOE_ERROR_CONFIG, ARGS(SIMULATE, "--schedule", "tutle"), ARGS("'tutle'", "'tutel'")},
        {FSMOE_ERROR_CONFIG, ARGS("plan", "--layer", "layer.yaml", "--cluster", "c.json", "--schedule", "dsmo"),
         ARGS("'dsmo'")},
        {FSMOE_ERROR_LAYOUT, ARGS(PLAN, "--nodes", "3"), ARGS("parallel.ep_size = 4", "6 ranks")},
        {FSMOE_ERROR_LAYOUT, ARGS(PLAN, "--nodes", "65536", "--ranks-per-node", "65536"), ARGS("65536 nodes")},
        {FSMOE_ERROR_LAYOUT, ARGS(PLAN, "--nodes", "65537", "--ranks-per-node", "65544"), ARGS("65537 nodes")},
        {FSMOE_ERROR_CONFIG, ARGS(PLAN, "--set", "model.num_layers=0"), ARGS("'model.num_layers'")},
        {FSMOE_ERROR_CONFIG, ARGS(PLAN, "--set", "model.hiden=8"), ARGS("'model.hiden'", "'model.hidden'")},
        {FSMOE_ERROR_IO, ARGS("plan", "none.yaml", "--cluster", "c.json"), ARGS("none.yaml")},
        {FSMOE_ERROR_IO, ARGS("plan", "model.yaml", "--cluster", "none.json"), ARGS("none.json")},
        {FSMOE_ERROR_IO, ARGS("plan", "--check", "none.json"), ARGS("none.json")},
        {FSMOE_ERROR_FORMAT, ARGS("plan", "--check", "c.json"), ARGS("c.json", "'format'")},
        {FSMOE_ERROR_FORMAT, ARGS("plan", "--check", "model.yaml"), ARGS("model.yaml", "line 1")},
        {FSMOE_ERROR_FORMAT, ARGS("simulate", "c.json"), ARGS("c.json", "'format'")},
        {FSMOE_ERROR_FORMAT, ARGS("plan", "model.yaml", "--cluster", "missing.json"),
         ARGS("missing.json", "allgather")},
        {FSMOE_ERROR_FORMAT, ARGS("plan", "model.yaml", "--cluster", "negative.json"),
         ARGS("negative.json", "alltoall.alpha", "negative")},
        {FSMOE_ERROR_FORMAT, ARGS("plan", "model.yaml", "--cluster", "nan.json"), ARGS("nan.json", "line 1")},
        {FSMOE_ERROR_CONFIG, ARGS("plan", "model.yaml", "--cluster", "bare.json"), ARGS("bare.json", "parallel.nodes")},
        {FSMOE_ERROR_CONFIG, ARGS("simulate", "--grid", "paper", "--cluster", "bare.json", "--csv", "g.csv"),
         ARGS("bare.json", "ranks_per_node")},
        {FSMOE_ERROR_CONFIG, ARGS("plan", "--layer", "typo.yaml", "--cluster", "c.json"),
         ARGS("typo.yaml:2:", "'seq_length'", "'seq_len'")},
        {FSMOE_ERROR_CONFIG, ARGS("plan", "--layer", "zero.yaml", "--cluster", "c.json"),
         ARGS("zero.yaml:1:", "batch")},
        {FSMOE_ERROR_CONFIG, ARGS("plan", "--layer", "top.yaml", "--cluster", "c.json"), ARGS("top.yaml", "top_k = 3")},
        {FSMOE_ERROR_CONFIG, ARGS(SIMULATE, "--class", "all=8", "--priority"), ARGS("priority")},
    };
#define OPS(allgather, alpha)                                                                               \
    "{\"gemm\": {\"alpha\": 1, \"beta\": 1}, \"alltoall\": {\"alpha\": " alpha ", \"beta\": 1}, " allgather \
    "\"reducescatter\": {\"alpha\": 1, \"beta\": 1}, \"allreduce\": {\"alpha\": 1, \"beta\": 1}}"
    static const struct {
        const char *name, *text;
    } files[] = {{"missing.json", OPS("", "1")},
                 {"negative.json", OPS("\"allgather\": {\"alpha\": 1, \"beta\": 1}, ", "-1")},
                 {"nan.json", OPS("\"allgather\": {\"alpha\": 1, \"beta\": 1}, ", "NaN")},
                 {"bare.json", OPS("\"allgather\": {\"alpha\": 1, \"beta\": 1}, ", "1")},
                 {"typo.yaml", layer_typo},
                 {"zero.yaml", layer_zero},
                 {"top.yaml", layer_top}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        write_text(c, files[i].name, files[i].text, strlen(files[i].text));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(run(c, cases[i].args), cases[i].status, cases[i].parts);
    assert_false(has(c, "g.csv"));
}

/* Sizes that no machine holds are planned as any others, or refused; nothing overflows on the way. */
static void test_plan_refusals_of_absurd_sizes_are_none(void **state)
{
    const command_case *c = *state;
    static const char *const sets[][4] = {
        {"model.hidden=1048576", "model.ffn_hidden=1048576", "model.vocab_size=16777216", "model.num_layers=8"},
        {"train.global_batch=2147483647", "data.seq_len=1048576", "model.num_layers=1", "model.hidden=8"},
        {"train.global_batch=2097152", "data.seq_len=1048576", "model.vocab_size=16777216", "model.hidden=1048576"},
        {"moe.capacity_factor=1e6", "train.global_batch=2147483646", "data.seq_len=1048576", "model.hidden=1048576"},
        {"moe.order=gshard", "moe.capacity_factor=2", "train.global_batch=2147483646", "data.seq_len=1048576"},
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        json_t *root = json_of(run(c, ARGS(PLAN, "--schedule", "fsmoe", "--json", "--set", sets[i][0], "--set",
                                           sets[i][1], "--set", sets[i][2], "--set", sets[i][3])));
        const json_t *plan = json_array_get(json_object_get(root, "schedules"), 0);
        assert_true(number(plan, "step_ms") > 1e6);
        assert_true(number(plan, "lower_bound_ms") <= number(plan, "step_ms") * (1 + 1e-9));
        json_decref(root);
    }
}

static void test_plan_refusals_of_outputs_leave_nothing(void **state)
{
    const command_case *c = *state;
    static const char grid[] = FSMOE_SOURCE_DIR "/examples/clusters/paper-b.json";
    const char *const *const cases[] = {
        ARGS(PLAN, "--schedule", "dsmoe", "--out", "none/p.json"),
        ARGS(PLAN, "--schedule", "dsmoe", "--out", "folder"),
        ARGS(SIMULATE, "--schedule", "dsmoe", "--gantt", "none/p.svg"),
        ARGS(SIMULATE, "--schedule", "dsmoe", "--gantt", "folder"),
        ARGS(SIMULATE, "--schedule", "dsmoe", "--trace", "none/p.json"),
        ARGS(SIMULATE, "--schedule", "dsmoe", "--trace", "folder"),
        ARGS("simulate", "--grid", "paper", "--cluster", grid, "--csv", "none/g.csv"),
    };
    char path[FSM_PATH_BYTES];
    assert_int_equal(fsm_file_make_dirs(path_in(c, "folder/full", path)), FSMOE_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(run(c, cases[i]), FSMOE_ERROR_IO, ARGS(i % 2 && i < 6 ? "folder" : "none/"));
        assert_false(has(c, "none"));
        assert_int_equal(count_matches(c, "*.tmp*"), 0);
        assert_int_equal(count_matches(c, "folder/*"), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_plan_refusals_of_wrong_use),
        CASE(test_plan_refusals_of_bad_input),
        CASE(test_plan_refusals_of_absurd_sizes_are_none),
        CASE(test_plan_refusals_of_outputs_leave_nothing),
    };
    return cmocka_run_group_tests_name("plan refusals", tests, NULL, NULL);
}
