#include "base/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The first processor's lines are in the first kilobytes; no stream, since a name must not depend on memory for one. */
void fsm_machine_cpu(char *name, size_t size)
{
    static const char key[] = "\nmodel name";
    char text[4096];
    snprintf(name, size, "unknown CPU");
    int info = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
    ssize_t n = info >= 0 ? read(info, text, sizeof text - 1) : 0;
    if (info >= 0) close(info);
    text[n > 0 ? n : 0] = 0;
    char *line = strstr(text, key), *value = line ? strstr(line, ": ") : NULL;
    if (!value) return;
    value[strcspn(value, "\n")] = 0;
    snprintf(name, size, "%s", value + 2);
}
