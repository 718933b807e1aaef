/* Every option that names an output, onto a link, a device and a FIFO.
 * Oracles: what the command writes into a plain file; kinds of files on disk. */
#include "command_case.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Commands with OUT for the output. */
static const char *const commands[] = {
    "plan model.yaml --cluster cluster.json --schedule fsmoe --out OUT",
    "simulate a.plan --gantt OUT",
    "simulate a.plan --trace OUT",
    "cluster new --nodes 2 --ranks-per-node 2 --inter-rate 1GB/s --inter-latency 10us --intra-rate 9GB/s "
    "--intra-latency "
    "2us --flops 1T --name a --out OUT",
    "cluster import nccl.log --base cluster.json --name a --out OUT",
    "tokenize --tokenizer bytes train.txt OUT",
    "train config.yaml --trace OUT",
    "layer layer.yaml --in in.safetensors --out OUT",
    "bench schedules config.yaml --schedules dsmoe --steps 1 --budget 0.01 --csv OUT",
    "bench schedules config.yaml --schedules dsmoe --steps 1 --budget 0.01 --picture OUT",
    "profile config.yaml --points 4 --repeats 2 --budget 0.2 --out OUT",
};

#define GATE FSMOE_TEST_DATA "/golden/gates/gshard_k_all/"

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

/* "$0 before; fsmoe command; after" in the case's folder; fails with what was printed. */
static void shell(const command_case *c, const char *command, const char *out, const char *before, const char *after)
{
    char line[2048];
    const char *at = strstr(command, "OUT");
    snprintf(line, sizeof line, "set -e; %s; " FSMOE_COMMAND " %.*s%s%s; %s", before, (int)(at - command), command, out,
             at + 3, after);
    outcome o = spawn(c, ARGS("sh", "-c", line), (streams){0});
    if (o.exit_code != 0) fail_msg("exit code %d of: %s\n%s", o.exit_code, line, o.err);
    forget(o);
}

static int make_inputs(void **state)
{
    static const char model[] =
        "data: {seq_len: 16}\nmodel: {num_layers: 1, hidden: 16, num_heads: 2, ffn_hidden: 16}\n"
        "moe: {num_experts: 2}\ntrain: {global_batch: 4}\nparallel: {ep_size: 2}\n";
    if (make_case(state) != 0) return -1;
    const command_case *c = *state;
    write_text(c, "model.yaml", model, strlen(model));
    shell(c, commands[3], "cluster.json", "true", "true");
    shell(c, commands[0], "a.plan", "true",
          "cp " FSMOE_TEST_DATA "/golden/clusters/nccl-2.17.log nccl.log; cp " GATE "layer.yaml " GATE
          "in.safetensors .");
    return 0;
}

static void test_options_write_through_a_link_that_stays(void **state)
{
    for (int i = 0; i < COMMAND_COUNT; i++)
        shell(*state, commands[i], "link", "rm -rf there link; mkdir there; : > there/file; ln -s there/file link",
              "test -h link; test \"$(readlink link)\" = there/file; test -f there/file; "
              "test -s there/file; test \"$(ls there)\" = file; ! ls | grep tmp");
}

static void test_options_leave_a_device_a_device(void **state)
{
    const command_case *c = *state;
    char path[FSM_PATH_BYTES];
    if (geteuid() == 0 &&
        (mknod(path_in(c, "null", path), S_IFCHR | 0666, makedev(1, 3)) != 0 || access(path, W_OK) != 0))
        skip();
    const char *null = geteuid() == 0 ? "null" : "/dev/null"; /* whoever may harm the machine's has one of their own */
    char after[128];
    snprintf(after, sizeof after, "test -c %s; ! ls | grep tmp", null);
    for (int i = 0; i < COMMAND_COUNT; i++) shell(c, commands[i], null, "true", after);
}

static void test_options_write_into_a_fifo_what_they_write_into_a_file(void **state)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        bool measures = strncmp(commands[i], "bench", 5) == 0 || strncmp(commands[i], "profile", 7) == 0 ||
                        strncmp(commands[i], "train", 5) == 0; /* no two times are the same */
        shell(*state, commands[i], "plain", "rm -f plain", "test -s plain");
        shell(*state, commands[i], "fifo", "rm -f fifo got; mkfifo fifo; cat fifo > got & reader=$!",
              measures ? "wait $reader; test -p fifo; test -s got" : "wait $reader; test -p fifo; cmp got plain");
    }
}

static void test_options_write_to_standard_output(void **state)
{
    shell(*state, commands[1], "/dev/stdout", "echo before > got; exec >> got",
          "head -n 1 got | grep -qx before; grep -q '<svg' got; tail -n 2 got | grep -q 'ms a step'");
}

/* An output that cannot be is told before any work is done. */
static void test_options_refuse_a_folder_before_any_work(void **state)
{
    const command_case *c = *state;
    shell(c, "config --dump OUT", "config.yaml", "mkdir folder", "true");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        char line[1024];
        const char *at = strstr(commands[i], "OUT");
        snprintf(line, sizeof line, FSMOE_COMMAND " %.*sfolder%s", (int)(at - commands[i]), commands[i], at + 3);
        outcome o = spawn(c, ARGS("sh", "-c", line), (streams){0});
        if (o.exit_code != fsmoe_status_exit_code(FSMOE_ERROR_IO) || !strstr(o.err, "'folder'") || o.out_bytes > 0)
            fail_msg("exit code %d of: %s\n%s%s", o.exit_code, line, o.out, o.err);
        forget(o);
    }
    assert_false(has(c, "run"));
}

static void test_options_say_that_standard_output_is_full(void **state)
{
    const command_case *c = *state;
    static const char *const words[] = {"config --dump",
                                        "--help",
                                        "plan --help",
                                        "--version",
                                        "cluster show cluster.json",
                                        "plan model.yaml --cluster cluster.json",
                                        "simulate a.plan"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char line[256];
        snprintf(line, sizeof line, FSMOE_COMMAND " %s > /dev/full", words[i]);
        assert_fails(spawn(c, ARGS("sh", "-c", line), (streams){0}), FSMOE_ERROR_IO,
                     ARGS("standard output", "No space"));
    }
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_inputs, remove_case)
    const struct CMUnitTest tests[] = {
        CASE(test_options_write_through_a_link_that_stays),
        CASE(test_options_leave_a_device_a_device),
        CASE(test_options_write_into_a_fifo_what_they_write_into_a_file),
        CASE(test_options_write_to_standard_output),
        CASE(test_options_refuse_a_folder_before_any_work),
        CASE(test_options_say_that_standard_output_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
