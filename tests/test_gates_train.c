/* `fsmoe train` with every gate, as a user runs it: 50 steps on four ranks, and the loss falls; what is saved goes on
 * as if nothing had happened; the command for one layer. */
#include "command_case.h"

#include <float.h>

#define RANKS                                                                                                  \
    "--set", "parallel.nodes=2", "--set", "parallel.ranks_per_node=2", "--set", "parallel.ep_size=2", "--set", \
        "parallel.esp_size=2", "--set", "parallel.mp_size=2", "--set", "parallel.schedule=dsmoe"

static const char *const gates[][10] = {
    {"gshard", "--set", "moe.noisy=true", "--set", "moe.aux_loss=importance_load"},
    {"switch", "--set", "moe.top_k=1", "--set", "moe.jitter=0.05"},
    {"sigmoid", "--set", "moe.balanced=true"},
    {"xmoe", "--set", "moe.aux_loss=all_choices"},
    {"expert_choice", "--set", "moe.capacity_factor=1", "--set", "moe.allow_non_causal=true"},
    {"soft", "--set", "moe.allow_non_causal=true", "--set", "moe.slots_per_expert=4"},
    {"deepseek", "--set", "moe.n_group=2", "--set", "moe.shared_experts=1", "--set", "moe.shared_gate=true"},
    {"hash", "--set", "moe.hash=table"},
    {"balanced_test", "--set", "moe.hooks=[wire_bf16, token_histogram]"},
};

static double mean(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += values[i] / (double)n;
    return sum;
}

static outcome train(const command_case *c, size_t gate, const char *run_dir, const char *steps, const char *more)
{
    const char *args[MOST_ARGS];
    char name[64], dir[64];
    int n = 0;
    snprintf(name, sizeof name, "moe.gate=%s", gates[gate][0]);
    snprintf(dir, sizeof dir, "run.dir=%s", run_dir);
    const char *const common[] = {
        "train", "config.yaml",      "--set", name, "--set", dir, RANKS, "--set", steps, "--set", "train.lr=5e-3",
        "--set", "train.min_lr=5e-3"};
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) args[n++] = common[i];
    for (int i = 1; i < 10 && gates[gate][i]; i++) args[n++] = gates[gate][i];
    if (more) args[n++] = more;
    args[n] = NULL;
    return run_ranks(c, "4", args);
}

static void test_gates_train_and_the_loss_falls(void **state)
{
    command_case *c = *state;
    if (!has_mpi(c)) skip();
    for (size_t g = 0; g < sizeof gates / sizeof *gates; g++) {
        size_t count;
        outcome o = train(c, g, gates[g][0], "train.steps=50", NULL);
        if (strcmp(gates[g][0], "balanced_test") == 0) {
            assert_has(o.err, "for benchmarks");
            assert_has(o.err, "token_histogram: rank 0, layer ");
        }
        assert_works(o);
        double *losses = read_log(c, gates[g][0], "loss", &count);
        assert_int_equal(count, 50);
        double first = mean(losses, 5), last = mean(losses + 45, 5);
        if (!(last < 0.9 * first)) fail_msg("%s: the loss goes from %g to %g", gates[g][0], first, last);
        free(losses);
    }
}

/* The bias of deepseek and the temperature of xmoe are saved with the rest: half a run and half a run are a whole
 * one. */
static void test_gates_train_resume(void **state)
{
    command_case *c = *state;
    if (!has_mpi(c)) skip();
    for (size_t g = 3; g < 7; g++) {
        assert_works(train(c, g, "whole", "train.steps=6", NULL));
        assert_works(train(c, g, "halves", "train.steps=3", NULL));
        assert_works(train(c, g, "halves", "train.steps=6", "--resume"));
        assert_losses_agree(c, "halves", "whole", 0);
    }
}

static void test_gates_train_refuses_what_a_causal_model_must_not(void **state)
{
    command_case *c = *state;
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "moe.gate=soft")), FSMOE_ERROR_CONFIG,
                 ARGS("moe.gate", "allow_non_causal"));
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "moe.gate=hash", "--set", "moe.z_loss_coeff=0.1")),
                 FSMOE_ERROR_CONFIG, ARGS("moe.z_loss_coeff", "hash"));
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "moe.gate=xmoe", "--set", "moe.noisy=true")),
                 FSMOE_ERROR_CONFIG, ARGS("moe.noisy", "gshard"));
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "moe.hooks=[nobody]")), FSMOE_ERROR_CONFIG,
                 ARGS("moe.hooks", "nobody"));
}

/* ---- fsmoe layer ---- */

#define CASE(file) FSMOE_TEST_DATA "/golden/gates/gshard_k_all/" file

static void test_gates_layer_command(void **state)
{
    command_case *c = *state;
    assert_works(run(c, ARGS("layer", CASE("layer.yaml"), "--in", CASE("in.safetensors"), "--out", "out.safetensors")));
    assert_true(has(c, "out.safetensors"));
    write_text(c, "unknown.yaml", "hidden: 8\ngates: gshard\n", 24);
    assert_fails(run(c, ARGS("layer", "unknown.yaml", "--in", CASE("in.safetensors"), "--out", "no.safetensors")),
                 FSMOE_ERROR_CONFIG, ARGS("unknown.yaml:2", "gates", "gate"));
    write_text(c, "unused.yaml", "hidden: 8\ngate: hash\nnoisy: false\n", 34);
    assert_fails(run(c, ARGS("layer", "unused.yaml", "--in", CASE("in.safetensors"), "--out", "no.safetensors")),
                 FSMOE_ERROR_CONFIG, ARGS("noisy", "no effect"));
    write_text(c, "narrow.yaml", "hidden: 9\n", 10);
    assert_fails(run(c, ARGS("layer", "narrow.yaml", "--in", CASE("in.safetensors"), "--out", "no.safetensors")),
                 FSMOE_ERROR_FORMAT, ARGS("'x'", "hidden"));
    assert_fails(run(c, ARGS("layer", CASE("layer.yaml"), "--in", "none.safetensors", "--out", "no.safetensors")),
                 FSMOE_ERROR_IO, ARGS("none.safetensors"));
    assert_fails(run(c, ARGS("layer", CASE("layer.yaml"), "--in", CASE("expected.safetensors"), "--out",
                             "no.safetensors")),
                 FSMOE_ERROR_FORMAT, ARGS("'x'"));
    assert_false(has(c, "no.safetensors"));
}

/* What is read, what is worked out of numbers that are finite, and on which ranks: one message, no file. */
static void test_gates_layer_command_names_what_is_not_finite(void **state)
{
    command_case *c = *state;
    static const struct {
        const char *tensor;
        size_t first, n;
        float value;
        const char *parts[3];
    } cases[] = {
        {"x", 2 * 8 + 3, 1, NAN, {"'bad.safetensors'", "'x' is not finite: it has NaN at [2, 3]"}},
        {"dy", 7, 1, -INFINITY, {"'bad.safetensors'", "'dy' is not finite: it has -infinity at [0, 7]"}},
        {"expert.w2", 5, 1, INFINITY, {"'bad.safetensors'", "'expert.w2' is not finite: it has infinity at [0, 5]"}},
        {"expert.w2", 0, 8, FLT_MAX, {"is not finite"}},
    };
    bool ranks = has_mpi(c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *args =
            ARGS("layer", CASE("layer.yaml"), "--in", "bad.safetensors", "--out", "no.safetensors");
        size_t size;
        char *bytes;
        assert_int_equal(fsm_file_read(CASE("in.safetensors"), &bytes, &size), FSMOE_OK);
        write_text(c, "bad.safetensors", bytes, size);
        free(bytes);
        overwrite_tensor(c, "bad.safetensors", "x", 0, 8, i == 3 ? FLT_MAX : 1);
        overwrite_tensor(c, "bad.safetensors", cases[i].tensor, cases[i].first, cases[i].n, cases[i].value);
        assert_fails(run(c, args), FSMOE_ERROR_NUMERIC, cases[i].parts);
        if (ranks) assert_fails(run_ranks(c, "2", args), FSMOE_ERROR_NUMERIC, cases[i].parts);
        assert_false(has(c, "no.safetensors"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gates_train_and_the_loss_falls, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_gates_train_resume, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_gates_train_refuses_what_a_causal_model_must_not, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_gates_layer_command, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_gates_layer_command_names_what_is_not_finite, make_case, remove_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
