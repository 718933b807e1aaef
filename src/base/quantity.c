/* Numbers with units, as people write them. */
#include "base/status.h"

#include <ctype.h>
#include <fsmoe/cluster.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* "k", "Mi", …: takes it off the text; 1 when there is none. */
static double take_prefix(const char **text)
{
    static const char letters[] = "kMGTP";
    const char *found = **text ? strchr(letters, **text == 'K' ? 'k' : **text) : NULL;
    if (!found) return 1;
    bool binary = (*text)[1] == 'i';
    *text += binary ? 2 : 1;
    return pow(binary ? 1024 : 1000, (double)(found - letters + 1));
}

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0) return true;
    return false;
}

/* Each turns a number with a unit into bytes/s, bytes, seconds or FLOP/s; NaN: no such unit. */
static double in_bytes_per_s(double number, const char *unit)
{
    static const char *const bytes[] = {"B/s", "B", "Bps"}, *const bits[] = {"bit/s", "bit", "b/s", "b", "bps"};
    double prefix = take_prefix(&unit);
    if (is_one_of(unit, bytes, COUNT_OF(bytes))) return number * prefix;
    return is_one_of(unit, bits, COUNT_OF(bits)) ? number * prefix / 8 : NAN;
}

static double in_whole_bytes(double number, const char *unit)
{
    double prefix = take_prefix(&unit);
    return strcmp(unit, "B") == 0 ? floor(number * prefix) : NAN;
}

static double in_seconds(double number, const char *unit)
{
    static const struct {
        const char *name;
        double per_second;
    } units[] = {{"s", 1}, {"ms", 1e3}, {"us", 1e6}, {"µs", 1e6}, {"ns", 1e9}};
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (strcmp(unit, units[i].name) == 0) return number / units[i].per_second;
    return NAN;
}

static double in_flops(double number, const char *unit)
{
    static const char *const flops[] = {"", "FLOP/s", "FLOPS", "FLOPs", "flop/s", "flops"};
    double prefix = take_prefix(&unit);
    return is_one_of(unit, flops, COUNT_OF(flops)) ? number * prefix : NAN;
}

fsmoe_status fsmoe_quantity_parse(const char *text, fsmoe_quantity quantity, double *value)
{
    static const struct {
        double (*convert)(double number, const char *unit);
        const char *looks;
    } kinds[] = {
        [FSMOE_QUANTITY_RATE] = {in_bytes_per_s, "a rate such as 25GB/s, 25GiB/s or 200Gbit/s"},
        [FSMOE_QUANTITY_TIME] = {in_seconds, "a time such as 10us, 0.5ms or 1s"},
        [FSMOE_QUANTITY_BYTES] = {in_whole_bytes, "a size such as 16GiB, 500MB or 1000000B"},
        [FSMOE_QUANTITY_FLOPS] = {in_flops, "FLOP/s such as 300T, 19.5TFLOP/s or 1e12"},
    };
    char *end;
    bool starts = (isdigit((unsigned char)*text) || *text == '.') && /* no sign, no "inf", */
                  !(*text == '0' && (text[1] | 32) == 'x');          /* no "0x10B/s" */
    double number = strtod(text, &end);
    while (*end == ' ') end++;
    double result = kinds[quantity].convert(number, end);
    bool allowed = result > 0 || (result == 0 && quantity == FSMOE_QUANTITY_TIME);
    if (!starts || !allowed || !isfinite(result))
        return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' is not %s", text, kinds[quantity].looks);
    *value = result;
    return FSMOE_OK;
}
