/* What tests of `fsmoe plan` and `fsmoe simulate` share: a folder with a model, a cluster that it is planned for, and a
 * layer whose plan is short to work out. Out: JSON that was printed.
 */
#ifndef FSM_TESTS_PLAN_COMMAND_CASE_H
#define FSM_TESTS_PLAN_COMMAND_CASE_H

#include "command_case.h"

#define PLAN "plan", "model.yaml", "--cluster", "c.json"
#define SIMULATE "simulate", "model.yaml", "--cluster", "c.json"
#define ALONE "--set", "parallel.ep_size=1", "--set", "parallel.esp_size=1", "--set", "parallel.mp_size=1"

static const char *const schedules[] = {"dsmoe",      "tutel",   "tutel-improved", "pipemoe-lina",     "fsmoe-no-iio",
                                        "fsmoe",      "fsmoe-x", "two-batch",      "megatron-overlap", "flowmoe",
                                        "fsmoe-lanes"};
enum {
    SCHEDULES = sizeof schedules / sizeof *schedules,
    OF_LAYERS = 7
}; /* the first so many plan single layers, too */

/* A cluster in milliseconds for the layer below, whose numbers are short in binary. */
static const char costs[] = "{\"name\": \"hand\", \"nodes\": 4, \"ranks_per_node\": 2,\n"
                            " \"gemm\": {\"alpha\": 2, \"beta\": 0.03125},\n"
                            " \"alltoall\": {\"alpha\": 1, \"beta\": 0.5},\n"
                            " \"allgather\": {\"alpha\": 0.5, \"beta\": 0.25},\n"
                            " \"reducescatter\": {\"alpha\": 0.25, \"beta\": 0.125},\n"
                            " \"allreduce\": {\"alpha\": 1, \"beta\": 0.5}}\n";

/* n = k f B L M = 8 elements: alltoall of 4, allgather and reducescatter of 8, two GEMMs of 8 * 8 / 2 = 32. */
static const char layer[] =
    "batch: 1\nseq_len: 4\nhidden: 2\nffn_hidden: 8\ntop_k: 1\ncapacity_factor: 1\nexpert: gpt\n"
    "esp_size: 2\nnum_experts: 2\n";

static inline int make_plan_case(void **state)
{
    static const char model[] = "model: {hidden: 64, ffn_hidden: 128, num_layers: 4, num_heads: 4, vocab_size: 256}\n"
                                "moe: {num_experts: 4}\n"
                                "parallel: {ep_size: 4, esp_size: 2, mp_size: 2}\n"
                                "data: {seq_len: 64}\n"
                                "train: {global_batch: 16}\n";
    if (make_case(state) != 0) return -1;
    const command_case *c = *state;
    write_text(c, "model.yaml", model, strlen(model));
    write_text(c, "hand.json", costs, strlen(costs));
    write_text(c, "layer.yaml", layer, strlen(layer));
    assert_works(run(c, ARGS("cluster", "new", "--out", "c.json", "--nodes", "4", "--ranks-per-node", "2",
                             "--inter-rate", "1GB/s", "--inter-latency", "10us", "--intra-rate", "4GB/s",
                             "--intra-latency", "5us", "--flops", "100G")));
    return 0;
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, make_plan_case, remove_case)

static inline json_t *json_of(outcome o)
{
    if (o.exit_code != 0) fail_msg("exit code %d: %s", o.exit_code, o.err);
    json_t *root = json_loads(o.out, 0, NULL); /* refuses anything after the object */
    if (!root) fail_msg("no JSON: %s", o.out);
    forget(o);
    return root;
}

static inline void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-9 * fabs(expected) + 1e-12)) fail_msg("%.12g, not %.12g", value, expected);
}

#endif
