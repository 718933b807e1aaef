/* What a command writes must not be what it reads, nor two of its outputs one file.
 * In:  the words of a command line. Out: the first pair that is, in a sentence.
 * Words are compared as files (device and inode), so another spelling or a link does not hide one.
 */
#ifndef FSMOE_TOOLS_OUTPUTS_H
#define FSMOE_TOOLS_OUTPUTS_H

#include <stdbool.h>
#include <stddef.h>

/* Whether an output of argv (--out, --trace, --gantt, --csv, --picture) names the file of another word of it. */
bool outputs_clash(int argc, char *const *argv, char *sentence, size_t size);

/* Whether `path` is the regular file that `other` is. */
bool outputs_same_file(const char *path, const char *other);

#endif
