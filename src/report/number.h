/* Numbers as people read them.
 * In:  a number. Out: text in the caller's buffer, which is also returned.
 * What is not finite reads "–".
 */
#ifndef FSM_REPORT_NUMBER_H
#define FSM_REPORT_NUMBER_H

enum { FSM_NUMBER_BYTES = 48 };

/* Three or four digits: 0.0412, 1.842, 9,120, 14.2k, 3.41M, 1.2B, 3.1e-5. */
char *fsm_number_short(char out[FSM_NUMBER_BYTES], double value);

/* A whole number with commas: 12,345,678. */
char *fsm_number_whole(char out[FSM_NUMBER_BYTES], double value);

/* A time: 0.42 s, 42 s, 3 min 20 s, 2 h 05 min, 3 d 4 h. */
char *fsm_number_duration(char out[FSM_NUMBER_BYTES], double seconds);

/* A tick's label on an axis whose ticks are `step` apart and reach up to `greatest` in size: equal decimals on all. */
char *fsm_number_tick(char out[FSM_NUMBER_BYTES], double value, double step, double greatest);

#endif
