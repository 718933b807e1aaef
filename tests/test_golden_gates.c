/* Every gate, order, expert and loss against values that PyTorch gave (tests/golden/make_gates.py), by `fsmoe layer`'s
 * function: alone, and on four ranks in every layout that fits, with chunks and schedules; what is not allowed is
 * refused with its reason. 1e-5 of the larger of 1 and the tensor's largest element; with rows of bf16 what their
 * rounding makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "tensor_files.h"

#include <dirent.h>
#include <fsmoe/layer.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAND 1e-5
enum { MOST_CASES = 256, PATH_BYTES = 512 };

static fsmoe_world *world;
static char directory[] = "/tmp/fsmoe-gates-XXXXXX";
static char names[MOST_CASES][64];
static int cases;

/* ---- cases ---- */

static void path_of(const char *name, const char *file, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/golden/gates/%.63s/%.63s", FSMOE_TEST_DATA, name, file);
}

/* The case's keys and some more, in a file of every rank's own. */
static void write_keys(const char *name, const char *more, char path[PATH_BYTES])
{
    char from[PATH_BYTES], line[256];
    path_of(name, "layer.yaml", from);
    snprintf(path, PATH_BYTES, "%s/layer-%d.yaml", directory, fsmoe_world_rank(world));
    FILE *in = fopen(from, "r"), *out = fopen(path, "w");
    assert_true(in && out);
    while (fgets(line, sizeof line, in)) fputs(line, out);
    fputs(more, out);
    fclose(in);
    fclose(out);
}

static bool has_key(const char *name, const char *key)
{
    char path[PATH_BYTES], line[256];
    bool found = false;
    path_of(name, "layer.yaml", path);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (fgets(line, sizeof line, in)) found |= strncmp(line, key, strlen(key)) == 0;
    fclose(in);
    return found;
}

static fsmoe_status run(const char *name, const char *more, char out[PATH_BYTES])
{
    char keys[PATH_BYTES], in[PATH_BYTES], eval[PATH_BYTES];
    write_keys(name, more, keys);
    path_of(name, "in.safetensors", in);
    path_of(name, "eval", eval);
    snprintf(out, PATH_BYTES, "%s/out.safetensors", directory);
    const fsmoe_layer_options options = {.layer = keys, .in = in, .out = out, .eval = access(eval, F_OK) == 0};
    return fsmoe_layer(world, &options);
}

/* Rank 0 compares; all know. */
static void check_within(const char *name, const char *more, double band)
{
    char out[PATH_BYTES], want[PATH_BYTES], what[PATH_BYTES];
    fsmoe_status status = run(name, more, out);
    if (status != FSMOE_OK) fail_msg("%s\n%s%s", name, more, fsmoe_last_error());
    path_of(name, "expected.safetensors", want);
    snprintf(what, sizeof what, "%s %s", name, more);
    for (char *at = what; *at; at++)
        if (*at == '\n') *at = ' ';
    bool same = fsmoe_world_rank(world) != 0 || same_file(what, want, out, band);
    if (fsmoe_world_agree(world, same ? FSMOE_OK : FSMOE_ERROR_NUMERIC) != FSMOE_OK) fail_msg("%s", what);
}

static void check(const char *name, const char *more)
{
    check_within(name, more, BAND);
}

static void test_gates_give_what_pytorch_gave(void **state)
{
    (void)state;
    assert_true(cases > 80);
    if (fsmoe_world_size(world) > 1) skip();
    for (int i = 0; i < cases; i++) {
        check(names[i], "");
        check(names[i], "forward_degree: 3\nbackward_degree: 2\n");
    }
}

/* Ten roundings to the nearest of 8 bits lie on a way through a layer, each off by 2^-8 of the next power of two at
 * most. Left out: a ReLU whose input is so near 0 that rounding changes its sign, and logits that are divided by a
 * hundredth. */
#define BF16_BAND 4.7e-2
static const char *const beyond_bf16[] = {"gshard_k1_noisy", "xmoe_below_floor"};

static void test_gates_give_it_in_bf16_but_for_rounding(void **state)
{
    (void)state;
    if (fsmoe_world_size(world) > 1) skip();
    for (int i = 0; i < cases; i++) {
        bool beyond = false;
        for (size_t k = 0; k < sizeof beyond_bf16 / sizeof *beyond_bf16; k++)
            beyond |= strcmp(names[i], beyond_bf16[k]) == 0;
        if (!beyond) check_within(names[i], "compute_dtype: bf16\n", BF16_BAND);
    }
}

/* Layouts of four ranks, and ways to cut and order the step. */
static const struct {
    int nodes, a_node, ep, esp, mp;
} layouts[] = {{2, 2, 2, 2, 2}, {2, 2, 4, 1, 1}, {1, 4, 1, 4, 1}, {4, 1, 2, 1, 1}, {2, 2, 1, 2, 2}, {4, 1, 1, 1, 1}};
static const char *const ways[] = {"", "forward_degree: 2\nbackward_degree: 3\n", "schedule: fsmoe-x\n",
                                   "alltoall: 2dh\nschedule: tutel\n", "alltoall: 1dh\nforward_degree: 3\n"};

static int64_t number_of(const char *name, const char *key)
{
    char path[PATH_BYTES], line[256];
    long long number = 0;
    path_of(name, "layer.yaml", path);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (fgets(line, sizeof line, in))
        if (strncmp(line, key, strlen(key)) == 0) sscanf(strchr(line, ':') + 1, "%lld", &number);
    fclose(in);
    return number;
}

/* On several ranks what is shared among a capacity's tokens must not depend on the layout. */
static bool lacks_group(const char *name)
{
    bool drops = has_key(name, "capacity_factor") && !has_key(name, "capacity_factor: 0.0");
    return (drops || has_key(name, "balanced: true")) && !has_key(name, "capacity_group");
}

/* What the message of a refusal must have in it; NULL: the layer runs. */
typedef struct reason {
    const char *words[2];
} reason;

static const reason *reason_of(const char *name, int layout)
{
    static const reason experts = {{"num_experts", "ep_size"}}, width = {{"ffn_hidden", "esp_size"}},
                        group = {{"capacity_group", "is not given"}};
    if (number_of(name, "num_experts") % layouts[layout].ep != 0) return &experts;
    if (number_of(name, "ffn_hidden") % layouts[layout].esp != 0) return &width;
    return lacks_group(name) ? &group : NULL;
}

static void check_refused(const char *name, const char *more, const reason *why)
{
    char out[PATH_BYTES];
    (void)fsm_fail(FSMOE_OK, "nothing was refused before this"); /* an older message is no answer */
    if (run(name, more, out) == FSMOE_OK) fail_msg("%s is not refused:\n%s", name, more);
    for (int i = 0; i < 2; i++)
        if (!strstr(fsmoe_last_error(), why->words[i]))
            fail_msg("%s: not because of %s: %s\n%s", name, why->words[i], fsmoe_last_error(), more);
}

static void test_gates_give_the_same_on_every_layout(void **state)
{
    (void)state;
    if (fsmoe_world_size(world) != 4) skip();
    for (int i = 0; i < cases; i++)
        for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++) {
            char more[256];
            const reason *why = reason_of(names[i], (int)l);
            snprintf(more, sizeof more, "nodes: %d\nranks_per_node: %d\nep_size: %d\nesp_size: %d\nmp_size: %d\n%s",
                     layouts[l].nodes, layouts[l].a_node, layouts[l].ep, layouts[l].esp, layouts[l].mp,
                     ways[(i + l) % (sizeof ways / sizeof *ways)]);
            if (!why) check(names[i], more);
            else check_refused(names[i], more, why);
        }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool list_cases(void)
{
    DIR *folder = opendir(FSMOE_TEST_DATA "/golden/gates");
    for (struct dirent *e; folder && (e = readdir(folder));)
        if (e->d_name[0] != '.' && cases < MOST_CASES) snprintf(names[cases++], sizeof *names, "%.63s", e->d_name);
    if (folder) closedir(folder);
    qsort(names, (size_t)cases, sizeof *names, by_name);
    return cases > 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gates_give_what_pytorch_gave),
        cmocka_unit_test(test_gates_give_it_in_bf16_but_for_rounding),
        cmocka_unit_test(test_gates_give_the_same_on_every_layout),
    };
    if (!list_cases() || !mkdtemp(directory) || fsmoe_world_create(&world) != FSMOE_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(world);
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "rm -r %s", directory);
    return system(command) == 0 ? failed : 1;
}
