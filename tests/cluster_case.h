/* Cluster files made in a folder of their own, from logs that tests edit.
 * In:  the synthetic logs of tests/golden/clusters. Out: `out`, the file that was made; `edited`, the log it was made
 *      from.
 */
#ifndef FSM_TESTS_CLUSTER_CASE_H
#define FSM_TESTS_CLUSTER_CASE_H

#include "command_case.h"
#include "profile/cluster.h"

#include <float.h>
#include <fsmoe/cluster.h>
#include <stdbool.h>

#define LOGS FSMOE_TEST_DATA "/golden/clusters/"

static char dir[] = "/tmp/fsmoe-test-XXXXXX", out[FSM_PATH_BYTES], edited[FSM_PATH_BYTES];

static inline int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir)) return -1;
    snprintf(out, sizeof out, "%s/made.json", dir);
    snprintf(edited, sizeof edited, "%s/edited.log", dir);
    return 0;
}

static inline int remove_dir(void **state)
{
    (void)state;
    return fsm_file_remove_tree(dir) == FSMOE_OK ? 0 : -1;
}

static inline void read_made(fsm_cluster *cluster)
{
    if (fsm_cluster_read(out, cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

static inline void assert_says(const char *words)
{
    if (!strstr(fsmoe_last_error(), words)) fail_msg("'%s' does not say '%s'", fsmoe_last_error(), words);
}

static inline char *golden_log(const char *name)
{
    char path[FSM_PATH_BYTES], *text = NULL;
    size_t size;
    assert_int_equal(fsm_file_path(FSMOE_TEST_DATA "/golden/clusters", name, path), FSMOE_OK);
    if (fsm_file_read(path, &text, &size) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    return text;
}

/* The log with the first `from` replaced by `to`, or cut there when `to` is NULL; imported as a file of that op. */
static inline fsmoe_status import_edited(const char *log_name, const char *from, const char *to, const char *op)
{
    char *text = golden_log(log_name), changed[32768];
    assert_non_null(strstr(text, from));
    int before = (int)(strstr(text, from) - text);
    int size = to ? snprintf(changed, sizeof changed, "%.*s%s%s", before, text, to, text + before + strlen(from))
                  : snprintf(changed, sizeof changed, "%.*s", before, text);
    free(text);
    assert_int_equal(fsm_file_replace(edited, changed, (size_t)size), FSMOE_OK);
    const fsmoe_cluster_log log = {edited, op};
    const fsmoe_cluster_import_options options = {
        .logs = &log, .log_count = 1, .gemm_flops = 1e12, .alltoall_ranks = 4, .allgather_ranks = 8};
    return fsmoe_cluster_import(&options, out);
}

static inline void assert_line(fsm_line line, double alpha_us, double beta_ns)
{
    if (fabs(line.alpha_s * 1e6 / alpha_us - 1) > 0.02 || fabs(line.beta_s * 1e9 / beta_ns - 1) > 0.02)
        fail_msg("%g us + n %g ns, not %g us + n %g ns", line.alpha_s * 1e6, line.beta_s * 1e9, alpha_us, beta_ns);
}

#endif
