#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_TEXT_BYTES = 2048 };

static _Thread_local char last_error[ERROR_TEXT_BYTES];

const char *fsmoe_status_text(fsmoe_status status)
{
    static const char *const texts[] = {
#define STATUS_TEXT(name, exit_code, text) [FSMOE_##name] = text,
        FSMOE_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    };
    size_t i = (size_t)status;
    return i < sizeof texts / sizeof *texts ? texts[i] : "unknown status";
}

int fsmoe_status_exit_code(fsmoe_status status)
{
    static const int codes[] = {
#define STATUS_EXIT(name, exit_code, text) [FSMOE_##name] = exit_code,
        FSMOE_STATUS_LIST(STATUS_EXIT)
#undef STATUS_EXIT
    };
    size_t i = (size_t)status;
    return i < sizeof codes / sizeof *codes ? codes[i] : 1;
}

const char *fsmoe_last_error(void)
{
    return last_error;
}

fsmoe_status fsm_fail(fsmoe_status status, const char *format, ...)
{
    /* Arguments may point into last_error itself, so the sentence is built aside. */
    char text[ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last_error, text, sizeof text);
    return status;
}

fsmoe_status fsm_fail_within(fsmoe_status status, const char *format, ...)
{
    char prefix[ERROR_TEXT_BYTES / 4];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    return fsm_fail(status, "%s: %s", prefix, last_error);
}
