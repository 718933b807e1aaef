/* Runs a fuzzer's inputs once each, in an ordinary build: what was found stays fixed.
 * replay FOLDER: every file of the folder. Fails when there is none; what the fuzzer finds ends the program.
 */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static void run(const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    FUZZ_CLAIM(fd >= 0 && fstat(fd, &info) == 0);
    size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size + (size == 0)); /* exactly so long that a sanitizer sees a read behind it */
    FUZZ_CLAIM(data && read(fd, data, size) == (ssize_t)size);
    close(fd);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

int main(int argc, char **argv)
{
    int count = 0;
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "usage: replay FOLDER\n");
        return 2;
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        fprintf(stderr, "%s\n", path); /* the last line names the input that ended the program */
        run(path);
        count++;
    }
    closedir(folder);
    return count > 0 ? 0 : 1;
}
