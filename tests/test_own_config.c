/* A run goes on from the configuration that it wrote itself, and a model is taken up by it, whatever is trained: every
 * family with every expert, activation and bias, every gate, and what else makes a model another one.
 * Oracle: the command's exit code, and the coefficient that the folder and the dump agree on.
 */
#define _GNU_SOURCE /* asprintf */
#include "command_case.h"

#include "moe/expert/expert.h"
#include "moe/gate/gate.h"

/* What a gate asks of other keys, and what makes a model another one; assignments between blanks. */
static const struct {
    const char *gate, *asks;
} gates[] = {
    {"switch", "moe.top_k=1"},
    {"expert_choice", "moe.capacity_factor=2 moe.allow_non_causal=true"},
    {"soft", "moe.allow_non_causal=true moe.slots_per_expert=2"},
    {"deepseek", "moe.n_group=2 moe.topk_group=2"},
};
static const char *const variations[] = {
    "moe.top_k=1",
    "moe.top_k=1 moe.normalize_top_k=true",
    "moe.shared_experts=2",
    "moe.shared_experts=1 moe.shared_gate=true",
    "model.tie_embeddings=true",
    "model.head_dim=4",
    "model.moe_every=1 moe.noisy=true",
    "moe.capacity_factor=1.25 moe.capacity_group=8 moe.order=gshard",
    "model.vocab_size=300 model.max_seq_len=32",
    "train.micro_batch=2",
    "moe.gate=xmoe moe.proj_dim=4",
    "moe.gate=hash moe.hash=table",
};

/* Trains from `config` with all `settings`; how it ends. */
static outcome train(const command_case *c, const char *config, const char *settings, const char *const *more)
{
    const char *args[MOST_ARGS] = {"train", config};
    char *copy = strdup(settings), *save = NULL;
    int n = 2;
    for (char *one = strtok_r(copy, " ", &save); one; one = strtok_r(NULL, " ", &save)) {
        args[n++] = "--set";
        args[n++] = one;
    }
    while (*more) args[n++] = *more++;
    outcome o = run(c, args);
    free(copy);
    return o;
}

static void must_work(outcome o, const char *settings, const char *what)
{
    if (o.exit_code != 0) fail_msg("%s: %s: %s", what, settings, o.err);
    forget(o);
}

static void remove_run(const command_case *c, const char *name)
{
    char path[FSM_PATH_BYTES];
    assert_int_equal(fsm_file_remove_tree(path_in(c, name, path)), FSMOE_OK);
}

/* Two steps, one of them from what the first run wrote; then from its model, spelled out key by key. */
static void goes_on(const command_case *c, const char *settings)
{
    must_work(train(c, "config.yaml", settings, ARGS("--set", "train.steps=1")), settings, "train");
    must_work(train(c, "run/config.yaml", "train.steps=2", ARGS("--resume")), settings, "--resume");
    must_work(train(c, "run/config.yaml", "train.steps=1 run.dir=other", ARGS("--init", "run/model")), settings,
              "--init");
    assert_same_file(c, "run/model/config.json", "other/model/config.json");
    remove_run(c, "run");
    remove_run(c, "other");
}

static void test_own_config_goes_on_with_every_expert(void **state)
{
    command_case *c = *state;
    static const char *const families[] = {"gpt2", "mixtral"}, *const biases[] = {"true", "false"};
    const fsm_expert_kind *kind, *selected;
    const fsm_activation *activation;
    int tried = 0;
    for (int e = 0; (kind = fsm_expert_at(e)); e++)
        for (int a = 0; (activation = fsm_activation_at(a)); a++)
            for (int i = 0; i < 4; i++) {
                char *settings;
                const fsmoe_moe_config config = {.expert = (char *)kind->name,
                                                 .activation = (char *)activation->name,
                                                 .bias = (char *)biases[i / 2]};
                if (fsm_expert_select(&config, &selected) != FSMOE_OK) continue;
                asprintf(&settings, "model.family=%s moe.expert=%s moe.activation=%s moe.bias=%s", families[i % 2],
                         kind->name, activation->name, biases[i / 2]);
                goes_on(c, settings);
                free(settings);
                tried++;
            }
    assert_true(tried >= 2 * (4 * 2 + 2));
}

static void test_own_config_goes_on_with_every_gate(void **state)
{
    command_case *c = *state;
    const fsm_gate_kind *kind;
    for (int g = 0; (kind = fsm_gate_at(g)); g++) {
        char *settings;
        const char *asks = "";
        for (size_t i = 0; i < sizeof gates / sizeof *gates; i++)
            if (strcmp(gates[i].gate, kind->name) == 0) asks = gates[i].asks;
        asprintf(&settings, "moe.gate=%s %s", kind->name, asks);
        goes_on(c, settings);
        free(settings);
    }
}

static void test_own_config_goes_on_with_every_variation(void **state)
{
    command_case *c = *state;
    for (size_t i = 0; i < sizeof variations / sizeof *variations; i++) goes_on(c, variations[i]);
    goes_on(c, "model.num_kv_heads=1");
    goes_on(c, "model.family=gpt2 model.moe_every=1");
    goes_on(c, "");
}

static void test_own_config_of_another_model_is_refused(void **state)
{
    command_case *c = *state;
    static const char geglu[] = "model: {hidden: 16, ffn_hidden: 32, num_layers: 2, num_heads: 2, moe_every: 2}\n"
                                "moe:\n  num_experts: 4\n  activation: geglu\n"
                                "parallel: {threads: 1}\ndata: {train: train.txt, seq_len: 16}\n";
    assert_works(run(c, ARGS("train", "config.yaml", "--set", "train.steps=0")));
    write_text(c, "geglu.yaml", geglu, strlen(geglu));
    assert_fails(run(c, ARGS("train", "geglu.yaml", "--init", "run/model")), FSMOE_ERROR_CONFIG,
                 ARGS("geglu.yaml:4: 'moe.activation' is geglu, but swiglu in the model in"));
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "model.num_heads=4", "--init", "run/model")),
                 FSMOE_ERROR_CONFIG, ARGS("--set: 'model.num_heads' is 4, but 2 in the model in"));
}

/* Nobody set the key, so it is the model's. */
static void test_own_config_takes_the_coefficient_of_the_model(void **state)
{
    command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", "--set", "train.steps=0", "--set", "moe.aux_loss_coeff=0.5")));
    assert_works(run(c, ARGS("train", "config.yaml", "--set", "train.steps=1", "--set", "run.dir=other", "--init",
                             "run/model")));
    char *yaml = read_text(c, "other/config.yaml", NULL), *json = read_text(c, "other/model/config.json", NULL);
    assert_has(yaml, "  aux_loss_coeff: 0.5\n");
    assert_has(json, "\"router_aux_loss_coef\": 0.5,");
    free(yaml);
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_own_config_goes_on_with_every_expert, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_own_config_goes_on_with_every_gate, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_own_config_goes_on_with_every_variation, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_own_config_of_another_model_is_refused, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_own_config_takes_the_coefficient_of_the_model, make_case, remove_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
