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

/* user, nice, system, idle, waiting for a disk, interrupts, packets, and what another guest of the host took */
static double busy_ticks(const char *line)
{
    double ticks[8] = {0};
    sscanf(line, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &ticks[0], &ticks[1], &ticks[2], &ticks[3], &ticks[4],
           &ticks[5], &ticks[6], &ticks[7]);
    return ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7];
}

fsm_machine_load fsm_machine_read_load(void)
{
    fsm_machine_load load = {0};
    char line[512]; /* longer ones are of interrupts, and come in parts */
    FILE *stat = fopen("/proc/stat", "re");
    while (stat && fgets(line, sizeof line, stat)) {
        long long boot_s;
        if (strncmp(line, "cpu ", 4) == 0) load.busy_s = busy_ticks(line) / (double)sysconf(_SC_CLK_TCK);
        if (sscanf(line, "btime %lld", &boot_s) == 1) load.boot_s = boot_s;
    }
    if (stat) fclose(stat);
    return load;
}
