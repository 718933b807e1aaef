/* Files of flat keys: what was read, written out again, reads back to the same. */
#include "config/flat.h"
#include "fuzz.h"

#include <inttypes.h>

typedef struct object {
    int64_t whole, wide;
    double real, small;
    int choice;
} object;

static const fsm_flat_key keys[] = {
    {"whole", FSM_FLAT_INT, offsetof(object, whole), 1, 1e9, NULL, true},
    {"wide", FSM_FLAT_INT, offsetof(object, wide), -1e15, 1e15, NULL, false},
    {"real", FSM_FLAT_FLOAT, offsetof(object, real), -1e300, 1e300, NULL, false},
    {"small", FSM_FLAT_FLOAT, offsetof(object, small), 0, 1, NULL, true},
    {"choice", FSM_FLAT_CHOICE, offsetof(object, choice), 0, 0, "gpt, mixtral, gptx", false},
};
enum { COUNT = sizeof keys / sizeof *keys };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"gpt", "mixtral", "gptx"};
    object read = {0}, back = {0};
    char text[256];
    if (fsm_flat_read(fuzz_file(0, data, size), keys, COUNT, &read) != FSMOE_OK) return 0;
    FUZZ_CLAIM(read.whole >= 1 && read.whole <= 1000000000 && read.small >= 0 && read.small <= 1);
    FUZZ_CLAIM(read.choice >= 0 && read.choice < 3);
    /* What the words of the file say must be what was read: no choice without its name. */
    FUZZ_CLAIM(read.choice == 0 || memmem(data, size, names[read.choice], 3) || memchr(data, '\\', size));
    snprintf(text, sizeof text, "whole: %" PRId64 "\nwide: %" PRId64 "\nreal: %.17g\nsmall: %.17g\nchoice: %s\n",
             read.whole, read.wide, read.real, read.small, names[read.choice]);
    FUZZ_CLAIM(fsm_flat_read(fuzz_file(1, text, strlen(text)), keys, COUNT, &back) == FSMOE_OK);
    FUZZ_CLAIM(back.whole == read.whole && back.wide == read.wide && back.real == read.real &&
               back.small == read.small && back.choice == read.choice);
    return 0;
}
