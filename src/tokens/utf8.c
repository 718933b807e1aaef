#include "tokens/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

size_t fsm_utf8_character_size(const char *bytes)
{
    unsigned char first = (unsigned char)bytes[0];
    if (first < 0x80) return 1;
    if (first < 0xC2) return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

/* The second byte has narrower limits after some first ones: else overlong, a surrogate, or too large. */
static bool second_fits(unsigned char first, unsigned char second)
{
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    return second >= low && second <= high;
}

/* The size of the character at bytes[left]; 0: there is none. */
static size_t read_character(const char *bytes, size_t left)
{
    size_t size = fsm_utf8_character_size(bytes);
    if (size > left || bytes[0] == 0) return 0;
    if (size > 1 && !second_fits((unsigned char)bytes[0], (unsigned char)bytes[1])) return 0;
    for (size_t i = 2; i < size; i++)
        if (((unsigned char)bytes[i] & 0xC0) != 0x80) return 0;
    return size;
}

/* Eight bytes at once: all ASCII, none 0. */
static bool is_plain(const char *bytes)
{
    const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return ((word | (word - ones)) & tops) == 0;
}

size_t fsm_utf8_text_size(const char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size) {
        if (size - at >= 8 && is_plain(bytes + at)) {
            at += 8;
            continue;
        }
        size_t n = read_character(bytes + at, size - at);
        if (n == 0) break;
        at += n;
    }
    return at;
}

size_t fsm_utf8_mark_size(const char *bytes, size_t size)
{
    static const char mark[] = "\xEF\xBB\xBF";
    enum { MARK = sizeof mark - 1 };
    return size >= MARK && memcmp(bytes, mark, MARK) == 0 ? MARK : 0;
}
