#include "base/machine.h"

#include <stdio.h>
#include <string.h>

void fsm_machine_cpu(char *name, size_t size)
{
    snprintf(name, size, "unknown CPU");
    FILE *info = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (info && fgets(line, sizeof line, info)) {
        char *value = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (!value) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(name, size, "%s", value + 2);
        break;
    }
    if (info) fclose(info);
}
