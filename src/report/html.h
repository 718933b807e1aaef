/* The frame of an HTML page and text made safe for it.
 * In:  a stream and text of any origin.
 * Out: well-formed markup: every element closed, void elements written <x/>.
 * Write errors stay in the stream (ferror), which its owner checks once.
 */
#ifndef FSM_REPORT_HTML_H
#define FSM_REPORT_HTML_H

#include <stdio.h>

/* Text for element content or a quoted attribute: & < > " ' become entities, control characters U+FFFD. */
void fsm_html_text(FILE *out, const char *text);

/* <text> of an SVG inside the page or alone. */
void fsm_svg_text(FILE *out, const char *class, double x, double y, const char *text);

/* The head with the style sheet of everything in this folder, and <body><main>. */
void fsm_html_begin(FILE *out, const char *title);
void fsm_html_end(FILE *out);

/* <section> with a heading; `note` (may be NULL) is a quiet sentence under it. */
void fsm_html_begin_section(FILE *out, const char *id, const char *heading, const char *note);
void fsm_html_end_section(FILE *out);

#endif
