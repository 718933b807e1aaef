/* What a line of a log says: without what launchers put before it, as words, as a row, as the end of a launcher.
 *     srun --label, jsrun, flux         " 3: text"
 *     Intel MPI and MPICH -l, -prepend-rank   "[3] text"
 *     Open MPI 4 --tag-output           "[1,3]<stdout>:text"
 *     Open MPI 5 --output tag, -detailed, -fullname   "[job@1,3]<stdout>: text", "[job@1,3][host:pid]<stdout>: text"
 *     both with --timestamp-output      "Mon May  6 07:08:09 2024<stdout>:text", with a tag "Mon …[1,3]<stdout>:text"
 *     container logs with time stamps   "2024-05-06T07:08:09.123456789Z text" */
#include "profile/import.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static bool is_digit(char c)
{
    return isdigit((unsigned char)c);
}

static const char *after_digits(const char *at)
{
    while (is_digit(*at)) at++;
    return at;
}

/* Open MPI names the stream last, whatever else it says. */
static const char *after_stream(const char *line)
{
    static const char *const streams[] = {"<stdout>:", "<stderr>:", "<stddiag>:"};
    const char *mark = strchr(line, '<');
    for (size_t i = 0; mark && i < COUNT_OF(streams); i++) {
        size_t length = strlen(streams[i]);
        if (strncmp(mark, streams[i], length) == 0) return mark + length + (mark[length] == ' ');
    }
    return line;
}

static const char *after_number_and_colon(const char *line)
{
    const char *number = line + strspn(line, " "), *end = after_digits(number);
    if (end == number || *end != ':') return line;
    if (end[1] == ' ') return end + 2;
    return end[1] == 0 || end[1] == '\r' ? end + 1 : line;
}

static const char *after_number_in_brackets(const char *line)
{
    if (line[0] != '[') return line;
    const char *end = after_digits(line + 1);
    return end > line + 1 && *end == ']' ? end + 1 + (end[1] == ' ') : line;
}

static const char *after_time(const char *line)
{
    static const char form[] = "0000-00-00T00:00:00";
    for (int i = 0; form[i]; i++)
        if (form[i] == '0' ? !is_digit(line[i]) : line[i] != form[i]) return line;
    const char *end = line + strcspn(line, " ");
    return *end ? end + 1 : line;
}

const char *fsm_benchlog_text(const char *line)
{
    static const char *(*const labels[])(const char *) = {after_stream, after_number_and_colon,
                                                          after_number_in_brackets, after_time};
    for (const char *before = NULL; before != line;) {
        before = line;
        for (size_t i = 0; i < COUNT_OF(labels); i++) line = labels[i](line);
    }
    return line;
}

int fsm_benchlog_split(const char *line, char copy[FSM_LOG_LINE_BYTES], char *words[FSM_LOG_WORDS])
{
    int count = 0;
    char *rest;
    snprintf(copy, FSM_LOG_LINE_BYTES, "%s", line);
    for (char *word = strtok_r(copy, " \t\r", &rest); word && count < FSM_LOG_WORDS;
         word = strtok_r(NULL, " \t\r", &rest))
        words[count++] = word;
    return count;
}

/* Digits that are damaged further on make a row all the same, which then is an error, as a value that is no number is;
 * "2 total processes killed" and "10.0.0.1:4242 [0] NCCL INFO" are none. */
bool fsm_benchlog_is_row(const char *line)
{
    const char *size = line + strspn(line, " \t"), *end = after_digits(size);
    if (end == size || !strchr(" \t\r", *end)) return false;
    const char *second = end + strspn(end, " \t\r");
    char *number_end;
    strtod(second, &number_end);
    return !*second || !isalpha((unsigned char)*second) || number_end > second;
}

bool fsm_benchlog_is_death(const char *line)
{
    static const char *const said[] = {
        "mpirun noticed",
        "mpiexec noticed",
        "prterun noticed",
        "orterun noticed",
        "total processes killed",
        "exited on signal",
        "MPI_ABORT was invoked",
        "BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES",
        "non-zero exit code",
        "srun: error:",
        "CANCELLED AT",
        "CANCELLED DUE",
        "DUE TO TIME LIMIT",
        "oom-kill",
        "oom_kill",
        "Exceeded job memory limit",
        "Segmentation fault",
        "Bus error",
        "Test NCCL failure",
        "Test CUDA failure",
    };
    for (size_t i = 0; i < COUNT_OF(said); i++)
        if (strstr(line, said[i])) return true;
    char copy[FSM_LOG_LINE_BYTES], *words[FSM_LOG_WORDS];
    return fsm_benchlog_split(line, copy, words) == 1 &&
           (strcmp(words[0], "Killed") == 0 || strcmp(words[0], "Terminated") == 0);
}
