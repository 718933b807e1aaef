#define _GNU_SOURCE
#include "base/print.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* A 0 always fits after what is printed. Returning less than `size` marks the stream as failed. */
static ssize_t take(void *cookie, const char *bytes, size_t size)
{
    fsm_print *print = cookie;
    if (print->capacity - print->size <= size) {
        size_t capacity = 2 * print->capacity + size + 1;
        char *grown = realloc(print->bytes, capacity);
        if (!grown) return 0;
        print->bytes = grown;
        print->capacity = capacity;
    }
    memcpy(print->bytes + print->size, bytes, size);
    print->size += size;
    return (ssize_t)size;
}

fsmoe_status fsm_print_begin(fsm_print *print)
{
    *print = (fsm_print){0};
    print->out = fopencookie(print, "w", (cookie_io_functions_t){.write = take});
    return print->out ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to print");
}

static fsmoe_status finish(fsm_print *print, fsmoe_status status, const char *what)
{
    bool failed = ferror(print->out) != 0;
    if (fclose(print->out) != 0) failed = true;
    if (!failed && print->size == 0) failed = !(print->bytes = calloc(1, 1));
    if (failed && status == FSMOE_OK) status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to print '%s'", what);
    if (status != FSMOE_OK) {
        free(print->bytes);
        print->bytes = NULL;
    }
    return status;
}

fsmoe_status fsm_print_end(fsm_print *print, fsmoe_status status, const char *what, char **text)
{
    status = finish(print, status, what);
    *text = print->bytes;
    if (*text) (*text)[print->size] = 0;
    return status;
}

fsmoe_status fsm_print_write(fsm_print *print, fsmoe_status status, const char *path)
{
    FSM_TRY(finish(print, status, path));
    status = fsm_file_replace(path, print->bytes, print->size);
    free(print->bytes);
    return status;
}
