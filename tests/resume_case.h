/* What tests of runs that go on share: settings, and what such a run says.
 * In:  a case of the command (command_case.h). Out: arguments; failures of the test.
 */
#ifndef FSM_TESTS_RESUME_CASE_H
#define FSM_TESTS_RESUME_CASE_H

#include "command_case.h"

#define DIR(name) "--set", "run.dir=" name
#define STEPS(n) "--set", "train.steps=" #n
#define EVERY(n) "--set", "train.checkpoint_every=" #n

static inline void assert_told(outcome o, const char *part)
{
    if (o.exit_code != 0 || !strstr(o.err, part))
        fail_msg("exit code %d, '%s' is not in: %s", o.exit_code, part, o.err);
    forget(o);
}

static inline void damage(const command_case *c, const char *name)
{
    size_t size;
    char *bytes = read_text(c, name, &size);
    bytes[size / 2] ^= 4;
    write_text(c, name, bytes, size);
    free(bytes);
}

#endif
