#include "base/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

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

double fsm_machine_busy_s(void)
{
    char line[512] = ""; /* the first is of all cores */
    FILE *stat = fopen("/proc/stat", "re");
    if (stat && !fgets(line, sizeof line, stat)) line[0] = 0;
    if (stat) fclose(stat);
    return busy_ticks(line) / (double)sysconf(_SC_CLK_TCK);
}

double fsm_machine_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (double)pages * (double)page_bytes : 0;
}

/* The lines of a file that begin with `key`, hashed onto `hash`. */
static uint64_t hash_lines(const char *path, const char *key, uint64_t hash)
{
    char line[512];
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0) hash = XXH3_64bits_withSeed(line, strlen(line), hash);
    if (file) fclose(file);
    return hash;
}

uint64_t fsm_machine_id(void)
{
    return hash_lines("/etc/machine-id", "", hash_lines("/proc/stat", "btime", 0));
}
