#include "report/number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The greatest scale whose suffix a number of this size takes. */
static double si_scale(double size, const char **suffix)
{
    static const char *const suffixes[] = {"", "k", "M", "B", "T"};
    int power = size < 1e4 ? 0 : (int)fmin(floor(log10(size) / 3 + 1e-9), 4);
    *suffix = suffixes[power];
    return pow(1000, power);
}

/* 3.1e-05 -> 3.1e-5 */
static void trim_exponent(char *text)
{
    char *at = strchr(text, 'e');
    if (!at) return;
    char *digits = at + 2, *first = digits;
    while (*first == '0' && first[1]) first++;
    memmove(digits, first, strlen(first) + 1);
}

char *fsm_number_short(char out[FSM_NUMBER_BYTES], double value)
{
    const char *suffix;
    double size = fabs(value), scale = isfinite(value) ? si_scale(size, &suffix) : 1;
    if (!isfinite(value)) snprintf(out, FSM_NUMBER_BYTES, "–");
    else if (scale > 1) snprintf(out, FSM_NUMBER_BYTES, "%.3g%s", value / scale, suffix);
    else if (size >= 1000) return fsm_number_whole(out, value);
    else if (size >= 1e-3 || size == 0) snprintf(out, FSM_NUMBER_BYTES, "%.4g", value);
    else snprintf(out, FSM_NUMBER_BYTES, "%.3g", value), trim_exponent(out);
    return out;
}

char *fsm_number_whole(char out[FSM_NUMBER_BYTES], double value)
{
    char digits[FSM_NUMBER_BYTES];
    if (!isfinite(value) || fabs(value) >= 1e18) {
        snprintf(out, FSM_NUMBER_BYTES, isfinite(value) ? "%.3g" : "–", value);
        return out;
    }
    snprintf(digits, sizeof digits, "%.0f", fabs(value));
    size_t count = strlen(digits), length = 0;
    if (value < 0) out[length++] = '-';
    for (size_t i = 0; i < count; i++) {
        if (i && (count - i) % 3 == 0) out[length++] = ',';
        out[length++] = digits[i];
    }
    out[length] = 0;
    return out;
}

char *fsm_number_duration(char out[FSM_NUMBER_BYTES], double seconds)
{
    double s = round(seconds), minutes = floor(s / 60), hours = floor(s / 3600);
    if (!isfinite(seconds)) snprintf(out, FSM_NUMBER_BYTES, "–");
    else if (seconds < 10) snprintf(out, FSM_NUMBER_BYTES, "%.2g s", seconds);
    else if (s < 60) snprintf(out, FSM_NUMBER_BYTES, "%.0f s", s);
    else if (s < 3600) snprintf(out, FSM_NUMBER_BYTES, "%.0f min %02.0f s", minutes, fmod(s, 60));
    else if (s < 86400) snprintf(out, FSM_NUMBER_BYTES, "%.0f h %02.0f min", hours, fmod(minutes, 60));
    else snprintf(out, FSM_NUMBER_BYTES, "%.0f d %.0f h", floor(hours / 24), fmod(hours, 24));
    return out;
}

char *fsm_number_tick(char out[FSM_NUMBER_BYTES], double value, double step, double greatest)
{
    const char *suffix;
    double scale = si_scale(greatest, &suffix);
    if (fabs(value) < 1e-9 * step) snprintf(out, FSM_NUMBER_BYTES, "0");
    else if (greatest < 1e-3) snprintf(out, FSM_NUMBER_BYTES, "%.3g", value), trim_exponent(out);
    else {
        /* A step of 2.5 needs one digit more than its power of ten tells. */
        int decimals = (int)fmax(0, -floor(log10(step / scale) + 1e-9));
        double shifted = step / scale * pow(10, decimals);
        if (fabs(shifted - round(shifted)) > 1e-6) decimals++;
        snprintf(out, FSM_NUMBER_BYTES, "%.*f%s", decimals, value / scale, suffix);
        if (scale == 1 && decimals == 0 && fabs(value) >= 1000) return fsm_number_whole(out, value);
    }
    return out;
}
