#include "tokens/shape.h"

#include "tokens/utf8.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

enum { SAMPLE = 4096 }; /* bytes looked at, from the first on */

static size_t sample_of(size_t size)
{
    return size < SAMPLE ? size : SAMPLE;
}

/* Of control characters, texts have white space, backspaces (overstruck print) and escapes (terminals). */
static bool is_control(char byte)
{
    unsigned char b = (unsigned char)byte;
    return (b < 0x20 && !(b >= '\b' && b <= '\r') && b != 0x1B) || b == 0x7F;
}

static bool is_printable(char byte)
{
    return (byte >= ' ' && byte < 0x7F) || (byte >= '\t' && byte <= '\r');
}

static size_t count_controls(const char *bytes, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) n += is_control(bytes[i]);
    return n;
}

bool fsm_shape_is_binary(const char *bytes, size_t size)
{
    size_t n = sample_of(size), text = fsm_utf8_text_size(bytes, n);
    bool cut = n < size && n - text < 4; /* the sample may end inside a character */
    return (text < n && !cut) || count_controls(bytes, n) > 0;
}

bool fsm_shape_is_control_rich(const char *bytes, size_t size)
{
    size_t n = sample_of(size);
    return 10 * count_controls(bytes, n) > n;
}

static bool holds(const char *bytes, size_t size, size_t at, const char *magic, size_t n)
{
    return at <= size && n <= size - at && memcmp(bytes + at, magic, n) == 0;
}

bool fsm_shape_is_zstd_skippable(const char *bytes, size_t size)
{
    return size >= 4 && (bytes[0] & 0xF0) == 0x50 && holds(bytes, size, 1, "\x2A\x4D\x18", 3);
}

/* "BZh" and a digit may begin a text; a block, or the end of the stream, follows in the same byte order always. */
bool fsm_shape_is_bzip2(const char *bytes, size_t size)
{
    return size >= 10 && memcmp(bytes, "BZh", 3) == 0 && bytes[3] >= '1' && bytes[3] <= '9' &&
           (holds(bytes, size, 4, "\x31\x41\x59\x26\x53\x59", 6) ||
            holds(bytes, size, 4, "\x17\x72\x45\x38\x50\x90", 6));
}

static bool first_in_zip_ends_in(const char *bytes, size_t size, const char *ending)
{
    enum { AT_NAME_SIZE = 26, AT_NAME = 30 };
    if (size < AT_NAME || memcmp(bytes, "PK\x03\x04", 4) != 0) return false;
    size_t n = strlen(ending);
    size_t name = (unsigned char)bytes[AT_NAME_SIZE] + 256 * (size_t)(unsigned char)bytes[AT_NAME_SIZE + 1];
    return name >= n && holds(bytes, size, AT_NAME + name - n, ending, n);
}

bool fsm_shape_is_torch_zip(const char *bytes, size_t size)
{
    return first_in_zip_ends_in(bytes, size, "data.pkl");
}

bool fsm_shape_is_numpy_zip(const char *bytes, size_t size)
{
    return first_in_zip_ends_in(bytes, size, ".npy");
}

/* A continuation mark, then the size of a message, a multiple of 8. */
bool fsm_shape_is_arrow_stream(const char *bytes, size_t size)
{
    return size >= 8 && memcmp(bytes, "\xFF\xFF\xFF\xFF", 4) == 0 && bytes[4] % 8 == 0 && (bytes[7] & 0x80) == 0;
}

/* The size of a JSON header, then the header. */
bool fsm_shape_is_safetensors(const char *bytes, size_t size)
{
    enum { LARGEST_HEADER = 100000000 };
    uint64_t header;
    if (size < 9) return false;
    memcpy(&header, bytes, sizeof header);
    header = le64toh(header);
    return bytes[8] == '{' && header >= 2 && header <= LARGEST_HEADER;
}

bool fsm_shape_is_pickle(const char *bytes, size_t size)
{
    return size >= 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
}

/* A message of Protocol Buffers: field 1, a piece, in it field 1, its text, then field 2, its score of 4 bytes. */
bool fsm_shape_is_sentencepiece(const char *bytes, size_t size)
{
    if (size < 4 || bytes[0] != '\n' || bytes[2] != '\n' || (bytes[1] & 0x80) || (bytes[3] & 0x80)) return false;
    size_t piece = (size_t)bytes[1], text = (size_t)bytes[3];
    return piece >= text + 2 && text > 0 && holds(bytes, size, 4 + text, "\x15", 1);
}

/* Units of `width` bytes of which one, `at`, is a printable character and the rest zeros: most of the sample. */
static bool is_wide_text(const char *bytes, size_t size, size_t width, size_t at)
{
    size_t units = sample_of(size) / width, latin = 0;
    for (size_t i = 0; i < units; i++) {
        const char *unit = bytes + i * width;
        size_t zeros = 0;
        for (size_t j = 0; j < width; j++) zeros += unit[j] == 0;
        latin += zeros == width - 1 && is_printable(unit[at]);
    }
    return 10 * latin > 7 * units;
}

bool fsm_shape_is_utf16_little(const char *bytes, size_t size)
{
    return is_wide_text(bytes, size, 2, 0);
}

bool fsm_shape_is_utf16_big(const char *bytes, size_t size)
{
    return is_wide_text(bytes, size, 2, 1);
}

bool fsm_shape_is_utf32_little(const char *bytes, size_t size)
{
    return is_wide_text(bytes, size, 4, 0);
}

bool fsm_shape_is_utf32_big(const char *bytes, size_t size)
{
    return is_wide_text(bytes, size, 4, 3);
}
