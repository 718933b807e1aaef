#include "base/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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

/* ---- memory ---- */

/* "VmHWM:   1234 kB" of /proc/self/status, or a line of /proc/meminfo, in bytes; 0: there is none. */
static double line_bytes(const char *path, const char *key)
{
    char line[256];
    double kib = 0;
    FILE *file = fopen(path, "re");
    while (file && kib == 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0) kib = strtod(line + strlen(key), NULL);
    if (file) fclose(file);
    return 1024 * kib;
}

/* A file with one number; -1: there is none, or "max". */
static double number_of(const char *path)
{
    char line[64] = "", *end;
    FILE *file = fopen(path, "re");
    if (file && !fgets(line, sizeof line, file)) line[0] = 0;
    if (file) fclose(file);
    double number = strtod(line, &end);
    return end == line ? -1 : number;
}

/* What is left of a control group's limit, pages of files counted as free; without one, `bytes`. A process in a
 * container sees its group at the root. */
static double left_of_group(const char *limit, const char *usage, double cached, double bytes)
{
    double most = number_of(limit), used = number_of(usage);
    if (most < 0 || used < 0) return bytes;
    double left = most - used + cached;
    return left < 0 ? 0 : left < bytes ? left : bytes;
}

/* "inactive_file 123", which the kernel gives up before anything else. */
static double inactive_bytes(const char *path, const char *key)
{
    return line_bytes(path, key) / 1024;
}

double fsm_machine_available_bytes(void)
{
    double bytes = line_bytes("/proc/meminfo", "MemAvailable:");
    bytes = left_of_group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current",
                          inactive_bytes("/sys/fs/cgroup/memory.stat", "inactive_file "), bytes);
    return left_of_group("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                         inactive_bytes("/sys/fs/cgroup/memory/memory.stat", "total_inactive_file "), bytes);
}

double fsm_machine_held_bytes(void)
{
    return line_bytes("/proc/self/status", "VmRSS:") - line_bytes("/proc/self/status", "RssFile:");
}

double fsm_machine_peak_bytes(void)
{
    return line_bytes("/proc/self/status", "VmHWM:") - line_bytes("/proc/self/status", "RssFile:");
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
